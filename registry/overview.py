"""What the registry holds and what happens in it, in a few numbers."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from registry import queue

COUNTED = ("composition", "structure", "prototype", "calculation", "prediction", "model", "campaign")
ALIVE = """
SELECT id, kinds, host, pid, started_at, beat_at FROM worker
WHERE stopped_at IS NULL AND beat_at > now() - interval '5 minutes' ORDER BY id
"""


def overview(session: Session) -> dict[str, Any]:
    """`work`: kind -> state -> rows; `workers`: those that beat lately; `counts`: rows of the chief tables.

    What a view finds missing waits, whether a daemon has seen it yet or not.
    """
    counts = {name: session.scalar(sa.text(f"SELECT count(*) FROM {name}")) for name in COUNTED}  # noqa: S608  (own names)
    stable = session.scalar(sa.text("SELECT count(*) FROM hull_state WHERE valid_to IS NULL AND is_stable"))
    workers = [dict(row) for row in session.execute(sa.text(ALIVE)).mappings()]
    return {"work": queue.summary(session), "workers": workers, "counts": {**counts, "stable": stable}}
