"""The enumeration kernel: chemical systems as the outer loop, amounts as the inner one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from registry.compiled import entry_point, inner
from workers.candidates.compositions.sums import (
    HIGH,
    KINDS,
    LOW,
    PURE,
    UNBALANCED,
    add_element,
    add_states,
    balances_strictly,
    least_between,
)

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bytes = NDArray[np.uint8]
Words = NDArray[np.uint64]

ANY, CATION, ANION = 0, 1, 2
"""Sides of a balance: all states of an element, those from 0 up, those from 0 down."""


@entry_point
def search(
    systems: Ints,
    cursor: Ints,
    states: Ints,
    sides: Ints,
    electronegativities: Floats,
    ordered: bool,
    max_amount: int,
    max_atoms: int,
    most: int,
    words: int,
    found_elements: Bytes,
    found_amounts: Bytes,
    found_between: Bytes,
    counts: Ints,
) -> int:
    """Fill the `found_*` arrays with balanced compositions and return how many there are; fewer than fit: all is done.

    systems: (m, k) places of elements in the tables; cursor: (k + 1,) the system to go on with and the amounts in it
    that come next, moved on here. Tables of e elements: states (e, s), sides (e, 3, 6) as in `sums`,
    electronegativities (e,), nan where unknown. ordered: cations must be less electronegative than anions.
    most: elements that may lie between states. found_elements, found_amounts: (n, k); found_between: (n,).
    counts: (4,) gains the compositions looked at, by elements between (3: unbalanced).
    """
    count = systems.shape[1]
    sets, cuts, least = (
        new_sets(count, words),
        np.zeros((count, count), dtype=np.int64),
        np.zeros(max_amount + 1, np.int64),
    )
    amounts = cursor[1:]
    filled = 0
    while cursor[0] < len(systems):
        system = systems[cursor[0]]
        n_cuts = fill_cuts(cuts, electronegativities, system, ordered)
        changed = 0
        while changed >= 0:
            extend(sets, cuts, n_cuts, system, amounts, changed, states, sides, ordered, most)
            room = min(max_amount, max_atoms - _total(amounts) + amounts[count - 1])
            fill_least(least, room, sets, cuts, n_cuts, system, amounts, states, sides, ordered, most)
            divisor = _common_divisor(amounts)
            for amount in range(amounts[count - 1], room + 1):
                if divisor != 1 and not _coprime(divisor, amount):
                    continue
                between = least[amount]
                if between < UNBALANCED:
                    if filled == len(found_between):
                        amounts[count - 1] = amount
                        return filled
                    for level in range(count):
                        found_elements[filled, level] = system[level]
                        found_amounts[filled, level] = amounts[level]
                    found_amounts[filled, count - 1] = amount
                    found_between[filled] = between
                    filled += 1
                counts[between] += 1
            changed = _next_amounts(amounts, max_amount, max_atoms)
        cursor[0] += 1
        amounts[:] = 1
    return filled


@entry_point
def classify(
    systems: Ints,
    amounts: Ints,
    states: Ints,
    sides: Ints,
    electronegativities: Floats,
    ordered: bool,
    most: int,
    words: int,
    between: Bytes,
) -> None:
    """Fill between, (m,), for given compositions: systems (m, k) places in the tables, amounts (m, k)."""
    count = systems.shape[1]
    sets, cuts = new_sets(count, words), np.zeros((count, count), dtype=np.int64)
    for row in range(len(systems)):
        amount = amounts[row, count - 1]
        least = np.zeros(amount + 1, dtype=np.int64)
        n_cuts = fill_cuts(cuts, electronegativities, systems[row], ordered)
        extend(sets, cuts, n_cuts, systems[row], amounts[row], 0, states, sides, ordered, most)
        fill_least(least, amount, sets, cuts, n_cuts, systems[row], amounts[row], states, sides, ordered, most)
        between[row] = least[amount]


@inner
def new_sets(count: int, words: int) -> Words:
    """Rows for `count` ways to part cations from anions, of `count` rows each: of none to all but one element."""
    sets = np.zeros((count * count + 1, KINDS, words), dtype=np.uint64)
    for cut in range(count):
        sets[cut * count, PURE, words // 2] = np.uint64(1)
    return sets


@inner
def extend(
    sets: Words,
    cuts: Ints,
    n_cuts: int,
    system: Ints,
    amounts: Ints,
    changed: int,
    states: Ints,
    sides: Ints,
    ordered: bool,
    most: int,
) -> None:
    """Bring the sets of all elements but the last up to date, from place `changed` on."""
    count = len(system)
    if not ordered:
        for level in range(changed, count - 1):
            add_states(sets, level, PURE, amounts[level], states, sides, system[level], ANY)
        return
    for cut in range(n_cuts):
        for level in range(changed, count - 1):
            row, side = cut * count + level, cuts[cut, level]
            add_element(sets, row, amounts[level], states, sides, system[level], side, most)


@inner
def fill_least(
    least: Ints,
    room: int,
    sets: Words,
    cuts: Ints,
    n_cuts: int,
    system: Ints,
    amounts: Ints,
    states: Ints,
    sides: Ints,
    ordered: bool,
    most: int,
) -> None:
    """least[n]: how many elements lie between states where there are n atoms, up to `room`, of the last element."""
    end = len(system) - 1
    last = system[end]
    if not ordered:
        _fill_least_of_any_order(least, room, sets, system, amounts, states, sides, most)
        return
    least[1 : room + 1] = UNBALANCED
    for cut in range(n_cuts):
        for amount in range(1, room + 1):
            row, side = cut * (end + 1) + end, cuts[cut, end]
            found = least_between(sets, row, amount, states, sides, last, side, most)
            least[amount] = min(least[amount], found)


@inner
def _fill_least_of_any_order(
    least: Ints, room: int, sets: Words, system: Ints, amounts: Ints, states: Ints, sides: Ints, most: int
) -> None:
    """Without an order of cations and anions, one element between allows all that any number of them would.

    Balances with any number of elements between are a box, cut by one equation, and at a vertex of that all but one
    element are at an end, in a state. So the ranges alone tell whether one is enough.
    """
    end = len(system) - 1
    last = system[end]
    lowest = highest = 0
    for level in range(end):
        lowest += amounts[level] * sides[system[level], ANY, LOW]
        highest += amounts[level] * sides[system[level], ANY, HIGH]
    for amount in range(1, room + 1):
        lowest += sides[last, ANY, LOW]
        highest += sides[last, ANY, HIGH]
        if balances_strictly(sets, end, amount, states, sides, last, ANY):
            least[amount] = 0
        else:
            least[amount] = 1 if most > 0 and lowest <= 0 <= highest else UNBALANCED


@inner
def fill_cuts(cuts: Ints, electronegativities: Floats, system: Ints, ordered: bool) -> int:
    """Fill the rows of `cuts` with the sides of the elements, one row for each way to part cations from anions."""
    count = len(system)
    if not ordered:
        cuts[0, :] = ANY
        return 1
    found = 0
    for lowest in range(count):
        border = electronegativities[system[lowest]]
        if np.isnan(border):
            return 0
        doubled = False
        for earlier in range(lowest):
            doubled = doubled or electronegativities[system[earlier]] == border
        if not doubled:
            for level in range(count):
                cuts[found, level] = CATION if electronegativities[system[level]] < border else ANION
            found += 1
    return found


@inner
def _next_amounts(amounts: Ints, max_amount: int, max_atoms: int) -> int:
    """Raise the last amount but one that has room, and begin anew behind it; its place, -1 where none has."""
    for place in range(len(amounts) - 2, -1, -1):
        amounts[place + 1] = 1
        amounts[place] += 1
        if amounts[place] <= max_amount and _total(amounts) <= max_atoms:
            return place
    return -1


@inner
def _total(amounts: Ints) -> int:
    total = 0
    for place in range(len(amounts)):
        total += amounts[place]
    return total


@inner
def _common_divisor(amounts: Ints) -> int:
    """Of all amounts but the last."""
    divisor = 0
    for place in range(len(amounts) - 1):
        amount = amounts[place]
        while amount and divisor != 1:
            divisor, amount = amount, divisor % amount
    return divisor


@inner
def _coprime(divisor: int, amount: int) -> bool:
    while amount:
        divisor, amount = amount, divisor % amount
    return divisor == 1
