"""What comes and goes in a hull that lives on, compiled: what it reaches is marked, and solved again."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from registry.compiled import entry_point, inner
from registry.hull.phases import BITS, GRID, Flags, Floats, Ints
from registry.hull.programs import Solution, fill, solve_element, solve_one
from registry.hull.simplex import holds
from registry.hull.systems import Compositions, competitors, find_system

REACH = 1e-9
"""eV/atom: a facet that a phase lies no higher than this above is solved again where the phase comes or goes."""


class Live(NamedTuple):
    """A hull that lives on: entries in chains by composition, and what `Compositions` doesn't say.

    keys, entry_energies, next_entry: (n,) by entry
    first_entry, lowest, lowest_key, second, second_energies: (c,); an empty composition has lowest -1, and
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


class Known(NamedTuple):
    """What a composition is called. system, phase: -1 where there is none yet; high, low: the system's masks."""

    system: int
    phase: int
    high: int
    low: int
    weight: float


@entry_point
def identify(numbers: Ints, fractions: Floats, table: Ints, phases: Compositions) -> Known:
    """The system and the composition of a system that lies on the same point of the grid, with its weight."""
    high, low = _mask(numbers, 0, len(numbers))
    system, phase = find_system(high, low, phases, table), -1
    if system >= 0:
        phase = int(phases.first[system])
        while phase >= 0 and not _is_at(phases.offsets[phase], fractions, phases):
            phase = int(phases.next[phase])
    return Known(system, phase, high, low, _weight(numbers, fractions))


@inner
def _is_at(at: int, fractions: Floats, phases: Compositions) -> bool:
    for i in range(len(fractions) - 1):
        if np.rint(phases.fractions[at + i] * GRID) != np.rint(fractions[i] * GRID):
            return False
    return True


@inner
def _weight(numbers: Ints, fractions: Floats) -> float:
    """As `phases.weights`, to the last bit."""
    mixed = np.uint64(0)
    for i in range(len(numbers)):
        mixed += _scattered(np.uint64(np.rint(fractions[i] * GRID)) * np.uint64(128) + np.uint64(numbers[i]))
    return float(_scattered(mixed) >> np.uint64(11)) / 2.0**53


@inner
def _scattered(value: np.uint64) -> np.uint64:
    mixed = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


class Moved(NamedTuple):
    """Compositions that were touched or solved again, and what they were before."""

    phases: Ints
    stable: Flags
    energies: Floats
    lowest_keys: Ints


@entry_point
def resettle(system: int, touched: Ints, table: Ints, live: Live) -> tuple[Ints, Floats]:
    """Ranks the entries of touched compositions of one system, and solves again what that reaches, or was pending.

    Gives (n,) the compositions that were touched or solved, and (n,) eV/atom the energy from which each reaches those
    of larger systems: inf where it wasn't, isn't, or is as before one of their columns.
    """
    phases, n = live.phases, len(touched)
    held = phases.held[system] + n
    moved = Moved(np.empty(held, np.int64), np.empty(held, np.bool_), np.empty(held), np.empty(held, np.int64))
    for i in range(n):
        _note(i, touched[i], moved, live)
        _rank_and_mark(system, touched[i], live)
    first = phases.first[system]
    if first >= 0 and phases.solvable[system]:
        n = _solve_marked(system, first, n, moved, table, live)
    return moved.phases[:n], _reach(n, moved, live)


@inner
def _note(at: int, phase: int, moved: Moved, live: Live) -> None:
    moved.phases[at], moved.stable[at] = phase, live.phases.stable[phase]
    moved.energies[at], moved.lowest_keys[at] = live.phases.energies[phase], live.lowest_key[phase]


@inner
def _reach(n: int, moved: Moved, live: Live) -> Floats:
    reach = np.full(n, np.inf)
    for i in range(n):
        phase = moved.phases[i]
        was, energy, stable = moved.stable[i], live.phases.energies[phase], live.phases.stable[phase]
        same = was == stable and moved.energies[i] == energy and moved.lowest_keys[i] == live.lowest_key[phase]
        if was and not same:
            reach[i] = moved.energies[i]
        if stable and not same:
            reach[i] = min(reach[i], energy)
    return reach


@inner
def _solve_marked(system: int, first: int, n: int, moved: Moved, table: Ints, live: Live) -> int:
    """How many moved: the `n` that were touched and, behind them, what else is solved."""
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
        chosen = competitors(elements, phases.system_high[system], phases.system_low[system], phases, table, True)
    lp = fill(chosen, elements, phases)
    for own in range(len(chosen) - phases.held[system], len(chosen)):
        phase = chosen[own]
        if not live.pending[phase]:
            continue
        if not holds(moved.phases[:touched], phase):
            _note(n, phase, moved, live)
            n += 1
        if len(elements) > 1:
            solve_one(phase, lp, chosen, own, phases, live.out)
        else:
            solve_element(phase, phases, live.out)
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
    high, low = _mask(phases.numbers, begin, size)
    found, count = np.empty(16, np.int64), 0
    for system in systems:
        if phases.system_low[system] & low != low or phases.system_high[system] & high != high:
            continue
        other = phases.first[system]
        if other < 0 or phases.sizes[other] == size or not phases.solvable[system]:
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
def _mask(numbers: Ints, begin: int, size: int) -> tuple[int, int]:
    """The two words of numbers[begin:begin + size], as `phases.masks`."""
    high, low = np.int64(0), np.int64(0)
    for i in range(begin, begin + size):
        bit = np.int64(1) << ((numbers[i] - 1) % BITS)
        if numbers[i] > BITS:
            high |= bit
        else:
            low |= bit
    return int(high), int(low)


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
