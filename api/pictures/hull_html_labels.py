"""Formulas beside their points on a page: which side of each, so that they don't overlap at its usual size.

plotly offers eight sides and no leaders; a label with no free side is left to the pointer unless it must be there.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LETTER, HEIGHT, RADIUS = 7.0, 15.0, 7.0  # pixels
SIDES: dict[str, tuple[float, float]] = {
    "bottom center": (0, -1), "top center": (0, 1), "middle right": (1, 0), "middle left": (-1, 0),
    "bottom right": (1, -1), "top right": (1, 1), "bottom left": (-1, -1), "top left": (-1, 1),
}  # fmt: skip
OVERLAP, COVERED, CROSSED = 100.0, 3.0, 1.0


def sides(at: Floats, letters: Sequence[int], obstacles: Floats, lines: Floats, needed: Sequence[bool]) -> list[str]:
    """Where to write each label: one of SIDES, or "" for not at all.

    at: (n, 2) points in pixels, upwards; letters: of each label; obstacles: (m, 2) points to keep clear
    lines: (l, 2, 2) better not crossed; needed: whether a label is written even over another
    """
    steps = (lines[:, :1] + (lines[:, 1:] - lines[:, :1]) * np.linspace(0, 1, 80)[None, :, None]).reshape(-1, 2)
    taken: list[Floats] = []
    chosen = []
    for point, count, must in zip(at, letters, needed, strict=True):
        price, side, box = min(
            (
                _price(_box(point, count, way), taken, obstacles, steps) + 0.1 * rank,
                side,
                tuple(_box(point, count, way)),
            )
            for rank, (side, way) in enumerate(SIDES.items())
        )
        written = must or price < OVERLAP
        taken += [np.array(box)] if written else []
        chosen.append(side if written else "")
    return chosen


def _box(point: Floats, letters: int, way: tuple[float, float]) -> Floats:
    """left, bottom, right, top"""
    size = np.array([LETTER * letters, HEIGHT])
    centre = point + np.array(way) * (size / 2 + RADIUS * (0.7 if all(way) else 1.0))
    return np.concatenate((centre - size / 2, centre + size / 2))


def _price(box: Floats, taken: Sequence[Floats], obstacles: Floats, steps: Floats) -> float:
    overlaps = sum(bool(np.all(box[:2] < other[2:]) and np.all(other[:2] < box[2:])) for other in taken)
    covered = np.all((box[:2] - RADIUS / 2 < obstacles) & (obstacles < box[2:] + RADIUS / 2), axis=1).sum()
    crossed = np.any(np.all((box[:2] < steps) & (steps < box[2:]), axis=1))
    return float(OVERLAP * overlaps + COVERED * covered + CROSSED * crossed)
