"""Pictures of hulls: what is chosen, and that the files stand alone."""

from dataclasses import replace

import numpy as np
import pytest

from api.pictures.hull import HullRow, drawing, hull_html, hull_png, subscripted
from api.pictures.hull_files import beside, write_files
from api.pictures.hull_html_labels import SIDES, sides
from api.pictures.labels import place_labels
from registry.errors import HullError, SettingsError


def row(formula, amounts, energy, above=0.0, **more) -> HullRow:
    return HullRow(formula, amounts, energy, above, above == 0.0, **more)


ROWS = [
    row("Li", {"Li": 1}, 0.0),
    row("O2", {"O": 2}, 0.0),
    row("Fe", {"Fe": 1}, 0.0),
    row("P", {"P": 1}, 0.0),
    row("Li2O", {"Li": 2, "O": 1}, -2.0, label="lode-a"),
    row("Li2O2", {"Li": 2, "O": 2}, -1.7),
    row("LiO8", {"Li": 1, "O": 8}, -0.1, above=0.15, is_new=True, spread=0.04),
    row("Li3O", {"Li": 3, "O": 1}, -0.4, above=0.9),
    row("Fe2O3", {"Fe": 2, "O": 3}, -1.7),
    row("LiFeO2", {"Li": 1, "Fe": 1, "O": 2}, -1.9, is_new=True),
    row("LiFePO4", {"Li": 1, "Fe": 1, "P": 1, "O": 4}, -2.5),
    row("LiFePO4", {"Li": 4, "Fe": 4, "P": 4, "O": 16}, -2.45, above=0.05),
]


def ties(drawn) -> set[frozenset[str]]:
    return {frozenset(drawn.rows[i].formula for i in edge) for edge in drawn.edges}


def test_tie_lines_join_stable_neighbours():
    drawn = drawing(ROWS, ["Li", "O"])
    assert ties(drawn) == {frozenset(pair) for pair in [("Li", "Li2O"), ("Li2O", "Li2O2"), ("Li2O2", "O2")]}


def test_only_the_system_is_drawn_and_nothing_far_above_the_hull():
    formulae = {shown.formula for shown in drawing(ROWS, ["Li", "O"]).rows}
    assert formulae == {"Li", "O2", "Li2O", "Li2O2", "LiO8"}
    assert "Li3O" in {shown.formula for shown in drawing(ROWS, ["Li", "O"], shown_above=1.0).rows}


def test_a_composition_is_one_point_where_energy_is_no_axis():
    drawn = drawing(ROWS, ["Li", "Fe", "P", "O"])
    assert [shown.is_stable for shown in drawn.rows if shown.formula == "LiFePO4"] == [True]


@pytest.mark.parametrize("elements", [["Li"], ["Li", "Fe", "P", "O", "Na"]])
def test_other_numbers_of_elements_are_refused(elements):
    with pytest.raises(HullError, match="two, three or four"):
        drawing(ROWS, elements)


def test_a_missing_element_is_named():
    with pytest.raises(HullError, match="no stable entry of Na"):
        drawing(ROWS, ["Na", "O"])


@pytest.mark.parametrize("elements", [["Li", "O"], ["Li", "Fe", "O"], ["Li", "Fe", "P", "O"], ["Fe", "P"]])
def test_both_files_are_made(elements):
    png, html = hull_png(ROWS, elements, "A hull $_{"), hull_html(ROWS, elements, "A <hull>")
    assert png.startswith(b"\x89PNG")
    assert "A &lt;hull&gt;" in html
    assert "Plotly.newPlot" in html


def test_the_page_needs_no_network_and_says_what_is_under_the_pointer():
    html = hull_html(ROWS, ["Li", "O"])
    assert 'src="http' not in html
    assert "lode-a" in html
    assert "%{customdata[3]} the hull %{customdata[2]" in html


CANDIDATES = [
    HullRow("Li3O2", {"Li": 3, "O": 2}, -1.95, -0.03, False, "lode-g", is_candidate=True, spread=0.04),
    HullRow("Li3O2", {"Li": 3, "O": 2}, -1.91, 0.01, False, "lode-h", is_candidate=True, spread=0.02),
    HullRow("Li2O", {"Li": 2, "O": 1}, -1.98, 0.02, False, "lode-i", is_candidate=True),
    HullRow("LiFeO3", {"Li": 1, "Fe": 1, "O": 3}, -1.5, 0.05, False, "lode-j", is_candidate=True, spread=0.06),
]


def test_candidates_stand_apart_from_what_has_a_label():
    drawn = drawing([*ROWS, *CANDIDATES], ["Li", "O"])
    assert [drawn.rows[i].label for i in drawn.candidates()] == ["lode-i", "lode-h", "lode-g"]
    assert ties(drawn) == ties(drawing(ROWS, ["Li", "O"]))
    labelled = {i for stable in (True, False) for new in (True, False) for i in drawn.members(stable, new)}
    assert labelled.isdisjoint(drawn.candidates())
    assert len(labelled) + 3 == len(drawn.rows)


def test_the_lowest_candidate_of_a_composition_is_drawn_beside_its_phase():
    drawn = drawing([*ROWS, *CANDIDATES], ["Li", "Fe", "O"])
    assert {drawn.rows[i].label for i in drawn.candidates()} == {"lode-g", "lode-i", "lode-j"}
    assert "lode-a" in {shown.label for shown in drawn.rows}


def test_the_lowest_candidates_are_named_each_formula_once():
    many = [
        HullRow(f"Li{n}O9", {"Li": n, "O": 9}, -1.0, 0.01 * (10 - n), False, is_candidate=True) for n in range(1, 9)
    ]
    drawn = drawing([*ROWS, *CANDIDATES, *many], ["Li", "O"])
    named = {drawn.rows[i].formula for i in drawn.named_candidates()}
    assert named == {"Li3O2", "Li2O", "Li8O9", "Li7O9", "Li6O9"}
    assert [drawn.rows[i].label for i in drawn.named_candidates() if drawn.rows[i].formula == "Li3O2"] == ["lode-g"]


@pytest.mark.parametrize("elements", [["Li", "O"], ["Li", "Fe", "O"], ["Li", "Fe", "P", "O"]])
def test_candidates_are_in_both_files_with_their_spread(elements):
    rows = [*ROWS, *CANDIDATES]
    html = hull_html(rows, elements)
    assert "lode-g" in html
    assert "predicted below" in html
    assert "\\u00b1 0.020" in html or "± 0.020" in html
    assert ('"error_y":{"array":[' in html) == (len(elements) == 2)
    assert hull_png(rows, elements) != hull_png(ROWS, elements)


def test_a_candidate_out_of_domain_is_marked():
    doubtful = [replace(row, is_doubtful=True) for row in CANDIDATES]
    assert "out of the model's domain" in hull_html([*ROWS, *doubtful], ["Li", "O"])
    assert "out of the model's domain" not in hull_html([*ROWS, *CANDIDATES], ["Li", "O"])
    flat = ["Li", "Fe", "O"]
    assert hull_png([*ROWS, *doubtful], flat) != hull_png([*ROWS, *CANDIDATES], flat)


def test_counts_are_subscripts():
    assert subscripted("Li2Fe12(PO4)3", "<", ">") == "Li<2>Fe<12>(PO<4>)<3>"
    assert subscripted("LiFe0.5O", "<", ">") == "LiFe<0.5>O"


def test_labels_of_crowded_points_do_not_overlap():
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.text import Text

    figure = Figure(figsize=(6, 6), dpi=100)
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    points = 0.5 + 0.06 * np.random.default_rng(0).normal(size=(14, 2))
    place_labels(axes, points, ["LiFePO4"] * 14, points, np.zeros((0, 2, 2)), fontsize=8)
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    boxes = np.array([Text.get_window_extent(label, renderer).extents for label in axes.texts])  # without their leaders
    first, second = np.triu_indices(len(boxes), 1)
    apart = (boxes[first, :2] >= boxes[second, 2:]) | (boxes[second, :2] >= boxes[first, 2:])
    assert np.all(apart.any(axis=1))


NO_LINES = np.zeros((0, 2, 2))


def test_a_label_on_a_page_keeps_off_other_labels_points_and_lines():
    alone = np.array([[100.0, 100.0]])
    assert sides(alone, [4], alone, NO_LINES, [True]) == ["bottom center"]
    below = np.array([[100.0, 100.0], [100.0, 85.0]])
    assert sides(alone, [4], below, NO_LINES, [True]) == ["top center"]
    upright = np.array([[[100.0, 0.0], [100.0, 200.0]]])
    assert sides(alone, [4], alone, upright, [True]) == ["middle right"]


def test_labels_of_a_crowd_are_left_to_the_pointer_unless_they_are_needed():
    crowd = np.full((30, 2), 50.0)
    shown = sides(crowd, [7] * 30, crowd, NO_LINES, [False] * 30)
    assert 1 <= len([side for side in shown if side]) < 9
    assert len({side for side in shown if side}) == len([side for side in shown if side])
    assert set(sides(crowd, [7] * 30, crowd, NO_LINES, [True] * 30)) <= set(SIDES)


def test_bars_of_candidates_reach_half_of_the_spread_to_either_side():
    drawn = drawing([*ROWS, *CANDIDATES], ["Li", "O"])
    bars = sorted(drawn.bars().tolist())
    assert np.allclose(bars, [[[0.4, -50], [0.4, -10]], [[0.4, 0], [0.4, 20]]])
    assert drawn.near() == (pytest.approx(-58), pytest.approx(68))
    assert drawing(ROWS, ["Li", "O"]).near() == (-28, 68)


def test_files_are_written_all_or_none(tmp_path):
    html, png = beside(tmp_path / "a" / "hull.v2.png")
    assert (html.name, png.name) == ("hull.v2.html", "hull.v2.png")
    assert write_files({html: b"1", png: b"2"}) == [html, png]
    png.unlink()
    png.mkdir()
    with pytest.raises(SettingsError, match=r"hull\.v2\.png: there is a folder of that name"):
        write_files({html: b"new", png: b"new"})
    assert html.read_bytes() == b"1"
    assert sorted(path.name for path in html.parent.iterdir()) == ["hull.v2.html", "hull.v2.png"]
    with pytest.raises(SettingsError, match="can't write"):
        write_files({html / "below": b"3"})
    with pytest.raises(SettingsError, match="can't write"):
        write_files({tmp_path / "a\0b": b"3"})
