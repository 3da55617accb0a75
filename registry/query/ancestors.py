"""From which crystals a candidate came, through all rounds, and which way is the likeliest."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from itertools import count
from math import inf, log
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from registry.models import Composition, Structure
from registry.query.materials import structure_id
from registry.states import Origin

Row = dict[str, Any]
STEPS = "SELECT * FROM analytics.ancestors(:crystal)"


def ancestors(session: Session, public_id: str) -> Row:
    """The steps that led to a structure, back to imported crystals.

    {"id", "reduced_formula", "origin", "steps": [step, ...], "likeliest": {"probability", "steps"} or None}. A step is
    a row of analytics.ancestors with its `generation`, how many steps it is away at least; the nearest come first.
    likeliest: of the ways back to an imported crystal that of the highest product of probabilities; a step without one
    (a relaxation) counts as 1. Raises NotFound.
    """
    row = session.get_one(Structure, structure_id(session, public_id))
    found = [dict(step) for step in session.execute(text(STEPS), {"crystal": public_id}).mappings()]
    near = _distances(found, public_id)
    steps = sorted(({"generation": near[step["child"]], **step} for step in found), key=lambda step: step["generation"])
    return {
        "id": public_id,
        "reduced_formula": session.get_one(Composition, row.composition_id).reduced_formula,
        "origin": row.origin,
        "steps": steps,
        "likeliest": _likeliest(steps, public_id),
    }


def _distances(steps: Sequence[Row], start: str) -> dict[str, int]:
    """Public id -> number of the generation in which its own steps are."""
    by_child, near, reached = _of(steps), {start: 1}, [start]
    for child in reached:
        for step in by_child.get(child, []):
            parent = step["parent"]
            if parent is not None and parent not in near:
                near[parent] = near[child] + 1
                reached.append(parent)
    return near


def _likeliest(steps: Sequence[Row], start: str) -> Row | None:
    """Dijkstra's way over -log(probability): no circle can be shorter than no circle."""
    by_child, turns = _of(steps), count()
    waiting: list[tuple[float, int, str | None, tuple[Row, ...]]] = [(0.0, next(turns), start, ())]
    done: set[str] = set()
    while waiting:
        cost, _, child, way = heapq.heappop(waiting)
        if way and (child is None or way[-1]["parent_origin"] == Origin.IMPORTED):
            return {"probability": _product(way), "steps": list(way)}
        if child is None or child in done:
            continue
        done.add(child)
        for step in by_child.get(child, []):
            heapq.heappush(waiting, (cost + _cost(step), next(turns), step["parent"], (*way, step)))
    return None


def _of(steps: Sequence[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for step in steps:
        found.setdefault(step["child"], []).append(step)
    return found


def _cost(step: Row) -> float:
    probability = 1.0 if step["probability"] is None else step["probability"]
    return -log(probability) if probability > 0 else inf


def _product(way: Sequence[Row]) -> float:
    product = 1.0
    for step in way:
        product *= 1.0 if step["probability"] is None else step["probability"]
    return product
