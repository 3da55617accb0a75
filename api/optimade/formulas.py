"""Formulas as OPTIMADE spells them: FeLiO4P where the registry says LiFePO4, A4BCD where it says ABCD4."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache, reduce
from math import gcd

from registry.errors import FilterError
from registry.identity.composition import ATOMIC_NUMBERS, Composition, anonymous_formula, written
from registry.query.values import formula_amounts


def by_alphabet(formula: str) -> str:
    """The reduced formula with its elements in alphabetical order. Raises FilterError for what is no formula."""
    return "".join(element + written(count) for element, count in formula_amounts(formula).items())


def by_amount(counts: Sequence[int]) -> str:
    """The amounts of a reduced formula, the largest first: A4BCD."""
    ordered = sorted(counts, reverse=True)
    return "".join(letter(place) + written(count) for place, count in enumerate(ordered))


def letter(place: int) -> str:
    """A, B, ... Z, Aa, Ba, ... Za, Ab, ..."""
    round_, first = divmod(place, 26)
    return chr(ord("A") + first) + (chr(ord("a") + round_ - 1) if round_ else "")


@lru_cache(maxsize=1 << 13)
def hill(formula: str) -> str:
    """In Hill's order, with as many formula units as the formula has: H2O2, O2."""
    from pymatgen.core.composition import Composition as PymatgenComposition

    ordered: str = PymatgenComposition(formula).hill_formula
    return ordered.replace(" ", "")


def spells_by_alphabet(words: str) -> bool:
    """Whether some crystal's reduced formula is spelt so."""
    try:
        return by_alphabet(words) == words
    except FilterError:
        return False


def from_amounts(words: str) -> str | None:
    """The registry's anonymous formula for one that is spelt by amount; None for what no crystal's is."""
    if not re.fullmatch(r"([A-Z][a-z]?(\d{1,5})?)+", words):
        return None
    counts = [int(count or 1) for count in re.findall(r"[A-Z][a-z]?(\d*)", words)]
    if min(counts) < 1 or reduce(gcd, counts) != 1 or by_amount(counts) != words:
        return None
    return anonymous_formula(sorted(counts))


def spells_hill(words: str) -> bool:
    """Whether some crystal's Hill formula is spelt so."""
    try:
        amounts = formula_amounts(words)
    except FilterError:
        return False
    made_of = Composition.of({ATOMIC_NUMBERS[element]: count for element, count in amounts.items()})
    return hill(made_of.reduced_formula) == words
