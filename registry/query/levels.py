"""Levels as a registry holds them: what each says of itself, and what it holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from registry.hull.level_rows import level_id, stored_level
from registry.hull.levels import GASES, Level

COUNTS = """
SELECT level.name, level.engine, level.functional, level.correction_scheme,
       count(calculation.id) FILTER (WHERE calculation.off_hull IS NULL) AS entries,
       count(calculation.off_hull) AS off_hull
FROM level LEFT JOIN calculation ON calculation.level_id = level.id AND calculation.state = 'converged'
GROUP BY level.id ORDER BY level.name"""
ENTRIES = """
SELECT count(*) FILTER (WHERE off_hull IS NULL) AS entries,
       count(*) FILTER (WHERE off_hull IS NULL AND reference_set_id IS NOT NULL) AS from_reference_sets,
       (SELECT count(*) FROM hull_state WHERE level_id = :level AND valid_to IS NULL) AS placed,
       (SELECT count(*) FROM hull_state WHERE level_id = :level AND valid_to IS NULL AND is_stable) AS on_hull
FROM calculation WHERE level_id = :level AND state = 'converged'"""
REASONS = """
SELECT off_hull AS reason, count(*) AS count FROM calculation
WHERE level_id = :level AND state = 'converged' AND off_hull IS NOT NULL GROUP BY off_hull ORDER BY 2 DESC, 1"""
LOWEST = """
SELECT DISTINCT ON (composition.chemsys) composition.chemsys AS element,
       entry.corrected_energy_per_atom AS energy_per_atom, structure.public_id AS id
FROM entry
JOIN composition ON composition.id = entry.composition_id
JOIN structure ON structure.id = entry.initial_structure_id
WHERE entry.level_id = :level AND composition.nelements = 1
ORDER BY composition.chemsys, entry.corrected_energy_per_atom, entry.calculation_id"""
SETS = """
SELECT level.name AS level, compared, compared_at FROM reference_set
JOIN level ON level.id = reference_set.from_level_id WHERE level_id = :level ORDER BY level.name"""
KEPT_OFF = """
SELECT structure.public_id AS id, composition.reduced_formula, calculation.off_hull AS reason
FROM calculation
JOIN structure ON structure.id = calculation.initial_structure_id
JOIN composition ON composition.id = structure.composition_id
WHERE level_id = :level AND state = 'converged' AND off_hull IS NOT NULL
ORDER BY composition.reduced_formula, structure.public_id"""

Row = dict[str, Any]


def levels(session: Session) -> list[Row]:
    """Each with engine, functional, correction scheme, entries, and how many energies are kept off its hull."""
    return [dict(row) for row in session.execute(text(COUNTS)).mappings()]


def level_facts(session: Session, name: str) -> Row:
    """All that a level says of itself, and what it holds; energies in eV/atom. Raises NotFound.

    "references": element, energy_per_atom, from ("table": from elsewhere; "engine": the level's own; "entry": its
    lowest entry, then "id"), and gas where the element is one at 298 K. "off_hull": reason and count.
    """
    key = level_id(session, name)
    level, bound = stored_level(session, key), {"level": key}
    counts = dict(session.execute(text(ENTRIES), bound).mappings().one())
    return {
        "name": level.name,
        "kind": level.kind,
        "engine": level.engine,
        "functional": level.functional,
        "correction_scheme": level.correction_scheme,
        "settings": dict(level.settings),
        "note": level.note,
        **counts,
        "off_hull": [dict(row) for row in session.execute(text(REASONS), bound).mappings()],
        "references": _references(level, session.execute(text(LOWEST), bound).mappings().all()),
        "reference_sets": [
            {**row, "compared_at": row["compared_at"].isoformat()}
            for row in session.execute(text(SETS), bound).mappings()
        ],
    }


def kept_off(session: Session, name: str) -> list[Row]:
    """The energies of a level that may not stand on its hull: id, reduced_formula, reason. Raises NotFound."""
    return [dict(row) for row in session.execute(text(KEPT_OFF), {"level": level_id(session, name)}).mappings()]


def _references(level: Level, lowest: Any) -> list[Row]:
    told = {
        element: {"element": element, "energy_per_atom": energy, "from": _origin(level, element)}
        for element, energy in level.references.items()
    }
    found: Mapping[str, Row] = {row["element"]: {**row, "from": "entry"} for row in lowest} | told
    return [{**found[element], "gas": GASES.get(element)} for element in sorted(found)]


def _origin(level: Level, element: str) -> str:
    return "table" if element in level.tabulated else "engine"
