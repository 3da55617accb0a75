"""Where structures came from and what became of them, over all generations."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import text
from sqlalchemy.orm import Session

from registry.query.materials import Row, structure_id

MAX_GENERATIONS = 50
MAX_WAYS = 1_000
WAY = ("generation", "child", "parent", "operation", "arguments", "probability", "rule")
SIDES = {"ancestors": ("child_id", "parent_id"), "descendants": ("parent_id", "child_id")}
WALK = """
WITH RECURSIVE way AS NOT MATERIALIZED (
    SELECT child_id, parent_id, operation, arguments, probability, rule FROM lineage
    UNION ALL
    SELECT final_structure_id, initial_structure_id, 'relaxation', jsonb_build_object('calculation_id', id), NULL, NULL
    FROM calculation WHERE state = 'converged' AND final_structure_id <> initial_structure_id
), walk AS (
    SELECT way.NEAR AS root, way.*, 1 AS generation FROM way WHERE way.NEAR = ANY(:ids)
    UNION
    SELECT walk.root, way.*, walk.generation + 1
    FROM walk JOIN way ON way.NEAR = walk.FAR WHERE walk.generation < :most
), step AS (
    SELECT walk.root, min(walk.generation) AS generation, child.public_id AS child, parent.public_id AS parent,
           walk.operation, walk.arguments, walk.probability, walk.rule
    FROM walk
    JOIN structure AS child ON child.id = walk.child_id
    LEFT JOIN structure AS parent ON parent.id = walk.parent_id
    GROUP BY walk.root, child.public_id, parent.public_id, walk.operation, walk.arguments, walk.probability, walk.rule
), ranked AS (
    SELECT step.*, row_number() OVER (PARTITION BY root ORDER BY generation, child, parent, operation) AS place
    FROM step
)
SELECT * FROM ranked WHERE place <= :ways ORDER BY root, place
"""


def lineage(session: Session, public_id: str) -> Row:
    """Where a structure came from and what became of it.

    {"id", "ancestors": [way, ...], "descendants": [way, ...]}; a way holds child, parent, operation ("relaxation" for
    what a calculation made), arguments, probability, rule and its generation: how many steps away. At most
    1,000 ways on each side, the nearest first. Raises NotFound.
    """
    found = structure_id(session, public_id)
    return {"id": public_id, **{side: ways(session, side, [found], MAX_WAYS).get(found, []) for side in SIDES}}


def ways(session: Session, side: str, ids: Sequence[int], first: int) -> dict[int, list[Row]]:
    """The lineages of structures on one of SIDES: at most `first` ways of each, the nearest first."""
    bound = {"ids": list(ids), "most": MAX_GENERATIONS, "ways": first}
    found: dict[int, list[Row]] = {}
    for row in session.execute(text(_walk(side)), bound).mappings():
        found.setdefault(row["root"], []).append({name: row[name] for name in WAY})
    return found


def _walk(side: str) -> str:
    near, far = SIDES[side]
    return WALK.replace("NEAR", near).replace("FAR", far)
