"""The labelling daemon: relax what was selected, at its level, one crystal at a time."""

from __future__ import annotations

import errno
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from registry import bulk, queue
from registry.crystal import Crystal, Floats
from registry.errors import Drained, LabelFailure, LeaseLost, MissingExtra
from registry.hull.level_rows import stored_level
from registry.hull.levels import Level
from registry.hull.mp2020 import Correction
from registry.identity.duplicates import DuplicateIndex, Identity
from registry.ingest import NewStructure, crystal_of, source_id, store
from registry.models import Calculation, Duplicate, Frame, Structure
from registry.queue import Claim
from registry.states import CalculationState, ErrorClass, Kind, Origin, Task
from registry.terms import OWN
from workers.attempts import RESUMED, Earlier, earlier, relaxation_after
from workers.engines.base import Engine as LabelEngine
from workers.engines.base import Frame as RelaxationFrame
from workers.engines.base import Label, Relaxation, Trajectory, engine_of, relaxation_of
from workers.loop import Done, Failed, Outcome
from workers.retries import next_changes

LONG = 600.0
"""Seconds after which an interrupted attempt that has come nowhere counts: it would come nowhere again."""


@dataclass(frozen=True)
class Job:
    """What a claim needs, read in one short session."""

    claim: Claim
    crystal: Crystal
    level: Level
    relaxed: DuplicateIndex[int]  # what crystals of this composition have relaxed to so far
    composition_id: int
    source_id: int  # what is made of a crystal goes on that crystal's terms
    last: Earlier | None = None


class LabelDaemon:
    """Computes labels with the engine of their level. Engines are loaded once; `engines` brings others in."""

    kind = Kind.LABEL
    batch = 1
    lease_seconds = 60.0

    def __init__(self, engines: Callable[[Level], LabelEngine] = engine_of) -> None:
        self._make_engine = engines
        self._engines: dict[str, LabelEngine] = {}

    def work(self, engine: Engine, claims: Sequence[Claim], beat: Callable[[], None]) -> Iterator[Outcome]:
        for claim in claims:
            with Session(engine) as session:
                job = _read(session, claim)
            yield self._outcome(Attempt(job, Trajectory(beat)))

    def _outcome(self, attempt: Attempt) -> Outcome:
        """Whatever goes wrong is a failure with a class, and one row of history."""
        try:
            attempt.engine = self._engine(attempt.job.level)
            return attempt.done()
        except LeaseLost:
            raise
        except Drained:
            return attempt.interrupted()
        except Exception as error:  # noqa: BLE001  (an engine may raise anything; the row must not be lost with the daemon)
            return attempt.failed(failure_of(error))

    def _engine(self, level: Level) -> LabelEngine:
        if level.name not in self._engines:
            self._engines[level.name] = self._make_engine(level)
        return self._engines[level.name]


@dataclass
class Attempt:
    """One try at a label, with what is kept of it however it ends."""

    job: Job
    trajectory: Trajectory
    engine: LabelEngine | None = None
    began: float = field(default_factory=time.monotonic)

    @property
    def relaxation(self) -> Relaxation:
        remedies = self.engine.remedies if self.engine else {}
        return relaxation_after(relaxation_of(self.job.level), self.job.last, remedies)

    def done(self) -> Done:
        """Raises LabelFailure, Interrupted, and whatever an engine raises."""
        assert self.engine is not None
        job = self.job
        if task_of(job.level) is Task.STATIC:
            label = self.engine.static(job.crystal, self.trajectory)
        else:
            label = self.engine.relax(job.crystal, self.relaxation, self.trajectory)
        identity = Identity(label.crystal)
        twin = job.relaxed.find_identity(identity)
        correction = job.level.correct(label.crystal, label.energy)
        return Done(job.claim, partial(write_label, self, label, identity, twin, correction))

    def failed(self, failure: LabelFailure, unspent: bool = False) -> Failed:
        changed = self.engine is not None and (
            next_changes(self.engine.remedies, failure.error_class, self.relaxation.changes) is not None
        )
        return Failed(self.job.claim, failure, partial(write_failure, self, failure), changed, unspent)

    def interrupted(self) -> Failed:
        """What there is is kept, for the next attempt to go on from. Raises Drained where nothing is lost without."""
        seconds = time.monotonic() - self.began
        further = len(self.trajectory.frames) > (self.relaxation.start is not None)
        if not further and seconds < LONG:
            raise Drained(f"label {self.job.claim.subject_id}: given back before its first step")
        steps = len(self.trajectory.frames)
        told = f"ended after {steps} steps and {seconds:.0f} s: the daemon had to end"
        return self.failed(LabelFailure(ErrorClass.WALLTIME, told), unspent=further)

    def common(self, source: int, changes: Mapping[str, object] | None = None) -> dict[str, object]:
        """The columns of its row of `calculation` that are known however it ended. changes: what the engine adds."""
        claim = self.job.claim
        return {
            "level_id": claim.target_id,
            "source_id": source,
            "initial_structure_id": claim.subject_id,
            "task": task_of(self.job.level),
            "settings": settings_of(self.job.level),
            "changes": {**self._changes(), **(changes or {})},
            "engine_version": self.engine.version if self.engine else "not loaded",
            "attempt": claim.attempts,
            "node": queue.HOST,
        }

    def _changes(self) -> dict[str, object]:
        relaxation, last = self.relaxation, self.job.last
        began = {RESUMED: f"step {last.step}"} if last and relaxation.start is not None else {}
        return {**relaxation.changes, **began}


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


def task_of(level: Level) -> Task:
    """What the level's labels are: relaxations, unless it says otherwise."""
    return Task(str(level.settings.get("task", Task.RELAX)))


def settings_of(level: Level) -> dict[str, object]:
    """What a calculation's row says of how it was asked for; the level says the rest."""
    relaxation = relaxation_of(level)
    asked: dict[str, object] = {"force_tolerance": relaxation.force_tolerance, "max_steps": relaxation.max_steps}
    return asked if task_of(level) is Task.RELAX else {}


def off_hull_reason(level: Level, crystal: Crystal, correction: Correction) -> str | None:
    """Why an energy may not stand on the level's hull, or None."""
    return correction.reason if correction.energy is None else level.bars(crystal.amounts)


def write_label(
    attempt: Attempt,
    label: Label,
    identity: Identity,
    twin: tuple[int, str] | None,
    correction: Correction,
    session: Session,
) -> None:
    """Store the final structure, the calculation, and the link to what it turned out to be."""
    job = attempt.job
    final = store(session, [NewStructure(identity, Origin.RELAXED, job.source_id)])[0]
    calculation = Calculation(
        **attempt.common(source_id(session, OWN), label.changes),
        final_structure_id=final.id,
        state=CalculationState.CONVERGED,
        energy=label.energy,
        correction=correction.energy,
        correction_parts=dict(correction.parts),
        off_hull=label.incompatible or off_hull_reason(job.level, label.crystal, correction),
        forces=_bytes(label.forces),
        stress=label.stress.tolist(),
        steps=label.steps,
        wall_seconds=label.wall_seconds,
        cpu_seconds=label.cpu_seconds,
        gap=label.gap,
        convergence=dict(label.convergence),
        datasets=dict(label.datasets),
    )
    _keep(session, attempt, calculation)
    if twin is not None and final.new and twin[0] != final.id:
        session.add(Duplicate(structure_id=final.id, same_as_id=twin[0], rule=twin[1]))
    queue.ring(session)


def write_failure(attempt: Attempt, failure: LabelFailure, session: Session) -> None:
    """Keep the attempt with the class of its error and the steps that it came through."""
    calculation = Calculation(
        **attempt.common(source_id(session, OWN)),
        state=CalculationState.FAILED,
        error_class=failure.error_class,
        error=str(failure)[-2000:],
        signal=failure.signal,
        log_tail=failure.log_tail,
        wall_seconds=time.monotonic() - attempt.began,
    )
    _keep(session, attempt, calculation)


def _keep(session: Session, attempt: Attempt, calculation: Calculation) -> None:
    session.add(calculation)
    session.flush()
    frames = enumerate(attempt.trajectory.frames)
    bulk.copy(session, Frame, [_frame(attempt.job, calculation.id, *one) for one in frames])


def _frame(job: Job, calculation_id: int, step: int, frame: RelaxationFrame) -> dict[str, object]:
    return {
        "composition_id": job.composition_id,
        "calculation_id": calculation_id,
        "step": step,
        "lattice": frame.crystal.lattice.ravel().tolist(),
        "coords": _bytes(frame.crystal.frac_coords),
        "energy": frame.energy,
        "forces": _bytes(frame.forces),
        "stress": frame.stress.tolist(),
    }


def _bytes(array: Floats) -> bytes:
    return np.ascontiguousarray(array, dtype="<f8").tobytes()


def _read(session: Session, claim: Claim) -> Job:
    structure = session.get_one(Structure, claim.subject_id)
    level, crystal = stored_level(session, claim.target_id), crystal_of(structure)
    relaxed = _relaxed(session, structure.composition_id, claim.target_id)
    last = earlier(session, claim, crystal, structure.composition_id)
    return Job(claim, crystal, level, relaxed, structure.composition_id, structure.source_id, last)


def _relaxed(session: Session, composition_id: int, level_id: int) -> DuplicateIndex[int]:
    """First of each kind among the final structures of one composition at one level."""
    query = (
        select(Structure)
        .join(Calculation, Calculation.final_structure_id == Structure.id)
        .where(Structure.composition_id == composition_id, Calculation.level_id == level_id)
        .where(~select(Duplicate).where(Duplicate.structure_id == Structure.id).exists())
        .order_by(Structure.id)
    )
    index: DuplicateIndex[int] = DuplicateIndex()
    for structure in session.scalars(query):
        index.add(structure.id, crystal_of(structure))
    return index
