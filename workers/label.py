"""The labelling daemon: compute what was selected, at its level, one crystal at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from registry.errors import Drained, LabelFailure, LeaseLost
from registry.hull.level_rows import stored_level
from registry.hull.levels import Level
from registry.identity.duplicates import DuplicateIndex, Identity
from registry.ingest import crystal_of
from registry.models import Calculation, Duplicate, Structure
from registry.queue import Claim
from registry.states import Kind
from workers.attempts import Attempt, earlier, failure_of
from workers.engines.base import Engine as LabelEngine
from workers.engines.base import Trajectory, engine_of
from workers.label_rows import Found, write_failure, write_label
from workers.loop import Done, Failed, Outcome


@dataclass(frozen=True)
class Job:
    """What a claim needs besides its attempt, read in one short session."""

    attempt: Attempt
    composition_id: int
    source_id: int  # what is made of a crystal goes on that crystal's terms
    relaxed: DuplicateIndex[int]  # what crystals of this composition have relaxed to so far


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
                job = _read(session, claim, Trajectory(beat))
            yield self._outcome(job)

    def _outcome(self, job: Job) -> Outcome:
        """Whatever goes wrong is a failure with a class, and one row of history."""
        attempt = job.attempt
        try:
            attempt.engine = self._engine(attempt.level)
            return _done(job)
        except LeaseLost:
            raise
        except Drained:
            return _failed(job, attempt.interrupted(), unspent=attempt.came_further)
        except Exception as error:  # noqa: BLE001  (an engine may raise anything; the row must not be lost with the daemon)
            return _failed(job, failure_of(error))

    def _engine(self, level: Level) -> LabelEngine:
        if level.name not in self._engines:
            self._engines[level.name] = self._make_engine(level)
        return self._engines[level.name]


def _done(job: Job) -> Done:
    """Raises LabelFailure, Interrupted, and whatever an engine raises."""
    label = job.attempt.label()
    identity = Identity(label.crystal)
    twin = job.relaxed.find_identity(identity)
    correction = job.attempt.level.correct(label.crystal, label.energy)
    found = Found(label, identity, correction, job.source_id, twin)
    return Done(job.attempt.claim, partial(write_label, job.attempt, job.composition_id, found))


def _failed(job: Job, failure: LabelFailure, unspent: bool = False) -> Failed:
    attempt = job.attempt
    write = partial(write_failure, attempt, job.composition_id, failure)
    return Failed(attempt.claim, failure, write, attempt.has_another_way(failure.error_class), unspent)


def _read(session: Session, claim: Claim, trajectory: Trajectory) -> Job:
    structure = session.get_one(Structure, claim.subject_id)
    level, crystal = stored_level(session, claim.target_id), crystal_of(structure)
    last = earlier(session, claim, crystal, structure.composition_id)
    attempt = Attempt(claim, crystal, level, last, trajectory)
    relaxed = _relaxed(session, structure.composition_id, claim.target_id)
    return Job(attempt, structure.composition_id, structure.source_id, relaxed)


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
