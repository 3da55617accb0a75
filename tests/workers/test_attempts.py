"""Attempts at a label that follow each other: what the next one does otherwise, and where it goes on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import ClassVar

import numpy as np
import pytest
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from registry import queue
from registry.crystal import Crystal
from registry.errors import LabelFailure
from registry.hull.level_rows import ensure_level
from registry.hull.levels import Level
from registry.models import Calculation, Frame, HullState, Structure, Work
from registry.states import CalculationState, ErrorClass, Kind, Task, WorkState
from tests.workers.standin import StandIn, standin_level
from tests.workers.test_label import SALT, calculations, drain, select_for_label
from workers.attempts import crystal_at
from workers.engines.base import Frame as Step
from workers.engines.base import Label, Relaxation, Trajectory
from workers.label import LabelDaemon
from workers.loop import Loop
from workers.place import PlaceDaemon

SWOLLEN = Crystal(SALT.lattice * 1.04, SALT.numbers, np.array([[0, 0, 0], [0.54, 0.5, 0.47]]))


class Scripted(StandIn):
    """Each attempt ends as its line says: after so many steps with such a failure, or well (None)."""

    def __init__(self, *script: tuple[int, str] | None) -> None:
        super().__init__()
        self._script = list(script)
        self.asked: list[Relaxation] = []

    def relax(self, crystal: Crystal, relaxation: Relaxation, trajectory: Trajectory) -> Label:
        self.asked.append(relaxation)
        line = self._script.pop(0) if self._script else None
        if line is None:
            return super().relax(crystal, relaxation, trajectory)
        return super().relax(crystal, relaxation, Breaking(trajectory, *line))


class Breaking(Trajectory):
    """Fails after some steps."""

    def __init__(self, trajectory: Trajectory, steps: int, error_class: str) -> None:
        super().__init__(trajectory.check, trajectory.frames)
        self._steps, self._error_class = steps, error_class

    def add(self, frame: Step) -> None:
        super().add(frame)
        if len(self.frames) == self._steps:
            raise LabelFailure(self._error_class, "as the script says", signal="SIGKILL", log_tail="its last words")


def frames_of(engine: Engine, calculation: Calculation) -> Sequence[Frame]:
    with Session(engine, expire_on_commit=False) as session:
        return session.scalars(select(Frame).where(Frame.calculation_id == calculation.id).order_by(Frame.step)).all()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that failed wait for no time."""
    monkeypatch.setattr("workers.loop.retry_delay", lambda *told: None if told[1] >= 3 else 0.0)


def test_what_did_not_converge_goes_on_from_its_last_step_by_another_way(engine: Engine, level_id: int):
    select_for_label(engine, level_id, SWOLLEN)
    scripted = Scripted((4, ErrorClass.NOT_CONVERGED_IONIC))
    drain(engine, lambda _level: scripted)
    first, second = calculations(engine)
    assert (first.state, first.error_class, first.changes) == ("failed", "not_converged_ionic", {})
    assert (first.signal, first.log_tail) == ("SIGKILL", "its last words")
    assert (second.state, second.attempt) == (CalculationState.CONVERGED, 2)
    assert second.changes == {"asked": {"optimizer": "FIRE"}, "start": "step 3 of attempt 1"}
    kept, following = frames_of(engine, first), frames_of(engine, second)
    assert len(kept) == 4
    assert following[0].energy == pytest.approx(kept[-1].energy, abs=1e-9)
    np.testing.assert_allclose(crystal_at(following[0], SALT).lattice, crystal_at(kept[-1], SALT).lattice)
    assert scripted.asked[1].start is not None


def test_where_no_other_way_is_left_it_is_given_up(engine: Engine, level_id: int):
    select_for_label(engine, level_id, SWOLLEN)
    scripted = Scripted(*[(2, "not_converged_ionic")] * 9)
    drain(engine, lambda _level: scripted)
    assert [row.changes.get("asked") for row in calculations(engine)] == [None, {"optimizer": "FIRE"}]
    with Session(engine) as session:
        row = session.scalars(select(Work)).one()
        assert (row.state, row.attempts) == (WorkState.DEAD, 2)


@pytest.mark.usefixtures("impatient")
def test_what_was_killed_goes_on_as_it_was(engine: Engine, level_id: int):
    select_for_label(engine, level_id, SWOLLEN)
    scripted = Scripted((3, "killed"), (1, "killed"))
    drain(engine, lambda _level: scripted)
    rows = calculations(engine)
    assert [row.changes for row in rows] == [{}, {"start": "step 2 of attempt 1"}, {"start": "step 0 of attempt 2"}]
    assert rows[-1].state == CalculationState.CONVERGED


@pytest.mark.usefixtures("impatient")
def test_what_may_be_spoilt_begins_anew(engine: Engine, level_id: int):
    select_for_label(engine, level_id, SWOLLEN)
    scripted = Scripted((3, "bug"))
    drain(engine, lambda _level: scripted)
    assert [row.changes for row in calculations(engine)] == [{}, {}]
    assert len(frames_of(engine, calculations(engine)[0])) == 3


def test_a_row_that_a_person_revives_begins_anew(engine: Engine, level_id: int):
    select_for_label(engine, level_id, SWOLLEN)
    scripted = Scripted((4, "not_converged_ionic"), (4, "not_converged_ionic"))
    drain(engine, lambda _level: scripted)
    assert queue.retry(engine, Kind.LABEL) == 1
    drain(engine, lambda _level: scripted)
    last = calculations(engine)[-1]
    assert (last.state, last.changes, last.attempt) == (CalculationState.CONVERGED, {}, 1)


def stopped_after(engine: Engine, steps: int, patience: float = 0.0) -> None:
    """A daemon that is told to end at its n-th step."""

    class Stopping(StandIn):
        def relax(self, crystal: Crystal, relaxation: Relaxation, trajectory: Trajectory) -> Label:
            return super().relax(crystal, relaxation, Bell(trajectory))

    class Bell(Trajectory):
        def __init__(self, trajectory: Trajectory) -> None:
            super().__init__(trajectory.check, trajectory.frames)

        def add(self, frame: Step) -> None:
            if len(self.frames) + 1 == steps:
                loop.stop()
            super().add(frame)

    loop = Loop(engine, [LabelDaemon(lambda _level: Stopping())], patience=patience)
    loop.run()


def test_a_daemon_that_ends_gives_the_row_back_as_far_as_it_came(engine: Engine, level_id: int):
    select_for_label(engine, level_id, SWOLLEN)
    stopped_after(engine, 3)
    (kept,) = calculations(engine)
    assert (kept.error_class, len(frames_of(engine, kept))) == (ErrorClass.WALLTIME, 3)
    with Session(engine) as session:
        row = session.scalars(select(Work)).one()
        assert (row.state, row.attempts) == (WorkState.WAITING, 0)
    stopped_after(engine, 3)
    drain(engine)
    rows = calculations(engine)
    assert [(row.error_class, row.attempt) for row in rows] == [("walltime", 1), ("walltime", 1), (None, 1)]
    assert [row.changes for row in rows] == [{}, {"start": "step 2 of attempt 1"}, {"start": "step 2 of attempt 1"}]
    energies = [frame.energy for row in rows for frame in frames_of(engine, row)]
    assert energies[2] == pytest.approx(energies[3], abs=1e-9)
    assert energies[-1] < energies[0]


def test_a_label_that_never_comes_to_rest_ends_in_spite_of_interruptions(engine: Engine, level_id: int):
    """The steps of attempts that were only cut short are taken from those of the next."""
    select_for_label(engine, level_id, SWOLLEN)
    scripted = Scripted((4, "killed"), (1, "killed"))
    once(engine, scripted)
    with Session(engine) as session, session.begin():
        session.scalars(select(Work)).one().run_after = datetime.now(UTC)
    once(engine, scripted)
    assert [relaxation.max_steps for relaxation in scripted.asked] == [100, 97]


@pytest.mark.usefixtures("impatient")
def test_a_host_without_the_engine_does_not_lose_the_place(engine: Engine, level_id: int):
    select_for_label(engine, level_id, SWOLLEN)
    once(engine, Scripted((4, "not_converged_ionic")))
    absent = LabelFailure(ErrorClass.MISSING_ENGINE, "not here")

    def nowhere(_level: Level) -> StandIn:
        raise absent

    loop = Loop(engine, [LabelDaemon(nowhere)], on_outcome=lambda _outcome: loop.stop())
    loop.run()
    once(engine, StandIn())
    rows = calculations(engine)
    assert [row.error_class for row in rows] == ["not_converged_ionic", "missing_engine", None]
    assert rows[-1].changes == {"asked": {"optimizer": "FIRE"}, "start": "step 3 of attempt 1"}


@pytest.mark.usefixtures("impatient")
def test_steps_from_before_a_revival_are_forgotten(engine: Engine, level_id: int):
    select_for_label(engine, level_id, SWOLLEN)
    killed = Scripted((3, "killed"), (1, "killed"), (1, "killed"))
    drain(engine, lambda _level: killed)
    assert queue.retry(engine, Kind.LABEL) == 1
    again = Scripted((1, "killed"))
    drain(engine, lambda _level: again)
    assert [relaxation.start is None for relaxation in again.asked] == [True, False]
    assert calculations(engine)[-1].changes == {"start": "step 0 of attempt 1"}


class Exploding(StandIn):
    """Its last step is more than a column can hold, and what it says more than a text can."""

    def relax(self, crystal: Crystal, relaxation: Relaxation, trajectory: Trajectory) -> Label:
        label = super().relax(crystal, relaxation, trajectory)
        trajectory.frames.append(replace(trajectory.frames[-1], energy=2e6))
        trajectory.frames.append(replace(trajectory.frames[-1], energy=float("nan")))
        raise LabelFailure("geometry_exploded", f"volume\x00 {label.energy}", log_tail="stars\x00")


def test_an_explosion_keeps_its_class_and_the_steps_that_can_be_kept(engine: Engine, level_id: int):
    select_for_label(engine, level_id, SWOLLEN)
    drain(engine, lambda _level: Exploding())
    (row,) = calculations(engine)
    assert (row.error_class, row.log_tail) == (ErrorClass.GEOMETRY_EXPLODED, "stars?")
    assert str(row.error).startswith("volume? ")
    assert len(frames_of(engine, row)) > 2


def test_a_single_point_is_told_what_to_do_otherwise(engine: Engine):
    class Points(StandIn):
        asked: ClassVar[list[object]] = []

        def static(
            self, crystal: Crystal, trajectory: Trajectory | None = None, changes: Mapping[str, object] | None = None
        ) -> Label:
            self.asked.append(changes)
            if not changes:
                raise LabelFailure(ErrorClass.NOT_CONVERGED_IONIC, "as if it did")
            return super().static(crystal)

    level = replace(standin_level(), name="points", settings={"task": "static"})
    with Session(engine) as session, session.begin():
        level_id = ensure_level(session, level)
    select_for_label(engine, level_id, SWOLLEN)
    drain(engine, lambda _level: Points())
    assert Points.asked == [{}, {"optimizer": "FIRE"}]
    assert [row.changes for row in calculations(engine)] == [{}, {"asked": {"optimizer": "FIRE"}}]


def stopped_at_once(engine: Engine) -> None:
    class Waiting(StandIn):
        def relax(self, crystal: Crystal, relaxation: Relaxation, trajectory: Trajectory) -> Label:
            loop.stop()
            trajectory.check()
            raise AssertionError("it was let on")

    loop = Loop(engine, [LabelDaemon(lambda _level: Waiting())], patience=0.0)
    loop.run()


def test_who_ends_before_the_first_step_leaves_nothing(engine: Engine, level_id: int):
    select_for_label(engine, level_id, SWOLLEN)
    stopped_at_once(engine)
    assert calculations(engine) == []
    with Session(engine) as session:
        assert [row.attempts for row in session.scalars(select(Work))] == [0]


def test_hours_without_a_step_count(engine: Engine, level_id: int, monkeypatch: pytest.MonkeyPatch):
    """Else a row whose first step takes longer than any walltime would be tried for ever."""
    monkeypatch.setattr("workers.attempts.LONG", 0.0)
    select_for_label(engine, level_id, SWOLLEN)
    stopped_at_once(engine)
    assert [row.error_class for row in calculations(engine)] == [ErrorClass.WALLTIME]
    with Session(engine) as session:
        assert [row.attempts for row in session.scalars(select(Work))] == [1]


def test_what_an_engine_changed_for_the_worse_stays_off_the_hull(engine: Engine, level_id: int):
    class Loose(StandIn):
        def relax(self, crystal: Crystal, relaxation: Relaxation, trajectory: Trajectory) -> Label:
            label = super().relax(crystal, relaxation, trajectory)
            return replace(label, changes={"EDIFF": 0.01}, incompatible="EDIFF is looser than the level's")

    select_for_label(engine, level_id, SALT)
    Loop(engine, [LabelDaemon(lambda _level: Loose()), PlaceDaemon()], drain=True).run()
    (row,) = calculations(engine)
    assert (row.state, row.changes) == (CalculationState.CONVERGED, {"engine": {"EDIFF": 0.01}})
    assert row.off_hull == "EDIFF is looser than the level's"
    assert row.energy is not None
    with Session(engine) as session:
        assert session.scalars(select(HullState)).all() == []


def test_a_level_of_single_points_moves_nothing(engine: Engine):
    level = replace(standin_level(), name="points", settings={"task": "static"})
    with Session(engine) as session, session.begin():
        level_id = ensure_level(session, level)
    initial = select_for_label(engine, level_id, SWOLLEN)[0]
    drain(engine)
    (row,) = calculations(engine)
    assert (row.task, row.settings, row.steps, row.final_structure_id) == (Task.STATIC, {}, 0, initial)
    with Session(engine) as session:
        assert len(session.scalars(select(Structure)).all()) == 1


MEMORY_WORDS = "[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried 9 bytes"


@pytest.mark.parametrize(
    ("error", "error_class"),
    [
        (RuntimeError(MEMORY_WORDS), ErrorClass.OUT_OF_MEMORY),
        (OSError(28, "No space left on device"), ErrorClass.DISK_FULL),
        (OSError(2, "No such file"), ErrorClass.BUG),
    ],
)
def test_what_an_engine_raises_has_a_class(engine: Engine, level_id: int, error: Exception, error_class: ErrorClass):
    class Raising(StandIn):
        def relax(self, crystal: Crystal, relaxation: Relaxation, trajectory: Trajectory) -> Label:
            raise error

    select_for_label(engine, level_id, SALT)
    once(engine, Raising())
    assert [row.error_class for row in calculations(engine)] == [error_class]


def once(engine: Engine, label_engine: StandIn) -> None:
    loop = Loop(engine, [LabelDaemon(lambda _level: label_engine)], on_outcome=lambda _outcome: loop.stop())
    loop.run()
