"""What the registry holds, in a few numbers."""

from __future__ import annotations

from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

COUNTS = """
SELECT (SELECT count(*) FROM structure WHERE origin = 'imported') AS imported,
       (SELECT count(*) FROM structure WHERE origin = 'generated') AS generated,
       (SELECT count(*) FROM composition) AS compositions,
       (SELECT count(*) FROM calculation WHERE state = 'converged') AS labelled,
       (SELECT count(*) FROM calculation WHERE state = 'failed') AS failed,
       (SELECT count(*) FROM prediction) AS predictions,
       (SELECT count(*) FROM model) AS models
"""
LEVELS = """
SELECT level.name, level.functional, level.engine, count(*) AS entries,
       count(*) FILTER (WHERE hull_state.is_stable) AS on_hull
FROM hull_state JOIN level ON level.id = hull_state.level_id
WHERE hull_state.valid_to IS NULL
GROUP BY level.id ORDER BY level.name
"""


def counts(session: Session) -> dict[str, int]:
    """How many rows of each kind there are."""
    return dict(session.execute(text(COUNTS)).mappings().one())


def hulls(session: Session) -> list[dict[str, Any]]:
    """Each level that has a hull: its name, functional, engine, entries, and how many of them are on the hull."""
    return [dict(row) for row in session.execute(text(LEVELS)).mappings()]
