"""Where the two registries say different things of one row. Ours stays; the difference is told."""

from __future__ import annotations

from psycopg.rows import dict_row

from registry.imports import SAME_ENERGY
from registry.merge.origin import Connection

ENERGIES = """
SELECT structure.public_id AS id, level.name AS level, ours, theirs
FROM (SELECT it.initial_structure_id, it.level_id,
             (stored.energy + coalesce(stored.correction, 0)) / structure.nsites AS ours,
             (it.energy + coalesce(it.correction, 0)) / structure.nsites AS theirs
      FROM it JOIN calculation AS stored
        ON stored.initial_structure_id = it.initial_structure_id AND stored.level_id = it.level_id
        AND stored.state = 'converged'
      JOIN structure ON structure.id = it.initial_structure_id
      WHERE it.state = 'converged') AS pair
JOIN structure ON structure.id = initial_structure_id JOIN level ON level.id = level_id
WHERE abs(ours - theirs) > %(same)s ORDER BY structure.public_id"""
TERMS = """
SELECT it.public_id AS id, stored.name AS ours, said.name AS theirs
FROM it JOIN structure ON structure.public_id = it.public_id
JOIN source AS stored ON stored.id = structure.source_id JOIN source AS said ON said.id = it.source_id
WHERE said.non_commercial AND NOT stored.non_commercial ORDER BY it.public_id"""
QUERIES = {
    "calculation": ("another energy of this structure at this level; eV/atom, corrected", ENERGIES),
    "structure": ("stored here on free terms, non-commercial there", TERMS),
}


def conflicts_of(ours: Connection, table: str) -> list[dict[str, object]]:
    """Of the rows in `it`, after what was new among them has been stored."""
    if table not in QUERIES:
        return []
    what, query = QUERIES[table]
    with ours.cursor(row_factory=dict_row) as cursor:
        return [{"table": table, "what": what, **row} for row in cursor.execute(query.encode(), {"same": SAME_ENERGY})]
