"""Chemical systems and their compositions, compiled: which compete with a composition."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from registry.compiled import entry_point, inner
from registry.hull.phases import Flags, Floats, Ints


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


@inner
def find_system(high: int, low: int, phases: Compositions, table: Ints) -> int:
    """-1 where it isn't entered."""
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
        sub_high, sub_low = high & 0, low & 0  # a literal 0 handed on would have `find_system` compiled twice
        for i in range(k):
            if subset >> i & 1:
                if elements[i] > 62:
                    sub_high |= 1 << ((elements[i] - 1) % 62)
                else:
                    sub_low |= 1 << (elements[i] - 1)
        system = find_system(sub_high, sub_low, phases, table)
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
def competitors(elements: Ints, high: int, low: int, phases: Compositions, table: Ints, whole: bool) -> Ints:
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
