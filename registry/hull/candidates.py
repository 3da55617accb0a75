"""Candidates of a chemical system: generated crystals that a model has scored and nobody has labelled yet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from sqlalchemy import text
from sqlalchemy.orm import Session

from registry.hull.geometry import Entry, Hull
from registry.identity.composition import ATOMIC_NUMBERS
from registry.query.columns import subsystems
from registry.query.materials import the_level
from registry.query.values import formula_amounts

Row = dict[str, Any]

WINDOW = 0.1
"""eV/atom above the hull up to which candidates are looked at, by default."""

MOST = 50
"""Of them, so many: those that lie lowest."""

CANDIDATES = """
SELECT structure.public_id AS id, composition.reduced_formula, said.formation_energy_per_atom, said.spread,
       said.out_of_domain
FROM structure
JOIN composition ON composition.id = structure.composition_id
CROSS JOIN LATERAL (
    SELECT formation_energy_per_atom, spread, out_of_domain
    FROM prediction JOIN model ON model.id = prediction.model_id
    WHERE prediction.structure_id = structure.id AND model.level_id = :level_id AND model.promoted
    ORDER BY stage LIMIT 1  -- 'ensemble' comes before 'single'
) AS said
WHERE structure.origin <> 'relaxed' AND structure.origin = 'generated' AND structure.chemsys = ANY(:systems)
  AND NOT EXISTS (
    SELECT FROM calculation
    WHERE initial_structure_id = structure.id AND level_id = :level_id AND state = 'converged')"""


def candidates(session: Session, found: Mapping[str, Any], window: float = WINDOW, most: int = MOST) -> list[Row]:
    """The candidates nearest the hull (or below it) that `hull_entries` found, the lowest first.

    {"id", "reduced_formula", "formation_energy_per_atom", "spread", "out_of_domain", "e_above_hull"}, eV/atom: what the
    promoted model of the level said, the ensemble where it did, and how far above that hull it lies; negative: below.
    Those further above than window are left out, and those of an element that the hull lacks.
    """
    _, level_id = the_level(session, found["level"])
    bound = {"level_id": level_id, "systems": subsystems(found["chemsys"].split("-"))}
    rows = [dict(row) for row in session.execute(text(CANDIDATES), bound).mappings()]
    amounts = [_amounts(row["reduced_formula"]) for row in rows]
    energies = np.array([row["formation_energy_per_atom"] for row in rows])
    above = _hull(found).decomposition_energies(amounts, energies).tolist() if rows else []
    near = [{**row, "e_above_hull": height} for row, height in zip(rows, above, strict=True) if height <= window]
    return sorted(near, key=lambda row: (row["e_above_hull"], row["id"]))[:most]


def _hull(found: Mapping[str, Any]) -> Hull:
    """What was found to be stable, and the elements that the level itself puts at zero."""
    stable = [row for row in found["entries"] if row["is_stable"]]
    corners = [Entry(f"reference {element}", {ATOMIC_NUMBERS[element]: 1}, 0.0) for element in found["references"]]
    phases = [Entry(row["id"], _amounts(row["reduced_formula"]), row["formation_energy_per_atom"]) for row in stable]
    return Hull([*phases, *corners])


def _amounts(formula: str) -> dict[int, int]:
    return {ATOMIC_NUMBERS[element]: count for element, count in formula_amounts(formula).items()}
