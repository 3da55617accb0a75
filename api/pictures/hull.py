"""Pictures of a convex hull of two, three or four elements: what to draw, apart from the drawing.

`hull_html` is interactive and self-contained (plotly's script is embedded), `hull_png` is for paper (matplotlib).
Two elements: formation energy over composition; three: a triangle; four: a tetrahedron. Of two elements
with candidates a second picture below shows the distance from the hull. A candidate's spread is a bar where energy is
an axis, and told beside its name elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from registry.errors import HullError

Floats = NDArray[np.float64]

SHOWN_ABOVE = 0.2
"""eV/atom above the hull up to which unstable phases are drawn, by default."""

NAMED_CANDIDATES = 5
"""The lowest ones; all of them are named under the pointer."""

TRIANGLE = np.array([[0.0, 0.0], [1.0, 0.0], [0.5, np.sqrt(3) / 2]])
TETRAHEDRON = np.array(
    [
        [-0.5, -np.sqrt(1 / 12), 0.0],
        [0.5, -np.sqrt(1 / 12), 0.0],
        [0.0, np.sqrt(1 / 3), 0.0],
        [0.0, 0.0, np.sqrt(2 / 3)],
    ]
)

INK, LINE, GRID = "#22313a", "#7d98a6", "#e3eaee"
STABLE, NEW, CANDIDATE = "#1b4965", "#d1495b", "#d98200"
NEAR, FAR = "#3f9ac9", "#e9eff2"
"""Unstable phases fade from NEAR, on the hull, to FAR."""


@dataclass(frozen=True, slots=True)
class HullRow:
    """One phase to draw.

    formula: as read, e.g. Li2FeO4; amounts: element symbol -> count
    formation_energy, e_above_hull: eV/atom; a candidate's are predicted, and below zero for one below the hull
    label: what the reader finds it by, e.g. a public id
    is_new: drawn apart, as a discovery
    is_candidate: drawn apart, as a prediction without a label
    spread: eV/atom, from the lower to the upper quartile of what the members of the model said
    is_doubtful: a candidate out of the model's domain, whose energy isn't to be trusted
    """

    formula: str
    amounts: Mapping[str, float]
    formation_energy: float
    e_above_hull: float
    is_stable: bool
    label: str = ""
    is_new: bool = False
    is_candidate: bool = False
    spread: float | None = None
    is_doubtful: bool = False

    def fraction(self, element: str) -> float:
        return float(self.amounts.get(element, 0.0) / sum(self.amounts.values()))


@dataclass(frozen=True, eq=False)
class HullDrawing:
    """What a picture shows.

    elements: the corners, in order; rows: the phases drawn, the stable ones last, so that they lie on top
    fractions: (n, k) atomic fractions; edges: (m, 2) tie lines between rows
    """

    title: str
    elements: tuple[str, ...]
    rows: tuple[HullRow, ...]
    fractions: Floats
    edges: NDArray[np.int64]
    shown_above: float

    @property
    def energies(self) -> Floats:
        return np.array([row.formation_energy for row in self.rows])

    def members(self, stable: bool, new: bool) -> list[int]:
        """Rows with a label."""
        kind = (stable, new, False)
        return [i for i, row in enumerate(self.rows) if (row.is_stable, row.is_new, row.is_candidate) == kind]

    @property
    def distances(self) -> Floats:
        """(n,) from the hull, meV/atom."""
        return np.array([row.e_above_hull * 1000 for row in self.rows])

    def bars(self) -> Floats:
        """(m, 2, 2) the bars of the candidates: (atomic fraction of the second element, distance in meV/atom)."""
        known = [row for row in map(self.rows.__getitem__, self.candidates()) if row.spread is not None]
        x = np.array([row.fraction(self.elements[1]) for row in known])
        y = np.array([1000 * row.e_above_hull for row in known])
        half = np.array([500 * (row.spread or 0.0) for row in known])
        return np.stack((np.stack((x, y - half), axis=-1), np.stack((x, y + half), axis=-1)), axis=1)

    def near(self) -> tuple[float, float]:
        """The stretch of distances that candidates and their bars take, meV/atom; at least -20 to 60."""
        ends = [*self.bars()[..., 1].ravel(), *self.distances[self.candidates()]]
        return min([-20.0, *ends]) - 8.0, max([60.0, *ends]) + 8.0

    def candidates(self) -> list[int]:
        return [i for i, row in enumerate(self.rows) if row.is_candidate]

    def named(self) -> list[int]:
        """Rows whose formula is written beside them, each formula once: stable or new ones that aren't elements."""
        by_height = sorted(range(len(self.rows)), key=lambda i: self.rows[i].e_above_hull, reverse=True)
        marked = [i for i in by_height if self.rows[i].is_stable or self.rows[i].is_new]
        return sorted({self.rows[i].formula: i for i in marked if len(self.rows[i].amounts) > 1}.values())

    def named_candidates(self) -> list[int]:
        """The lowest candidates, each formula once."""
        by_height = sorted(self.candidates(), key=lambda i: self.rows[i].e_above_hull, reverse=True)
        lowest = {self.rows[i].formula: i for i in by_height}.values()
        return sorted(sorted(lowest, key=by_height.index, reverse=True)[:NAMED_CANDIDATES])


def hull_html(
    rows: Iterable[HullRow], elements: Sequence[str], title: str = "", shown_above: float = SHOWN_ABOVE
) -> str:
    """A page with the interactive hull; it needs no network. Raises HullError as `drawing` does."""
    from api.pictures.hull_html import page

    return page(drawing(rows, elements, title, shown_above))


def hull_png(
    rows: Iterable[HullRow], elements: Sequence[str], title: str = "", shown_above: float = SHOWN_ABOVE
) -> bytes:
    """The same hull as a PNG of about 1600 pixels. Raises HullError as `drawing` does."""
    from api.pictures.hull_png import picture

    return picture(drawing(rows, elements, title, shown_above))


def drawing(
    rows: Iterable[HullRow], elements: Sequence[str], title: str = "", shown_above: float = SHOWN_ABOVE
) -> HullDrawing:
    """Chooses phases and tie lines. Rows with other elements are left out, as are those further above than shown_above.

    elements: two to four symbols, the corners.
    Raises HullError for another number of them, and where an element has no stable row.
    """
    check_elements(elements)
    within = [row for row in rows if set(row.amounts) <= set(elements)]
    corners = {next(iter(row.amounts)) for row in within if row.is_stable and len(row.amounts) == 1}
    if missing := [element for element in elements if element not in corners]:
        raise HullError(f"no stable entry of {', '.join(missing)}: label these elements at this level first")
    shown = [
        row for row in within if row.is_stable or row.is_new or row.is_candidate or row.e_above_hull <= shown_above
    ]
    shown = shown if len(elements) == 2 else _one_per_composition(shown)
    shown.sort(key=lambda row: (row.is_stable, row.is_new, row.is_candidate, -row.e_above_hull))
    fractions = np.array([[row.fraction(element) for element in elements] for row in shown])
    return HullDrawing(title, tuple(elements), tuple(shown), fractions, _tie_lines(shown, elements), shown_above)


def check_elements(elements: Sequence[str]) -> None:
    """Raises HullError for a number of them that no picture has room for."""
    if not 2 <= len(elements) <= 4:
        what = "1 element" if len(elements) == 1 else f"{len(elements)} elements"
        raise HullError(f"a hull of {what} can't be drawn: choose two, three or four")


def _one_per_composition(rows: list[HullRow]) -> list[HullRow]:
    """Where energy is no axis, polymorphs fall on one point: the lowest stands for all, and the lowest candidate."""
    lowest: dict[tuple[object, ...], HullRow] = {}
    for row in sorted(rows, key=lambda row: (not row.is_stable, row.e_above_hull)):
        identity = tuple((element, round(row.fraction(element), 7)) for element in sorted(row.amounts))
        lowest.setdefault((row.is_candidate, *identity), row)
    return list(lowest.values())


def _tie_lines(rows: list[HullRow], elements: Sequence[str]) -> NDArray[np.int64]:
    """The edges of pymatgen's facets over the stable rows, which come last: (m, 2) indices into rows."""
    from pymatgen.analysis.phase_diagram import PDEntry, PhaseDiagram, uniquelines
    from pymatgen.core.composition import Composition, Element

    stable = [(i, row) for i, row in enumerate(rows) if row.is_stable]
    compositions = [Composition(dict(row.amounts)) for _, row in stable]
    entries = [
        PDEntry(composition, row.formation_energy * composition.num_atoms, name=str(i))
        for composition, (i, row) in zip(compositions, stable, strict=True)
    ]
    diagram = PhaseDiagram(entries, [Element(element) for element in elements])
    names = [int(entry.name) for entry in diagram.qhull_entries]
    edges = sorted((names[a], names[b]) for a, b in uniquelines(diagram.facets))
    return np.array(edges, dtype=np.int64).reshape(-1, 2)


def subscripted(formula: str, opening: str, closing: str) -> str:
    """Counts between marks of a subscript: `<sub>`, `</sub>` for HTML, `$_{`, `}$` for matplotlib."""
    return re.sub(r"(?<=[A-Za-z)\]])(\d+(?:\.\d+)?)", rf"{opening}\1{closing}", formula)
