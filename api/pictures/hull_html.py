"""A hull to turn and to point at: one HTML page by plotly, its script embedded."""

from __future__ import annotations

from html import escape
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
    subscripted,
)

Floats = NDArray[np.float64]

FONT = {"family": "Helvetica Neue, Arial, sans-serif", "size": 14, "color": INK}
HIDDEN = {"visible": False, "showgrid": False, "zeroline": False}


def page(drawing: HullDrawing) -> str:
    """The HTML document."""
    import plotly.graph_objects as go

    traces = [_tie_line_trace(drawing), *_phase_traces(drawing)]
    if len(drawing.elements) > 2:
        traces = [_frame_trace(drawing), *traces, _corner_trace(drawing)]
    figure = go.Figure(traces, layout=_layout(drawing))
    html: str = figure.to_html(include_plotlyjs=True, full_html=True, config={"displaylogo": False, "responsive": True})
    return html.replace("<head>", f"<head><title>{escape(drawing.title or '-'.join(drawing.elements))}</title>", 1)


def _places(drawing: HullDrawing) -> Floats:
    if len(drawing.elements) == 2:
        return np.column_stack((drawing.fractions[:, 1], drawing.energies))
    return np.asarray(drawing.fractions @ _corners(drawing))


def _corners(drawing: HullDrawing) -> Floats:
    return TRIANGLE if len(drawing.elements) == 3 else TETRAHEDRON


def _trace(places: Floats, **options: Any) -> Any:
    import plotly.graph_objects as go

    columns = dict(zip("xyz", places.T.tolist(), strict=False))
    return (go.Scatter3d if places.shape[1] == 3 else go.Scatter)(**columns, **options)


def _broken_line(places: Floats, edges: NDArray[np.int64]) -> Floats:
    """Edges as one line with gaps: (3 m, 2 or 3), every third point nan."""
    pieces = np.full((len(edges), 3, places.shape[1]), np.nan)
    pieces[:, :2] = places[edges]
    return pieces.reshape(-1, places.shape[1])


def _tie_line_trace(drawing: HullDrawing) -> Any:
    colour = STABLE if len(drawing.elements) == 2 else LINE
    line = _broken_line(_places(drawing), drawing.edges)
    return _trace(line, mode="lines", line={"color": colour, "width": 2}, hoverinfo="skip", name="tie lines")


def _frame_trace(drawing: HullDrawing) -> Any:
    edges = np.array([(a, b) for a in range(len(drawing.elements)) for b in range(a)])
    line = _broken_line(_corners(drawing), edges)
    return _trace(line, mode="lines", line={"color": INK, "width": 2}, hoverinfo="skip", showlegend=False)


def _corner_trace(drawing: HullDrawing) -> Any:
    corners = _corners(drawing)
    outside = (
        corners + 0.07 * (corners - corners.mean(axis=0)) / np.linalg.norm(corners - corners.mean(axis=0), axis=1)[0]
    )
    texts = [f"<b>{element}</b>" for element in drawing.elements]
    return _trace(outside, mode="text", text=texts, textfont={"size": 20}, hoverinfo="skip", showlegend=False)


def _phase_traces(drawing: HullDrawing) -> list[Any]:
    kinds: list[tuple[list[int], str, dict[str, Any]]] = [
        (drawing.members(stable=False, new=False), "above the hull", {}),
        (drawing.candidates(), "candidate (predicted)", {"color": CANDIDATE, "symbol": _triangle(drawing), "size": 9}),
        (drawing.members(stable=True, new=False), "stable", {"color": STABLE, "size": 10}),
        (drawing.members(stable=False, new=True), "new, above the hull", {"color": NEW, "symbol": "diamond-open"}),
        (drawing.members(stable=True, new=True), "new, stable", {"color": NEW, "size": 11, "symbol": "diamond"}),
    ]
    return [_phase_trace(drawing, members, name, marker) for members, name, marker in kinds if members]


def _triangle(drawing: HullDrawing) -> str:
    return "triangle-up-open" if len(drawing.elements) < 4 else "square-open"  # in space there are no triangles


def _phase_trace(drawing: HullDrawing, members: list[int], name: str, marker: dict[str, Any]) -> Any:
    rows = [drawing.rows[i] for i in members]
    named = {*drawing.named(), *drawing.named_candidates()}
    flat = len(drawing.elements) < 4
    size = marker.get("size", 7) if flat else marker.get("size", 7) / 2 + 1
    return _trace(
        _places(drawing)[members],
        mode="markers+text",
        name=name,
        marker={**(marker or _fading_marker(drawing, members)), "size": size},
        text=[subscripted(drawing.rows[i].formula, "<sub>", "</sub>") if i in named else "" for i in members],
        textposition="bottom center" if len(drawing.elements) == 2 else "top center",
        textfont={"size": 12},
        customdata=[
            [_heading(row), row.formation_energy, abs(row.e_above_hull) * 1000, _side(row), _uncertainty(row)]
            for row in rows
        ],
        hovertemplate="%{customdata[0]}<br>formation energy %{customdata[1]:.3f} eV/atom%{customdata[4]}"
        "<br>%{customdata[3]} the hull %{customdata[2]:.0f} meV/atom<extra></extra>",
        **_error_bars(drawing, members),
    )


def _heading(row: Any) -> str:
    formula = f"<b>{subscripted(escape(row.formula), '<sub>', '</sub>')}</b>"
    return f"{formula}<br>{escape(row.label)}" if row.label else formula


def _side(row: Any) -> str:
    return f"{'predicted ' if row.is_candidate else ''}{'above' if row.e_above_hull >= 0 else 'below'}"


def _uncertainty(row: Any) -> str:
    return "" if row.spread is None else f" ± {row.spread / 2:.3f}"


def _error_bars(drawing: HullDrawing, members: list[int]) -> dict[str, Any]:
    spreads = [(drawing.rows[i].spread or 0.0) / 2 for i in members]
    if len(drawing.elements) > 2 or not any(spreads):
        return {}
    return {"error_y": {"type": "data", "array": spreads, "thickness": 1.2, "width": 4}}


def _fading_marker(drawing: HullDrawing, members: list[int]) -> dict[str, Any]:
    return {
        "color": [drawing.rows[i].e_above_hull * 1000 for i in members],
        "colorscale": [[0, NEAR], [1, FAR]],
        "cmin": 0,
        "cmax": drawing.shown_above * 1000,
        "line": {"color": "#a9bcc6", "width": 1},
        "colorbar": {
            "title": {"text": "above the hull<br>(meV/atom)", "font": {"size": 12}},
            "len": 0.5,
            "thickness": 12,
            "outlinewidth": 0,
            "y": 0.35,
        },
    }


def _layout(drawing: HullDrawing) -> dict[str, Any]:
    common = {
        "title": {"text": f"<b>{escape(drawing.title)}</b>", "x": 0.03, "font": {"size": 18}},
        "font": FONT,
        "template": "plotly_white",
        "hoverlabel": {"bgcolor": "white", "font": FONT},
        "margin": {"l": 70, "r": 30, "t": 70, "b": 60},
        "legend": {"x": 1.02, "y": 1.0},
    }
    return {**common, **_axes(drawing)}


def _axes(drawing: HullDrawing) -> dict[str, Any]:
    if len(drawing.elements) == 2:
        fractions = {"title": {"text": f"atomic fraction of {drawing.elements[1]}"}, "range": [-0.03, 1.03]}
        energies = {"title": {"text": "formation energy (eV/atom)"}, "gridcolor": GRID, "zerolinecolor": LINE}
        return {"xaxis": {**fractions, "showgrid": False}, "yaxis": energies}
    if len(drawing.elements) == 3:
        return {"xaxis": HIDDEN, "yaxis": {**HIDDEN, "scaleanchor": "x"}}
    scene = {axis: {"visible": False} for axis in ("xaxis", "yaxis", "zaxis")}
    return {"scene": {**scene, "aspectmode": "data", "camera": {"eye": {"x": 0.9, "y": 1.4, "z": 0.35}}}}
