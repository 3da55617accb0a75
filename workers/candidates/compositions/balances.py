"""How a composition balances: each element's state, or the two neighbouring states that it lies between."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from registry.compiled import entry_point, inner
from registry.identity.composition import SYMBOLS
from workers.candidates.compositions.search import ANION, ANY, CATION, fill_cuts
from workers.candidates.compositions.sums import FIRST, LAST

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bytes = NDArray[np.uint8]
Charges = NDArray[np.int8]

LOWEST, HIGHEST, OPEN_BELOW, OPEN_ABOVE, TOLD_LOW, TOLD_HIGH = 0, 1, 2, 3, 4, 5
"""Of one choice of an element: the ends of its charge, whether they are out of reach, the states to tell."""


@dataclass(frozen=True)
class ElementBalance:
    """An element in a state (low == high), or with a mean strictly between two neighbouring states.

    mean: None where two elements lie between: each has a range then, and only the sum is fixed.
    """

    symbol: str
    low: int
    high: int
    mean: Fraction | None

    def __str__(self) -> str:
        if self.low == self.high:
            return f"{self.symbol} {_signed(self.low)}"
        mean = "" if self.mean is None else f" {_signed(self.mean)}"
        return f"{self.symbol}{mean} between {_signed(self.low)} and {_signed(self.high)}"


def _signed(charge: int | Fraction) -> str:
    return f"+{charge}" if charge > 0 else str(charge)


def balance_told(
    numbers: Sequence[int], amounts: Sequence[int], low: Sequence[int], high: Sequence[int]
) -> tuple[ElementBalance, ...]:
    """One composition, from its rows of the arrays that `explain` fills."""
    between = [place for place, (one, other) in enumerate(zip(low, high, strict=True)) if one != other]
    means: list[Fraction | None] = [Fraction(one) for one in low]
    for place in between:
        rest = sum(amounts[other] * low[other] for other in range(len(low)) if other != place)
        means[place] = Fraction(-rest, amounts[place]) if len(between) == 1 else None
    return tuple(
        ElementBalance(SYMBOLS[number], one, other, mean)
        for number, one, other, mean in zip(numbers, low, high, means, strict=True)
    )


@entry_point
def explain(
    elements: Bytes,
    amounts: Bytes,
    between: Bytes,
    states: Ints,
    costs: Floats,
    sides: Ints,
    electronegativities: Floats,
    ordered: bool,
    low: Charges,
    high: Charges,
) -> None:
    """Fill low and high, (n, k), with the likeliest balance of each composition that `search` has found.

    The likeliest: the least sum over the elements of `costs`, (e, s), of their states; an element between states costs
    the mean of both. The other arguments are as in `search`.
    """
    count = elements.shape[1]
    cuts = np.zeros((count, count), dtype=np.int64)
    choices = np.zeros((count, 2 * states.shape[1], 6), dtype=np.int64)
    prices = np.zeros((count, 2 * states.shape[1]))
    n_choices = np.zeros(count, dtype=np.int64)
    best = np.zeros(count, dtype=np.int64)
    for row in range(len(elements)):
        cheapest = np.inf
        for cut in range(fill_cuts(cuts, electronegativities, elements[row], ordered)):
            for level in range(count):
                place = elements[row, level]
                amount, side = int(amounts[row, level]), cuts[cut, level]
                n_choices[level] = _fill_choices(
                    choices[level], prices[level], states[place], costs[place], sides[place], side, amount
                )
            cheapest = _cheapest(choices, prices, n_choices, between[row], cheapest, best, low[row], high[row])


@inner
def _fill_choices(
    choices: Ints, prices: Floats, states: Ints, costs: Floats, sides: Ints, side: int, amount: int
) -> int:
    found = 0
    for place in range(sides[side, FIRST], sides[side, LAST]):
        state = states[place]
        choices[found, LOWEST] = choices[found, HIGHEST] = amount * state
        choices[found, OPEN_BELOW] = choices[found, OPEN_ABOVE] = 0
        choices[found, TOLD_LOW] = choices[found, TOLD_HIGH] = state
        prices[found] = costs[place]
        found += 1
    for place in range(sides[ANY, LAST] - 1):
        low, high = states[place], states[place + 1]
        first = max(low, 0) if side == CATION else low
        last = min(high, 0) if side == ANION else high
        if first < last:
            choices[found, LOWEST], choices[found, HIGHEST] = amount * first, amount * last
            choices[found, OPEN_BELOW], choices[found, OPEN_ABOVE] = first == low, last == high
            choices[found, TOLD_LOW], choices[found, TOLD_HIGH] = low, high
            prices[found] = (costs[place] + costs[place + 1]) / 2
            found += 1
    return found


@inner
def _cheapest(
    choices: Ints, prices: Floats, n_choices: Ints, between: int, limit: float, best: Ints, low: Charges, high: Charges
) -> float:
    """Search in depth; low and high are filled where something cheaper than `limit` is found. Returns the new limit."""
    count = len(n_choices)
    lowest, highest = np.zeros(count + 1, dtype=np.int64), np.zeros(count + 1, dtype=np.int64)
    below, above = np.zeros(count + 1, dtype=np.int64), np.zeros(count + 1, dtype=np.int64)
    gaps, price = np.zeros(count + 1, dtype=np.int64), np.zeros(count + 1)
    best[:] = -1
    chosen = np.full(count, -1, dtype=np.int64)
    level = 0
    while level >= 0:
        chosen[level] += 1
        if chosen[level] == n_choices[level]:
            chosen[level] = -1
            level -= 1
            continue
        choice = choices[level, chosen[level]]
        lowest[level + 1] = lowest[level] + choice[LOWEST]
        highest[level + 1] = highest[level] + choice[HIGHEST]
        gaps[level + 1] = gaps[level] + (choice[TOLD_LOW] != choice[TOLD_HIGH])
        below[level + 1] = below[level] | choice[OPEN_BELOW]
        above[level + 1] = above[level] | choice[OPEN_ABOVE]
        price[level + 1] = price[level] + prices[level, chosen[level]]
        if gaps[level + 1] > between or price[level + 1] >= limit:
            continue
        if level < count - 1:
            level += 1
        elif gaps[count] == between and lowest[count] <= -below[count] and highest[count] >= above[count]:
            limit = price[count]
            best[:] = chosen
    if best[0] >= 0:
        for level in range(count):
            low[level] = choices[level, best[level], TOLD_LOW]
            high[level] = choices[level, best[level], TOLD_HIGH]
    return limit
