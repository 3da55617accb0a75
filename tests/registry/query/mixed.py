"""Several hundred materials; whatever can be ordered by has ties, and nulls where it may have them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from registry.crystal import Crystal
from registry.models import Structure
from tests import factories as make

MANY = 300
BORN = datetime(2026, 1, 1, tzinfo=UTC)
MOMENTS = (BORN - timedelta(days=1), BORN, BORN + timedelta(days=10))
"""Before there was a hull, at the first one, at the present one."""

FORMULAS = ("NaCl", "KCl", "Na2O", "Li2O", "LiFeO2", "NaFeO2", "Fe", "Li3FeO3Cl")
LABELS = ("AB_cF8_225_a_b", "AB_cP2_221_a_b", "AB2_cF12_225_a_c", None, None)


def fill(session: Session) -> None:
    level = make.level(session)
    model = make.model(session, level)
    turn = make.campaign_round(session, make.campaign(session, level))
    for name in ("a", "b", "c"):
        make.source(session, name, licence=f"licence {name}")
    rows: list[Structure] = []
    for number in range(MANY):
        row = _material(session, number)
        _relate(session, number, row, rows)
        if number % 3:
            _placed(session, number, row, level)
        if number % 4 == 0:
            spread = 0.01 * (number % 16) if number % 8 else None
            judged = {"lower_90": -1.6, "upper_90": -0.9, "out_of_domain": number % 12 == 0} if number % 16 else {}
            make.prediction(session, row, model, -1.0 - 0.1 * (number % 5), spread=spread, **judged)
        if number % 5 == 0:
            energy = 0.02 * (number % 25) if number % 2 else None
            make.selection(session, row, turn, model, rank=number, predicted_decomposition_energy=energy)
        rows.append(row)


def _material(session: Session, number: int) -> Structure:
    line = make.crystal(FORMULAS[number % 8])
    arrays = Crystal(np.eye(3) * (30 + number % 2), line.numbers, line.frac_coords + np.array([0, 0, number / MANY]))
    return make.structure(
        session,
        FORMULAS[number % 8],
        arrays=arrays,
        label=LABELS[number % 5],
        origin="imported" if number % 3 else "generated",
        source_name="abc"[number % 3],
        external_ids={"mp": f"mp-{number % 40}"} if number % 2 else None,
        created_at=BORN + timedelta(microseconds=number % 9),
    )


def _placed(session: Session, number: int, row: Structure, level: Any) -> None:
    """A place, and for some another one before it."""
    label = make.calculation(session, row, level, label=LABELS[number % 4])
    energies = dict.fromkeys(
        ("decomposition_energy", "phase_separation_energy"), None if number % 7 == 0 else -0.1 * (number % 5)
    )
    now = BORN + timedelta(days=10)
    make.hull_state(session, label, 0.01 * (number % 5), valid_from=now, **energies)
    if number % 2:
        make.hull_state(session, label, 0.5, valid_from=BORN, valid_to=now)


def _relate(session: Session, number: int, row: Structure, earlier: list[Structure]) -> None:
    if number % 6 == 0:
        make.property_of(session, row, "band_gap", float(number % 4), "PBE")
    if number % 6 == 1:
        make.property_of(session, row, "dimensionality", number % 4, "Cheon 2017", unit="1")
    if number % 10 == 2:
        make.duplicate(session, row, earlier[number % 5 - 2])
    if number % 10 == 3:
        make.lineage(session, row, earlier[number // 20])
    if number % 10 == 4:
        family = make.models.Family
        label = f"family {number % 3}"
        wanted = select(family).where(family.label == label, family.composition_id == row.composition_id)
        found = session.scalar(wanted)
        if found:
            make.added(session, make.models.FamilyMember(structure_id=row.id, family_id=found.id))
        else:
            make.family_member(session, row, label)
