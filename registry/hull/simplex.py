"""Revised simplex over small compositions, compiled: one linear program per composition.

    minimise    sum_j x_j e_j        e_j: energy per atom of competing phase j
    subject to  sum_j x_j a_j = b    a_j, b: atomic fractions over the elements of b's chemical system
                x >= 0               x_j: share of b's atoms that goes into phase j

The pure elements are the first basis, so that no first phase is needed. The duals are the chemical potentials. Chemical
systems are solved from small to large: a phase that is not stable in its own system can't be part of a hull above it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from registry.compiled import entry_point, inner

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

STABILITY_TOLERANCE = 1e-9
"""eV/atom: the lowest entry of a composition is stable when it lies no higher than this above its competitors."""

PRICE_TOLERANCE = 1e-12
PIVOT_TOLERANCE = 1e-10
DANTZIG_STEPS = 200
STEP_LIMIT = 20_000


class Compositions(NamedTuple):
    """Compositions by chemical system, as `phases.Phases` holds them; and which of them take part."""

    system_high: Ints
    system_low: Ints
    system_offsets: Ints
    solvable: Flags
    offsets: Ints
    numbers: Ints
    fractions: Floats
    energies: Floats
    stable: Flags


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


class Simplex(NamedTuple):
    """One program's state: k elements, m phases.

    columns: (k, m); energies: (m,); prices: (m,); basis: (k,) columns in the basis; inverse: (k, k) of the basis
    shares: (k,); potentials: (k,); direction: (k,)
    """

    columns: Floats
    energies: Floats
    prices: Floats
    basis: Ints
    inverse: Floats
    shares: Floats
    potentials: Floats
    direction: Floats


@inner
def _slot(high: int, low: int, size: int) -> int:
    mixed = (high * 7046029254386353131 + low) * 3935559000370003845
    return (mixed ^ (mixed >> 29)) & (size - 1)


@entry_point
def index_systems(high: Ints, low: Ints) -> Ints:
    """An open hash table of systems; its size is a power of two, -1 marks free slots."""
    size = 16
    while size < 2 * len(high):
        size *= 2
    table = np.full(size, -1, np.int64)
    for system in range(len(high)):
        slot = _slot(high[system], low[system], size)
        while table[slot] >= 0:
            slot = (slot + 1) & (size - 1)
        table[slot] = system
    return table


@inner
def _find(high: int, low: int, phases: Compositions, table: Ints) -> int:
    slot = _slot(high, low, len(table))
    while table[slot] >= 0:
        system = int(table[slot])
        if phases.system_high[system] == high and phases.system_low[system] == low:
            return system
        slot = (slot + 1) & (len(table) - 1)
    return -1


@inner
def _sort(values: Ints) -> None:
    """Ascending, in place, by insertion: the lists are short, and numba's own sort takes seconds to compile."""
    for i in range(1, len(values)):
        value, j = values[i], i
        while j > 0 and values[j - 1] > value:
            values[j] = values[j - 1]
            j -= 1
        values[j] = value


@inner
def _subsystems(elements: Ints, high: int, low: int, phases: Compositions, table: Ints) -> Ints:
    """Every known system within these elements, ascending: by look-up or by scan, whichever is less work."""
    k = len(elements)
    found = np.empty(len(phases.system_low), np.int64)
    count = 0
    if k > 30 or (1 << k) > len(phases.system_low):
        for system in range(len(phases.system_low)):
            if phases.system_high[system] & ~high == 0 and phases.system_low[system] & ~low == 0:
                found[count] = system
                count += 1
        return found[:count]
    for subset in range(1, 1 << k):
        sub_high, sub_low = high & 0, low & 0  # a literal 0 handed on would have `_find` compiled twice
        for i in range(k):
            if subset >> i & 1:
                if elements[i] > 62:
                    sub_high |= 1 << ((elements[i] - 1) % 62)
                else:
                    sub_low |= 1 << (elements[i] - 1)
        system = _find(sub_high, sub_low, phases, table)
        if system >= 0:
            found[count] = system
            count += 1
    _sort(found[:count])
    return found[:count]


@inner
def _competitors(elements: Ints, high: int, low: int, phases: Compositions, table: Ints, whole: bool) -> Ints:
    """The phases of a program: elements first, then stable ones in canonical order; `whole`: all of the own system."""
    systems = _subsystems(elements, high, low, phases, table)
    total = 0
    for system in systems:
        total += phases.system_offsets[system + 1] - phases.system_offsets[system]
    chosen = np.empty(total, np.int64)
    count = 0
    for system in systems:
        own = whole and phases.system_high[system] == high and phases.system_low[system] == low
        for phase in range(phases.system_offsets[system], phases.system_offsets[system + 1]):
            if own or phases.stable[phase]:
                chosen[count] = phase
                count += 1
    return chosen[:count]


@inner
def _fill(chosen: Ints, elements: Ints, phases: Compositions) -> Simplex:
    k, m = len(elements), len(chosen)
    row = np.zeros(128, np.int64)
    for i in range(k):
        row[elements[i]] = i
    columns, energies = np.zeros((k, m)), np.empty(m)
    for j in range(m):
        energies[j] = phases.energies[chosen[j]]
        for i in range(phases.offsets[chosen[j]], phases.offsets[chosen[j] + 1]):
            columns[row[phases.numbers[i]], j] = phases.fractions[i]
    return Simplex(
        columns, energies, np.empty(m), np.empty(k, np.int64), np.empty((k, k)), np.empty(k), np.empty(k), np.empty(k)
    )


@inner
def _start(lp: Simplex, target: Floats) -> None:
    for i in range(len(target)):
        lp.basis[i] = i
        for j in range(len(target)):
            lp.inverse[i, j] = 1.0 if i == j else 0.0
        lp.shares[i] = target[i]


@inner
def _price(lp: Simplex) -> None:
    k, m = lp.columns.shape
    for i in range(k):
        lp.potentials[i] = 0.0
        for j in range(k):
            lp.potentials[i] += lp.energies[lp.basis[j]] * lp.inverse[j, i]
    for j in range(m):
        lp.prices[j] = lp.energies[j]
    for i in range(k):
        potential = lp.potentials[i]
        for j in range(m):
            lp.prices[j] -= potential * lp.columns[i, j]


@inner
def _entering(lp: Simplex, banned: int, first: bool) -> int:
    """The column of the most negative price (Dantzig), or the first of a negative one (Bland); -1 at the optimum."""
    chosen, lowest = -1, -PRICE_TOLERANCE
    for j in range(len(lp.prices)):
        if lp.prices[j] < lowest and j != banned:
            chosen, lowest = j, lp.prices[j]
            if first:
                break
    return chosen


@inner
def _leaving(lp: Simplex, enter: int, bland: bool) -> int:
    """The row whose share runs out first; among equals the largest pivot, or Bland's smallest column."""
    k = len(lp.basis)
    chosen, shortest = -1, np.inf
    for i in range(k):
        lp.direction[i] = 0.0
        for j in range(k):
            lp.direction[i] += lp.inverse[i, j] * lp.columns[j, enter]
        if lp.direction[i] <= PIVOT_TOLERANCE:
            continue
        length = max(lp.shares[i], 0.0) / lp.direction[i]
        tied = chosen >= 0 and abs(length - shortest) <= 1e-13
        better = lp.basis[i] < lp.basis[chosen] if bland else lp.direction[i] > lp.direction[chosen]
        if (tied and better) or (not tied and length < shortest):
            chosen, shortest = i, min(length, shortest)
    return chosen


@inner
def _pivot(lp: Simplex, enter: int, leave: int) -> None:
    k = len(lp.basis)
    pivot = lp.direction[leave]
    step = max(lp.shares[leave], 0.0) / pivot
    for j in range(k):
        lp.inverse[leave, j] /= pivot
    for i in range(k):
        if i != leave:
            lp.shares[i] = max(lp.shares[i] - step * lp.direction[i], 0.0)
            for j in range(k):
                lp.inverse[i, j] -= lp.direction[i] * lp.inverse[leave, j]
    lp.shares[leave] = step
    lp.basis[leave] = enter


@inner
def _minimise(lp: Simplex, banned: int) -> None:
    """Pivots to the optimum; Dantzig's rule, and Bland's, which can't cycle, should a degenerate program take long."""
    for step in range(STEP_LIMIT):
        bland = step >= DANTZIG_STEPS
        _price(lp)
        enter = _entering(lp, banned, bland)
        if enter < 0:
            return
        leave = _leaving(lp, enter, bland)
        if leave < 0:
            raise ArithmeticError("a hull program is unbounded")
        _pivot(lp, enter, leave)
    raise ArithmeticError("a hull program doesn't settle")


@inner
def _invert(lp: Simplex) -> None:
    """Inverts the basis afresh: Gauss-Jordan with row pivoting (LAPACK's takes longer to call, and to compile)."""
    k = len(lp.basis)
    work = np.empty((k, k))
    for i in range(k):
        for j in range(k):
            work[i, j] = lp.columns[i, lp.basis[j]]
            lp.inverse[i, j] = 1.0 if i == j else 0.0
    for i in range(k):
        top = i
        for row in range(i + 1, k):
            if abs(work[row, i]) > abs(work[top, i]):
                top = row
        pivot = work[top, i]
        for j in range(k):
            work[top, j], work[i, j] = work[i, j], work[top, j] / pivot
            lp.inverse[top, j], lp.inverse[i, j] = lp.inverse[i, j], lp.inverse[top, j] / pivot
        for row in range(k):
            factor = work[row, i]
            if row != i and factor != 0.0:
                for j in range(k):
                    work[row, j] -= factor * work[i, j]
                    lp.inverse[row, j] -= factor * lp.inverse[i, j]


@inner
def _polish(lp: Simplex, target: Floats) -> float:
    """Solves the final basis afresh, in canonical order: the result depends on the basis, not on the way to it."""
    k = len(target)
    _sort(lp.basis)
    _invert(lp)
    energy = 0.0
    for i in range(k):
        share = 0.0
        for j in range(k):
            share += lp.inverse[i, j] * target[j]
        lp.shares[i] = share if share > 1e-12 else 0.0
        energy += lp.shares[i] * lp.energies[lp.basis[i]]
    _price(lp)
    return energy


@inner
def _add_itself(lp: Simplex, own: int) -> None:
    """Goes on from the competing facet to one of the hull that includes the composition itself."""
    widest = len(lp.basis) - 1
    for i in range(len(lp.basis)):
        if lp.shares[i] > lp.shares[widest]:
            widest = i
    for i in range(len(lp.basis)):
        lp.direction[i] = lp.shares[i]
    _pivot(lp, own, widest)
    _minimise(lp, len(lp.prices))


@inner
def _solve_one(phase: int, lp: Simplex, chosen: Ints, own: int, query: Compositions, out: Solution) -> None:
    begin = query.offsets[phase]
    target = query.fractions[begin : query.offsets[phase + 1]]
    _start(lp, target)
    _minimise(lp, own)
    out.energies[phase] = _polish(lp, target)
    for i in range(len(target)):
        out.basis[begin + i] = chosen[lp.basis[i]]
        out.shares[begin + i] = lp.shares[i]
        out.potentials[begin + i] = lp.potentials[i]
    if own >= 0:
        query.stable[phase] = query.energies[phase] <= out.energies[phase] + STABILITY_TOLERANCE
        if query.stable[phase]:
            _add_itself(lp, own)
    for i in range(len(target)):
        out.facet_potentials[begin + i] = lp.potentials[i]


@inner
def _solve_element(phase: int, query: Compositions, out: Solution) -> None:
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
        if not query.solvable[system]:
            continue
        begin, end = query.system_offsets[system], query.system_offsets[system + 1]
        elements = query.numbers[query.offsets[begin] : query.offsets[begin + 1]]
        if within and len(elements) == 1:
            _solve_element(begin, query, out)
            continue
        chosen = _competitors(elements, query.system_high[system], query.system_low[system], phases, table, within)
        lp = _fill(chosen, elements, phases)
        for phase in range(begin, end):
            own = len(chosen) - (end - phase) if within else -1
            _solve_one(phase, lp, chosen, own, query, out)
