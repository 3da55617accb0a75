"""Crystals that arrive and equal one here in another cell: linked, as an import links them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from registry.crystal import Crystal
from registry.identity.duplicates import DuplicateIndex, Identity
from registry.merge.origin import Connection

FRESH = """
SELECT id, composition_id, lattice, species, coords FROM structure
WHERE public_id = ANY(%(fresh)s) AND origin <> 'relaxed' ORDER BY id"""
KNOWN = """
SELECT id, lattice, species, coords FROM structure
WHERE composition_id = ANY(%(compositions)s) AND origin <> 'relaxed' AND NOT public_id = ANY(%(fresh)s)
  AND NOT EXISTS (SELECT FROM duplicate WHERE structure_id = structure.id)
  AND NOT EXISTS (SELECT FROM theirs_structure WHERE ours = structure.id)
ORDER BY id"""
LINK = "INSERT INTO duplicate (structure_id, same_as_id, rule) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING"
# {turn}: whether to bring the links that must be turned round, or the others.
# Theirs may say that X is Y where here Y is Z, or where others are X already: links lead to firsts, never in chains.
BRING = """
WITH said AS (
    SELECT it.structure_id AS one, coalesce(first.same_as_id, it.same_as_id) AS other, it.rule, it.found_at
    FROM it LEFT JOIN duplicate AS first ON first.structure_id = it.same_as_id),
turned AS (
    SELECT *, EXISTS (SELECT FROM duplicate WHERE same_as_id = one) AS turn FROM said WHERE one <> other),
link AS (
    SELECT CASE WHEN turn THEN other ELSE one END AS structure_id, CASE WHEN turn THEN one ELSE other END AS same_as_id,
           rule, found_at FROM turned WHERE turn = {turn})
INSERT INTO duplicate (structure_id, same_as_id, rule, found_at)
SELECT structure_id, same_as_id, rule, found_at FROM link
WHERE NOT EXISTS (SELECT FROM duplicate WHERE duplicate.structure_id IN (link.structure_id, link.same_as_id))
  AND NOT EXISTS (SELECT FROM duplicate WHERE duplicate.same_as_id = link.structure_id)
LIMIT {limit} ON CONFLICT DO NOTHING"""


def bring_links(ours: Connection) -> int:
    """Store the links that stand in `it`; how many. One that is turned round changes where the others lead."""
    count = 0
    while ours.execute(BRING.format(turn="true", limit="1")).rowcount:
        count += 1
    return count + ours.execute(BRING.format(turn="false", limit="ALL")).rowcount


def link_twins(ours: Connection, fresh: Sequence[str]) -> int:
    """Compare the structures of these public ids, which just came, with those that only this registry had.

    With the others they were compared where they come from.
    """
    rows = ours.execute(FRESH, {"fresh": list(fresh)}).fetchall()
    index: DuplicateIndex[int] = DuplicateIndex()
    asked = {"compositions": list({row[1] for row in rows}), "fresh": list(fresh)}
    for key, *arrays in ours.execute(KNOWN, asked) if rows else ():
        index.add(key, _crystal(*arrays))
    found = 0
    for key, _, *arrays in rows if len(index) else ():
        twin = index.find_identity(Identity(_crystal(*arrays)))
        if twin is not None:
            ours.execute(LINK, (key, *twin))
            found += 1
    return found


def _crystal(lattice: Any, species: Any, coords: bytes) -> Crystal:
    return Crystal(np.array(lattice), np.array(species), np.frombuffer(coords, dtype="<f8").reshape(-1, 3))
