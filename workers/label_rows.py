"""What is stored of an attempt at a label: its row of `calculation`, its steps, and the crystal that it ended with."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy.orm import Session

from registry import bulk, queue
from registry.crystal import Crystal, Floats
from registry.errors import LabelFailure, printable
from registry.hull.levels import Level
from registry.hull.mp2020 import Correction
from registry.identity.duplicates import Identity
from registry.ingest import NewStructure, source_id, store
from registry.models import Calculation, Duplicate, Frame
from registry.states import CalculationState, Origin, Task
from registry.terms import OWN
from workers.attempts import Attempt
from workers.engines.base import Frame as Step
from workers.engines.base import Label, relaxation_of

LARGEST = 1e6
"""eV, that the database takes for an energy; an explosion goes beyond."""


@dataclass(frozen=True)
class Found:
    """What a label turned out to be. source_id: of the crystal's terms; twin: an equal crystal, and by which rule."""

    label: Label
    identity: Identity
    correction: Correction
    source_id: int
    twin: tuple[int, str] | None


def write_label(attempt: Attempt, composition_id: int, found: Found, session: Session) -> None:
    """Store the final structure, the calculation, and the link to what it turned out to be."""
    label, correction = found.label, found.correction
    final = store(session, [NewStructure(found.identity, Origin.RELAXED, found.source_id)])[0]
    calculation = Calculation(
        **_common(session, attempt, label.changes),
        final_structure_id=final.id,
        state=CalculationState.CONVERGED,
        energy=label.energy,
        correction=correction.energy,
        correction_parts=dict(correction.parts),
        off_hull=label.incompatible or off_hull_reason(attempt.level, label.crystal, correction),
        forces=_bytes(label.forces),
        stress=label.stress.tolist(),
        steps=label.steps,
        wall_seconds=label.wall_seconds,
        cpu_seconds=label.cpu_seconds,
        gap=label.gap,
        convergence=storable(label.convergence),
        datasets=dict(label.datasets),
    )
    _keep(session, attempt, composition_id, calculation)
    if found.twin is not None and final.new and found.twin[0] != final.id:
        session.add(Duplicate(structure_id=final.id, same_as_id=found.twin[0], rule=found.twin[1]))
    queue.ring(session)


def write_failure(attempt: Attempt, composition_id: int, failure: LabelFailure, session: Session) -> None:
    """Keep the attempt with the class of its error and the steps that it came through."""
    calculation = Calculation(
        **_common(session, attempt, failure.changes),
        state=CalculationState.FAILED,
        error_class=failure.error_class,
        error=printable(str(failure))[-2000:],
        signal=failure.signal,
        log_tail=None if failure.log_tail is None else printable(failure.log_tail),
        steps=max(0, len(attempt.trajectory.frames) - 1) if attempt.task is Task.RELAX else None,
        wall_seconds=time.monotonic() - attempt.began,
    )
    _keep(session, attempt, composition_id, calculation)


def off_hull_reason(level: Level, crystal: Crystal, correction: Correction) -> str | None:
    """Why an energy may not stand on the level's hull, or None."""
    return correction.reason if correction.energy is None else level.bars(crystal.amounts)


def storable(value: Any) -> Any:
    """Plain values as a database takes them: what is no finite number is None, words hold nothing unprintable."""
    if isinstance(value, Mapping):
        return {printable(str(name)): storable(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [storable(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return printable(value) if isinstance(value, str) else value


def _common(session: Session, attempt: Attempt, changed: Mapping[str, object]) -> dict[str, object]:
    """The columns that are known however it ended. changed: what the engine did otherwise by itself."""
    relaxation, asked = attempt.relaxation, relaxation_of(attempt.level)
    parts = {
        "asked": dict(relaxation.changes),
        "start": attempt.last.step if attempt.last and relaxation.start is not None else "",
        "engine": storable(changed),
    }
    settings = {"force_tolerance": asked.force_tolerance, "max_steps": asked.max_steps}
    return {
        "level_id": attempt.claim.target_id,
        "source_id": source_id(session, OWN),
        "initial_structure_id": attempt.claim.subject_id,
        "task": attempt.task,
        "settings": settings if attempt.task is Task.RELAX else {},
        "changes": {name: part for name, part in parts.items() if part},
        "engine_version": attempt.engine.version if attempt.engine else "not loaded",
        "attempt": attempt.claim.attempts,
        "node": queue.HOST,
    }


def _keep(session: Session, attempt: Attempt, composition_id: int, calculation: Calculation) -> None:
    """Steps of an explosion that no column could hold are left out."""
    session.add(calculation)
    session.flush()
    steps = [step for step in attempt.trajectory.frames if _is_finite(step)]
    rows = [_row(composition_id, calculation.id, number, step) for number, step in enumerate(steps)]
    bulk.copy(session, Frame, rows)


def _is_finite(step: Step) -> bool:
    arrays = (step.crystal.lattice, step.crystal.frac_coords, step.forces, step.stress)
    return abs(step.energy) < LARGEST and all(np.isfinite(array).all() for array in arrays)


def _row(composition_id: int, calculation_id: int, number: int, step: Step) -> dict[str, object]:
    return {
        "composition_id": composition_id,
        "calculation_id": calculation_id,
        "step": number,
        "lattice": step.crystal.lattice.ravel().tolist(),
        "coords": _bytes(step.crystal.frac_coords),
        "energy": step.energy,
        "forces": _bytes(step.forces),
        "stress": step.stress.tolist(),
    }


def _bytes(array: Floats) -> bytes:
    return np.ascontiguousarray(array, dtype="<f8").tobytes()
