"""The past of a hull on paper, by matplotlib. No pyplot: nothing global is touched."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np

from api.pictures.hull import GRID, INK
from api.pictures.hull_history import CAPTION, COLOURS, HistoryDrawing, Track, notes, subscripted_formulas
from api.pictures.hull_png import DPI, STYLE

LANE = 0.34  # inches
BAR = 0.5
LETTER = 0.062  # inches, of the small print
ENTERS: dict[str, Any] = {"marker": "o", "s": 26}
LEAVES: dict[str, Any] = {"marker": "X", "s": 38}


def picture(drawing: HistoryDrawing) -> bytes:
    """The PNG file."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    lanes = LANE * len(drawing.tracks)
    names = max(len(track.name()) for track in drawing.tracks)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.2, 4.4 + lanes), dpi=DPI)
        FigureCanvasAgg(figure)
        left, height = min(0.1 + 0.0085 * max(names - 5, 0), 0.3), 4.4 + lanes
        width = 0.97 - left
        below = figure.add_axes((left, 0.55 / height, width, lanes / height))
        above = figure.add_axes((left, (0.8 + lanes) / height, width, 2.9 / height), sharex=below)
        _draw_steps(above, drawing)
        _draw_lanes(below, drawing, 9.2 * width)
        above.set_title(
            drawing.title,
            loc="left",
            fontsize=12.5,
            fontweight="bold",
            parse_math=False,
            pad=20 if drawing.subtitle else 10,
        )
        above.text(0.0, 1.03, drawing.subtitle, transform=above.transAxes, fontsize=8.5)
        file = BytesIO()
        figure.savefig(file, format="png", facecolor="white")
    return file.getvalue()


def _draw_steps(axes: Any, drawing: HistoryDrawing) -> None:
    highest = 0.0
    for track, colour in zip(drawing.tracks, COLOURS, strict=False):
        moments = [at for at, _ in track.steps] + [drawing.end]
        heights = np.array([np.nan if above is None else above * 1000 for _, above in track.steps])
        axes.step(moments, np.append(heights, heights[-1]), where="post", color=colour, lw=1.6, zorder=2)
        highest = max(highest, np.nanmax(heights))
        for turn in track.turns:
            marker = ENTERS if turn.entered else LEAVES
            axes.scatter([turn.at], [turn.above * 1000], color=colour, ec="white", lw=0.6, zorder=4, **marker)
    axes.set_ylim(-0.06 * max(highest, 1.0), 1.08 * max(highest, 1.0))
    axes.set_ylabel("energy above the hull (meV/atom)")
    axes.grid(axis="y", color=GRID, lw=0.7)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelbottom=False)
    _mark_turns(axes, drawing)


def _mark_turns(axes: Any, drawing: HistoryDrawing) -> None:
    for moment in {turn.at for track in drawing.tracks for turn in track.turns}:
        axes.axvline(moment, color="#c9d5db", lw=0.7, ls=(0, (3, 3)), zorder=0)


def _draw_lanes(axes: Any, drawing: HistoryDrawing, width: float) -> None:
    """One lane a track: a bar while it was on the hull, and why it ended. width: of the axes, inches."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    for lane, (track, colour) in enumerate(zip(drawing.tracks, COLOURS, strict=False)):
        for start, until in track.reigns:
            axes.barh(lane, until - start, left=start, height=BAR, color=colour, zorder=2)
        _write_ends(axes, drawing, track, lane, width)
    axes.set_xlim(drawing.begin - drawing.margin, drawing.end + drawing.margin)
    axes.set_ylim(len(drawing.tracks) - 0.4, -0.6)
    axes.set_yticks(range(len(drawing.tracks)))
    axes.set_yticklabels([track.name("$_{", "}$") for track in drawing.tracks], fontsize=9)
    for tick, colour in zip(axes.get_yticklabels(), COLOURS, strict=False):
        tick.set_color(colour)
    axes.tick_params(axis="y", length=0)
    locator = AutoDateLocator(minticks=4, maxticks=8)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
    axes.set_xlabel(CAPTION)
    axes.spines[["top", "right", "left"]].set_visible(False)
    _mark_turns(axes, drawing)


def _write_ends(axes: Any, drawing: HistoryDrawing, track: Track, lane: int, width: float) -> None:
    for until, words, behind in notes(drawing, track, width / LETTER):
        place = {"ha": "left", "color": INK} if behind else {"ha": "right", "color": "white"}
        text = subscripted_formulas(words, "$_{", "}$")
        axes.text(until, lane, f" {text} ", va="center", fontsize=7.8, zorder=3, **place)
