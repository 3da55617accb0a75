"""Formulae beside their points, without overlaps: greedy, nearest free place first, with a leader where that is far."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

RADII = (11.0, 18.0, 30.0, 46.0, 66.0)
ANGLES = np.deg2rad([-90, 90, -45, -135, 45, 135, 0, 180, -68, -112, 68, 112, -22, -158, 22, 158])
LEADER_FROM = 18.0
POINT_SIZE = 13.0
CROSSING_PRICE, COVERING_PRICE = 12.0, 60.0


def place_labels(
    axes: Any, points: Floats, texts: Sequence[str], obstacles: Floats, lines: Floats, **style: Any
) -> None:
    """Writes texts[i] near points[i]; distances are in points (1/72 inch); style goes to `axes.annotate`.

    points: (n, 2), data coordinates like the others
    obstacles: (m, 2) points to keep clear; lines: (l, 2, 2) better not crossed
    """
    from matplotlib.patheffects import withStroke

    style["path_effects"] = [withStroke(linewidth=2.2, foreground="white")]
    figure = axes.figure
    scale = figure.dpi / 72
    at, blocked = (axes.transData.transform(p).reshape(-1, 2) / scale for p in (points, obstacles))
    segments = axes.transData.transform(lines.reshape(-1, 2)).reshape(-1, 2, 2) / scale
    window = axes.get_window_extent().extents / scale
    taken: list[Floats] = []
    for i in _crowded_first(at):
        size = _text_size(axes, texts[i], scale, style)
        offset, box = _best_place(at[i], size, window, np.array(taken).reshape(-1, 4), blocked, segments)
        taken.append(box)
        _write(axes, texts[i], points[i], offset, style)


def _crowded_first(at: Floats) -> list[int]:
    distances = np.hypot(*(at[:, None] - at[None]).transpose(2, 0, 1))
    return [int(i) for i in np.argsort(-np.sum(distances < 60.0, axis=1), kind="stable")]


def _text_size(axes: Any, text: str, scale: float, style: dict[str, Any]) -> Floats:
    probe = axes.text(0, 0, text, fontsize=style.get("fontsize"), fontweight=style.get("fontweight"))
    extent = probe.get_window_extent(axes.figure.canvas.get_renderer())
    probe.remove()
    return np.array([extent.width, extent.height]) / scale + 3.0


def _best_place(
    at: Floats, size: Floats, window: Floats, taken: Floats, blocked: Floats, segments: Floats
) -> tuple[Floats, Floats]:
    best, best_price = (np.zeros(2), np.zeros(4)), np.inf
    for radius in RADII:
        for rank, angle in enumerate(ANGLES):
            way = np.array([np.cos(angle), np.sin(angle)])
            offset = way * (radius + np.abs(way) * size / 2 - 4.0)
            box = np.concatenate((at + offset - size / 2, at + offset + size / 2))
            price = radius + 0.3 * rank + _price(box, window, taken, blocked, segments)
            if price < best_price:
                best, best_price = (offset, box), price
    return best


def _price(box: Floats, window: Floats, taken: Floats, blocked: Floats, segments: Floats) -> float:
    if np.any(box[:2] < window[:2]) or np.any(box[2:] > window[2:]):
        return 1e4
    overlaps = np.all((box[:2] < taken[:, 2:]) & (taken[:, :2] < box[2:]), axis=1).sum()
    half = POINT_SIZE / 2
    covered = np.all((box[:2] - half < blocked) & (blocked < box[2:] + half), axis=1).sum()
    steps = segments[:, :1] + (segments[:, 1:] - segments[:, :1]) * np.linspace(0, 1, 60)[None, :, None]
    crossed = np.any(np.all((box[:2] < steps) & (steps < box[2:]), axis=2), axis=1).sum()
    return float(1e3 * overlaps + COVERING_PRICE * covered + CROSSING_PRICE * min(crossed, 3))


def _write(axes: Any, text: str, point: Floats, offset: Floats, style: dict[str, Any]) -> None:
    far = np.hypot(*offset) > LEADER_FROM + 12.0
    leader = {"arrowstyle": "-", "color": "#9fb0ba", "lw": 0.7, "shrinkA": 0, "shrinkB": 4} if far else None
    axes.annotate(
        text,
        point,
        offset,
        textcoords="offset points",
        ha="center",
        va="center",
        arrowprops=leader,
        zorder=6,
        **style,
    )
