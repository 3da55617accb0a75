"""The searching daemon on real rows, and what the label daemon makes of its structures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict

import pytest
from sqlalchemy import Engine, select, text
from sqlalchemy.orm import Session

from registry import queue
from registry.errors import LabelFailure
from registry.hull.level_rows import ensure_level
from registry.hull.levels import Level
from registry.ingest import crystals
from registry.models import Lineage, Search, Selection, Structure, Work
from registry.query.lineage import lineage
from registry.searches import Asked, ask, progress
from registry.states import ErrorClass, Kind, Origin, WorkState
from tests.workers.standin import StandIn, standin_engine, standin_level
from workers.candidates.random_search import RandomSearch, Settings
from workers.engines.base import Engine as LabelEngine
from workers.label import LabelDaemon
from workers.loop import Loop
from workers.place import PlaceDaemon
from workers.search import SearchDaemon

SALT = {11: 1, 17: 1}
SMALL = Settings(most_atoms=4)


def wanted(
    engine: Engine, level_id: int, structures: int = 12, settings: Settings = SMALL, amounts: dict[int, int] = SALT
) -> Asked:
    with Session(engine) as session, session.begin():
        return ask(session, amounts, level_id, structures, 0, asdict(settings))


def drain(engine: Engine) -> None:
    Loop(engine, [SearchDaemon()], drain=True).run()


def label(engine: Engine, engines: Callable[[Level], LabelEngine] = standin_engine) -> None:
    Loop(engine, [LabelDaemon(engines), PlaceDaemon()], drain=True).run()


def counts(engine: Engine) -> tuple[int, int, int]:
    """Of structures, ways and picks."""
    with Session(engine) as session:
        found = [len(session.scalars(select(table.id)).all()) for table in (Structure, Lineage, Selection)]
    return found[0], found[1], found[2]


def test_a_search_leaves_structures_their_lineage_and_picks(engine: Engine, level_id: int):
    wanted(engine, level_id)
    drain(engine)
    made = list(RandomSearch(SALT, SMALL).structures(12, 0))
    with Session(engine) as session:
        stored = session.scalars(select(Structure).order_by(Structure.id)).all()
        assert {row.origin for row in stored} == {Origin.GENERATED}
        ways = session.scalars(select(Lineage).order_by(Lineage.child_id)).all()
        assert [(way.child_id, way.parent_id, way.operation) for way in ways] == [
            (row.id, None, "random_search") for row in stored
        ]
        assert [way.arguments for way in ways] == [{"seed": 0, **one.arguments()} for one in made]
        arrays = crystals(session, [row.id for row in stored])
        for row, one in zip(stored, made, strict=True):
            assert (arrays[row.id].frac_coords == one.crystal.frac_coords).all()
        picks = session.scalars(select(Selection).order_by(Selection.rank)).all()
        assert [(pick.structure_id, pick.purpose, pick.rank) for pick in picks] == [
            (row.id, "label", one.index + 1) for row, one in zip(stored, made, strict=True)
        ]
        search = session.scalars(select(Search)).one()
        assert search.finished_at is not None
        assert search.counts is not None
        assert search.counts["made"] == 12
    assert queue.open_work(engine, Kind.SEARCH) == 0
    assert queue.open_work(engine, Kind.LABEL) == 12
    assert queue.open_picks(engine) == 0  # no round waits for them


def test_where_a_random_structure_came_from_can_be_asked(engine: Engine, level_id: int):
    wanted(engine, level_id, 1)
    drain(engine)
    with Session(engine) as session:
        (step,) = lineage(session, session.scalars(select(Structure.public_id)).one())["ancestors"]
    assert (step["parent"], step["operation"], step["arguments"]["index"]) == (None, "random_search", 0)


def test_a_search_done_twice_stores_nothing_twice(engine: Engine, level_id: int):
    """As after a kill, or by two daemons of which one was taken for dead."""
    wanted(engine, level_id)
    drain(engine)
    before = counts(engine)
    with Session(engine) as session, session.begin():
        session.scalars(select(Search)).one().finished_at = None
    drain(engine)
    assert counts(engine) == before == (12, 12, 12)


def test_a_search_that_wants_more_keeps_what_it_has(engine: Engine, level_id: int):
    wanted(engine, level_id, 5)
    drain(engine)
    assert wanted(engine, level_id, 8) is Asked.EXTENDED
    drain(engine)
    assert counts(engine) == (8, 8, 8)


def test_a_search_that_grows_while_it_is_done_stays_open(engine: Engine, level_id: int):
    wanted(engine, level_id, 3)
    queue.enqueue(engine, Kind.SEARCH)
    claims = queue.claim(engine, Kind.SEARCH, queue.register(engine, [Kind.SEARCH]), 1, 60)
    (outcome,) = SearchDaemon().work(engine, claims, lambda: None)
    wanted(engine, level_id, 4)
    with Session(engine) as session, session.begin():
        queue.finish(session, claims[0])
        outcome.write(session)
    assert counts(engine) == (3, 3, 3)
    drain(engine)
    assert counts(engine) == (4, 4, 4)


def test_two_levels_share_the_structures(engine: Engine, level_id: int):
    with Session(engine) as session, session.begin():
        other = ensure_level(session, standin_level("other"))
    wanted(engine, level_id)
    wanted(engine, other)
    drain(engine)
    assert counts(engine) == (12, 12, 24)


@pytest.mark.parametrize(
    ("amounts", "settings", "said"),
    [
        ({103: 1, 17: 1}, asdict(SMALL), "no radius is known for Lr"),
        ({12: 17, 13: 12}, asdict(SMALL), "a formula unit has 29 atoms"),
        (SALT, asdict(Settings(least_volume=0.01, largest_volume=0.02)), "no structure came of"),
        (SALT, {"most_atoms": 0}, "no structures can be drawn"),
    ],
)
def test_an_impossible_search_is_given_up_with_its_reason(
    engine: Engine, level_id: int, amounts: dict[int, int], settings: dict[str, object], said: str
):
    with Session(engine) as session, session.begin():
        ask(session, amounts, level_id, 3, 0, settings)
    drain(engine)
    with Session(engine) as session:
        row = session.scalars(select(Work)).one()
        assert (row.state, row.error_class) == (WorkState.DEAD, ErrorClass.NO_STRUCTURE)
        assert said in str(row.error)
        assert progress(session)[0]["error"] == row.error
    assert counts(engine) == (0, 0, 0)


class Unlucky(StandIn):
    """Half of the relaxations fail."""

    def __init__(self) -> None:
        super().__init__()
        self._attempts = 0

    def relax(self, *arguments: object) -> object:  # type: ignore[override]
        self._attempts += 1
        if self._attempts % 2:
            raise LabelFailure(ErrorClass.UNPHYSICAL_VOLUME, "it swelled")
        return super().relax(*arguments)  # type: ignore[arg-type]


def test_the_lowest_of_ten_completed_runs_is_the_label(engine: Engine, level_id: int):
    """With an engine that fails as often as it succeeds, so that eight runs are too few and more are asked for."""
    unlucky = Unlucky()
    wanted(engine, level_id, 16)
    drain(engine)
    label(engine, lambda _name: unlucky)
    with Session(engine) as session:
        (row,) = progress(session)
        assert [row[name] for name in ("stored", "completed", "failed", "error")] == [16, 8, 8, None]
        assert row["formation_energy_per_atom"] is None
        assert row["lowest_formation_energy_per_atom"] < 0
    wanted(engine, level_id, 24)
    drain(engine)
    label(engine, lambda _name: unlucky)
    with Session(engine) as session:
        (row,) = progress(session)
        assert [row[name] for name in ("stored", "completed", "failed")] == [24, 12, 12]
        lowest = session.scalar(text("SELECT min(corrected_energy_per_atom) FROM entry"))
    assert row["formation_energy_per_atom"] == pytest.approx(lowest + 1.0)  # both references are -1
