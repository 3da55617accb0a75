"""The past of a hull to point at: one HTML page by plotly, its script embedded."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Any

from api.pictures.hull import GRID, INK, LINE
from api.pictures.hull_history import CAPTION, COLOURS, HistoryDrawing, Track, notes, subscripted_formulas
from api.pictures.hull_html import FONT

STEPS, LANE, REST = 340, 34, 190  # pixels
LETTERS = 110  # of the small print in a window of usual width
HOVER = "%{customdata}<extra></extra>"


def page(drawing: HistoryDrawing) -> str:
    """The HTML document."""
    from plotly.subplots import make_subplots

    lanes = LANE * len(drawing.tracks)
    shares = [STEPS / (STEPS + lanes), lanes / (STEPS + lanes)]
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, row_heights=shares, vertical_spacing=0.05)
    for lane, (track, colour) in enumerate(zip(drawing.tracks, COLOURS, strict=False)):
        figure.add_traces([*_steps(track, drawing, colour)], rows=1, cols=1)
        figure.add_traces([*_bars(track, lane, colour), *_notes(drawing, track, lane)], rows=2, cols=1)
    figure.update_layout(**_layout(drawing, STEPS + lanes + REST))
    figure.update_xaxes(range=[drawing.begin - drawing.margin, drawing.end + drawing.margin], showgrid=False)
    figure.update_xaxes(title_text=CAPTION, row=2, col=1)
    figure.update_yaxes(title_text="energy above the hull (meV/atom)", gridcolor=GRID, zerolinecolor=LINE, row=1, col=1)
    shown = [track.name("<sub>", "</sub>") for track in drawing.tracks]
    lane_axis = {"tickvals": [*range(len(shown))], "ticktext": shown, "showgrid": False, "zeroline": False}
    figure.update_yaxes(**lane_axis, range=[len(shown) - 0.4, -0.6], row=2, col=1)
    html: str = figure.to_html(include_plotlyjs=True, full_html=True, config={"displaylogo": False, "responsive": True})
    return html.replace("<head>", f"<head><title>{escape(drawing.title)}</title>", 1)


def _steps(track: Track, drawing: HistoryDrawing, colour: str) -> Iterator[Any]:
    """The stepped line, and the marks where it enters or leaves the hull."""
    import plotly.graph_objects as go

    moments = [at for at, _ in track.steps] + [drawing.end]
    heights = [None if above is None else above * 1000 for _, above in track.steps]
    said = [
        _heading(track) + ("" if above is None else f"<br>{above:.1f} meV/atom above the hull") for above in heights
    ]
    line = {"color": colour, "width": 2, "shape": "hv"}
    path = {"x": moments, "y": [*heights, heights[-1]], "customdata": [*said, said[-1]]}
    yield go.Scatter(**path, mode="lines", line=line, hovertemplate=HOVER, showlegend=False)
    for entered, symbol in ((True, "circle"), (False, "x")):
        turns = [turn for turn in track.turns if turn.entered == entered]
        marker = {"color": colour, "symbol": symbol, "size": 9, "line": {"color": "white", "width": 1}}
        places = {"x": [turn.at for turn in turns], "y": [turn.above * 1000 for turn in turns]}
        told = [_told(track, turn) for turn in turns]
        yield go.Scatter(
            **places, mode="markers", marker=marker, customdata=told, hovertemplate=HOVER, showlegend=False
        )


def _bars(track: Track, lane: int, colour: str) -> Iterator[Any]:
    """One for each stretch on the hull."""
    import plotly.graph_objects as go

    ends = {turn.at: turn.others for turn in track.turns if not turn.entered}
    for start, until in track.reigns:
        words = f"on the hull {start:%Y-%m-%d %H:%M} to {until:%Y-%m-%d %H:%M}"
        why = f"<br>{escape(ends[until])}" if until in ends else ""
        said = f"{_heading(track)}<br>{words}{why}"
        line = {"color": colour, "width": 14}
        yield go.Scatter(
            x=[start, until],
            y=[lane, lane],
            mode="lines",
            line=line,
            customdata=[said, said],
            hovertemplate=HOVER,
            showlegend=False,
        )


def _notes(drawing: HistoryDrawing, track: Track, lane: int) -> Iterator[Any]:
    import plotly.graph_objects as go

    for until, words, behind in notes(drawing, track, LETTERS):
        yield go.Scatter(
            x=[until],
            y=[lane],
            mode="text",
            text=[f" {subscripted_formulas(escape(words), '<sub>', '</sub>')} "],
            textposition="middle right" if behind else "middle left",
            textfont={"size": 11, "color": INK if behind else "white"},
            hoverinfo="skip",
            showlegend=False,
        )


def _heading(track: Track) -> str:
    return f"<b>{track.name('<sub>', '</sub>')}</b><br>{escape(track.label)}"


def _told(track: Track, turn: Any) -> str:
    what = "enters the hull" if turn.entered else "leaves the hull"
    others = f": {escape(turn.others)}" if turn.others else ""
    return f"{_heading(track)}<br>{turn.at:%Y-%m-%d %H:%M} {what}{others}"


def _layout(drawing: HistoryDrawing, height: int) -> dict[str, Any]:
    subtitle = {"text": escape(drawing.subtitle), "font": {"size": 12, "color": INK}}
    return {
        "title": {"text": f"<b>{escape(drawing.title)}</b>", "x": 0.03, "font": {"size": 18}, "subtitle": subtitle},
        "font": FONT,
        "template": "plotly_white",
        "height": height,
        "hoverlabel": {"bgcolor": "white", "font": FONT},
        "margin": {"l": 90, "r": 30, "t": 90, "b": 60},
    }
