"""The placing daemon on real rows."""

from __future__ import annotations

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from registry import queue
from registry.models import Calculation, HullState, Level, Work
from registry.states import ErrorClass, Kind, WorkState
from tests import factories as make
from workers.loop import Loop
from workers.place import PlaceDaemon


def drain(engine: Engine) -> None:
    Loop(engine, [PlaceDaemon()], drain=True).run()


def label(engine: Engine, formula: str, energy: float, level: str, **columns: object) -> int:
    with Session(engine) as session, session.begin():
        at = make.level(session, level)
        return make.calculation(session, make.structure(session, formula), at, energy=energy, **columns).id


def placed(engine: Engine) -> set[int]:
    with Session(engine) as session:
        return set(session.scalars(select(HullState.calculation_id).where(HullState.valid_to.is_(None))))


def dead(engine: Engine) -> list[Work]:
    with Session(engine, expire_on_commit=False) as session:
        return list(session.scalars(select(Work).where(Work.state == WorkState.DEAD)))


def test_new_labels_of_several_levels_are_placed(engine: Engine):
    ids = {label(engine, formula, -1.0, level) for formula in ("Na", "Cl", "NaCl") for level in ("one", "other")}
    drain(engine)
    assert placed(engine) == ids
    assert queue.open_work(engine, Kind.PLACE) == 0


def test_a_label_without_reference_is_dead_until_it_comes(engine: Engine):
    salt, sodium = label(engine, "NaCl", -7.0, "imported"), label(engine, "Na", -1.3, "imported")
    drain(engine)
    assert placed(engine) == {sodium}
    row = dead(engine)[0]
    assert (row.subject_id, row.error_class) == (salt, ErrorClass.MISSING_REFERENCE)
    assert row.error is not None
    assert "Cl" in row.error
    chlorine = label(engine, "Cl", -1.8, "imported")
    drain(engine)
    assert placed(engine) == {salt, sodium, chlorine}
    assert dead(engine) == []


def test_what_may_not_stand_on_a_hull_is_no_work(engine: Engine):
    label(engine, "Na", -1.3, "imported", off_hull="tabulated")
    assert queue.open_work(engine, Kind.PLACE) == 0


def test_an_energy_that_no_hull_may_hold_stops_no_other(engine: Engine):
    elements = {label(engine, "Na", -1.3, "imported"), label(engine, "Cl", -1.8, "imported")}
    absurd = label(engine, "NaCl", 90_000.0, "imported")
    drain(engine)
    assert placed(engine) == elements
    row = dead(engine)[0]
    assert (row.subject_id, row.error_class) == (absurd, ErrorClass.UNPHYSICAL_ENERGY)


def test_a_level_with_references_waits_for_none(engine: Engine):
    with Session(engine) as session, session.begin():
        level = make.level(session, "fixed", references={"Na": -1.0, "Cl": -2.0})
        salt = make.calculation(session, make.structure(session, "NaCl"), level, energy=-5.0).id
        strange = make.calculation(session, make.structure(session, "LiCl"), level, energy=-5.0).id
    drain(engine)
    assert placed(engine) == {salt}
    assert [row.subject_id for row in dead(engine)] == [strange]
    with Session(engine) as session:
        assert session.get_one(Calculation, salt).level_id == session.scalars(select(Level.id)).one()
