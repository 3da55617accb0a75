"""Which Wyckoff positions can hold a composition: counted, and drawn, without a single vain trial.

A choice gives every element a multiset of positions with the right number of sites; a position without free
parameters has one place only, so it is taken once, by one element. Choices that differ by a shift of the origin count
as different. Each has the weight `per_set` to the power of its number of sets of equivalent sites: 1 draws uniformly,
less prefers few sets.

Both sums of weights are dynamic programs. Over positions with free parameters elements don't meet: the ways to fill n
sites of one element. Over those without, the state is how many atoms of each element are still without a site.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from registry.compiled import entry_point, inner
from workers.candidates.random_search.stream import State, below
from workers.candidates.random_search.wyckoff import Floats, Ints, SpaceGroup


@dataclass(frozen=True, eq=False)
class Choices:
    """All choices for one space group and one content of the primitive cell.

    elements: (k,) atomic numbers; atoms: (k,) of each
    single: (s,) positions without free parameters; free: (f,) those with
    ways: (s + 1, states) weight of the choices left from a position on; ways_free: (f + 1, most + 1) the same for one
        element and the free positions
    per_set: weight of each set of equivalent sites
    """

    group: SpaceGroup
    elements: Ints
    atoms: Ints
    single: Ints
    free: Ints
    ways: Floats
    ways_free: Floats
    per_set: float

    @property
    def weight(self) -> float:
        """Of all together; with a `per_set` of 1, how many there are (exact up to 2**53)."""
        return float(self.ways[0, -1])

    def draw(self, state: State) -> tuple[Ints, Ints]:
        """One of them: (o,) positions and (o,) places in `elements`, one a set of equivalent sites."""
        return _draw(
            self.group.multiplicities,
            self.atoms,
            self.single,
            self.free,
            self.ways,
            self.ways_free,
            self.per_set,
            state,
        )


def choices(group: SpaceGroup, amounts: Mapping[int, int], per_set: float = 1.0) -> Choices:
    """The choices for the atoms of one primitive cell (atomic number -> atoms)."""
    elements = np.array(sorted(amounts), dtype=np.int64)
    atoms = np.array([amounts[number] for number in elements.tolist()], dtype=np.int64)
    fits = group.multiplicities <= atoms.max()
    single = np.flatnonzero(fits & (group.freedom == 0))
    free = np.flatnonzero(fits & (group.freedom > 0))
    ways_free = _count_free(group.multiplicities[free], int(atoms.max()), per_set)
    ways = _count(group.multiplicities[single], atoms, ways_free[0], per_set)
    return Choices(group, elements, atoms, single, free, ways, ways_free, per_set)


@entry_point
def _count_free(multiplicities: Ints, most: int, per_set: float) -> Floats:
    """(f + 1, most + 1): by what weight of ways n sites are made up of the positions from one on."""
    last = len(multiplicities)
    ways = np.zeros((last + 1, most + 1))
    ways[last, 0] = 1.0
    for position in range(last - 1, -1, -1):
        size = multiplicities[position]
        for sites in range(most + 1):
            ways[position, sites] = ways[position + 1, sites]
            if sites >= size:
                ways[position, sites] += per_set * ways[position, sites - size]
    return ways


@entry_point
def _count(multiplicities: Ints, atoms: Ints, filled: Floats, per_set: float) -> Floats:
    """(s + 1, states): the same for all elements, where `filled` says what the other positions can do for one.

    A state is the number whose digits, to the bases atoms + 1, are the atoms without a site.
    """
    last, states = len(multiplicities), 1
    for number in atoms:
        states *= number + 1
    ways = np.ones((last + 1, states))
    for state in range(states):
        rest = state
        for number in atoms:
            ways[last, state] *= filled[rest % (number + 1)]
            rest //= number + 1
    for position in range(last - 1, -1, -1):
        size = multiplicities[position]
        for state in range(states):
            ways[position, state] = ways[position + 1, state]
            rest, stride = state, 1
            for number in atoms:
                if rest % (number + 1) >= size:
                    ways[position, state] += per_set * ways[position + 1, state - size * stride]
                rest //= number + 1
                stride *= number + 1
    return ways


@entry_point
def _draw(
    multiplicities: Ints,
    atoms: Ints,
    single: Ints,
    free: Ints,
    ways: Floats,
    ways_free: Floats,
    per_set: float,
    random: State,
) -> tuple[Ints, Ints]:
    positions = np.empty(atoms.sum(), dtype=np.int64)
    holders = np.empty(atoms.sum(), dtype=np.int64)
    found, state = 0, ways.shape[1] - 1
    for place in range(len(single)):
        holder, taken = _holder(atoms, multiplicities[single[place]], ways[place + 1], state, per_set, random)
        if holder >= 0:
            positions[found], holders[found] = single[place], holder
            found += 1
            state -= taken
    for element in range(len(atoms)):
        left, place = state % (atoms[element] + 1), 0
        state //= atoms[element] + 1
        while left:
            if below(random, ways_free[place, left]) < ways_free[place + 1, left]:
                place += 1
                continue
            positions[found], holders[found] = free[place], element
            found += 1
            left -= multiplicities[free[place]]
    return positions[:found].copy(), holders[:found].copy()


@inner
def _holder(atoms: Ints, size: int, after: Floats, state: int, per_set: float, random: State) -> tuple[int, int]:
    """Who takes a position of that size (-1: nobody), and by how much the state falls.

    after: (states,) choices left once it is settled. Sums are rounded, so the last option of all is always possible.
    """
    total, rest, stride = after[state], state, 1
    for number in atoms:
        if rest % (number + 1) >= size:
            total += per_set * after[state - size * stride]
        rest //= number + 1
        stride *= number + 1
    dice = below(random, total) - after[state]
    holder, taken, rest, stride = -1, 0, state, 1
    for element in range(len(atoms)):
        if dice < 0:
            break
        if rest % (atoms[element] + 1) >= size and after[state - size * stride] > 0:
            holder, taken = element, size * stride
            dice -= per_set * after[state - size * stride]
        rest //= atoms[element] + 1
        stride *= atoms[element] + 1
    return holder, taken
