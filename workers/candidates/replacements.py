"""How readily one element takes another's place: mined from the parents themselves, or the paper's.

Mined: two members of a structure type that differ at one place only are a replacement that nature has made. Where a
member has g such partners at a place, each counts 1 / g: the odds say *which* element comes, not how popular the type
is. Crystals with an anion (H, N, O, F, S, Cl, Se, Br, I) and those without are counted apart; each borrows from the
other, and both from the published ionic table (exp(lambda), lambda clipped at 0, the likeliest pair of states) times
the square root of how many members hold the element.

The paper's: from the published table by the parent's oxidation states.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from registry.compiled import entry_point
from workers.candidates.oxidation import Ion
from workers.candidates.structure_types import CODES, StructureType, codes_of_numbers, numbers_of_codes
from workers.candidates.table import SubstitutionTable, substitution_table

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

ANIONS = (1, 7, 8, 9, 16, 17, 34, 35, 53)
PUBLISHED = 2.0
"""Observations that the published table counts for."""
BORROWED = 5.0
"""Observations that the other kind of crystals and the published table count for together."""


@dataclass(frozen=True, eq=False)
class Odds:
    """table: (s, CODES) float64, for each kind of source how probable each element (Mendeleev number) is in its place.

    rows: of a structure type, (m, k) which kind of source each member holds at each place; -1 where that isn't known.
    """

    table: Floats
    rows: Callable[[StructureType], Ints]


def mined_odds(types: Iterable[StructureType]) -> Odds:
    """From the types' whole members, see above. Each row is a distribution over the elements that they hold."""
    counts, held = np.zeros((2, CODES, CODES)), np.zeros(CODES)
    for one in types:
        members = one.members[: one.whole]
        held += np.bincount(members.ravel(), minlength=CODES)
        _count(members, kinds(members), counts)
    prior = _shares(np.exp(published_lambdas(substitution_table())) * np.sqrt(held) * (1 - np.eye(CODES)))
    odds = np.empty_like(counts)
    for kind in (0, 1):
        borrowed = _shares(counts[1 - kind] + PUBLISHED * prior)
        odds[kind] = _shares(counts[kind] + BORROWED * borrowed)
    return Odds(odds.reshape(2 * CODES, CODES), lambda one: kinds(one.members)[:, None] * CODES + one.members)


def paper_odds(states: Sequence[Mapping[int, int] | None]) -> Odds:
    """The paper's, see `SubstitutionTable.paper_odds`, of the likeliest state of each element.

    states: of each parent, atomic number -> charge; None where they aren't known: such parents are not replaced.
    """
    table = substitution_table()
    codes = codes_of_numbers()[[ion.number for ion in table.ions]]
    odds = np.zeros((len(table.ions), CODES))
    for row, ion in enumerate(table.ions):
        np.maximum.at(odds[row], codes, table.paper_odds(ion))
        odds[row, codes[row]] = 0

    def rows(one: StructureType) -> Ints:
        found = np.full(one.members.shape, -1, dtype=np.int64)
        numbers = numbers_of_codes()[one.members]
        for member, parent in enumerate(one.parents.tolist()):
            known = states[parent] or {}
            ions = [Ion(number, known.get(number, 0)) for number in numbers[member].tolist()]
            found[member] = [table.index.get(ion, -1) for ion in ions]
        return found

    return Odds(odds, rows)


def kinds(members: Ints) -> Ints:
    """(m,) 0 for members with an anion, 1 for those without."""
    return np.asarray(~np.isin(members, codes_of_numbers()[list(ANIONS)]).any(axis=1), dtype=np.int64)


def published_lambdas(table: SubstitutionTable) -> Floats:
    """(CODES, CODES) the largest clipped lambda of any states of two elements."""
    codes = codes_of_numbers()[[ion.number for ion in table.ions]]
    largest = np.zeros((CODES, CODES))
    np.maximum.at(largest, (codes[:, None], codes[None, :]), table.lambdas)
    return largest


def _shares(weights: Floats) -> Floats:
    total = weights.sum(axis=1, keepdims=True)
    return np.asarray(np.divide(weights, total, out=np.zeros_like(weights), where=total > 0), dtype=np.float64)


def _count(members: Ints, kind: Ints, counts: Floats) -> None:
    """Add each member's partners to counts[kind, its element, theirs]; work grows with their number."""
    weights = CODES ** np.arange(members.shape[1], dtype=np.int64)
    words = members @ weights
    for place, weight in enumerate(weights.tolist()):
        _, group, sizes = np.unique(words - weight * members[:, place], return_inverse=True, return_counts=True)
        ends = np.cumsum(sizes)
        _count_at(members[:, place], kind, np.argsort(group, kind="stable"), (ends - sizes)[group], ends[group], counts)


@entry_point
def _count_at(elements: Ints, kind: Ints, order: Ints, firsts: Ints, ends: Ints, counts: Floats) -> None:
    """At one place: order[first:end] are the members that hold the same elements at all others, itself among them."""
    for row in range(len(elements)):
        partners = ends[row] - firsts[row] - 1
        for i in range(firsts[row], ends[row]):
            if order[i] != row:
                counts[kind[row], elements[row], elements[order[i]]] += 1 / partners
