"""The labelling daemon with the stand-in engine on real rows."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from registry import queue
from registry.crystal import Crystal
from registry.errors import LabelFailure
from registry.hull.levels import Level, load_level
from registry.hull.mp2020 import Correction
from registry.models import Calculation, Campaign, Duplicate, Frame, Prototype, Selection, Structure, Work
from registry.states import CalculationState, ErrorClass, Kind, Origin, WorkState
from tests import factories as make
from tests.workers.standin import Failing, StandIn, standin_engine
from workers.engines.base import Engine as LabelEngine
from workers.label import LabelDaemon
from workers.label_rows import off_hull_reason
from workers.loop import Loop

SALT = Crystal(np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]) * 2.8, [11, 17], [[0, 0, 0], [0.5, 0.5, 0.5]])


def select_for_label(engine: Engine, level_id: int, *crystals: Crystal, formula: str = "NaCl") -> list[int]:
    with Session(engine) as session, session.begin():
        campaign = session.scalar(select(Campaign)) or make.added(session, Campaign(name="test", level_id=level_id))
        turn = make.campaign_round(session, campaign, number=1 + len(session.scalars(select(Selection)).all()))
        ids = [make.structure(session, formula, origin="generated", arrays=one).id for one in crystals]
        for rank, one in enumerate(ids, 1):
            make.added(
                session,
                Selection(round_id=turn.id, structure_id=one, level_id=level_id, purpose="label", rank=rank),
            )
    return ids


def drain(engine: Engine, engines: Callable[[Level], LabelEngine] = standin_engine) -> None:
    Loop(engine, [LabelDaemon(engines)], drain=True).run()


def once(engine: Engine, engines: Callable[[Level], LabelEngine]) -> None:
    loop = Loop(engine, [LabelDaemon(engines)], on_outcome=lambda _outcome: loop.stop())
    loop.run()


def calculations(engine: Engine) -> list[Calculation]:
    with Session(engine, expire_on_commit=False) as session:
        return list(session.scalars(select(Calculation).order_by(Calculation.id)))


def test_a_label_keeps_everything_of_its_calculation(engine: Engine, level_id: int):
    initial = select_for_label(engine, level_id, SALT)[0]
    drain(engine)
    row = calculations(engine)[0]
    assert (row.state, row.initial_structure_id, row.level_id) == (CalculationState.CONVERGED, initial, level_id)
    assert (row.engine_version, row.attempt, row.correction, row.off_hull) == ("stand-in 1", 1, 0.0, None)
    assert row.settings == {"force_tolerance": 0.05, "max_steps": 100}
    assert row.convergence == pytest.approx({**row.settings, "max_force": 0.0, "max_stress": 0.0}, abs=0.05)
    assert (row.datasets, row.gap, row.signal, row.log_tail) == ({}, None, None, None)
    assert row.forces is not None
    assert np.abs(np.frombuffer(row.forces).reshape(-1, 3)).max() < 0.05
    assert row.stress is not None
    assert len(row.stress) == 6
    with Session(engine) as session:
        final = session.get_one(Structure, row.final_structure_id)
        assert (final.origin, final.composition_id) == (
            Origin.RELAXED,
            session.get_one(Structure, initial).composition_id,
        )
        assert session.get_one(Prototype, final.prototype_id).label == "AB_cF8_225_a_b"
    assert queue.open_work(engine, Kind.LABEL) == 0


def test_every_step_of_the_relaxation_is_kept(engine: Engine, level_id: int):
    initial = select_for_label(engine, level_id, SALT.scaled(SALT.volume * 1.06))[0]
    drain(engine)
    row = calculations(engine)[0]
    with Session(engine) as session:
        frames = session.scalars(select(Frame).order_by(Frame.step)).all()
        composition_id = session.get_one(Structure, initial).composition_id
    assert {(one.calculation_id, one.composition_id) for one in frames} == {(row.id, composition_id)}
    assert [one.step for one in frames] == list(range(len(frames)))
    assert len(frames) > 2
    assert frames[-1].energy == row.energy
    assert frames[-1].forces == row.forces
    assert frames[0].energy > frames[-1].energy
    np.testing.assert_allclose(np.array(frames[0].lattice).reshape(3, 3), SALT.lattice * 1.06 ** (1 / 3))


def test_what_is_made_of_a_crystal_goes_on_its_terms(engine: Engine, level_id: int):
    with Session(engine) as session, session.begin():
        restricted = make.source(session, "theirs", licence="CC BY-NC 4.0", non_commercial=True).id
    initial = select_for_label(engine, level_id, SALT)[0]
    with Session(engine) as session, session.begin():
        session.get_one(Structure, initial).source_id = restricted
    drain(engine)
    with Session(engine) as session:
        final = session.get_one(Structure, calculations(engine)[0].final_structure_id)
        assert final.source_id == restricted


def test_two_candidates_that_relax_to_one_crystal_are_linked(engine: Engine, level_id: int):
    select_for_label(engine, level_id, SALT, SALT.scaled(SALT.volume * 1.06))
    drain(engine)
    first, second = calculations(engine)
    with Session(engine) as session:
        link = session.scalars(select(Duplicate)).one()
        assert (link.structure_id, link.same_as_id) == (second.final_structure_id, first.final_structure_id)
        assert link.rule == "label+fingerprint"


def test_a_crystal_at_rest_is_its_own_relaxed_structure(engine: Engine, level_id: int):
    select_for_label(engine, level_id, SALT)
    drain(engine)
    final = calculations(engine)[0].final_structure_id
    with Session(engine) as session, session.begin():
        turn = make.campaign_round(session, session.scalars(select(Campaign)).one(), number=9)
        again = Selection(round_id=turn.id, structure_id=final, level_id=level_id, purpose="label", rank=1)
        session.add(again)
    drain(engine)
    assert [row.initial_structure_id for row in calculations(engine)][1] == final


@pytest.mark.parametrize(
    ("error", "error_class", "state"),
    [
        (LabelFailure(ErrorClass.GEOMETRY_EXPLODED, "it flew apart"), ErrorClass.GEOMETRY_EXPLODED, WorkState.DEAD),
        (MemoryError(), ErrorClass.OUT_OF_MEMORY, WorkState.WAITING),
        (ZeroDivisionError("a bug"), ErrorClass.BUG, WorkState.WAITING),
    ],
)
def test_a_failure_is_a_row_of_history_with_its_class(
    engine: Engine, level_id: int, error: Exception, error_class: ErrorClass, state: WorkState
):
    select_for_label(engine, level_id, SALT)
    once(engine, lambda _name: Failing(error))
    row = calculations(engine)[0]
    assert (row.state, row.error_class, row.energy) == (CalculationState.FAILED, error_class, None)
    assert row.error
    with Session(engine) as session:
        assert session.scalars(select(Work)).one().state == state


def test_a_failed_attempt_leaves_the_structure_unlabelled_and_a_retry_mends_it(engine: Engine, level_id: int):
    select_for_label(engine, level_id, SALT)
    drain(engine, lambda _name: Failing(LabelFailure(ErrorClass.GEOMETRY_EXPLODED, "no")))
    assert queue.open_work(engine, Kind.LABEL) == 0
    assert queue.retry(engine, Kind.LABEL) == 1
    drain(engine)
    assert [row.state for row in calculations(engine)] == [CalculationState.FAILED, CalculationState.CONVERGED]


def test_an_engine_that_is_missing_here_leaves_the_row_to_others(engine: Engine, level_id: int):
    select_for_label(engine, level_id, SALT)

    def absent(name: str) -> StandIn:
        raise LabelFailure(ErrorClass.MISSING_ENGINE, f"no engine '{name}' here")

    once(engine, absent)
    row = calculations(engine)[0]
    assert (row.error_class, row.engine_version) == (ErrorClass.MISSING_ENGINE, "not loaded")


def test_what_may_not_stand_on_the_hull_says_why():
    level = load_level("7net-0")
    oxygen = Crystal(np.eye(3) * 5, [8, 8], [[0, 0, 0], [0.24, 0, 0]])
    assert "tabulated" in str(off_hull_reason(level, oxygen, Correction(0.0, {})))
    assert off_hull_reason(level, SALT, Correction(0.0, {})) is None
    assert off_hull_reason(level, SALT, Correction(None, {}, "refused")) == "refused"
    einsteinium = SALT.with_numbers(np.array([99, 17]))
    assert "no elemental reference for Es" in str(off_hull_reason(level, einsteinium, Correction(0.0, {})))
