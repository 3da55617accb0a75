"""Whether a composition is new: reduced compositions as 64-bit keys, compared a million at a time.

The key of a composition is the sum over its elements of a well-mixed word for (element, reduced amount), modulo 2**64:
the order of sites and the size of the cell don't count. Two different compositions share a key with a probability
of 5e-20: among a billion candidates and two million references, once in ten thousand runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import gcd
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from registry.compiled import entry_point, inner
from registry.crystal import Species

Keys = NDArray[np.uint64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class KnownCompositions:
    """keys: (m,) uint64, ascending, each once."""

    keys: Keys

    @classmethod
    def of(cls, amounts: Iterable[Mapping[int, int]]) -> Self:
        """From compositions as atomic number -> atoms, reduced or not."""
        return cls(np.unique(np.array([composition_key(each) for each in amounts], dtype=np.uint64)))

    def __len__(self) -> int:
        return len(self.keys)

    def hold(self, keys: Keys) -> Bools:
        """(k,) bool: which of the keys are known."""
        if not len(self.keys):
            return np.zeros(len(keys), dtype=bool)
        places = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return np.asarray(self.keys[places] == keys, dtype=bool)


def composition_key(amounts: Mapping[int, int]) -> int:
    """The key of one composition."""
    divisor = gcd(*amounts.values())
    reduced = [count // divisor for count in amounts.values()]
    return int(amounts_keys(np.array([list(amounts)]), np.array([reduced]))[0])


def composition_keys(numbers: Species) -> Keys:
    """(k,) uint64 for the (k, n) atomic numbers of the sites of k crystals of n sites."""
    return _composition_keys(np.ascontiguousarray(numbers, dtype=np.int16))


def amounts_keys(numbers: NDArray[np.integer[Any]], amounts: NDArray[np.integer[Any]]) -> Keys:
    """(k,) uint64 for k reduced compositions: atomic numbers and amounts, (k, e) both; an amount of 0 is no element."""
    return _amounts_keys(np.ascontiguousarray(numbers, np.int64), np.ascontiguousarray(amounts, np.int64))


@entry_point
def _amounts_keys(numbers: NDArray[np.int64], amounts: NDArray[np.int64]) -> Keys:
    keys = np.zeros(len(numbers), dtype=np.uint64)
    for row in range(len(numbers)):
        for place in range(numbers.shape[1]):
            if amounts[row, place]:
                keys[row] += _mixed(np.uint64(numbers[row, place]) << np.uint64(32) | np.uint64(amounts[row, place]))
    return keys


@entry_point
def _composition_keys(numbers: Species) -> Keys:
    keys = np.zeros(len(numbers), dtype=np.uint64)
    amounts = np.zeros(256, dtype=np.int64)
    for row in range(len(numbers)):
        amounts[:] = 0
        for number in numbers[row]:
            amounts[number] += 1
        divisor = _common_divisor(amounts)
        for number in range(len(amounts)):
            if amounts[number]:
                keys[row] += element_word(number, amounts[number] // divisor)
    return keys


@inner
def element_word(number: int, amount: int) -> np.uint64:
    """What an element and its reduced amount add to a composition's key."""
    return _mixed(np.uint64(number) << np.uint64(32) | np.uint64(amount))


@inner
def _common_divisor(amounts: NDArray[np.int64]) -> int:
    divisor = 0
    for amount in amounts:
        while amount:
            divisor, amount = amount, divisor % amount
    return divisor


@inner
def _mixed(word: np.uint64) -> np.uint64:
    """The finaliser of splitmix64 (Steele, Lea and Flood, OOPSLA 2014)."""
    word += np.uint64(0x9E3779B97F4A7C15)
    word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return word ^ (word >> np.uint64(31))
