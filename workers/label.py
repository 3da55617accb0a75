"""The labelling daemon: relax what was selected, at its level, one crystal at a time."""

from __future__ import annotations

import socket
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial

import numpy as np
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from registry import bulk, queue
from registry.crystal import Crystal, Floats
from registry.errors import LabelFailure, LeaseLost, MissingExtra
from registry.hull.level_rows import stored_level
from registry.hull.levels import Level
from registry.hull.mp2020 import Correction
from registry.identity.duplicates import DuplicateIndex, Identity
from registry.ingest import NewStructure, crystal_of, source_id, store
from registry.models import Calculation, Duplicate, Frame, Structure
from registry.queue import Claim
from registry.states import CalculationState, ErrorClass, Kind, Origin, Task
from registry.terms import OWN
from workers.engines.base import Engine as LabelEngine
from workers.engines.base import Frame as RelaxationFrame
from workers.engines.base import Label, Relaxation, engine_of
from workers.loop import Done, Failed, Outcome

NODE = socket.gethostname()


@dataclass(frozen=True)
class Job:
    """What a claim needs, read in one short session."""

    claim: Claim
    crystal: Crystal
    level: Level
    relaxed: DuplicateIndex[int]  # what crystals of this composition have relaxed to so far
    composition_id: int
    source_id: int  # what is made of a crystal goes on that crystal's terms


class LabelDaemon:
    """Relaxes crystals with the engine of their level. Engines are loaded once; `engines` brings others in."""

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
            yield self._attempt(job, beat)

    def _attempt(self, job: Job, beat: Callable[[], None]) -> Outcome:
        """One attempt; whatever goes wrong is a failure with a class, and one row of history."""
        try:
            return self._done(job, beat)
        except LeaseLost:
            raise
        except LabelFailure as failure:
            return self._failed(job, failure)
        except MissingExtra as error:  # another node may have it
            return self._failed(job, LabelFailure(ErrorClass.MISSING_ENGINE, str(error)))
        except MemoryError as error:
            return self._failed(job, LabelFailure(ErrorClass.OUT_OF_MEMORY, str(error) or "out of memory"))
        except Exception:  # noqa: BLE001  (an engine may raise anything; the row must not be lost with the daemon)
            return self._failed(job, LabelFailure(ErrorClass.BUG, traceback.format_exc(limit=-3)))

    def _done(self, job: Job, beat: Callable[[], None]) -> Done:
        label_engine = self._engine(job.level)
        label = label_engine.relax(job.crystal, relaxation_of(job.level), beat)
        identity = Identity(label.crystal)
        twin = job.relaxed.find_identity(identity)
        correction = job.level.correct(label.crystal, label.energy)
        write = partial(write_label, job, label, identity, twin, correction, label_engine.version)
        return Done(job.claim, write)

    def _failed(self, job: Job, failure: LabelFailure) -> Failed:
        loaded = self._engines.get(job.level.name)
        return Failed(
            job.claim, failure, partial(write_failure, job, failure, loaded.version if loaded else "not loaded")
        )

    def _engine(self, level: Level) -> LabelEngine:
        if level.name not in self._engines:
            self._engines[level.name] = self._make_engine(level)
        return self._engines[level.name]


def relaxation_of(level: Level) -> Relaxation:
    """The relaxation settings that the level states."""
    settings = level.settings
    return Relaxation(float(str(settings["force_tolerance"])), int(str(settings["max_steps"])))


def off_hull_reason(level: Level, crystal: Crystal, correction: Correction) -> str | None:
    """Why an energy may not stand on the level's hull, or None."""
    return correction.reason if correction.energy is None else level.bars(crystal.amounts)


def write_label(
    job: Job,
    label: Label,
    identity: Identity,
    twin: tuple[int, str] | None,
    correction: Correction,
    version: str,
    session: Session,
) -> None:
    """Store the final structure, the calculation, and the link to what it turned out to be."""
    new = NewStructure(identity, Origin.RELAXED, job.source_id)
    final = store(session, [new])[0]
    calculation = Calculation(
        **_common(job, version, source_id(session, OWN)),
        final_structure_id=final.id,
        state=CalculationState.CONVERGED,
        energy=label.energy,
        correction=correction.energy,
        correction_parts=dict(correction.parts),
        off_hull=off_hull_reason(job.level, label.crystal, correction),
        forces=_bytes(label.forces),
        stress=label.stress.tolist(),
        steps=label.steps,
        wall_seconds=label.wall_seconds,
        cpu_seconds=label.cpu_seconds,
        gap=label.gap,
        convergence=dict(label.convergence),
        datasets=dict(label.datasets),
    )
    session.add(calculation)
    session.flush()
    bulk.copy(session, Frame, [_frame(job, calculation.id, *one) for one in enumerate(label.frames)])
    if twin is not None and final.new and twin[0] != final.id:
        session.add(Duplicate(structure_id=final.id, same_as_id=twin[0], rule=twin[1]))
    queue.ring(session)


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


def write_failure(job: Job, failure: LabelFailure, version: str, session: Session) -> None:
    """Keep the attempt with the class of its error."""
    common = _common(job, version, source_id(session, OWN))
    told = {"error": str(failure)[-2000:], "signal": failure.signal, "log_tail": failure.log_tail}
    session.add(Calculation(**common, state=CalculationState.FAILED, error_class=failure.error_class, **told))


def _common(job: Job, version: str, source: int) -> dict[str, object]:
    return {
        "level_id": job.claim.target_id,
        "source_id": source,
        "initial_structure_id": job.claim.subject_id,
        "task": Task.RELAX,
        "settings": asdict(relaxation_of(job.level)),
        "engine_version": version,
        "attempt": job.claim.attempts,
        "node": NODE,
    }


def _read(session: Session, claim: Claim) -> Job:
    structure = session.get_one(Structure, claim.subject_id)
    level = stored_level(session, claim.target_id)
    relaxed = _relaxed(session, structure.composition_id, claim.target_id)
    return Job(claim, crystal_of(structure), level, relaxed, structure.composition_id, structure.source_id)


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
