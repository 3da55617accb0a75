"""Chemical-potential stability ranges: where in the space of chemical potentials each stable phase exists.

With mu_e the chemical potential of element e against its reference (eV/atom), x_pe the atomic fractions of phase p and
E_p its formation energy (eV/atom), phase p is stable where

    sum_e x_pe mu_e = E_p    and    sum_e x_qe mu_e <= E_q    for all phases q, elements included (so mu_e <= 0).

Vertices of these domains are facets of the convex hull of (x, E), by duality (Todd et al., J. Am. Chem. Soc. 143,
15185, 2021); qhull finds the facets, and the phases on each give its potentials by a linear system, to rounding where
phases tie exactly or not at all, else to ON_FACET.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from registry.errors import HullError
from registry.hull.geometry import HullSolution
from registry.hull.phases import Flags, Floats, Ints, Key
from registry.hull.results import missing_reference

MOST_ELEMENTS = 7
"""Facets multiply with each element: beyond, qhull takes too long."""

ON_FACET = 1e-7
"""eV/atom: a phase no higher than this above a facet takes part in it."""

NOISE = 1e-13
"""eV/atom: what is left of a zero, which an element's own potential mostly is."""

UPPER = 1e-9
"""Facets whose unit normal points down by less than this are walls of the composition simplex, or its lid."""


@dataclass(frozen=True, eq=False, slots=True)
class StabilityDomain:
    """Where one phase is stable.

    elements: (k,) atomic numbers of the system, ascending
    vertices: (v, k) chemical potentials, eV/atom against the lowest entry of each element, in ascending order
    unbounded: elements that the phase doesn't hold. The domain is the convex hull of the vertices and of all that lies
        below them in these potentials, which have no lower bound (pymatgen cuts them off at -50 eV/atom)
    """

    key: Key
    elements: tuple[int, ...]
    vertices: Floats
    unbounded: frozenset[int]

    @property
    def minimum(self) -> dict[int, float | None]:
        """Element -> its lowest potential, eV/atom; None without lower bound."""
        lowest = zip(self.elements, self.vertices.min(axis=0).tolist(), strict=True)
        return {element: None if element in self.unbounded else value for element, value in lowest}

    @property
    def maximum(self) -> dict[int, float]:
        """Element -> its highest potential, eV/atom."""
        return dict(zip(self.elements, self.vertices.max(axis=0).tolist(), strict=True))


def stability_domains(solution: HullSolution, elements: Sequence[int]) -> dict[Key, StabilityDomain]:
    """The domain of every stable phase of one chemical system and its subsystems, by key.

    elements: atomic numbers of the system; entries that hold others are passed over
    Raises MissingReference for an element without an entry, HullError for no element and for more than MOST_ELEMENTS.
    """
    system = tuple(sorted(set(elements)))
    _refuse(solution, system)
    rows, fractions = _stable_within(solution, system)
    energies = solution.formation_energies[rows]
    vertices, on_facet = _vertices(fractions, energies)
    domains = [
        StabilityDomain(
            solution.solved.key(row), system, vertices[takes_part], frozenset(np.array(system)[holds == 0].tolist())
        )
        for row, takes_part, holds in zip(rows, on_facet.T, fractions, strict=True)
    ]
    return {domain.key: domain for domain in domains}


def _refuse(solution: HullSolution, system: tuple[int, ...]) -> None:
    if not 0 < len(system) <= MOST_ELEMENTS:
        raise HullError(f"stability ranges go over 1 to {MOST_ELEMENTS} elements, not {len(system)}")
    if missing := [element for element in system if solution.phases.element_phase[element] < 0]:
        raise missing_reference(missing)


def _stable_within(solution: HullSolution, system: tuple[int, ...]) -> tuple[Ints, Floats]:
    """(n,) rows and (n, k) atomic fractions of the stable entries of a system."""
    column = np.full(len(solution.phases.element_phase), -1)
    column[list(system)] = np.arange(len(system))
    table = solution.table
    entry_of, at = np.repeat(np.arange(len(table)), np.diff(table.offsets)), column[table.numbers]
    amounts = np.zeros((len(table), len(system)))
    amounts[entry_of[at >= 0], at[at >= 0]] = table.amounts[at >= 0]
    within = solution.is_stable.copy()
    within[entry_of[at < 0]] = False
    rows = np.flatnonzero(within)
    return rows, amounts[rows] / amounts[rows].sum(axis=1, keepdims=True)


def _vertices(fractions: Floats, energies: Floats) -> tuple[Floats, Flags]:
    """(v, k) potentials in ascending order, and (v, n) which phases have each as a vertex of their domain."""
    guessed = _facets(fractions, energies)
    found = [_solved(on, fractions, energies) for on in np.unique(_on(guessed, fractions, energies), axis=0)]
    potentials = np.array([one for one in found if one is not None])
    on_facet, first = np.unique(_on(potentials, fractions, energies), axis=0, return_index=True)
    order = np.lexsort(potentials[first].T[::-1])
    return potentials[first][order], on_facet[order]


def _facets(fractions: Floats, energies: Floats) -> Floats:
    """(f, k) potentials of the lower facets, to qhull's own precision."""
    from scipy.spatial import ConvexHull

    k = fractions.shape[1]
    if k == 1:
        return energies[None, :1]
    lid = [*np.full(k - 1, 1 / k), energies.max() + 1.0]
    planes = ConvexHull(np.vstack([np.column_stack([fractions[:, :-1], energies]), lid])).equations
    lower = planes[planes[:, -2] < -UPPER]
    slopes, last = -lower[:, :-2] / lower[:, -2:-1], -lower[:, -1] / lower[:, -2]
    return np.column_stack([slopes + last[:, None], last])


def _on(potentials: Floats, fractions: Floats, energies: Floats) -> Flags:
    """(v, n) which phases lie on each plane."""
    return np.abs(potentials @ fractions.T - energies) < ON_FACET


def _solved(on: Flags, fractions: Floats, energies: Floats) -> Floats | None:
    """(k,) potentials of the phases on one facet; None if they don't span the system, or another lies below them."""
    potentials, _, rank, _ = np.linalg.lstsq(fractions[on], energies[on])
    if rank < fractions.shape[1] or np.any(fractions @ potentials > energies + ON_FACET):
        return None
    return np.where(np.abs(potentials) < NOISE, 0.0, potentials)
