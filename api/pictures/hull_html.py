"""A hull to turn and to point at: one HTML page by plotly, its script embedded."""

from __future__ import annotations

from collections.abc import Mapping
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
    HullRow,
    subscripted,
)
from api.pictures.hull_html_labels import sides

Floats = NDArray[np.float64]

UPPER, LOWER, TRIANGLE_SIDE = np.array([860.0, 330.0]), np.array([860.0, 220.0]), 590.0
"""What a page of usual size gives to the pictures, in pixels."""

CAMERA = {"eye": {"x": 1.5, "y": -0.6, "z": 0.7}, "projection": {"type": "orthographic"}}
SPACE = 1.4
"""Of a tetrahedron's scene. With this, and without perspective, no corner leaves the picture when it is turned."""

FONT = {"family": "Helvetica Neue, Arial, sans-serif", "size": 14, "color": INK}
HIDDEN = {"visible": False, "showgrid": False, "zeroline": False}


def page(drawing: HullDrawing) -> str:
    """The HTML document."""
    import plotly.graph_objects as go

    traces = [_tie_line_trace(drawing), *_phase_traces(drawing, _labels(drawing))]
    if len(drawing.elements) > 2:
        traces = [_frame_trace(drawing), *traces, _corner_trace(drawing)]
    elif drawing.candidates():
        traces = [*traces, *_distance_traces(drawing)]
    if len(drawing.elements) == 4:
        traces = [*traces, _name_trace(drawing)]
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


def _outside(drawing: HullDrawing) -> Floats:
    """Where the elements are written: (k, 2 or 3)."""
    away = (corners := _corners(drawing)) - corners.mean(axis=0)
    return np.asarray(corners + 0.07 * away / np.linalg.norm(away, axis=1)[0])


def _corner_trace(drawing: HullDrawing) -> Any:
    texts = [f"<b>{element}</b>" for element in drawing.elements]
    font, middle = {"size": 20}, "middle center"
    options = {"textfont": font, "textposition": middle, "hoverinfo": "skip", "showlegend": False}
    return _trace(_outside(drawing), mode="text", text=texts, **options)


def _phase_traces(drawing: HullDrawing, labels: Mapping[int, str]) -> list[Any]:
    return [_phase_trace(drawing, members, name, labels) for name, members in _kinds(drawing).items()]


def _kinds(drawing: HullDrawing) -> dict[str, list[int]]:
    """Rows by what the legend calls them, the lowest layer first."""
    kinds = {
        "above the hull": drawing.members(stable=False, new=False),
        "candidate (predicted)": drawing.candidates(),
        "stable": drawing.members(stable=True, new=False),
        "new, above the hull": drawing.members(stable=False, new=True),
        "new, stable": drawing.members(stable=True, new=True),
    }
    return {name: members for name, members in kinds.items() if members}


def _marker(drawing: HullDrawing, name: str, members: list[int]) -> dict[str, Any]:
    flat = len(drawing.elements) < 4  # in space there are no triangles
    marker: dict[str, Any] = {
        "candidate (predicted)": {"color": CANDIDATE, "symbol": "triangle-up-open" if flat else "square-open"},
        "stable": {"color": STABLE},
        "new, above the hull": {"color": NEW, "symbol": "diamond-open"},
        "new, stable": {"color": NEW, "symbol": "diamond"},
    }.get(name) or _fading_marker(drawing, members)
    size = {"candidate (predicted)": 9 if flat else 6, "stable": 10, "new, stable": 11}.get(name, 7)
    return {**marker, "size": size if flat else size / 2 + 1}


def _phase_trace(drawing: HullDrawing, members: list[int], name: str, labels: Mapping[int, str]) -> Any:
    return _trace(
        _places(drawing)[members],
        mode="markers+text",
        name=name,
        legendgroup=name,
        marker=_marker(drawing, name, members),
        **_written(drawing, members, labels),
        **_pointed_at(drawing, members),
        **_error_bars(drawing, members, 1.0),
    )


def _name_trace(drawing: HullDrawing) -> Any:
    """The formulas of a hull that turns: nobody knows which of them will overlap, so the legend switches them off."""
    named = drawing.named()
    texts, font = [_formula(drawing.rows[i]) for i in named], {"size": 11}
    places = _places(drawing)[named]
    return _trace(places, mode="text", name="formulas", text=texts, textfont=font, hoverinfo="skip")


def _distance_traces(drawing: HullDrawing) -> list[Any]:
    """The second picture of two elements: how far from the hull, meV/atom."""
    axis: dict[str, Any] = {"yaxis": "y2", "showlegend": False}
    labels = _distance_labels(drawing)
    traces = [
        _trace(np.array([[0.0, 0.0], [1.0, 0.0]]), mode="lines", line={"color": STABLE}, hoverinfo="skip", **axis)
    ]
    for name, members in _kinds(drawing).items():
        marker = {**_marker(drawing, name, members), "showscale": False}
        known = {**_pointed_at(drawing, members), **_error_bars(drawing, members, 1000.0)}
        text = _written(drawing, members, labels)
        places = _below(drawing)[members]
        traces.append(
            _trace(places, mode="markers+text", name=name, legendgroup=name, marker=marker, **text, **known, **axis)
        )
    return traces


def _written(drawing: HullDrawing, members: list[int], labels: Mapping[int, str]) -> dict[str, Any]:
    """Formulas beside their points; labels: row -> the side."""
    return {
        "text": [_formula(drawing.rows[i]) if i in labels else "" for i in members],
        "textposition": [labels.get(i, "top center") for i in members],
        "textfont": {"size": 12},
    }


def _below(drawing: HullDrawing) -> Floats:
    return np.column_stack((drawing.fractions[:, 1], drawing.distances))


def _pointed_at(drawing: HullDrawing, members: list[int]) -> dict[str, Any]:
    """What is under the pointer."""
    rows = [drawing.rows[i] for i in members]
    told = [
        [_heading(row), row.formation_energy, abs(row.e_above_hull) * 1000, _side(row), _uncertainty(row)]
        for row in rows
    ]
    template = (
        "%{customdata[0]}<br>formation energy %{customdata[1]:.3f} eV/atom%{customdata[4]}"
        "<br>%{customdata[3]} the hull %{customdata[2]:.0f} meV/atom<extra></extra>"
    )
    return {"customdata": told, "hovertemplate": template}


def _labels(drawing: HullDrawing) -> dict[int, str]:
    """The side on which each row is named; candidates of two elements are named in their second picture."""
    places, lines = _places(drawing), _places(drawing)[drawing.edges]
    if len(drawing.elements) == 4:
        return {}
    if len(drawing.elements) == 2:
        return _arranged(drawing, drawing.named(), places, lines, UPPER / np.ptp(places, axis=0).clip(1e-3))
    return _arranged(drawing, [*drawing.named(), *drawing.named_candidates()], places, lines, TRIANGLE_SIDE)


def _distance_labels(drawing: HullDrawing) -> dict[int, str]:
    scale = LOWER / np.array([1.0, np.ptp(drawing.near())])
    return _arranged(drawing, drawing.named_candidates(), _below(drawing), drawing.bars(), scale)


def _arranged(
    drawing: HullDrawing, named: list[int], places: Floats, lines: Floats, scale: Floats | float
) -> dict[int, str]:
    """scale: pixels per unit of the places' axes"""
    letters = [len(drawing.rows[i].formula) for i in named]
    needed = [not drawing.rows[i].is_candidate for i in named]
    shown = sides(places[named] * scale, letters, places * scale, lines * scale, needed)
    return {i: side for i, side in zip(named, shown, strict=True) if side}


def _formula(row: HullRow) -> str:
    return subscripted(escape(row.formula), "<sub>", "</sub>")


def _heading(row: Any) -> str:
    formula = f"<b>{_formula(row)}</b>"
    return f"{formula}<br>{escape(row.label)}" if row.label else formula


def _side(row: Any) -> str:
    return f"{'predicted ' if row.is_candidate else ''}{'above' if row.e_above_hull >= 0 else 'below'}"


def _uncertainty(row: Any) -> str:
    width = "" if row.spread is None else f" ± {row.spread / 2:.3f}"
    return f"{width} (out of the model's domain)" if row.is_doubtful else width


def _error_bars(drawing: HullDrawing, members: list[int], unit: float) -> dict[str, Any]:
    spreads = [unit * (drawing.rows[i].spread or 0.0) / 2 for i in members]
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
        return _binary_axes(drawing)
    if len(drawing.elements) == 3:
        return {"xaxis": HIDDEN, "yaxis": {**HIDDEN, "scaleanchor": "x"}}
    shape = dict(zip("xyz", (SPACE * np.ptp(_outside(drawing), axis=0)).tolist(), strict=True))
    scene = {axis: {"visible": False} for axis in ("xaxis", "yaxis", "zaxis")}
    return {"scene": {**scene, "aspectmode": "manual", "aspectratio": shape, "camera": CAMERA}}


def _binary_axes(drawing: HullDrawing) -> dict[str, Any]:
    fractions = {
        "title": {"text": f"atomic fraction of {drawing.elements[1]}"},
        "range": [-0.03, 1.03],
        "showgrid": False,
        "zeroline": False,
    }
    energies = {"title": {"text": "formation energy (eV/atom)"}, "gridcolor": GRID, "zerolinecolor": LINE}
    if not drawing.candidates():
        return {"xaxis": fractions, "yaxis": energies}
    distances = {"title": {"text": "from the hull<br>(meV/atom)"}, "gridcolor": GRID, "zeroline": False}
    return {
        "xaxis": {**fractions, "anchor": "y2"},
        "yaxis": {**energies, "domain": [0.42, 1.0]},
        "yaxis2": {**distances, "domain": [0.0, 0.34], "range": drawing.near()},
        "height": 820,
    }
