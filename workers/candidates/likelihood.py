"""How likely a candidate is, from everything that speaks for it.

    score = ln(W + 0.003 P) - 2 [an anion, and no common states balance it] - 7 mismatch

W: all members of the candidate's structure type together, as if each gave it a chance of its own: the sum of
-ln(1 - p), p being the product of the odds of what is replaced in the member. So 1 - exp(-W) is the chance that one of
them leads to it, and the popularity of the type counts. P: the same over the members made by dividing a place.
mismatch: the largest |ln| of the ratio of two radii (cube roots of our atomic volumes) where the nearest member is
replaced.

The three weights were fitted to what the Materials Project added in 2012 and 2013 to what it knew before, see
docs/decisions/0009-ranking-candidates.md and `python -m benchmarks.candidates_recall --fit`.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from registry.compiled import entry_point, inner
from registry.crystal import Crystal
from workers.candidates.pool import Pool, elements_of
from workers.candidates.replacements import Odds, kinds
from workers.candidates.structure_types import CODES, StructureType, numbers_of_codes
from workers.candidates.volume import atomic_volumes

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Keys = NDArray[np.uint64]
Bools = NDArray[np.bool_]

MOST_DIFFERENT = 3
"""Places in which a member may differ from the candidate to speak for it."""
SUREST = 0.99
LEAST = 1e-9
SMALLEST_VOLUME = 4.0  # cubic angstrom: the fit of atomic volumes has negative ones for what only fills gaps


@dataclass(frozen=True)
class Weights:
    """partial: of members made by dividing a place.  unbalanced, mismatch: see the module; subtracted."""

    partial: float = 0.003
    unbalanced: float = 2.0
    mismatch: float = 7.0


@dataclass(frozen=True, eq=False)
class Evidence:
    """(n,) each, see the module; unbalanced is 1 or 0."""

    whole: Floats
    partial: Floats
    unbalanced: Floats
    mismatch: Floats

    def scores(self, weights: Weights | None = None) -> Floats:
        """(n,) natural logarithms; the higher the likelier."""
        w = Weights() if weights is None else weights
        ways = np.log(self.whole + w.partial * self.partial + LEAST)
        return np.asarray(ways - w.unbalanced * self.unbalanced - w.mismatch * self.mismatch)


def evidence(pool: Pool, types: Sequence[StructureType], odds: Odds) -> Evidence:
    """What speaks for and against each candidate of a pool, whose rows are ordered by structure type."""
    found = np.zeros((4, len(pool)))
    ends = np.searchsorted(pool.types, np.arange(len(types) + 1))
    for index, one in enumerate(types):
        rows = slice(ends[index], ends[index + 1])
        if rows.start == rows.stop:
            continue
        elements = elements_of(pool.keys[rows], len(one.amounts))
        found[:2, rows] = _ways(elements, one.members, odds.rows(one), odds.table, one.whole)
        found[2, rows] = _unbalanced(elements, one.amounts, *_states()) * (kinds(elements) == 0)
        replaced = elements_of(pool.placed[rows], len(one.amounts))
        apart = np.log(_radii()[replaced]) - np.log(_radii()[one.members[pool.members[rows]]])
        found[3, rows] = np.abs(apart).max(axis=1)
    return Evidence(*found)


@cache
def _radii() -> Floats:
    """(CODES,) angstrom."""
    numbers = numbers_of_codes()
    present = numbers[numbers > 0]
    radii = np.ones(CODES)
    everyone = Crystal(np.eye(3), present.astype(np.int16), np.zeros((len(present), 3)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of elements without an electronegativity
        radii[numbers > 0] = np.cbrt(np.maximum(atomic_volumes(everyone), SMALLEST_VOLUME))
    return radii


@cache
def _states() -> tuple[Ints, Ints]:
    """(CODES, s) the common charges of each element, those of the ICSD for metals, and (CODES,) how many."""
    from pymatgen.core import Element

    states: list[list[int]] = []
    for number in numbers_of_codes().tolist():
        element = Element.from_Z(number) if number else None
        usual = set(element.common_oxidation_states) if element else set()
        usual |= set(element.icsd_oxidation_states) if element and element.is_metal else set()
        states.append(sorted(int(state) for state in usual if state))
    padded = np.zeros((CODES, max(map(len, states))), dtype=np.int64)
    for code, charges in enumerate(states):
        padded[code, : len(charges)] = charges
    return padded, np.array([len(charges) for charges in states], dtype=np.int64)


@entry_point
def _ways(elements: Ints, members: Ints, sources: Ints, odds: Floats, whole: int) -> Floats:
    """(2, n): the sums of -ln(1 - p) over the whole members, and over those made by dividing a place."""
    sums = np.zeros((2, len(elements)))
    for row in range(len(elements)):
        for member in range(len(members)):
            product = _product(elements[row], members[member], sources[member], odds)
            if product > 0:
                sums[int(member >= whole), row] -= np.log1p(-min(product, SUREST))
    return sums


@inner
def _product(elements: Ints, member: Ints, sources: Ints, odds: Floats) -> float:
    product, different = 1.0, 0
    for place in range(len(elements)):
        if elements[place] != member[place]:
            different += 1
            if different > MOST_DIFFERENT or sources[place] < 0:
                return 0.0
            product *= odds[sources[place], elements[place]]
    return product if different else 0.0


@entry_point
def _unbalanced(elements: Ints, amounts: Ints, charges: Ints, counts: Ints) -> Floats:
    """(n,) 1 where no charges of the elements add up to zero."""
    found = np.ones(len(elements))
    places = elements.shape[1]
    chosen, sums = np.empty(places, np.int64), np.zeros(places + 1, np.int64)
    for row in range(len(elements)):
        chosen[:] = -1
        depth = 0
        while depth >= 0:
            if depth == places:
                if sums[depth] == 0:
                    found[row] = 0
                    break
                depth -= 1
                continue
            chosen[depth] += 1
            code = elements[row, depth]
            if chosen[depth] == counts[code]:
                chosen[depth] = -1
                depth -= 1
            else:
                sums[depth + 1] = sums[depth] + amounts[depth] * charges[code, chosen[depth]]
                depth += 1
    return found
