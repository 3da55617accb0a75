"""Compositions whose oxidation states balance, as a stream of arrays: memory doesn't grow with the space."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from registry.errors import SettingsError
from workers.candidates.compositions.balances import ElementBalance, balance_told, explain
from workers.candidates.compositions.search import classify, search
from workers.candidates.compositions.space import MOST_ATOMS, Bounds, Space
from workers.candidates.compositions.states import StateTable
from workers.candidates.compositions.sums import UNBALANCED, words_for
from workers.candidates.novelty import Keys, amounts_keys

Ints = NDArray[np.int64]
Bytes = NDArray[np.uint8]
Bools = NDArray[np.bool_]

CHUNK = 1 << 16
MOST_BETWEEN = 2


@dataclass(frozen=True)
class Rules:
    """between: how many elements may lie between two neighbouring states, 0 to 2. ordered: in the balance, each
    cation must have a lower electronegativity (Pauling's) than each anion; where one is unknown, nothing balances."""

    between: int = MOST_BETWEEN
    ordered: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.between <= MOST_BETWEEN:
            raise SettingsError(f"{self.between} elements between states: 0, 1 or 2")


@dataclass(frozen=True, eq=False)
class Compositions:
    """A chunk of compositions of equally many elements.

    elements: (m, k) uint8, places in `table`; amounts: (m, k) uint8; between: (m,) uint8, the least number of elements
    that must lie between states
    """

    table: StateTable
    rules: Rules
    elements: Bytes
    amounts: Bytes
    between: Bytes

    def __len__(self) -> int:
        return len(self.between)

    @cached_property
    def numbers(self) -> Ints:
        """(m, k) int64 atomic numbers, ascending in each row."""
        return self.table.numbers[self.elements]

    @cached_property
    def keys(self) -> Keys:
        """(m,) uint64 as `novelty` compares them."""
        return amounts_keys(self.numbers, self.amounts)

    def only(self, rows: Bools | slice) -> Compositions:
        """The chosen rows."""
        return Compositions(self.table, self.rules, self.elements[rows], self.amounts[rows], self.between[rows])

    def balances(self) -> Iterator[tuple[ElementBalance, ...]]:
        """How each balances; of several ways the one whose states are the most often reported."""
        table, shape = self.table, self.elements.shape
        low, high = np.zeros(shape, dtype=np.int8), np.zeros(shape, dtype=np.int8)
        explain(
            self.elements,
            self.amounts,
            self.between,
            table.states,
            table.costs,
            table.sides,
            table.electronegativities,
            self.rules.ordered,
            low,
            high,
        )
        columns: list[Any] = [array.tolist() for array in (self.numbers, self.amounts, low, high)]
        return (balance_told(*row) for row in zip(*columns, strict=True))


Filter = Callable[[Compositions], Bools]
"""(m,) bool for a chunk: which to keep."""


@dataclass
class Counts:
    """looked_at: (4,) compositions by elements between states: none, one, two, and those that don't balance so.

    Where fewer are allowed between, what would need more counts as not balanced. dropped: by filter.
    """

    looked_at: Ints = field(default_factory=lambda: np.zeros(UNBALANCED + 1, dtype=np.int64))
    dropped: Counter[str] = field(default_factory=Counter)

    def as_dict(self) -> dict[str, int | dict[str, int]]:
        strict, one, two, refused = self.looked_at.tolist()
        return {
            "looked_at": strict + one + two + refused,
            "strict": strict,
            "one_between": one,
            "two_between": two,
            "refused": refused,
            "dropped": dict(self.dropped),
        }


def compositions(
    table: StateTable,
    bounds: Bounds,
    rules: Rules,
    required: Sequence[int] = (),
    keep: Mapping[str, Filter] | None = None,
    counts: Counts | None = None,
    chunk: int = CHUNK,
) -> Iterator[Compositions]:
    """Every reduced composition within `bounds` that balances by `rules`, once, in chunks of up to `chunk` rows.

    required: atomic numbers that each composition holds. keep: filters by name, the next sees what the one before has
    left: novelty, a model's energies. counts: is added to as the stream goes on.
    """
    counts = counts or Counts()
    space = space_of(table, bounds, required)
    for count in space.sizes:
        for systems in space.batches(count):
            for found in of_systems(table, bounds, rules, systems, counts, chunk):
                left = _filtered(found, keep or {}, counts)
                if len(left):
                    yield left


def space_of(table: StateTable, bounds: Bounds, required: Sequence[int] = ()) -> Space:
    """What `compositions` looks at."""
    places = {number: place for place, number in enumerate(table.numbers.tolist())}
    return Space(len(table), bounds, tuple(places[number] for number in required))


def of_systems(
    table: StateTable, bounds: Bounds, rules: Rules, systems: Ints, counts: Counts, chunk: int = CHUNK
) -> Iterator[Compositions]:
    """The compositions of given systems, (m, k) places in `table`; chunks may be empty."""
    count = systems.shape[1]
    cursor = np.ones(count + 1, dtype=np.int64)
    cursor[0] = 0
    words = words_for(bounds.max_atoms * table.largest_charge)
    while cursor[0] < len(systems):
        elements, amounts = (np.empty((chunk, count), dtype=np.uint8) for _ in range(2))
        between = np.empty(chunk, dtype=np.uint8)
        filled = search(
            systems,
            cursor,
            table.states,
            table.sides,
            table.electronegativities,
            rules.ordered,
            bounds.max_amount,
            bounds.max_atoms,
            rules.between,
            words,
            elements,
            amounts,
            between,
            counts.looked_at,
        )
        yield Compositions(table, rules, elements[:filled], amounts[:filled], between[:filled])


def _filtered(found: Compositions, keep: Mapping[str, Filter], counts: Counts) -> Compositions:
    for name, filter_ in keep.items():
        kept = filter_(found)
        counts.dropped[name] += int(len(kept) - kept.sum())
        found = found.only(kept)
    return found


def classified(table: StateTable, rules: Rules, elements: Ints, amounts: Ints) -> Compositions:
    """Given compositions: (m, k) places in `table` and amounts. `between` is UNBALANCED for what doesn't balance.

    Raises SettingsError for more than 255 atoms of an element.
    """
    if amounts.max(initial=0) > MOST_ATOMS:
        raise SettingsError(f"a formula with more than {MOST_ATOMS} atoms of an element")
    between = np.empty(len(elements), dtype=np.uint8)
    classify(
        elements,
        amounts,
        table.states,
        table.sides,
        table.electronegativities,
        rules.ordered,
        rules.between,
        words_for(int(amounts.sum(axis=1).max(initial=1)) * table.largest_charge),
        between,
    )
    return Compositions(table, rules, elements.astype(np.uint8), amounts.astype(np.uint8), between)
