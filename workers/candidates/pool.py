"""The most probable candidates over all parents and both operations, substitution and partial substitution, as arrays.

Members of structure types (`structure_types`) are replaced at any places. A product of odds (`replacements`) says how
probable that is; branch and bound finds all above a threshold, which rises as the room fills. Types stream through, so
memory is bounded by the room and by what one type gives.

A candidate is a structure type and an element for each of its places: equal candidates from several parents are one,
and its probability is that from the nearest of them.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from registry.compiled import entry_point, inner
from registry.crystal import Crystal
from registry.identity.composition import SYMBOLS
from registry.identity.isotypes import scale
from workers.candidates.novelty import KnownCompositions, element_word
from workers.candidates.replacements import Odds
from workers.candidates.structure_types import (
    StructureType,
    canonical,
    first_form,
    numbers_of_codes,
    parts_of,
    typed_cell,
)
from workers.candidates.volume import predicted_volume

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Keys = NDArray[np.uint64]
Bools = NDArray[np.bool_]

THRESHOLD = 3e-3
PARTIAL = 0.1
ROOM = 4_000_000
BITS = np.uint64(7)
LOW = np.uint64(127)
FIRST_ROOM = 1 << 14


@dataclass(frozen=True, eq=False)
class Pool:
    """n candidates, each structure once.

    types: (n,) int32, index of the structure type.  keys: (n,) uint64, its elements, see `elements_of`.
    members: (n,) int32, the type's member it is most probably made from; placed: (n,) uint64, its elements at that
    member's places.  probabilities: (n,) float32, the product of the odds of what is replaced there.
    compositions: (n,) uint64, as `novelty.composition_keys`.
    """

    types: NDArray[np.int32]
    keys: Keys
    members: NDArray[np.int32]
    placed: Keys
    probabilities: NDArray[np.float32]
    compositions: Keys

    def __len__(self) -> int:
        return len(self.keys)

    def select(self, rows: Ints | Bools) -> Pool:
        return Pool(*(column[rows] for column in self.columns))

    @property
    def columns(self) -> tuple[NDArray[Any], ...]:
        return (self.types, self.keys, self.members, self.placed, self.probabilities, self.compositions)


def proposed(
    types: Sequence[StructureType],
    odds: Odds,
    *,
    known: KnownCompositions | None = None,
    threshold: float = THRESHOLD,
    most_replaced: int = 6,
    partial: float = PARTIAL,
    room: int = ROOM,
    family: Collection[int] | None = None,
) -> Pool:
    """The candidates of at least this probability, of compositions that aren't known; the `room` most probable ones.

    odds: see `replacements`.  most_replaced: places.  partial: factor of a probability where a place is divided.
    family: atomic numbers of the elements that candidates are made of, all if not given.
    """
    allowed = _allowed(family)
    table = np.where(allowed, odds.table, 0.0)
    order = np.argsort(-table, axis=1, kind="stable")
    options = (order, np.take_along_axis(table, order, axis=1))
    kept, held = [_nothing()], 0
    for index in sorted(range(len(types)), key=lambda i: (-len(types[i].members), i)):  # raises the threshold early
        limits = (threshold, most_replaced, partial)
        found = _of_type(types[index], index, odds.rows(types[index]), options, limits, known, allowed)
        kept.append(found)
        held += len(found)
        if held > 2 * room:
            kept, held = [_most_probable(_joined(kept), room)], room
            threshold = max(threshold, float(kept[0].probabilities.min()))
    pool = _most_probable(_joined(kept), room)
    return pool.select(np.lexsort((pool.keys, pool.types)))


class Made(NamedTuple):
    """A candidate; parent: the primitive cell that it was made in; sites: the part of an element that was replaced."""

    crystal: Crystal
    parent: Crystal
    sites: list[int]


def made_of(pool: Pool, row: int, types: Sequence[StructureType], parents: Sequence[Crystal]) -> Made:
    """The candidate in its parent's standardised primitive cell, at its predicted volume; no sites where it is whole.

    Raise LookupError if the part that it replaces isn't found in its parent (whose sites may differ from those of the
    first parent of its type).
    """
    one = types[pool.types[row]]
    row_member = int(pool.members[row])
    old = numbers_of_codes()[one.members[row_member]]
    new = numbers_of_codes()[elements_of(pool.placed[row : row + 1], len(old))[0]]
    prototype, cell = typed_cell(parents[one.parents[row_member]])
    numbers = cell.numbers.copy()
    for source, target in zip(old.tolist(), new.tolist(), strict=True):
        numbers[cell.numbers == source] = target
    if row_member < one.whole:
        return Made(_at_predicted_volume(cell, numbers), cell, [])
    place = prototype.elements.index(SYMBOLS[_twice(old)])
    first, second = new[old == _twice(old)].tolist()
    for part in parts_of(prototype, cell):
        if part.prototype.label != one.label or part.divided != place:
            continue
        for inside, outside in ((first, second), (second, first)):
            numbers[cell.numbers == _twice(old)] = outside
            numbers[part.sites] = inside
            if _is(cell.with_numbers(numbers), one, pool.keys[row]):
                return Made(_at_predicted_volume(cell, numbers), cell, part.sites.tolist())
    raise LookupError(f"no part of {prototype.label} gives {one.label}")


def _allowed(family: Collection[int] | None) -> Bools:
    """(CODES,) whether candidates may hold each element."""
    numbers = numbers_of_codes()
    return np.asarray(numbers > 0 if family is None else np.isin(numbers, list(family)) & (numbers > 0))


def _twice(numbers: Ints) -> int:
    """The element that a partly replaced member holds at two places."""
    found, counts = np.unique(numbers, return_counts=True)
    return int(found[counts == 2][0])


def _is(crystal: Crystal, one: StructureType, key: np.uint64) -> bool:
    prototype, _ = typed_cell(crystal)
    if prototype.label != one.label:
        return False
    codes = np.array([[scale(symbol) for symbol in prototype.elements]], dtype=np.int64)
    return bool(keys_of(canonical(codes, one.permutations, one.groups))[0] == key)


def _at_predicted_volume(parent: Crystal, numbers: NDArray[np.int16]) -> Crystal:
    made = parent.with_numbers(numbers)
    return made.scaled(predicted_volume(made, parent))


def _nothing() -> Pool:
    words, rows = np.zeros(0, np.uint64), np.zeros(0, np.int32)
    return Pool(rows, words, rows, words, np.zeros(0, np.float32), words)


def _joined(pools: Sequence[Pool]) -> Pool:
    return Pool(*(np.concatenate(columns) for columns in zip(*(pool.columns for pool in pools), strict=True)))


def _most_probable(pool: Pool, room: int) -> Pool:
    if len(pool) <= room:
        return pool
    return pool.select(np.argpartition(-pool.probabilities, room)[:room])


def _of_type(
    one: StructureType,
    index: int,
    sources: Ints,
    options: tuple[Ints, Floats],
    limits: tuple[float, int, float],
    known: KnownCompositions | None,
    allowed: Bools,
) -> Pool:
    threshold, most_replaced, partial = limits
    starts = np.where(np.arange(len(one.members)) < one.whole, 1.0, partial)
    shape = (one.members, sources, one.permutations, one.groups, *options, starts, threshold, most_replaced)
    keys, placed, members, probabilities, count = _replaced(*shape, FIRST_ROOM)
    if count > FIRST_ROOM:
        keys, placed, members, probabilities, count = _replaced(*shape, count)
    order = np.argsort(keys[:count], kind="stable")
    rows = _likeliest(keys[:count], probabilities[:count], order)
    rows = rows[allowed[elements_of(keys[rows], len(one.amounts))].all(axis=1)]  # what is kept counts, too
    elements = elements_of(keys[rows], len(one.amounts))
    compositions = _compositions(numbers_of_codes()[elements], one.amounts)
    pool = Pool(
        np.full(len(rows), index, np.int32), keys[rows], members[rows], placed[rows], probabilities[rows], compositions
    )
    return pool if known is None else pool.select(~known.hold(compositions))


@entry_point
def elements_of(keys: Keys, places: int) -> Ints:
    """(n, places) int64 Mendeleev numbers: a key holds seven bits for each place, the last place lowest."""
    codes = np.empty((len(keys), places), np.int64)
    for row in range(len(keys)):
        key = keys[row]
        for place in range(places - 1, -1, -1):
            codes[row, place] = np.int64(key & LOW)
            key = key >> BITS
    return codes


@entry_point
def keys_of(codes: Ints) -> Keys:
    keys = np.empty(len(codes), np.uint64)
    for row in range(len(codes)):
        keys[row] = _key(codes[row])
    return keys


@inner
def _key(codes: Ints) -> np.uint64:
    key = np.uint64(0)
    for code in codes:
        key = (key << BITS) | np.uint64(code)
    return key


@entry_point
def _replaced(
    members: Ints,
    sources: Ints,
    permutations: Ints,
    groups: Ints,
    options: Ints,
    odds: Floats,
    starts: Floats,
    threshold: float,
    most_replaced: int,
    room: int,
) -> tuple[Keys, Keys, NDArray[np.int32], NDArray[np.float32], int]:
    """Every way to replace places of every member that keeps all elements different: branch and bound.

    Equal candidates of several members are all returned. As many as there is room for, and how many there are.
    """
    places = members.shape[1]
    keys, placed = np.empty(room, np.uint64), np.empty(room, np.uint64)
    rows, probabilities = np.empty(room, np.int32), np.empty(room, np.float32)
    codes, trial, first = np.empty(places, np.int64), np.empty(places, np.int64), np.empty(places, np.int64)
    chosen, product, changed = np.empty(places, np.int64), np.ones(places + 1), np.zeros(places + 1, np.int64)
    count = 0
    for row in range(len(members)):
        if sources[row].min() < 0:
            continue
        product[0] = starts[row]
        chosen[:] = -2  # the next one, -1, keeps the element
        depth = 0
        while depth >= 0:
            if depth == places:
                if changed[depth] > 0:
                    if count < room:
                        first_form(codes, permutations, groups, trial, first)
                        keys[count], placed[count] = _key(first), _key(codes)
                        rows[count], probabilities[count] = row, product[depth]
                    count += 1
                depth -= 1
                continue
            chosen[depth] += 1
            option, source = chosen[depth], sources[row, depth]
            code, likely, more = members[row, depth], product[depth], 0
            if option >= 0:
                code, likely, more = options[source, option], likely * odds[source, option], 1
                if changed[depth] == most_replaced or likely < threshold or likely <= 0:  # 0: no element has code 0
                    chosen[depth] = -2
                    depth -= 1
                    continue
            if not _held(codes, depth, code):
                codes[depth] = code
                product[depth + 1], changed[depth + 1] = likely, changed[depth] + more
                depth += 1
    return keys, placed, rows, probabilities, count


@inner
def _held(codes: Ints, places: int, code: int) -> bool:
    held = False
    for place in range(places):
        held = held or codes[place] == code
    return held


@entry_point
def _likeliest(keys: Keys, probabilities: NDArray[np.float32], order: Ints) -> Ints:
    """The most probable row of each key; order: the rows by key."""
    rows = np.empty(len(order), np.int64)
    count = 0
    for i in range(len(order)):
        row = order[i]
        if count > 0 and keys[rows[count - 1]] == keys[row]:
            if probabilities[row] > probabilities[rows[count - 1]]:
                rows[count - 1] = row
        else:
            rows[count] = row
            count += 1
    return rows[:count]


@entry_point
def _compositions(numbers: Ints, amounts: Ints) -> Keys:
    """As `novelty.composition_keys`, from elements and reduced amounts."""
    keys = np.zeros(len(numbers), np.uint64)
    for row in range(len(numbers)):
        for place in range(len(amounts)):
            keys[row] += element_word(numbers[row, place], amounts[place])
    return keys
