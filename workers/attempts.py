"""One try at a label, and what earlier ones tell it: what it shall do otherwise, and where it goes on."""

from __future__ import annotations

import errno
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise, takewhile

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from registry.crystal import Crystal
from registry.errors import Drained, LabelFailure, MissingExtra
from registry.hull.levels import Level
from registry.models import Calculation, Frame
from registry.queue import Claim
from registry.states import CalculationState, ErrorClass, Task
from workers.engines.base import Engine, Label, Relaxation, Remedies, Trajectory, relaxation_of
from workers.retries import POLICIES, next_changes

LONG = 600.0
"""Seconds after which an interrupted attempt that has come nowhere counts: it would come nowhere again."""

MANY = 100
"""Failed attempts that are looked at, the last ones."""

NEVER_RAN = (ErrorClass.MISSING_ENGINE, ErrorClass.MISSING_DATASET)
CUT_SHORT = (ErrorClass.WALLTIME, ErrorClass.KILLED, ErrorClass.OUT_OF_MEMORY, ErrorClass.DISK_FULL)
"""Nothing was wrong with how these relaxed: the next one goes on, and has the steps that they left."""


@dataclass(frozen=True)
class Earlier:
    """The last failed attempt, and the last step, of it or of those before, that the next may go on from.

    step: where that was, in words; steps: how many were done in a row that were only cut short
    """

    error_class: str
    changes: Mapping[str, object]
    start: Crystal | None = None
    step: str = ""
    steps: int = 0


@dataclass
class Attempt:
    """One try, with what is kept of it however it ends. engine: None where there is none here."""

    claim: Claim
    crystal: Crystal
    level: Level
    last: Earlier | None
    trajectory: Trajectory
    engine: Engine | None = None
    began: float = field(default_factory=time.monotonic)

    @property
    def task(self) -> Task:
        """What the level's labels are: relaxations, unless it says otherwise."""
        return Task(str(self.level.settings.get("task", Task.RELAX)))

    @property
    def relaxation(self) -> Relaxation:
        """How it relaxes; of a single point only the changes matter."""
        remedies = self.engine.remedies if self.engine else {}
        return relaxation_after(relaxation_of(self.level), self.last, remedies)

    def label(self) -> Label:
        """Raises LabelFailure, Interrupted, and whatever an engine raises."""
        assert self.engine is not None
        if self.task is Task.STATIC:
            return self.engine.static(self.crystal, self.trajectory, self.relaxation.changes)
        return self.engine.relax(self.crystal, self.relaxation, self.trajectory)

    def has_another_way(self, error_class: str) -> bool:
        """Whether the attempt after such a failure would go another way than this one."""
        known = self.engine.remedies if self.engine else {}
        return next_changes(known, error_class, self.relaxation.changes) is not None

    @property
    def came_further(self) -> bool:
        """Whether there are steps that the next attempt would go on from, and that this one didn't begin with."""
        return len(self.trajectory.frames) > (self.relaxation.start is not None)

    def interrupted(self) -> LabelFailure:
        """What to keep of it. Raises Drained where nothing is lost without."""
        seconds, steps = time.monotonic() - self.began, len(self.trajectory.frames)
        if not self.came_further and seconds < LONG:
            raise Drained(f"label {self.claim.subject_id}: given back before its first step")
        told = f"ended after {steps} steps and {seconds:.0f} s: the daemon had to end"
        return LabelFailure(ErrorClass.WALLTIME, told)


def failure_of(error: Exception) -> LabelFailure:
    """The class of what an engine raised."""
    if isinstance(error, LabelFailure):
        return error
    if isinstance(error, MissingExtra):  # another node may have it
        return LabelFailure(ErrorClass.MISSING_ENGINE, str(error))
    if isinstance(error, MemoryError) or "can't allocate memory" in str(error):  # torch's is a RuntimeError
        return LabelFailure(ErrorClass.OUT_OF_MEMORY, str(error) or "out of memory")
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return LabelFailure(ErrorClass.DISK_FULL, str(error))
    return LabelFailure(ErrorClass.BUG, "".join(traceback.format_exception(error, limit=-3)))


def earlier(session: Session, claim: Claim, crystal: Crystal, composition_id: int) -> Earlier | None:
    """None for a first attempt, also where a person has revived the row: then it all begins anew."""
    rows = _of_this_series(_failed(session, claim))
    if not rows or (claim.attempts == 1 and rows[0].error_class != ErrorClass.WALLTIME):
        return None
    asked = rows[0].changes.get("asked", {})
    assert isinstance(asked, dict)
    told = Earlier(str(rows[0].error_class), asked)
    resumed = list(takewhile(lambda row: POLICIES[ErrorClass(str(row.error_class))].resumes, rows))
    frame = _last_frame(session, composition_id, [row.id for row in resumed])
    if frame is None:
        return told
    attempt = next(row.attempt for row in resumed if row.id == frame.calculation_id)
    cut_short = takewhile(lambda row: row.error_class in CUT_SHORT, resumed)
    steps = sum(row.steps or 0 for row in cut_short)
    where = f"step {frame.step} of attempt {attempt}"
    return replace(told, start=crystal_at(frame, crystal), step=where, steps=steps)


def relaxation_after(relaxation: Relaxation, last: Earlier | None, remedies: Remedies) -> Relaxation:
    """How the attempt after `last` relaxes. What was only cut short has the steps that are left, one at least."""
    if last is None:
        return relaxation
    changes = next_changes(remedies, last.error_class, last.changes)
    left = max(1, relaxation.max_steps - last.steps)
    return replace(relaxation, max_steps=left, start=last.start, changes=changes or last.changes)


def crystal_at(frame: Frame, crystal: Crystal) -> Crystal:
    """The crystal with the cell and the sites of a step."""
    coords = np.frombuffer(frame.coords, dtype="<f8").reshape(-1, 3)
    return Crystal(np.array(frame.lattice).reshape(3, 3), crystal.numbers, coords)


def _failed(session: Session, claim: Claim) -> Sequence[Calculation]:
    """The last one first; those that had no engine to try with tell nothing."""
    query = (
        select(Calculation)
        .where(Calculation.initial_structure_id == claim.subject_id, Calculation.level_id == claim.target_id)
        .where(Calculation.state == CalculationState.FAILED, Calculation.error_class.not_in(NEVER_RAN))
        .order_by(Calculation.id.desc())
        .limit(MANY)
    )
    return session.scalars(query).all()


def _of_this_series(rows: Sequence[Calculation]) -> Sequence[Calculation]:
    """Those since a person revived the row, where attempts are counted anew."""
    anew = (number for number, (row, before) in enumerate(pairwise(rows), 1) if before.attempt > row.attempt)
    return rows[: next(anew, len(rows))]


def _last_frame(session: Session, composition_id: int, calculation_ids: Sequence[int]) -> Frame | None:
    if not calculation_ids:
        return None
    query = (
        select(Frame)
        .where(Frame.composition_id == composition_id, Frame.calculation_id.in_(calculation_ids))
        .order_by(Frame.calculation_id.desc(), Frame.step.desc())
        .limit(1)
    )
    return session.scalars(query).one_or_none()
