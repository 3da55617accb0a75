"""Entries in columns, and their sorting into compositions and chemical systems."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from registry.errors import BadEntry

Key = int | str
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

ENERGY_LIMIT = 100.0
"""eV/atom: no formation energy against elemental references is this far from zero."""

HEAVIEST = 118
BITS = 62
"""Elements per mask word: a chemical system is two non-negative int64, atomic numbers 1-62 and 63-118."""

GRID = 99_999_989
"""Atomic fractions are compared on this grid, finer than any two cells of 4,000 atoms. A prime, so that no fraction
of small whole numbers falls on the border between two grid points."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One energy of one composition.

    key: the caller's name for it, an int or a str, one kind in one hull; ties in energy go to the smaller key
    amounts: atomic number -> count, in any multiple of the formula (a cell of 200 sites may stay one)
    formation_energy: eV/atom over fixed but arbitrary elemental references: elements are entries like any other
    """

    key: Key
    amounts: Mapping[int, float]
    formation_energy: float

    def __post_init__(self) -> None:
        if not abs(self.formation_energy) <= ENERGY_LIMIT:
            raise BadEntry(energy_complaint(self.key, self.formation_energy))
        if not self.amounts or not all(0 <= amount < np.inf for amount in self.amounts.values()):
            raise BadEntry(f"entry {self.key}: amounts {dict(self.amounts)} must be finite and not negative")
        if not all(1 <= number <= HEAVIEST for number in self.amounts) or not any(self.amounts.values()):
            raise BadEntry(f"entry {self.key}: amounts {dict(self.amounts)} must hold elements 1 to {HEAVIEST}")


def energy_complaint(key: object, energy: float) -> str:
    return f"entry {key}: formation energy {energy} eV/atom; a hull holds finite ones within ±{ENERGY_LIMIT:g} eV/atom"


@dataclass(frozen=True, eq=False)
class EntryTable:
    """Many entries, column by column: what bulk work hands over instead of `Entry` objects.

    keys: (n,) int64 or str, all different
    offsets: (n + 1,) int64; entry i holds numbers[offsets[i]:offsets[i + 1]]
    numbers: (m,) int64, atomic numbers, ascending within an entry
    amounts: (m,) float64, positive
    energies: (n,) float64, eV/atom as in `Entry.formation_energy`

    Raises BadEntry for the first row that breaks this.
    """

    keys: NDArray[Any]
    offsets: Ints
    numbers: Ints
    amounts: Floats
    energies: Floats

    def __post_init__(self) -> None:
        self._refuse(~(np.abs(self.energies) <= ENERGY_LIMIT), "formation energy must be finite and within 100 eV/atom")
        self._refuse(np.diff(self.offsets) < 1, "no elements")
        row = np.repeat(np.arange(len(self.energies)), np.diff(self.offsets))
        self._refuse(row[~((self.amounts > 0) & (self.amounts < np.inf))], "amounts must be positive and finite")
        self._refuse(row[(self.numbers < 1) | (self.numbers > HEAVIEST)], f"atomic numbers go from 1 to {HEAVIEST}")
        falling = (np.diff(self.numbers) <= 0) & (np.diff(row) == 0)
        self._refuse(row[1:][falling], "atomic numbers must ascend")
        if len(np.unique(self.keys)) < len(self.keys):
            raise BadEntry("two entries share a key: keys name entries, so each must be its own")

    def _refuse(self, rows: NDArray[Any], reason: str) -> None:
        where = np.flatnonzero(rows) if rows.dtype == np.bool_ else rows
        if len(where):
            raise BadEntry(f"entry {self.keys[where[0]]}: {reason} ({len(where)} such values)")

    def __len__(self) -> int:
        return len(self.energies)

    @classmethod
    def of(cls, entries: Iterable[Entry]) -> EntryTable:
        """The columns of some entries; element counts of zero are dropped."""
        rows = list(entries)
        return cls.build([e.key for e in rows], [e.amounts for e in rows], [e.formation_energy for e in rows])

    @classmethod
    def build(
        cls, keys: Sequence[Key], amounts: Sequence[Mapping[int, float]], energies: Sequence[float] | Floats
    ) -> EntryTable:
        rows = np.repeat(np.arange(len(amounts)), np.fromiter(map(len, amounts), np.int64, len(amounts)))
        numbers = np.fromiter(chain.from_iterable(amounts), np.int64, len(rows))
        counts = np.fromiter(chain.from_iterable(row.values() for row in amounts), np.float64, len(rows))
        order = np.argsort((rows << 32) + numbers, kind="stable")  # in order already, most often
        order = order[counts[order] != 0]
        offsets = np.searchsorted(rows[order], np.arange(len(amounts) + 1)).astype(np.int64)
        return cls(_key_column(keys), offsets, numbers[order], counts[order], np.asarray(energies, np.float64))


def _key_column(keys: Sequence[Key]) -> NDArray[Any]:
    if not keys:
        return np.zeros(0, dtype=np.int64)
    kinds = set(map(type, keys))
    if len(kinds) > 1 or kinds.pop() not in (int, str):
        raise BadEntry("the keys of one hull must be all int or all str: ties are broken by their order")
    return np.array(keys)


@dataclass(frozen=True, eq=False)
class Phases:
    """Compositions in canonical order (system size, system, fractions), each with its lowest and second lowest entry.

    The order depends on the entries only, not on the order in which they came.

    system_high, system_low: (s,) int64, element masks; system_offsets: (s + 1,) into the compositions
    offsets: (c + 1,) into numbers and fractions; numbers: (m,); fractions: (m,) atomic fractions
    lowest, second: (c,) int64 rows of the table, second = -1 where the composition has one entry
    energies, second_energies: (c,) eV/atom, inf where there is no second
    of_entry: (n,) the composition of each row of the table
    """

    system_high: Ints
    system_low: Ints
    system_offsets: Ints
    offsets: Ints
    numbers: Ints
    fractions: Floats
    lowest: Ints
    second: Ints
    energies: Floats
    second_energies: Floats
    of_entry: Ints
    element_phase: Ints = field(init=False)
    weights: Floats = field(init=False)

    def __post_init__(self) -> None:
        """element_phase: (119,) the composition that is this pure element, -1 where there is none.

        weights: (c,) a number within [0, 1) of each composition, to settle ties by; of no meaning, but always the same
        """
        pure = np.full(HEAVIEST + 1, -1, dtype=np.int64)
        elements = np.flatnonzero(np.diff(self.offsets) == 1)
        pure[self.numbers[self.offsets[elements]]] = elements
        object.__setattr__(self, "element_phase", pure)
        object.__setattr__(self, "weights", weights(self.offsets, self.numbers, self.fractions))

    def __len__(self) -> int:
        return len(self.energies)

    @property
    def system_of(self) -> Ints:
        """(c,) the system of each composition."""
        return np.repeat(np.arange(len(self.system_low)), np.diff(self.system_offsets))

    def missing(self, phase: int, reference: Phases | None = None) -> list[int]:
        """Atomic numbers in this composition that have no entry of their own in the reference (by default here)."""
        numbers = self.numbers[self.offsets[phase] : self.offsets[phase + 1]]
        return [int(z) for z in numbers if (self if reference is None else reference).element_phase[z] < 0]

    def solvable(self, reference: Phases | None = None) -> Flags:
        """(s,) whether every element of the system has an entry of its own in the reference (by default here)."""
        first = self.system_offsets[:-1]
        present = (self if reference is None else reference).element_phase[self.numbers] >= 0
        counts = np.add.reduceat(present, self.offsets[:-1]) if len(self) else np.zeros(0, dtype=np.int64)
        return np.asarray(counts == np.diff(self.offsets))[first]


def weights(offsets: Ints, numbers: Ints, fractions: Floats) -> Floats:
    """(c,) numbers within [0, 1), made from the compositions alone."""
    if len(offsets) < 2:
        return np.zeros(0)
    parts = np.rint(fractions * GRID).astype(np.uint64) * np.uint64(128) + numbers.astype(np.uint64)
    mixed = np.add.reduceat(_scattered(parts), offsets[:-1])
    return np.asarray((_scattered(mixed) >> np.uint64(11)) / 2.0**53)


def _scattered(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Neighbours far apart: the finaliser of SplitMix64 (Steele, Lea and Flood 2014)."""
    mixed = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def group(table: EntryTable) -> Phases:
    """Sorts entries into compositions and chemical systems; two multiples of a formula are one composition."""
    rank = np.argsort(np.argsort(table.keys, kind="stable"), kind="stable")
    sizes = np.diff(table.offsets)
    parts = [_group_size(table, np.flatnonzero(sizes == k), int(k), rank) for k in np.unique(sizes)]
    return _join(table, parts)


@dataclass(frozen=True, eq=False)
class _Part:
    """Compositions of one number of elements: rows sorted, and where a new composition or system starts among them."""

    rows: Ints
    starts: Ints
    new_system: Flags
    high: Ints
    low: Ints
    numbers: Ints
    fractions: Floats


def _group_size(table: EntryTable, rows: Ints, size: int, rank: Ints) -> _Part:
    span = table.offsets[rows][:, None] + np.arange(size)
    numbers, amounts = table.numbers[span], table.amounts[span]
    fractions = amounts / amounts.sum(axis=1, keepdims=True)
    grid = np.rint(fractions * GRID).astype(np.int64)
    high, low = masks(numbers)
    identity = [high, low, *grid.T[: max(size - 1, 0)]]
    order = np.lexsort((rank[rows], table.energies[rows], *identity[::-1]))
    new_system = _changes([column[order] for column in identity[:2]])
    starts = np.flatnonzero(new_system | _changes([column[order] for column in identity[2:]]))
    first = order[starts]
    return _Part(
        rows[order],
        starts,
        new_system[starts],
        high[first],
        low[first],
        numbers[first].ravel(),
        fractions[first].ravel(),
    )


def _changes(columns: list[Ints]) -> Flags:
    if not columns:
        return np.zeros(1, dtype=np.bool_)
    changed = np.ones(len(columns[0]), dtype=np.bool_)
    changed[1:] = np.any([column[1:] != column[:-1] for column in columns], axis=0)
    return changed


def masks(numbers: Ints) -> tuple[Ints, Ints]:
    """(n, k) atomic numbers -> two (n,) int64 words of one bit per element."""
    bits = np.left_shift(np.int64(1), (numbers - 1) % BITS)
    heavy = numbers > BITS
    return np.where(heavy, bits, 0).sum(axis=1), np.where(heavy, 0, bits).sum(axis=1)


def _join(table: EntryTable, parts: list[_Part]) -> Phases:
    counts = [len(part.starts) for part in parts]
    sizes = np.repeat([len(p.numbers) // max(len(p.starts), 1) for p in parts], counts).astype(np.int64)
    rows = _concatenate([part.rows for part in parts])
    shifts = np.cumsum([0, *(len(part.rows) for part in parts)])
    starts = _concatenate([part.starts + shift for part, shift in zip(parts, shifts, strict=False)])
    ends = np.append(starts[1:], len(rows)).astype(np.int64)[: len(starts)]
    new_system = np.flatnonzero(_concatenate([part.new_system for part in parts]))
    energies = table.energies[rows]
    has_second = ends - starts > 1
    after = np.minimum(starts + 1, max(len(rows) - 1, 0))
    of_entry = np.empty(len(rows), dtype=np.int64)
    of_entry[rows] = np.repeat(np.arange(len(starts)), ends - starts)
    return Phases(
        system_high=_concatenate([part.high for part in parts])[new_system],
        system_low=_concatenate([part.low for part in parts])[new_system],
        system_offsets=np.append(new_system, len(starts)).astype(np.int64),
        offsets=np.concatenate(([0], np.cumsum(sizes))).astype(np.int64),
        numbers=_concatenate([part.numbers for part in parts]),
        fractions=np.concatenate([part.fractions for part in parts]) if parts else np.zeros(0),
        lowest=rows[starts],
        second=np.where(has_second, rows[after] if len(rows) else after, -1),
        energies=energies[starts],
        second_energies=np.where(has_second, energies[after] if len(rows) else 0.0, np.inf),
        of_entry=of_entry,
    )


def _concatenate(columns: list[Any]) -> NDArray[Any]:
    return np.concatenate(columns) if columns else np.zeros(0, dtype=np.int64)
