"""Parents by structure type: who sits where in all known crystals of one type, as arrays.

A structure type has places, one for each species of its label. Two things are replaced alike: all atoms of a place, and
(partial substitution) a part of a place's sites, which then is a place of its own in a type of lower symmetry; as its
member, the parent holds one element at two places. So a whole and a partial substitution are the same operation on
members of types, and a candidate is a type with an element for each place.

Elements are known by their Mendeleev number (Pettifor's scale, `registry.identity.isotypes`). Places that can't be told
apart by their Wyckoff letters, and those that the space group's normaliser exchanges, are ordered by it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from registry.compiled import entry_point, inner
from registry.crystal import Crystal
from registry.errors import BadRecord
from registry.identity.composition import ATOMIC_NUMBERS, SYMBOLS
from registry.identity.isotypes import scale
from registry.identity.normaliser import namings
from registry.identity.prototype import Prototype, described, symmetry_of
from workers.candidates.funnel import Funnel
from workers.candidates.groupings import Bounds, groupings
from workers.candidates.symmetry import symmetry

Ints = NDArray[np.int64]
Keys = NDArray[np.uint64]
Places = list[tuple[tuple[str, int], ...]]

MOST_PLACES = 6
CODES = 128
"""Mendeleev numbers fit into seven bits, a candidate of six places into one word."""
LARGEST_DIVIDED = 24
"""Sites of the largest primitive cell whose places are divided."""
DIVIDED_SITES = 8
"""Up to here all subsets of a place's sites are tried, beyond only unions of Wyckoff orbits."""
MOST_GROUPINGS = 1 << 20
MOST_PARTS = 100
"""Ways to divide one place, the small parts first."""


@dataclass(frozen=True, eq=False)
class StructureType:
    """k places; members hold an element (Mendeleev number) at each.

    label: as in `registry.identity.prototype`.  amounts: (k,) reduced.  sites: of the first member's primitive cell.
    permutations: (p, k) where each place goes in the p equivalent descriptions.  groups: (k,) equal for places of the
    same letters, which are next to each other.
    members: (m, k), each once; parents: (m,) the first parent of each; whole: so many are crystals of this type, the
    rest is made by replacing a part.
    """

    label: str
    amounts: Ints
    sites: int
    permutations: Ints
    groups: Ints
    members: Ints
    parents: Ints
    whole: int


@dataclass
class _Draft:
    label: str
    amounts: Ints
    sites: int
    permutations: Ints
    groups: Ints
    whole: dict[tuple[int, ...], int] = field(default_factory=dict)
    partial: dict[tuple[int, ...], int] = field(default_factory=dict)

    @classmethod
    def of(cls, prototype: Prototype, amounts: Counter[str]) -> _Draft:
        places = places_of(prototype)
        counts = np.array([amounts[symbol] for symbol in prototype.elements], dtype=np.int64)
        changes = [one != other for one, other in pairwise(places)]
        groups = np.concatenate([[0], np.cumsum(changes)]).astype(np.int64)
        permutations = _permutations(prototype, places)
        return cls(prototype.label, counts // np.gcd.reduce(counts), int(counts.sum()), permutations, groups)

    def canonical(self, codes: Sequence[int]) -> tuple[int, ...]:
        return tuple(canonical(np.array([codes], dtype=np.int64), self.permutations, self.groups)[0].tolist())

    def finished(self) -> StructureType:
        made = {member: parent for member, parent in self.partial.items() if member not in self.whole}
        members = np.array([*self.whole, *made], dtype=np.int64)
        parents = np.array([*self.whole.values(), *made.values()], dtype=np.int64)
        shape = (self.label, self.amounts, self.sites, self.permutations, self.groups)
        return StructureType(*shape, members, parents, len(self.whole))


class Part(NamedTuple):
    """A place of which a part of the sites is replaced.

    prototype: of the crystal with the part as a species of its own.  places: (k + 1,) for each of its places, the one
    that the parent's element comes from; one occurs twice.  amounts: atoms of each symbol of `prototype`.
    divided: the place; sites: of the primitive cell, those of the part.
    """

    prototype: Prototype
    places: tuple[int, ...]
    amounts: Counter[str]
    divided: int
    sites: Ints


def structure_types(
    parents: Sequence[Crystal], *, partial: bool = True, funnel: Funnel | None = None
) -> list[StructureType]:
    """The types of the parents and, with `partial`, those that replacing a part of a place leads to.

    A parent that can't be used is counted in the funnel with its reason. Places are divided in the first parent of each
    type; one that can't be is counted too.
    """
    funnel = Funnel() if funnel is None else funnel
    drafts: dict[str, _Draft] = {}
    first: dict[str, tuple[Prototype, Crystal]] = {}
    for index, crystal in enumerate(parents):
        found = _typed(crystal, funnel)
        if found is not None:
            prototype, cell = found
            draft = drafts.setdefault(prototype.label, _Draft.of(prototype, _amounts(cell.numbers.tolist())))
            draft.whole.setdefault(draft.canonical(_codes(prototype)), index)
            first.setdefault(prototype.label, found)
    for label, (prototype, cell) in first.items() if partial else ():
        for part in _different(parts_of(prototype, cell, funnel)):
            draft = drafts.setdefault(part.prototype.label, _Draft.of(part.prototype, part.amounts))
            for member, index in drafts[label].whole.items():
                draft.partial.setdefault(draft.canonical([member[place] for place in part.places]), index)
    return [draft.finished() for draft in drafts.values()]


@cache
def codes_of_numbers() -> Ints:
    """(119,) the Mendeleev number of each atomic number."""
    return np.array([0, *(scale(symbol) for symbol in SYMBOLS[1:])], dtype=np.int64)


@cache
def numbers_of_codes() -> Ints:
    """(CODES,) the atomic number of each Mendeleev number; 0 where there is none."""
    numbers = np.zeros(CODES, dtype=np.int64)
    numbers[codes_of_numbers()] = np.arange(len(SYMBOLS))
    return numbers


def typed_cell(crystal: Crystal) -> tuple[Prototype, Crystal]:
    """Structure type and standardised primitive cell. Raise BadRecord if no space group can be found."""
    dataset = symmetry_of(crystal)
    cell = dataset.prim_std_cell
    numbers = np.array(cell.numbers, np.int16)
    prototype = described(crystal.numbers.tolist(), dataset, SYMBOLS)
    return prototype, Crystal(np.array(cell.basis), numbers, np.array(cell.positions))


def _typed(crystal: Crystal, funnel: Funnel) -> tuple[Prototype, Crystal] | None:
    if len(crystal.amounts) > MOST_PLACES:
        funnel.parent("too_many_elements")
        return None
    try:
        found = typed_cell(crystal)
    except BadRecord:
        funnel.parent("no_space_group")
        return None
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as fault:  # noqa: BLE001  (a panic of moyopy's Rust is no Exception)
        funnel.parent(f"failed: {type(fault).__name__}")
        return None
    funnel.parent("used")
    return found


def parts_of(prototype: Prototype, cell: Crystal, funnel: Funnel | None = None) -> Iterator[Part]:
    """The ways to divide one place of a crystal that differ under its space group.

    cell: its standardised primitive cell. None if it is too large, holds too many elements already, or its symmetry
    search fails.
    """
    funnel = Funnel() if funnel is None else funnel
    if len(prototype.elements) >= MOST_PLACES or cell.nsites > LARGEST_DIVIDED:
        return funnel.reject("undivided: too large")
    place_of = {ATOMIC_NUMBERS[symbol]: place for place, symbol in enumerate(prototype.elements)}
    marks = np.array([place_of[number] + 1 for number in cell.numbers.tolist()], dtype=np.int16)
    for place, subsets in enumerate(_subsets(cell.with_numbers(marks), len(place_of), funnel)):
        for sites in subsets:
            part = _part(cell, marks, place, sites)
            if part is not None:
                yield part


def _subsets(marked: Crystal, places: int, funnel: Funnel) -> list[list[Ints]]:
    """For each place, the parts of its sites that differ; sites hold the number of their place, from 1."""
    try:
        found = symmetry(marked)
        sites = [np.flatnonzero(marked.numbers == place + 1) for place in range(places)]
        bounds = Bounds(DIVIDED_SITES, MOST_GROUPINGS)
        return [groupings(found, one, bounds, partitions=True).subsets()[:MOST_PARTS] for one in sites]
    except (ArithmeticError, ValueError):
        funnel.reject("undivided: no symmetry")
        return []


def _part(cell: Crystal, marks: NDArray[np.int16], place: int, sites: Ints) -> Part | None:
    marked = marks.copy()
    new = int(marks.max()) + 1
    marked[sites] = new
    try:
        prototype = described(marked.tolist(), symmetry_of(cell.with_numbers(marked)), SYMBOLS)
    except BadRecord:
        return None
    sources = [ATOMIC_NUMBERS[symbol] - 1 for symbol in prototype.elements]
    places = tuple(place if source == new - 1 else source for source in sources)
    return Part(prototype, places, _amounts(marked.tolist()), place, sites)


def _different(parts: Iterator[Part]) -> Iterator[Part]:
    seen: set[tuple[str, tuple[int, ...]]] = set()
    for part in parts:
        if (part.prototype.label, part.places) not in seen:
            seen.add((part.prototype.label, part.places))
            yield part


def _amounts(numbers: Sequence[int]) -> Counter[str]:
    return Counter(SYMBOLS[number] for number in numbers)


def _codes(prototype: Prototype) -> list[int]:
    return [scale(symbol) for symbol in prototype.elements]


def places_of(prototype: Prototype) -> Places:
    """The Wyckoff letters of each place, in the order of the label."""
    found: dict[str, list[tuple[str, int]]] = {symbol: [] for symbol in prototype.elements}
    for symbol, letter, count in prototype.wyckoffs:
        found[symbol].append((letter, count))
    return [tuple(letters) for letters in found.values()]


def _permutations(prototype: Prototype, places: Places) -> Ints:
    letters = frozenset(letter for place in places for letter, _ in place)
    found = {tuple(range(len(places)))}
    for naming in namings(prototype.spacegroup_number, letters):
        renamed = [tuple(sorted((naming[letter], count) for letter, count in place)) for place in places]
        if Counter(renamed) == Counter(places):
            found.add(_where(renamed, places))
    return np.array(sorted(found), dtype=np.int64)


def _where(renamed: Places, places: Places) -> tuple[int, ...]:
    free: dict[Any, list[int]] = defaultdict(list)
    for place, letters in reversed(list(enumerate(places))):
        free[letters].append(place)
    return tuple(free[letters].pop() for letters in renamed)


@entry_point
def canonical(codes: Ints, permutations: Ints, groups: Ints) -> Ints:
    """(n, k): each row in the equivalent description that comes first, places of one group in ascending order."""
    found = np.empty_like(codes)
    trial = np.empty(codes.shape[1], np.int64)
    for row in range(len(codes)):
        first_form(codes[row], permutations, groups, trial, found[row])
    return found


@inner
def first_form(codes: Ints, permutations: Ints, groups: Ints, trial: Ints, first: Ints) -> None:
    """Put the canonical order of one row into `first`; `trial` is room to work in."""
    for way in range(len(permutations)):
        settle(codes, permutations[way], groups, trial)
        if way == 0 or comes_first(trial, first):
            first[:] = trial


@inner
def settle(codes: Ints, permutation: Ints, groups: Ints, placed: Ints) -> None:
    """Put the elements where one description has them, those of a group in ascending order."""
    for place in range(len(codes)):
        placed[permutation[place]] = codes[place]
    for place in range(1, len(codes)):
        other = place
        while other > 0 and groups[other - 1] == groups[other] and placed[other - 1] > placed[other]:
            swapped = placed[other]
            placed[other] = placed[other - 1]
            placed[other - 1] = swapped
            other -= 1


@inner
def comes_first(one: Ints, other: Ints) -> bool:
    for place in range(len(one)):
        if one[place] != other[place]:
            return bool(one[place] < other[place])
    return False
