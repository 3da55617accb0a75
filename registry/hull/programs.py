"""One linear program per composition, compiled: filled from the phases that compete, solved, and written down."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from registry.compiled import entry_point, inner
from registry.hull.phases import Floats, Ints
from registry.hull.simplex import Simplex, add_itself, minimise, polish, start
from registry.hull.systems import Compositions, competitors

STABILITY_TOLERANCE = 1e-9
"""eV/atom: the lowest entry of a composition is stable when it lies no higher than this above its competitors."""


class Solution(NamedTuple):
    """What the linear programs give, written in place.

    energies: (c,) of the best mixture, eV/atom; inf where nothing competes (a pure element), nan where it wasn't solved
    basis, shares: (m,) the competing phases and their atomic shares, aligned with the composition's elements
    potentials: (m,) chemical potentials of the competing facet, eV/atom
    facet_potentials: (m,) the same for the hull that includes the composition itself
    """

    energies: Floats
    basis: Ints
    shares: Floats
    potentials: Floats
    facet_potentials: Floats


@inner
def fill(chosen: Ints, elements: Ints, phases: Compositions) -> Simplex:
    k, m = len(elements), len(chosen)
    row = np.zeros(128, np.int64)
    for i in range(k):
        row[elements[i]] = i
    columns, energies, weights, tilt = np.zeros((k, m)), np.empty(m), np.empty(m), np.empty(k)
    for i in range(k):
        tilt[i] = 0.5 + (elements[i] * 0.6180339887498949) % 1.0
    for j in range(m):
        phase = chosen[j]
        energies[j], weights[j] = phases.energies[phase], phases.weights[phase]
        for i in range(phases.offsets[phase], phases.offsets[phase] + phases.sizes[phase]):
            columns[row[phases.numbers[i]], j] = phases.fractions[i]
    basis, inverse, work = np.empty(k, np.int64), np.empty((k, k)), np.empty((k, k))
    prices, allowed = np.empty(m), np.ones(m, np.bool_)
    shares, tilted, potentials, direction = np.empty(k), np.empty(k), np.empty(k), np.empty(k)
    return Simplex(
        columns,
        energies,
        weights,
        prices,
        allowed,
        basis,
        inverse,
        work,
        tilt,
        shares,
        tilted,
        potentials,
        direction,
    )


@inner
def solve_one(phase: int, lp: Simplex, chosen: Ints, own: int, query: Compositions, out: Solution) -> None:
    begin = query.offsets[phase]
    target = query.fractions[begin : begin + query.sizes[phase]]
    start(lp, target)
    minimise(lp, target, own)
    out.energies[phase] = polish(lp, target)
    for i in range(len(target)):
        out.basis[begin + i] = chosen[lp.basis[i]]
        out.shares[begin + i] = lp.shares[i]
        out.potentials[begin + i] = lp.potentials[i]
    if own >= 0:
        query.stable[phase] = query.energies[phase] <= out.energies[phase] + STABILITY_TOLERANCE
        if query.stable[phase]:
            add_itself(lp, own, target)
    for i in range(len(target)):
        out.facet_potentials[begin + i] = lp.potentials[i]


@inner
def solve_element(phase: int, query: Compositions, out: Solution) -> None:
    """A pure element within its own hull: nothing else has its composition, so nothing competes and it is stable."""
    at = query.offsets[phase]
    query.stable[phase] = True
    out.energies[phase] = np.inf
    out.potentials[at] = query.energies[phase]
    out.facet_potentials[at] = query.energies[phase]


@entry_point
def solve_systems(
    first: int, last: int, query: Compositions, phases: Compositions, table: Ints, within: bool, out: Solution
) -> None:
    """Solves the compositions of systems first..last of `query` against `phases`.

    within: `query` is `phases`: each composition's own entry is left out of its competitors, and its stability is
    written; systems must then come in ascending size, those below already solved.
    """
    for system in range(first, last):
        if query.solvable[system]:
            _solve_system(system, query, phases, table, within, out)


@inner
def _solve_system(
    system: int, query: Compositions, phases: Compositions, table: Ints, within: bool, out: Solution
) -> None:
    phase = query.first[system]
    begin = query.offsets[phase]
    elements = query.numbers[begin : begin + query.sizes[phase]]
    if within and len(elements) == 1:
        solve_element(phase, query, out)
        return
    chosen = competitors(elements, query.system_high[system], query.system_low[system], phases, table, within)
    lp = fill(chosen, elements, phases)
    own = len(chosen) - query.held[system] if within else -1
    while phase >= 0:
        solve_one(phase, lp, chosen, own, query, out)
        own = own + 1 if within else -1
        phase = query.next[phase]
