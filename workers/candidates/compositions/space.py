"""What is looked at: chemical systems of some elements, and reduced amounts within bounds."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import comb

import numpy as np
from numpy.typing import NDArray

from registry.errors import SettingsError

Ints = NDArray[np.int64]

MOST_ELEMENTS = 6
MOST_ATOMS = 255
AT_ONCE = 2_000_000
"""Compositions that the kernel looks at in one call: some tenths of a second, since none is interrupted."""


@dataclass(frozen=True)
class Bounds:
    """min_elements, max_elements: of a composition, 1 to 6; max_amount: atoms of one element; max_atoms: of all, in
    the reduced formula, up to 255. Raise SettingsError for what bounds nothing or leaves nothing."""

    min_elements: int = 2
    max_elements: int = 3
    max_amount: int = 15
    max_atoms: int = 20

    def __post_init__(self) -> None:
        if not 1 <= self.min_elements <= self.max_elements <= MOST_ELEMENTS:
            raise SettingsError(
                f"from {self.min_elements} to {self.max_elements} elements in a composition: "
                f"give a range within 1 to {MOST_ELEMENTS}"
            )
        if not 1 <= self.max_amount <= MOST_ATOMS or not 1 <= self.max_atoms <= MOST_ATOMS:
            raise SettingsError(
                f"up to {self.max_amount} atoms of an element and {self.max_atoms} of all: "
                f"both lie within 1 to {MOST_ATOMS}"
            )
        if self.max_atoms < self.min_elements:
            raise SettingsError(f"{self.min_elements} elements don't fit into {self.max_atoms} atoms")

    def amounts(self, count: int) -> int:
        """How many reduced compositions a system of `count` elements has within the bounds."""
        return sum(
            _moebius(divisor) * _tuples(count, self.max_amount // divisor, self.max_atoms // divisor)
            for divisor in range(1, self.max_atoms + 1)
        )


@dataclass(frozen=True)
class Space:
    """Systems of elements, as places in a table of `elements` elements, each with all places of `required`."""

    elements: int
    bounds: Bounds
    required: Sequence[int] = field(default=())

    @property
    def sizes(self) -> range:
        lowest = max(self.bounds.min_elements, len(self.required))
        return range(lowest, min(self.bounds.max_elements, self.elements) + 1)

    def systems(self, count: int) -> int:
        """How many systems of `count` elements there are."""
        return comb(self.elements - len(self.required), count - len(self.required))

    @property
    def size(self) -> int:
        """How many compositions are looked at."""
        return sum(self.systems(count) * self.bounds.amounts(count) for count in self.sizes)

    def batches(self, count: int) -> Iterator[Ints]:
        """(m, count) int64, ascending in each row."""
        free = [place for place in range(self.elements) if place not in self.required]
        rows = (
            sorted((*self.required, *chosen)) for chosen in itertools.combinations(free, count - len(self.required))
        )
        size = max(1, AT_ONCE // self.bounds.amounts(count))
        while batch := list(itertools.islice(rows, size)):
            yield np.array(batch, dtype=np.int64).reshape(-1, count)


def _tuples(count: int, most: int, total: int) -> int:
    """How many tuples of `count` numbers from 1 to `most` there are with a sum of at most `total`."""
    ways = [1] + [0] * total
    for _ in range(count):
        ways = [sum(ways[max(0, end - most) : end]) for end in range(total + 1)]
    return sum(ways)


def _moebius(number: int) -> int:
    sign, rest = 1, number
    for prime in range(2, number + 1):
        if rest % prime == 0:
            rest //= prime
            sign = -sign
            if rest % prime == 0:
                return 0
    return sign
