"""Which total charges a composition can have, as sets of bits.

Element after element is added. Four sets of total charges are kept, in words of 64 bits, charge 0 in the middle:

    PURE   whole charges that are reached with every element in one of its states
    ONE    whole charges that are reached with one element between two neighbouring states
    CELLS  bit q: all charges strictly between q and q + 1 are reached with one element between
    TWO    whole charges that are reached with two elements between

An element between states reaches an open interval with whole ends, so what one reaches is a union of whole charges and
of cells; of what two reach, only whole charges can become zero by whole states.

`sets` is (rows, 4, w) everywhere, one row for each number of elements added; no kernel takes a part of an array, which
would cost more than what it is taken for.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from registry.compiled import inner

PURE, ONE, CELLS, TWO = 0, 1, 2, 3
KINDS = 4
UNBALANCED = 3
FIRST, LAST, LOW, HIGH, LOW_REACHED, HIGH_REACHED = 0, 1, 2, 3, 4, 5
"""Of an element on one side of the balance: its states there are [FIRST:LAST]; between states it reaches LOW to HIGH,
the ends themselves only where *_REACHED is 1."""

Words = NDArray[np.uint64]
Ints = NDArray[np.int64]


def words_for(largest: int) -> int:
    """How many words hold the charges from -largest to largest."""
    return 2 * (largest // 64 + 1)


@inner
def add_element(
    sets: Words, row: int, amount: int, states: Ints, sides: Ints, element: int, side: int, most: int
) -> None:
    """Make row + 1 of the sets from `row`: `amount` atoms of one element more, up to `most` elements between.

    states: (e, s), sides: (e, 3, 6) of all elements, of which `element` is added on `side`.
    """
    for kind in range(1 if most == 0 else 2 * most):
        add_states(sets, row, kind, amount, states, sides, element, side)
    if most > 0:
        low, high = amount * sides[element, side, LOW], amount * sides[element, side, HIGH]
        low_reached, high_reached = sides[element, side, LOW_REACHED], sides[element, side, HIGH_REACHED]
        _add_spread(sets, row, ONE, PURE, low + 1 - low_reached, high - 1 + high_reached)
        if most > 1:
            _add_spread(sets, row, CELLS, PURE, low, high - 1)
            _add_spread(sets, row, TWO, CELLS, low + 1, high)
            if low_reached or high_reached:
                _add_moved(sets, row + 1, TWO, row, ONE, 0)


@inner
def add_states(
    sets: Words, row: int, kind: int, amount: int, states: Ints, sides: Ints, element: int, side: int
) -> None:
    """Make one set of row + 1 from that of `row`, with the element in each of its states."""
    for word in range(sets.shape[2]):
        sets[row + 1, kind, word] = np.uint64(0)
    for place in range(sides[element, side, FIRST], sides[element, side, LAST]):
        _add_moved(sets, row + 1, kind, row, kind, amount * states[element, place])


@inner
def balances_strictly(sets: Words, row: int, amount: int, states: Ints, sides: Ints, element: int, side: int) -> bool:
    """Whether `amount` atoms of a last element, in one of its states, balance a charge of `row`."""
    return _meets(sets, row, PURE, amount, states, sides, element, side)


@inner
def least_between(
    sets: Words, row: int, amount: int, states: Ints, sides: Ints, element: int, side: int, most: int
) -> int:
    """How many elements must lie between states when `amount` atoms of a last element balance a charge of `row`;
    UNBALANCED where it is more than `most`."""
    if _meets(sets, row, PURE, amount, states, sides, element, side):
        return 0
    middle = 32 * sets.shape[2]
    low, high = amount * sides[element, side, LOW], amount * sides[element, side, HIGH]
    low_reached, high_reached = sides[element, side, LOW_REACHED], sides[element, side, HIGH_REACHED]
    if most > 0:
        if _meets(sets, row, ONE, amount, states, sides, element, side):
            return 1
        if _holds_any(sets, row, PURE, middle - high + 1 - high_reached, middle - low - 1 + low_reached):
            return 1
    if most > 1:
        if _meets(sets, row, TWO, amount, states, sides, element, side):
            return 2
        if _holds_any(sets, row, CELLS, middle - high, middle - low - 1):
            return 2
        if (low_reached or high_reached) and _holds(sets, row, ONE, middle):
            return 2
    return UNBALANCED


@inner
def _meets(sets: Words, row: int, kind: int, amount: int, states: Ints, sides: Ints, element: int, side: int) -> bool:
    middle = 32 * sets.shape[2]
    for place in range(sides[element, side, FIRST], sides[element, side, LAST]):
        at = middle - amount * states[element, place]
        if sets[row, kind, at >> 6] >> np.uint64(at & 63) & np.uint64(1):
            return True
    return False


@inner
def _holds(sets: Words, row: int, kind: int, place: int) -> bool:
    return bool(sets[row, kind, place >> 6] >> np.uint64(place & 63) & np.uint64(1))


@inner
def _holds_any(sets: Words, row: int, kind: int, first: int, last: int) -> bool:
    """Any bit from first to last, both included."""
    if last < first:
        return False
    for word in range(first >> 6, (last >> 6) + 1):
        seen = sets[row, kind, word]
        if word == first >> 6:
            seen &= ~np.uint64(0) << np.uint64(first & 63)
        if word == last >> 6:
            seen &= ~np.uint64(0) >> np.uint64(63 - (last & 63))
        if seen:
            return True
    return False


@inner
def _add_moved(sets: Words, to_row: int, to_kind: int, row: int, kind: int, by: int) -> None:
    """Add to one set the charges of another, higher by `by`."""
    words = sets.shape[2]
    whole, part = by >> 6, np.uint64(by & 63)
    for word in range(words):
        low = word - whole
        moved = np.uint64(0)
        if 0 <= low < words:
            moved = sets[row, kind, low] << part
        if 0 < low <= words:
            moved |= sets[row, kind, low - 1] >> (np.uint64(63) - part) >> np.uint64(1)
        sets[to_row, to_kind, word] |= moved


@inner
def _add_spread(sets: Words, row: int, to_kind: int, kind: int, first: int, last: int) -> None:
    """Add to a set of row + 1 the charges of one of `row`, higher by each of first to last, both included.

    The last row of `sets` is scratch.
    """
    if last < first:
        return
    spare = len(sets) - 1
    for word in range(sets.shape[2]):
        sets[spare, PURE, word] = np.uint64(0)
    _add_moved(sets, spare, PURE, row, kind, first)
    reached = 1
    while reached < last - first + 1:
        step = min(reached, last - first + 1 - reached)
        _smear(sets, spare, step)
        reached += step
    _add_moved(sets, row + 1, to_kind, spare, PURE, 0)


@inner
def _smear(sets: Words, row: int, by: int) -> None:
    """Add to the first set of a row its own charges, higher by `by`."""
    whole, part = by >> 6, by & 63
    for word in range(sets.shape[2] - 1, whole - 1, -1):
        moved = sets[row, PURE, word - whole] << np.uint64(part)
        if part and word > whole:
            moved |= sets[row, PURE, word - whole - 1] >> np.uint64(64 - part)
        sets[row, PURE, word] |= moved
