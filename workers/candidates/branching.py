"""Branch and bound over the fillings of slots: the kernel of every mode of ionic substitution.

Slot by slot, each slot's options from the likeliest down: the first that falls below the threshold ends the slot. What
remains can add at most its best options, and at most so much charge in either direction.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from registry.compiled import entry_point, inner

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

ROUNDING = 1e-12
"""By how much a product may change with the order of its factors."""


class Options(NamedTuple):
    """What may fill s slots: (s, m) arrays, each slot's options by descending probability; unused ones have 0.

    identities: options of one identity exclude each other, unless their slots are kin.
    charges: on all sites of the slot.  replaced: 1 where the option isn't what the parent has there.
    kin: (s,).
    """

    probabilities: Floats
    identities: Ints
    charges: Ints
    replaced: Ints
    kin: Ints


class Bounds(NamedTuple):
    """threshold: least probability; strict: a probability must be larger than it.

    most_replaced: slots that may change; balanced: charges must add up to 0.
    """

    threshold: float
    strict: bool
    most_replaced: int
    balanced: bool


def fillings(options: Options, bounds: Bounds) -> tuple[Ints, Floats]:
    """(k, s) which option fills each slot, and (k,) the products, multiplied from the first slot to the last."""
    choices, products, count = _fillings(options, bounds, 1 << 10)
    if count > len(products):
        choices, products, count = _fillings(options, bounds, count)
    return choices[:count], products[:count]


@entry_point
def _fillings(options: Options, bounds: Bounds, room: int) -> tuple[Ints, Floats, int]:
    """As many as there is room for, and how many there are."""
    slots = len(options.kin)
    best, lowest, highest = _remaining(options)
    choices, products = np.empty((room, slots), np.int64), np.empty(room)
    chosen = np.full(slots, -1, np.int64)
    product, charge, changed = np.ones(slots + 1), np.zeros(slots + 1, np.int64), np.zeros(slots + 1, np.int64)
    count, depth = 0, 0
    while depth >= 0:
        if depth == slots:
            if count < room:
                choices[count], products[count] = chosen, product[depth]
            count += 1
            depth -= 1
            continue
        chosen[depth] += 1
        option = chosen[depth]
        if option == options.probabilities.shape[1] or not _likely(
            product[depth] * options.probabilities[depth, option], best[depth + 1], bounds
        ):
            chosen[depth] = -1
            depth -= 1
            continue
        product[depth + 1] = product[depth] * options.probabilities[depth, option]
        charge[depth + 1] = charge[depth] + options.charges[depth, option]
        changed[depth + 1] = changed[depth] + options.replaced[depth, option]
        if changed[depth + 1] > bounds.most_replaced or _taken(options, chosen, depth):
            continue
        if bounds.balanced and not lowest[depth + 1] <= -charge[depth + 1] <= highest[depth + 1]:
            continue
        depth += 1
    return choices, products, count


@inner
def _likely(product: float, best: float, bounds: Bounds) -> bool:
    """Whether a product that the remaining slots multiply by at most `best` may pass; exact where none remain."""
    slack = 0.0 if best == 1.0 else ROUNDING
    most = product * best * (1 + slack)
    return product > 0 and (most > bounds.threshold or (most == bounds.threshold and not bounds.strict))


@inner
def _taken(options: Options, chosen: Ints, depth: int) -> bool:
    identity = options.identities[depth, chosen[depth]]
    for earlier in range(depth):
        if options.kin[earlier] != options.kin[depth] and options.identities[earlier, chosen[earlier]] == identity:
            return True
    return False


@inner
def _remaining(options: Options) -> tuple[Floats, Ints, Ints]:
    """Entry d: the largest product, the lowest and the highest charge of slots d, d+1, ..."""
    slots, most = options.probabilities.shape
    best, lowest, highest = np.ones(slots + 1), np.zeros(slots + 1, np.int64), np.zeros(slots + 1, np.int64)
    for slot in range(slots - 1, -1, -1):
        low, high = np.int64(1 << 30), np.int64(-(1 << 30))
        for option in range(most):
            if options.probabilities[slot, option] > 0:
                low, high = min(low, options.charges[slot, option]), max(high, options.charges[slot, option])
        best[slot] = best[slot + 1] * options.probabilities[slot, 0]
        lowest[slot], highest[slot] = lowest[slot + 1] + low, highest[slot + 1] + high
    return best, lowest, highest
