"""The structures of one composition: what was labelled and what a model said of the rest, on one scale."""

from __future__ import annotations

from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from registry.errors import NotFound
from registry.identity.composition import ATOMIC_NUMBERS, Composition
from registry.query.materials import the_level
from registry.query.values import formula_amounts

Row = dict[str, Any]

POLYMORPHS = """
SELECT DISTINCT ON (structure.id)
       structure.public_id AS id, structure.origin, relaxed.public_id AS relaxed_id, prototype.label AS prototype,
       prototype.spacegroup_number, state.formation_energy_per_atom AS labelled, state.e_above_hull,
       said.formation_energy_per_atom AS predicted, said.spread, said.out_of_domain,
       coalesce(relaxed.id, structure.id) AS structure_id
FROM structure
JOIN composition ON composition.id = structure.composition_id
LEFT JOIN hull_state AS state
     ON state.structure_id = structure.id AND state.level_id = :level_id AND state.valid_to IS NULL
LEFT JOIN calculation ON calculation.id = state.calculation_id
LEFT JOIN structure AS relaxed ON relaxed.id = calculation.final_structure_id
LEFT JOIN prototype ON prototype.id = coalesce(relaxed.prototype_id, structure.prototype_id)
LEFT JOIN LATERAL (
    SELECT formation_energy_per_atom, spread, out_of_domain
    FROM prediction JOIN model ON model.id = prediction.model_id
    WHERE prediction.structure_id = structure.id AND model.level_id = :level_id AND model.promoted
    ORDER BY stage LIMIT 1  -- 'ensemble' comes before 'single'
) AS said ON true
WHERE composition.reduced_formula = :formula AND structure.origin <> 'relaxed'
  AND (state.id IS NOT NULL OR said.formation_energy_per_atom IS NOT NULL)
ORDER BY structure.id, state.formation_energy_per_atom
"""


def polymorphs(session: Session, formula: str, level: str | None = None) -> Row:
    """Every structure of a composition that is on the hull's books or scored at a level, the lowest first.

    {"reduced_formula", "level", "data": [...]}, energies in eV/atom. A row's `formation_energy_per_atom` is its label's
    where it has one, otherwise what the promoted model said (`predicted`, by the ensemble if that was asked);
    `e_above_hull` of a prediction is told where any structure of the composition has a label. `structure_id` is the row
    of the crystal as relaxed where it was labelled, as proposed elsewhere.
    Raises FilterError for what is no formula, NotFound for another level and where nothing is known.
    """
    named, level_id = the_level(session, level)
    numbers = {ATOMIC_NUMBERS[element]: count for element, count in formula_amounts(formula).items()}
    reduced = Composition.of(numbers).reduced_formula
    if level_id is None:
        raise NotFound("no level has a hull yet: name the level that models predict at with --level")
    bound = {"level_id": level_id, "formula": reduced}
    rows = [dict(row) for row in session.execute(text(POLYMORPHS), bound).mappings()]
    if not rows:
        raise NotFound(f"no structure of {reduced} is labelled or scored at level '{named}'")
    hull = next((row["labelled"] - row["e_above_hull"] for row in rows if row["labelled"] is not None), None)
    told = [_told(row, hull) for row in rows]
    return {"reduced_formula": reduced, "level": named, "data": sorted(told, key=_order)}


def _told(row: Row, hull: float | None) -> Row:
    """hull: its energy at this composition, eV/atom."""
    labelled = row.pop("labelled")
    energy = row["predicted"] if labelled is None else labelled
    if labelled is None and hull is not None:
        row["e_above_hull"] = energy - hull
    return {**row, "formation_energy_per_atom": energy, "is_labelled": labelled is not None}


def _order(row: Row) -> tuple[float, str]:
    return row["formation_energy_per_atom"], row["id"]
