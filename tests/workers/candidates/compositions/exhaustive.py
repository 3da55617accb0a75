"""The rules of balance, written down as plainly as they are told: every assignment is tried, with fractions."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from fractions import Fraction
from math import gcd, inf

States = Mapping[int, Sequence[int]]
Gap = tuple[Fraction, Fraction]


def reduced_compositions(
    elements: Sequence[int], count: int, max_amount: int, max_atoms: int
) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    return [
        (system, amounts)
        for system in itertools.combinations(sorted(elements), count)
        for amounts in itertools.product(range(1, max_amount + 1), repeat=count)
        if sum(amounts) <= max_atoms and gcd(*amounts) == 1
    ]


def least_between(
    system: Sequence[int], amounts: Sequence[int], states: States, order: Mapping[int, float] | None, most: int
) -> int:
    """The least number of elements between states, 3 where no number up to `most` balances."""
    for between in range(most + 1):
        for chosen in itertools.combinations(range(len(system)), between):
            choices = [gaps(states[z]) if i in chosen else sorted(set(states[z])) for i, z in enumerate(system)]
            if any(balances(system, amounts, one, order) for one in itertools.product(*choices)):
                return between
    return 3


def gaps(states: Sequence[int]) -> list[Gap]:
    ordered = sorted(set(states))
    return [(Fraction(low), Fraction(high)) for low, high in itertools.pairwise(ordered)]


def balances(
    system: Sequence[int],
    amounts: Sequence[int],
    chosen: Sequence[int | Gap],
    order: Mapping[int, float] | None,
) -> bool:
    """Whether states, and means strictly within the chosen gaps, make charge 0 in the order of electronegativities."""
    charge = sum((n * one for n, one in zip(amounts, chosen, strict=True) if isinstance(one, int)), Fraction(0))
    free = [place for place, one in enumerate(chosen) if not isinstance(one, int)]
    for means in solutions(charge, [amounts[i] for i in free], [chosen[i] for i in free]):
        full = [Fraction(one) if isinstance(one, int) else means[free.index(i)] for i, one in enumerate(chosen)]
        if order is None or in_order([order[z] for z in system], full):
            return True
    return False


def solutions(charge: Fraction, amounts: Sequence[int], within: Sequence[Gap]) -> list[list[Fraction]]:
    """Means that bring the charge to 0: all there are for up to one gap; for two, one of each kind of sign."""
    if not within:
        return [[]] if charge == 0 else []
    if len(within) == 1:
        mean = -charge / amounts[0]
        return [[mean]] if within[0][0] < mean < within[0][1] else []
    (n, m), ((low, high), (other_low, other_high)) = amounts, within
    first = max(low, (-charge - m * other_high) / n)
    last = min(high, (-charge - m * other_low) / n)
    if first >= last:
        return []
    turns = sorted({first, last, *(x for x in (Fraction(0), -charge / n) if first < x < last)})
    tried = turns[1:-1] + [(a + b) / 2 for a, b in itertools.pairwise(turns)]
    return [[x, (-charge - n * x) / m] for x in tried]


def in_order(electronegativities: Sequence[float], means: Sequence[Fraction]) -> bool:
    """SMACT's rule: each cation is less electronegative than each anion; an unknown one fails."""
    if any(one != one for one in electronegativities):
        return False
    cations = [x for x, mean in zip(electronegativities, means, strict=True) if mean > 0]
    anions = [x for x, mean in zip(electronegativities, means, strict=True) if mean < 0]
    return max(cations, default=-inf) < min(anions, default=inf)
