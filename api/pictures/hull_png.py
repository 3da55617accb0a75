"""A hull on paper, by matplotlib. No pyplot: nothing global is touched."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

from api.pictures.hull import (
    CANDIDATE,
    FAR,
    GRID,
    INK,
    LINE,
    NEAR,
    NEW,
    STABLE,
    TETRAHEDRON,
    TRIANGLE,
    HullDrawing,
    HullRow,
    subscripted,
)
from api.pictures.labels import place_labels

Floats = NDArray[np.float64]

DPI = 200
SIZES = {2: (8.2, 5.6), 3: (8.2, 6.8), 4: (10.5, 8.7)}
BELOW = 2.3
"""Inches of the second picture of two elements."""

STYLE: dict[Any, Any] = {
    "font.size": 10,
    "mathtext.default": "regular",
    "axes.edgecolor": INK,
    "text.color": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "font.family": "DejaVu Sans",
}
TURN, TILT = np.deg2rad(-104.0), np.deg2rad(17.0)
"""The direction from which a tetrahedron is seen."""


def picture(drawing: HullDrawing) -> bytes:
    """The PNG file."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with mpl.rc_context(STYLE):
        figure = Figure(dpi=DPI)
        FigureCanvasAgg(figure)
        (_two_elements if len(drawing.elements) == 2 else _more_elements)(figure, drawing)
        file = BytesIO()
        figure.savefig(file, format="png", facecolor="white")
    return file.getvalue()


def _two_elements(figure: Any, drawing: HullDrawing) -> None:
    width, height = SIZES[2]
    room = BELOW if drawing.candidates() else 0.0
    figure.set_size_inches(width, height + room)
    share = height / (height + room)
    axes = figure.add_axes((0.11, 1 - 0.88 * share, 0.86, 0.75 * share))
    _draw_binary(axes, drawing)
    _title(axes, drawing)
    if room:
        axes.set_xlabel("")
        _draw_distances(figure.add_axes((0.11, 0.6 / (height + room), 0.86, (room - 0.35) / (height + room))), drawing)


def _more_elements(figure: Any, drawing: HullDrawing) -> None:
    figure.set_size_inches(*SIZES[len(drawing.elements)])
    axes = figure.add_axes((0.04, 0.05, 0.78, 0.86))
    _draw_simplex(axes, drawing)
    _title(axes, drawing)


def _title(axes: Any, drawing: HullDrawing) -> None:
    axes.set_title(drawing.title, loc="left", fontsize=12.5, fontweight="bold", parse_math=False, pad=26)


def _draw_binary(axes: Any, drawing: HullDrawing) -> None:
    places = np.column_stack((drawing.fractions[:, 1], drawing.energies))
    low, high = places[:, 1].min(), places[:, 1].max()
    room = max(high - low, 0.05)
    _binary_frame(axes, drawing)
    axes.set_ylim(low - 0.16 * room, high + 0.08 * room)
    axes.axhline(0.0, color=GRID, lw=1, zorder=0)
    axes.set_ylabel("formation energy (eV/atom)")
    _error_bars(axes, drawing, places, 1.0)
    _draw_phases(axes, drawing, places, np.zeros((0, 2)))
    legend = {"ncols": 5, "frameon": False, "fontsize": 8.5, "handletextpad": 0.2, "columnspacing": 1.2}
    axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 0.99), **legend)


def _binary_frame(axes: Any, drawing: HullDrawing) -> None:
    axes.set_xlim(-0.03, 1.03)
    axes.set_xlabel(f"atomic fraction of {drawing.elements[1]}")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color=GRID, lw=0.7)
    axes.set_axisbelow(True)
    axes.set_xticks(np.linspace(0, 1, 6))
    axes.set_xticklabels([drawing.elements[0], "0.2", "0.4", "0.6", "0.8", drawing.elements[1]])


def _draw_distances(axes: Any, drawing: HullDrawing) -> None:
    """How far from the hull candidates and phases lie; the lowest candidates are named here."""
    places = np.column_stack((drawing.fractions[:, 1], drawing.distances))
    low, high = drawing.near()
    _binary_frame(axes, drawing)
    axes.set_ylim(low, high)
    axes.set_ylabel("from the hull\n(meV/atom)")
    axes.axhline(0.0, color=STABLE, lw=1.3, zorder=1)
    _error_bars(axes, drawing, places, 1000.0)
    _draw_marks(axes, drawing, places)
    named = drawing.named_candidates()
    texts = [_name(drawing.rows[i], flat=False) for i in named]
    seen = places[(places[:, 1] >= low) & (places[:, 1] <= high)]
    place_labels(axes, places[named], texts, seen, drawing.bars(), fontsize=8.8)


def _error_bars(axes: Any, drawing: HullDrawing, places: Floats, unit: float) -> None:
    """unit: of the axis, in eV/atom"""
    for (x, y), row in zip(places, drawing.rows, strict=True):
        if row.spread is not None:
            colour = NEW if row.is_new else CANDIDATE
            axes.errorbar(x, y, yerr=unit * row.spread / 2, color=colour, lw=1.1, capsize=2.5, zorder=3.2)


def _draw_simplex(axes: Any, drawing: HullDrawing) -> None:
    corners = TRIANGLE if len(drawing.elements) == 3 else _seen(TETRAHEDRON)
    places = drawing.fractions @ corners
    axes.set_aspect("equal")
    axes.axis("off")
    span = np.ptp(corners, axis=0).max()
    axes.set_xlim(corners[:, 0].min() - 0.1 * span, corners[:, 0].max() + 0.1 * span)
    axes.set_ylim(corners[:, 1].min() - 0.1 * span, corners[:, 1].max() + 0.1 * span)
    if len(drawing.elements) == 3:
        _draw_grid(axes)
    _draw_frame(axes, corners)
    names = _name_corners(axes, corners, drawing.elements)
    _draw_phases(axes, drawing, places, names)
    _colour_bar(axes, drawing)
    axes.legend(loc="upper left", bbox_to_anchor=(0.84, 1.0), frameon=False, fontsize=9, handletextpad=0.3)


def _seen(points: Floats) -> Floats:
    """(n, 3) -> (n, 2): a parallel projection along the direction TURN, TILT."""
    right = np.array([-np.sin(TURN), np.cos(TURN), 0.0])
    up = np.array([-np.sin(TILT) * np.cos(TURN), -np.sin(TILT) * np.sin(TURN), np.cos(TILT)])
    return np.column_stack((points @ right, points @ up))


def _draw_grid(axes: Any) -> None:
    for step in np.linspace(0.1, 0.9, 9):
        for a, b, c in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
            ends = np.zeros((2, 3))
            ends[0, [a, b]], ends[1, [a, c]] = (step, 1 - step), (step, 1 - step)
            axes.plot(*(ends @ TRIANGLE).T, color=GRID, lw=0.6, zorder=0)


def _draw_frame(axes: Any, corners: Floats) -> None:
    for a in range(len(corners)):
        for b in range(a):
            axes.plot(*corners[[a, b]].T, color=INK, lw=1.1, zorder=1)


def _name_corners(axes: Any, corners: Floats, elements: tuple[str, ...]) -> Floats:
    """Writes the elements outside the corners; returns where, (k, 2)."""
    away = corners - corners.mean(axis=0)
    places = corners + 0.05 * np.ptp(corners, axis=0).max() * away / np.linalg.norm(away, axis=1, keepdims=True)
    for place, element in zip(places, elements, strict=True):
        axes.text(*place, element, ha="center", va="center", fontsize=14, fontweight="bold", zorder=7)
    return np.asarray(places)


def _draw_phases(axes: Any, drawing: HullDrawing, places: Floats, reserved: Floats) -> None:
    """places: (n, 2) of the phases; reserved: (m, 2) places that labels keep off besides."""
    lines = places[drawing.edges]
    colour, width = {2: (STABLE, 1.3), 3: (LINE, 1.2), 4: ("#b9c9d1", 0.7)}[len(drawing.elements)]
    for line in lines:
        axes.plot(*line.T, color=colour, lw=width, zorder=2)
    _draw_marks(axes, drawing, places)
    named = drawing.named() + (drawing.named_candidates() if len(drawing.elements) > 2 else [])
    texts = [_name(drawing.rows[i], flat=len(drawing.elements) > 2) for i in named]
    marked = [i for i, row in enumerate(drawing.rows) if row.is_stable or row.is_new or i in named]
    obstacles = places if len(drawing.elements) == 2 else places[marked]
    place_labels(axes, places[named], texts, np.vstack((obstacles, reserved)), lines, fontsize=8.8)


def _name(row: HullRow, *, flat: bool) -> str:
    """flat: energy is no axis, so that a candidate's stands beside its formula, in meV/atom above the hull."""
    formula = subscripted(row.formula, "$_{", "}$")
    if not (flat and row.is_candidate):
        return formula
    height = f"{row.e_above_hull * 1000:+.0f}".replace("-", "−")
    mark = "?" if row.is_doubtful else ""
    return f"{formula} ({height}{mark}" + (")" if row.spread is None else f" ± {row.spread * 500:.0f})")


def _draw_marks(axes: Any, drawing: HullDrawing, places: Floats) -> None:
    unstable, new = drawing.members(stable=False, new=False), drawing.members(stable=False, new=True)
    stable, found = drawing.members(stable=True, new=False), drawing.members(stable=True, new=True)
    above = [drawing.rows[i].e_above_hull * 1000 for i in unstable]
    axes.scatter(
        *places[unstable].T,
        c=above,
        cmap=_fading(),
        vmin=0,
        vmax=drawing.shown_above * 1000,
        s=22,
        lw=0.5,
        ec="#a9bcc6",
        zorder=3,
        label="above the hull",
    )
    axes.scatter(*places[stable].T, color=STABLE, s=44, zorder=4, lw=0.8, ec="white", label="stable")
    if new:
        axes.scatter(
            *places[new].T, facecolor="white", ec=NEW, s=50, marker="D", lw=1.3, zorder=3.5, label="new, above the hull"
        )
    if found:
        axes.scatter(*places[found].T, color=NEW, s=58, marker="D", lw=0.8, ec="white", zorder=5, label="new, stable")
    if guesses := drawing.candidates():
        label = "candidate, predicted" + ("" if len(drawing.elements) == 2 else "\n(meV/atom above the hull)")
        axes.scatter(
            *places[guesses].T, facecolor="none", ec=CANDIDATE, s=30, marker="^", lw=1.2, zorder=3.4, label=label
        )


def _fading() -> Any:
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("above the hull", [NEAR, FAR])


def _colour_bar(axes: Any, drawing: HullDrawing) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    place = axes.figure.add_axes((0.87, 0.2, 0.018, 0.36))
    colours = ScalarMappable(Normalize(0, drawing.shown_above * 1000), _fading())
    bar = axes.figure.colorbar(colours, cax=place, label="energy above the hull (meV/atom)")
    bar.outline.set_visible(False)
