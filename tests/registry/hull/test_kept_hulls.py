"""Hulls kept in memory place by batches what a rebuild places at once, whoever else places, corrects or rolls back."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, delete, select, text, update
from sqlalchemy.orm import Session

from registry.hull import store
from registry.hull.store import KeptHulls, Placed, place
from registry.models import Calculation, HullEvent, HullState, Placement, Unplaced, Work
from tests import factories as make

FORMULAS = ("Na", "Cl", "K", "NaCl", "NaCl3", "KCl", "NaK", "NaKCl2", "NaKCl3", "Na2KCl3")
REFERENCES = {"Na": -1.0, "Cl": -2.0, "K": -1.5}

ENERGY = st.integers(-60, -20).map(lambda twentieth: twentieth / 20)  # eV/atom, coarse: ties are common
DEED = st.one_of(
    st.tuples(st.just("label"), st.sampled_from(FORMULAS), ENERGY),
    st.tuples(st.just("correct"), st.integers(0, 30), ENERGY),
    st.tuples(st.just("withdraw"), st.integers(0, 30), st.just(0.0)),
    st.tuples(st.just("bring back"), st.integers(0, 30), st.just(0.0)),
)
WAYS = st.sampled_from(["one", "other", "rolled back", "afresh"])
STEPS = st.lists(st.tuples(st.lists(DEED, min_size=1, max_size=4), WAYS), min_size=1, max_size=8)


def do(session: Session, level_id: int, known: list[int], deed: tuple[str, object, float]) -> None:
    what, which, energy = deed
    if what == "label":
        crystal = make.structure(session, str(which))
        at = make.level(session, session.scalar(text("SELECT name FROM level WHERE id = :id"), {"id": level_id}) or "")
        known.append(make.calculation(session, crystal, at, energy=energy * crystal.nsites).id)
    elif known:
        row = session.get_one(Calculation, known[int(which) % len(known)])  # type: ignore[call-overload]
        nsites = session.scalar(text("SELECT nsites FROM structure WHERE id = :id"), {"id": row.final_structure_id})
        if what == "correct":
            row.correction = energy * int(nsites or 0) - float(row.energy or 0.0)
        else:
            row.off_hull = "withdrawn" if what == "withdraw" else None
        session.flush()


def noted(session: Session) -> list[int]:
    """What the trigger noted, taken."""
    return list(dict.fromkeys(session.scalars(delete(Unplaced).returning(Unplaced.calculation_id))))


def clear(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("TRUNCATE level, structure, composition, work, unplaced CASCADE"))


def states(session: Session) -> dict[int, tuple[object, ...]]:
    columns = (HullState.formation_energy_per_atom, HullState.e_above_hull, HullState.decomposition_energy)
    more = (HullState.phase_separation_energy, HullState.is_stable, HullState.decomposition)
    query = select(HullState.calculation_id, *columns, *more).where(HullState.valid_to.is_(None))
    return {row[0]: tuple(row[1:]) for row in session.execute(query)}


def placed_by(hulls: KeptHulls, engine: Engine, level_id: int, ids: list[int], *, rolled_back: bool = False) -> None:
    with Session(engine) as session:
        hulls.place(session, level_id, ids)
        if rolled_back:
            session.rollback()
        else:
            session.commit()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS, fixed=st.sampled_from([{}, {"Cl": -2.0}, REFERENCES]))
def test_whichever_way_entries_came_the_states_are_those_of_a_rebuild(
    engine: Engine, steps: list[tuple[list[tuple[str, object, float]], str]], fixed: dict[str, float]
):
    clear(engine)
    with Session(engine) as session, session.begin():
        level_id = make.level(session, "level", references=fixed).id
    hulls, known = {"one": KeptHulls(), "other": KeptHulls()}, list[int]()
    for deeds, way in steps:
        with Session(engine) as session, session.begin():
            for deed in deeds:
                do(session, level_id, known, deed)
            ids = noted(session)
        if way == "rolled back":
            placed_by(hulls["one"], engine, level_id, ids, rolled_back=True)
        if way == "afresh":
            with Session(engine) as session, session.begin():
                place(session, level_id)
        else:
            placed_by(hulls["other" if way == "other" else "one"], engine, level_id, ids)
    with Session(engine) as session:
        before = states(session)
        assert place(session, level_id).changed == 0
        assert states(session) == before
        session.rollback()


@pytest.fixture
def salts(engine: Engine) -> int:
    """A level with Na, Cl and NaCl placed."""
    with Session(engine) as session, session.begin():
        at = make.level(session, "salts")
        for formula, energy in (("Na", -1.0), ("Cl", -2.0), ("NaCl", -5.0)):
            make.calculation(session, make.structure(session, formula), at, energy=energy)
        place(session, at.id)
        return at.id


def added(engine: Engine, level_id: int, formula: str, energy: float) -> int:
    with Session(engine) as session, session.begin():
        return make.calculation(
            session, make.structure(session, formula), make.level(session, "salts"), energy=energy
        ).id


def placing(hulls: KeptHulls, engine: Engine, level_id: int, *ids: int) -> Placed:
    with Session(engine) as session, session.begin():
        return hulls.place(session, level_id, ids)


def test_a_batch_solves_only_what_it_reaches(engine: Engine, salts: int):
    hulls = KeptHulls()
    first = placing(hulls, engine, salts, added(engine, salts, "NaCl3", -6.9))
    assert (first.entries, first.changed) == (4, 1)
    with Session(engine) as session:
        assert session.scalars(select(Placement.calculation_ids).order_by(Placement.id.desc())).first() is not None


def test_who_displaced_whom(engine: Engine, salts: int):
    hulls = KeptHulls()
    middle = added(engine, salts, "NaCl3", -9.2)
    placing(hulls, engine, salts, middle)
    better = added(engine, salts, "NaCl3", -10.0)
    assert placing(hulls, engine, salts, better).displaced == 1
    with Session(engine) as session:
        event = session.scalars(select(HullEvent)).one()
        assert (event.calculation_id, event.displaced_calculation_id) == (better, middle)
        assert event.fell_by == pytest.approx(0.2)
        opened = session.scalars(select(HullState.valid_from).where(HullState.calculation_id == better)).one()
        assert event.at == opened


def test_a_lower_element_moves_every_formation_energy(engine: Engine, salts: int):
    hulls = KeptHulls()
    placing(hulls, engine, salts)
    lower = added(engine, salts, "Na", -1.5)
    assert placing(hulls, engine, salts, lower).changed == 3  # itself, the other sodium, the salt
    with Session(engine) as session:
        assert place(session, salts).changed == 0


def test_the_last_entry_of_an_element_takes_its_compounds_off(engine: Engine, salts: int):
    hulls = KeptHulls()
    with Session(engine) as session, session.begin():
        sodium = session.scalars(
            select(HullState.calculation_id).where(HullState.chemsys == "Na", HullState.valid_to.is_(None))
        ).one()
        session.execute(update(Calculation).where(Calculation.id == sodium).values(off_hull="withdrawn"))
    placing(hulls, engine, salts, sodium)
    with Session(engine) as session:
        assert len(states(session)) == 1
        reasons = session.scalars(select(Work.error).where(Work.state == "dead")).all()
        assert [("Na" in (reason or "")) for reason in reasons] == [True]


def test_a_level_without_entries(engine: Engine):
    with Session(engine) as session, session.begin():
        empty = make.level(session, "empty").id
    assert placing(KeptHulls(), engine, empty) == Placed(0, 0, 0, {})
    with Session(engine) as session, session.begin():
        assert place(session, empty) == Placed(0, 0, 0, {})


def test_many_entries_are_placed_by_solving_the_level_anew(engine: Engine, salts: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(store, "MANY", 3)
    for number in range(5):
        added(engine, salts, "NaCl3", -7.0 - number / 100)
    one = added(engine, salts, "NaCl3", -8.9)
    assert placing(KeptHulls(), engine, salts, one).changed == 7  # the salt has other competitors
    with Session(engine) as session:
        assert session.scalars(select(Unplaced)).all() == []
        assert session.scalars(select(Placement.calculation_ids).order_by(Placement.id.desc())).first() is None


def test_what_the_trigger_notes(engine: Engine, salts: int):
    with Session(engine) as session, session.begin():
        noted(session)
        calculation = session.scalars(select(Calculation).order_by(Calculation.id)).first()
        assert calculation is not None
        calculation.node = "elsewhere"
        session.flush()
        assert noted(session) == []
        calculation.correction = -0.1
        session.flush()
        assert noted(session) == [calculation.id]
        make.failure(session, make.structure(session, "K"), make.level(session, "salts"))
        assert noted(session) == []
