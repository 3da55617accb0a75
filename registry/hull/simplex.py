"""Revised simplex over small compositions, compiled: one linear program per composition.

    minimise    sum_j x_j e_j        e_j: energy per atom of competing phase j
    subject to  sum_j x_j a_j = b    a_j, b: atomic fractions over the elements of b's chemical system
                x >= 0               x_j: share of b's atoms that goes into phase j

The pure elements are the first basis, so that no first phase is needed. The duals are the chemical potentials. Chemical
systems are solved from small to large: a phase that is not stable in its own system can't be part of a hull above it.

Of several optimal bases one is meant, whichever way led there: that of energies e_j + eps w_j and amounts b + delta v,
with eps, delta -> 0, fixed weights w_j of the phases and v of the elements. So a program's result depends on the phases
that compete and on nothing else, and one that a new phase can't enter needn't be solved again.
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
WEIGHT_TOLERANCE = 1e-9
SHARE_TOLERANCE = 1e-12
TIE = 1e-13
REACH = 1e-9
"""eV/atom: a facet that a phase lies no higher than this above is solved again where the phase comes or goes."""
DANTZIG_STEPS = 200
STEP_LIMIT = 20_000


class Compositions(NamedTuple):
    """Compositions by chemical system; and which of them take part.

    system_high, system_low, solvable, first, held: (s,); a system's `held` phases are `first` and what `next` leads to
    offsets, next: (c,); phase p holds numbers[offsets[p]:offsets[p] + sizes[p]] and as many fractions
    energies, weights, stable: (c,)
    """

    system_high: Ints
    system_low: Ints
    first: Ints
    held: Ints
    solvable: Flags
    next: Ints
    offsets: Ints
    sizes: Ints
    numbers: Ints
    fractions: Floats
    energies: Floats
    weights: Floats
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

    columns: (k, m); energies, weights, prices: (m,); basis: (k,) columns in the basis; inverse: (k, k) of the basis
    tilt: (k,) the elements' weights; shares, tilted: (k,) of the amounts and of the tilt; potentials, direction: (k,)
    """

    columns: Floats
    energies: Floats
    weights: Floats
    prices: Floats
    basis: Ints
    inverse: Floats
    tilt: Floats
    shares: Floats
    tilted: Floats
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


@entry_point
def insert_system(table: Ints, high: Ints, low: Ints, system: int) -> None:
    """Enters a further system; the table must have room, and not hold it yet."""
    slot = _slot(high[system], low[system], len(table))
    while table[slot] >= 0:
        slot = (slot + 1) & (len(table) - 1)
    table[slot] = system


@entry_point
def find_system(table: Ints, high: Ints, low: Ints, wanted_high: int, wanted_low: int) -> int:
    """-1 where it isn't entered."""
    slot = _slot(wanted_high, wanted_low, len(table))
    while table[slot] >= 0 and not (high[table[slot]] == wanted_high and low[table[slot]] == wanted_low):
        slot = (slot + 1) & (len(table) - 1)
    return int(table[slot])


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
def _subsystems(elements: Ints, high: int, low: int, phases: Compositions, table: Ints) -> Ints:
    """Every known system within these elements: by look-up or by scan, whichever is less work."""
    k, systems = len(elements), len(phases.system_low)
    found = np.empty(systems if k > 30 else min(systems, 1 << k), np.int64)
    count = 0
    if k > 30 or (1 << k) > systems:
        for system in range(systems):
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
    return found[:count]


@inner
def _position(values: Ints, value: int) -> int:
    at = 0
    while values[at] != value:
        at += 1
    return at


@inner
def _competitors(elements: Ints, high: int, low: int, phases: Compositions, table: Ints, whole: bool) -> Ints:
    """The phases of a program: elements first, in order; then stable ones; `whole`: all of the own system come last."""
    systems = _subsystems(elements, high, low, phases, table)
    total = 0
    for system in systems:
        total += phases.held[system]
    chosen, count, own = np.empty(total, np.int64), len(elements), -1
    for system in systems:
        phase = phases.first[system]
        if phase < 0:
            continue
        if phases.sizes[phase] == 1:
            chosen[_position(elements, phases.numbers[phases.offsets[phase]])] = phase
        elif whole and phases.system_high[system] == high and phases.system_low[system] == low:
            own = phase
        else:
            while phase >= 0:
                if phases.stable[phase]:
                    chosen[count] = phase
                    count += 1
                phase = phases.next[phase]
    while own >= 0:
        chosen[count] = own
        count += 1
        own = phases.next[own]
    return chosen[:count]


@inner
def _fill(chosen: Ints, elements: Ints, phases: Compositions) -> Simplex:
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
    basis, inverse, prices = np.empty(k, np.int64), np.empty((k, k)), np.empty(m)
    shares, tilted, potentials, direction = np.empty(k), np.empty(k), np.empty(k), np.empty(k)
    return Simplex(columns, energies, weights, prices, basis, inverse, tilt, shares, tilted, potentials, direction)


@inner
def _start(lp: Simplex, target: Floats) -> None:
    for i in range(len(target)):
        lp.basis[i] = i
        for j in range(len(target)):
            lp.inverse[i, j] = 1.0 if i == j else 0.0
        lp.shares[i], lp.tilted[i] = target[i], lp.tilt[i]


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
def _entering_tie(lp: Simplex, banned: int) -> int:
    """Of the columns that cost nothing to take in, the one that lowers the weight most; -1 where none does."""
    chosen, lowest, k = -1, -WEIGHT_TOLERANCE, len(lp.basis)
    for j in range(len(lp.prices)):
        if lp.prices[j] > PRICE_TOLERANCE or j == banned or _holds(lp.basis, j):
            continue
        weight = lp.weights[j]
        for i in range(k):
            share = 0.0
            for row in range(k):
                share += lp.inverse[i, row] * lp.columns[row, j]
            weight -= share * lp.weights[lp.basis[i]]
        if weight < lowest:
            chosen, lowest = j, weight
    return chosen


@inner
def _holds(values: Ints, value: int) -> bool:
    found = False
    for one in values:
        found = found or one == value
    return found


@inner
def _leaving(lp: Simplex, enter: int) -> int:
    """The row whose share runs out first; among equals the one whose share of the tilt does. That can't cycle."""
    k = len(lp.basis)
    chosen, shortest, soonest = -1, np.inf, np.inf
    for i in range(k):
        lp.direction[i] = 0.0
        for j in range(k):
            lp.direction[i] += lp.inverse[i, j] * lp.columns[j, enter]
        if lp.direction[i] <= PIVOT_TOLERANCE:
            continue
        length = (lp.shares[i] if lp.shares[i] > SHARE_TOLERANCE else 0.0) / lp.direction[i]
        tilted = lp.tilted[i] / lp.direction[i]
        if length < shortest - TIE or (length <= shortest + TIE and tilted < soonest):
            chosen, soonest = i, tilted
            shortest = min(length, shortest)
    return chosen


@inner
def _pivot(lp: Simplex, enter: int, leave: int) -> None:
    k = len(lp.basis)
    pivot = lp.direction[leave]
    step, tilted = max(lp.shares[leave], 0.0) / pivot, lp.tilted[leave] / pivot
    for j in range(k):
        lp.inverse[leave, j] /= pivot
    for i in range(k):
        if i != leave:
            lp.shares[i] = max(lp.shares[i] - step * lp.direction[i], 0.0)
            lp.tilted[i] -= tilted * lp.direction[i]
            for j in range(k):
                lp.inverse[i, j] -= lp.direction[i] * lp.inverse[leave, j]
    lp.shares[leave], lp.tilted[leave] = step, tilted
    lp.basis[leave] = enter


@inner
def _minimise(lp: Simplex, banned: int) -> None:
    """Pivots to the optimum that is meant: Dantzig's rule, or the first column that helps if a program takes long."""
    for step in range(STEP_LIMIT):
        _price(lp)
        enter = _entering(lp, banned, step >= DANTZIG_STEPS)
        if enter < 0:
            enter = _entering_tie(lp, banned)
        if enter < 0:
            return
        leave = _leaving(lp, enter)
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
    """Solves the final basis afresh, in the order of its weights: the result depends on the basis, not on the way."""
    k = len(target)
    _sort_by_weight(lp)
    _invert(lp)
    energy = 0.0
    for i in range(k):
        share, tilted = 0.0, 0.0
        for j in range(k):
            share += lp.inverse[i, j] * target[j]
            tilted += lp.inverse[i, j] * lp.tilt[j]
        lp.shares[i] = share if share > SHARE_TOLERANCE else 0.0
        lp.tilted[i] = tilted
        energy += lp.shares[i] * lp.energies[lp.basis[i]]
    _price(lp)
    return energy


@inner
def _sort_by_weight(lp: Simplex) -> None:
    for i in range(1, len(lp.basis)):
        column, j = lp.basis[i], i
        while j > 0 and lp.weights[lp.basis[j - 1]] > lp.weights[column]:
            lp.basis[j] = lp.basis[j - 1]
            j -= 1
        lp.basis[j] = column


@inner
def _add_itself(lp: Simplex, own: int, target: Floats) -> None:
    """Goes on from the competing facet to one of the hull that includes the composition itself."""
    _pivot(lp, own, _leaving(lp, own))
    _minimise(lp, len(lp.prices))
    _polish(lp, target)


@inner
def _solve_one(phase: int, lp: Simplex, chosen: Ints, own: int, query: Compositions, out: Solution) -> None:
    begin = query.offsets[phase]
    target = query.fractions[begin : begin + query.sizes[phase]]
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
            _add_itself(lp, own, target)
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
        _solve_element(phase, query, out)
        return
    chosen = _competitors(elements, query.system_high[system], query.system_low[system], phases, table, within)
    lp = _fill(chosen, elements, phases)
    own = len(chosen) - query.held[system] if within else -1
    while phase >= 0:
        _solve_one(phase, lp, chosen, own, query, out)
        own = own + 1 if within else -1
        phase = query.next[phase]


class Live(NamedTuple):
    """A hull that lives on: entries in chains by composition, and what `Compositions` doesn't say.

    keys, entry_energies, next_entry: (n,) by entry
    first_entry, lowest, lowest_key, second, second_energies, system_of: (c,); an empty composition has lowest -1, and
    isn't linked to its system. pending: (c,) to be solved again
    """

    keys: Ints
    entry_energies: Floats
    next_entry: Ints
    first_entry: Ints
    lowest: Ints
    lowest_key: Ints
    second: Ints
    second_energies: Floats
    pending: Flags
    phases: Compositions
    out: Solution


class Moved(NamedTuple):
    """Compositions that were touched or solved again, with what they were before."""

    phases: Ints
    stable: Flags
    energies: Floats
    lowest_keys: Ints


@entry_point
def find_phase(system: int, fractions: Floats, grid: int, phases: Compositions) -> int:
    """The composition of a system that lies on the same point of the grid, or -1."""
    phase = phases.first[system]
    while phase >= 0:
        same, at = True, phases.offsets[phase]
        for i in range(len(fractions) - 1):
            same = same and np.rint(phases.fractions[at + i] * grid) == np.rint(fractions[i] * grid)
        if same:
            return int(phase)
        phase = phases.next[phase]
    return -1


@entry_point
def resettle(system: int, touched: Ints, table: Ints, live: Live) -> Moved:
    """Ranks the entries of touched compositions of one system, and solves again what that reaches, or was pending."""
    phases, n = live.phases, len(touched)
    held = phases.held[system] + n
    moved = Moved(np.empty(held, np.int64), np.empty(held, np.bool_), np.empty(held), np.empty(held, np.int64))
    for i in range(n):
        moved.phases[i], moved.stable[i] = touched[i], phases.stable[touched[i]]
        moved.energies[i], moved.lowest_keys[i] = phases.energies[touched[i]], live.lowest_key[touched[i]]
        _rank_and_mark(system, touched[i], live)
    first = phases.first[system]
    if first >= 0 and phases.solvable[system]:
        n = _solve_marked(system, first, n, moved, table, live)
    return Moved(moved.phases[:n], moved.stable[:n], moved.energies[:n], moved.lowest_keys[:n])


@inner
def _solve_marked(system: int, first: int, n: int, moved: Moved, table: Ints, live: Live) -> int:
    phases, touched, any_marked = live.phases, n, False
    phase = first
    while phase >= 0:
        any_marked = any_marked or live.pending[phase]
        phase = phases.next[phase]
    if not any_marked:
        return n
    elements = phases.numbers[phases.offsets[first] : phases.offsets[first] + phases.sizes[first]]
    chosen = np.empty(1, np.int64)
    chosen[0] = first
    if len(elements) > 1:
        chosen = _competitors(elements, phases.system_high[system], phases.system_low[system], phases, table, True)
    lp = _fill(chosen, elements, phases)
    for own in range(len(chosen) - phases.held[system], len(chosen)):
        phase = chosen[own]
        if not live.pending[phase]:
            continue
        if not _holds(moved.phases[:touched], phase):
            moved.phases[n], moved.stable[n] = phase, phases.stable[phase]
            moved.energies[n], moved.lowest_keys[n] = phases.energies[phase], live.lowest_key[phase]
            n += 1
        if len(elements) > 1:
            _solve_one(phase, lp, chosen, own, phases, live.out)
        else:
            _solve_element(phase, phases, live.out)
        live.pending[phase] = False
    return n


@inner
def _rank_and_mark(system: int, phase: int, live: Live) -> None:
    """Finds the lowest entries of a composition; where the lowest is another one, marks what is to be solved again."""
    phases = live.phases
    was_empty, key, energy = live.lowest[phase] < 0, live.lowest_key[phase], phases.energies[phase]
    _rank(phase, live)
    is_empty = live.lowest[phase] < 0
    if is_empty and not was_empty:
        _unlink(system, phase, phases)
        phases.stable[phase], live.pending[phase] = False, False
    if was_empty and not is_empty:
        phases.next[phase] = phases.first[system]
        phases.first[system] = phase
        phases.held[system] += 1
    if was_empty == is_empty and key == live.lowest_key[phase] and energy == phases.energies[phase]:
        return
    live.pending[phase] = not is_empty
    reach, begin, other = min(energy, phases.energies[phase]), phases.offsets[phase], phases.first[system]
    while other >= 0:
        if other != phase and _reaches(reach, begin, phases.sizes[phase], phases.offsets[other], phases, live.out):
            live.pending[other] = True
        other = phases.next[other]


@inner
def _rank(phase: int, live: Live) -> None:
    """The lowest entry and the second lowest, at equal energies by their keys."""
    lowest, second = -1, -1
    row = live.first_entry[phase]
    while row >= 0:
        if lowest < 0 or _before(row, lowest, live):
            lowest, second = row, lowest
        elif second < 0 or _before(row, second, live):
            second = row
        row = live.next_entry[row]
    live.lowest[phase], live.second[phase] = lowest, second
    live.lowest_key[phase] = live.keys[lowest] if lowest >= 0 else 0
    live.phases.energies[phase] = live.entry_energies[lowest] if lowest >= 0 else np.inf
    live.second_energies[phase] = live.entry_energies[second] if second >= 0 else np.inf


@inner
def _before(row: int, other: int, live: Live) -> bool:
    one, two = live.entry_energies[row], live.entry_energies[other]
    return bool(one < two or (one == two and live.keys[row] < live.keys[other]))


@inner
def _unlink(system: int, phase: int, phases: Compositions) -> None:
    at = phases.first[system]
    if at == phase:
        phases.first[system] = phases.next[phase]
    else:
        while phases.next[at] != phase:
            at = phases.next[at]
        phases.next[at] = phases.next[phase]
    phases.next[phase] = -1
    phases.held[system] -= 1


@entry_point
def reached_by(phase: int, energy: float, systems: Ints, phases: Compositions, out: Solution) -> Ints:
    """Solved compositions of larger systems whose facets a phase of that energy reaches or undercuts.

    systems: where to look; those that don't hold all elements of the phase, and more, are passed over.
    """
    begin, size = phases.offsets[phase], phases.sizes[phase]
    high, low = _mask(begin, size, phases)
    found, count = np.empty(16, np.int64), 0
    for system in systems:
        other = phases.first[system]
        within = phases.system_high[system] & high == high and phases.system_low[system] & low == low
        if not within or other < 0 or phases.sizes[other] == size or not phases.solvable[system]:
            continue
        while other >= 0:
            if _reaches(energy, begin, size, phases.offsets[other], phases, out):
                if count == len(found):
                    found = np.append(found, found)
                found[count] = other
                count += 1
            other = phases.next[other]
    return found[:count]


@inner
def _mask(begin: int, size: int, phases: Compositions) -> tuple[np.int64, np.int64]:
    high, low = np.int64(0), np.int64(0)
    for i in range(begin, begin + size):
        bit = np.int64(1) << ((phases.numbers[i] - 1) % 62)
        if phases.numbers[i] > 62:
            high |= bit
        else:
            low |= bit
    return high, low


@inner
def _reaches(energy: float, begin: int, size: int, at: int, phases: Compositions, out: Solution) -> bool:
    """Whether a price is at most REACH under the potentials of the competing facet or of the hull's; never unsolved."""
    competing, facet = energy, energy
    for i in range(begin, begin + size):
        while phases.numbers[at] != phases.numbers[i]:
            at += 1
        competing -= out.potentials[at] * phases.fractions[i]
        facet -= out.facet_potentials[at] * phases.fractions[i]
    return bool(competing <= REACH or facet <= REACH)
