"""What earlier attempts at a label tell the next one: what it shall do otherwise, and where it goes on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from registry.crystal import Crystal
from registry.models import Calculation, Frame
from registry.queue import Claim
from registry.states import CalculationState, ErrorClass
from workers.engines.base import Relaxation, Remedies
from workers.retries import POLICIES, next_changes


@dataclass(frozen=True)
class Earlier:
    """The last failed attempt at a label, and the last step of it or of those before that it may go on from.

    step: where that was, in words
    """

    error_class: str
    changes: Mapping[str, object]
    start: Crystal | None
    step: str


def earlier(session: Session, claim: Claim, crystal: Crystal, composition_id: int) -> Earlier | None:
    """None for a first attempt, also where a person has revived the row: then it all begins anew."""
    rows = _failed(session, claim)
    if not rows or (claim.attempts == 1 and rows[0].error_class != ErrorClass.WALLTIME):
        return None
    resumed = list(takewhile(lambda row: POLICIES[ErrorClass(str(row.error_class))].resumes, rows))
    frame = _last_frame(session, composition_id, [row.id for row in resumed])
    if frame is None:
        return Earlier(str(rows[0].error_class), _told(rows[0]), None, "")
    attempt = next(row.attempt for row in resumed if row.id == frame.calculation_id)
    return Earlier(str(rows[0].error_class), _told(rows[0]), crystal_at(frame, crystal), f"{frame.step} of {attempt}")


def relaxation_after(relaxation: Relaxation, last: Earlier | None, remedies: Remedies) -> Relaxation:
    """How the attempt after `last` relaxes."""
    if last is None:
        return relaxation
    changes = next_changes(remedies, last.error_class, last.changes)
    return Relaxation(relaxation.force_tolerance, relaxation.max_steps, last.start, changes or last.changes)


def crystal_at(frame: Frame, crystal: Crystal) -> Crystal:
    """The crystal with the cell and the sites of a step."""
    coords = np.frombuffer(frame.coords, dtype="<f8").reshape(-1, 3)
    return Crystal(np.array(frame.lattice).reshape(3, 3), crystal.numbers, coords)


def _failed(session: Session, claim: Claim) -> Sequence[Calculation]:
    """The last one first; nobody has tried a label more often than this in a row."""
    query = (
        select(Calculation)
        .where(Calculation.initial_structure_id == claim.subject_id, Calculation.level_id == claim.target_id)
        .where(Calculation.state == CalculationState.FAILED)
        .order_by(Calculation.id.desc())
        .limit(MANY)
    )
    return session.scalars(query).all()


MANY = 100

RESUMED = "start"
"""The word in a calculation's changes for where it began; what an engine changes has other names."""


def _told(row: Calculation) -> dict[str, object]:
    return {name: value for name, value in row.changes.items() if name != RESUMED}


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
