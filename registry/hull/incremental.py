"""A hull that lives on: entries come, go and move, and only what they reach is solved again.

A phase that arrives, leaves, rises or falls reaches a composition if its price under the composition's chemical
potentials is zero or less at its lower energy: found by a scan of the systems that hold its elements, from the list of
the rarest. Systems are solved again from small to large, since the phases that stop or start being stable there are
columns that leave or join the programs above. Every program means one basis (registry/hull/simplex.py), so that the
results equal those of `compute_hull` over the same entries to the last bit.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from registry.errors import BadEntry
from registry.hull.geometry import compute_hull, participants
from registry.hull.phases import GRID, Entry, EntryTable, Floats, Ints, masks, weights
from registry.hull.results import HullResult, Solved, missing_reference, place, result
from registry.hull.simplex import (
    Compositions,
    Live,
    Moved,
    Solution,
    find_phase,
    find_system,
    index_systems,
    insert_system,
    reached_by,
    resettle,
)

NONE = np.zeros(0, dtype=np.int64)

Turns = dict[int, dict[int, list[int]]]
"""Number of elements -> system -> its compositions that entries came to or went from; those to solve are marked."""


class Columns:
    """Arrays of one length that grow together; they are longer than `size`, and others after an `append`."""

    def __init__(self, **columns: NDArray[Any]) -> None:
        self.size = len(next(iter(columns.values())))
        self.arrays = {name: np.array(column) for name, column in columns.items()}

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self.arrays[name]

    def append(self, count: int = 1, **values: Any) -> int:
        """Further rows; the place of the first. Columns that aren't named hold whatever they hold."""
        first, self.size = self.size, self.size + count
        for name, column in self.arrays.items():
            if self.size > len(column):
                self.arrays[name] = np.concatenate([column, np.zeros(max(self.size, 16), dtype=column.dtype)])
        for name, value in values.items():
            self.arrays[name][first : self.size] = value
        return first


class LiveHull(Mapping[int, HullResult]):
    """Every entry's place, kept current. Keys are int. Entries of a system without all elements have none (yet)."""

    def __init__(self, table: EntryTable) -> None:
        """Raises BadEntry where keys aren't int."""
        if table.keys.dtype.kind != "i":
            raise BadEntry("a hull that lives on names its entries by int")
        solution = compute_hull(table)
        phases, solved = solution.phases, solution.solved
        columns = participants(phases, phases.solvable(), solved.stable)
        rows, first, following = _chains(phases.of_entry, len(phases))
        self._rows: dict[int, int] = dict(zip(table.keys.tolist(), rows.tolist(), strict=True))
        self._free: list[int] = []
        self._new: dict[int, list[int]] = defaultdict(list)  # system -> compositions not linked to it yet
        self._entries = Columns(keys=table.keys, energies=table.energies, of_entry=phases.of_entry, next=following)
        self._phases = Columns(
            first_entry=first,
            lowest=phases.lowest,
            lowest_key=table.keys[phases.lowest],
            second=phases.second,
            energies=phases.energies,
            second_energies=phases.second_energies,
            system=phases.system_of,
            offsets=columns.offsets,
            sizes=columns.sizes,
            next=columns.next,
            weights=columns.weights,
            stable=columns.stable,
            pending=np.zeros(len(phases), dtype=np.bool_),
            mixture=solved.solution.energies,
        )
        self._parts = Columns(
            numbers=phases.numbers,
            fractions=phases.fractions,
            basis=solved.solution.basis,
            shares=solved.solution.shares,
            potentials=solved.solution.potentials,
            facet_potentials=solved.solution.facet_potentials,
        )
        self._systems = Columns(
            high=columns.system_high,
            low=columns.system_low,
            first=columns.first,
            held=columns.held,
            solvable=columns.solvable,
        )
        self._elements: list[Ints] = [
            phases.numbers[columns.offsets[one] : columns.offsets[one] + columns.sizes[one]] for one in columns.first
        ]
        self._element_phase = phases.element_phase.copy()
        self._table: Ints = index_systems(columns.system_high, columns.system_low)
        self._postings: dict[int, Columns] = {}
        for system, elements in enumerate(self._elements):
            self._post(system, elements)

    def update(self, arrived: Iterable[Entry] = (), gone: Iterable[int] = ()) -> list[int]:
        """Take entries in and out, all at once; the keys of all whose place may have changed, in ascending order.

        One that arrives under a known key takes the old one's place. Raises KeyError for a key to go that isn't here
        and BadEntry for arrivals that share a key; the hull is as it was then.
        """
        coming = _distinct(arrived)
        leaving = dict.fromkeys(gone)
        for key in leaving:
            if key not in self._rows:
                raise KeyError(key)
        leaving |= dict.fromkeys(key for key in coming if key in self._rows)
        touched = {self._take_out(key) for key in leaving} | {self._take_in(entry) for entry in coming.values()}
        return self._keys_of(self._settle(touched))

    def results(self, keys: Sequence[int]) -> list[HullResult]:
        """Their places. Raises KeyError, and MissingReference for one whose system lacks an element."""
        rows = np.array([self._rows[key] for key in keys], dtype=np.int64)
        solved = self._solved()
        for key, row in zip(keys, rows, strict=True):
            if not self.is_placed(key):
                raise missing_reference(solved.missing(int(solved.of_entry[row])))
        places = place(solved, rows)
        return [result(solved, int(row), places, at) for at, row in enumerate(rows)]

    @property
    def size(self) -> int:
        """All entries, placed or not."""
        return len(self._rows)

    def holds(self, key: int) -> bool:
        """Whether there is such an entry, placed or not."""
        return key in self._rows

    def element_of(self, key: int) -> int:
        """The atomic number where it is of one element, else 0. Raises KeyError."""
        phase = self._entries["of_entry"][self._rows[key]]
        elemental = int(self._phases["sizes"][phase]) == 1
        return int(self._parts["numbers"][self._phases["offsets"][phase]]) if elemental else 0

    def is_placed(self, key: int) -> bool:
        """Whether its system has an entry of every element. Raises KeyError."""
        system = self._phases["system"][self._entries["of_entry"][self._rows[key]]]
        return bool(self._systems["solvable"][system])

    def __getitem__(self, key: int) -> HullResult:
        return self.results([key])[0]

    def __iter__(self) -> Iterator[int]:
        return filter(self.is_placed, self._rows)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    # What comes and goes: chains of entries, new compositions and systems. Nothing is solved.

    def _take_out(self, key: int) -> int:
        """The composition that it was of."""
        row = self._rows.pop(key)
        phase = int(self._entries["of_entry"][row])
        first, following = self._phases["first_entry"], self._entries["next"]
        at = int(first[phase])
        if at == row:
            first[phase] = following[row]
        else:
            while following[at] != row:
                at = int(following[at])
            following[at] = following[row]
        self._free.append(row)
        return phase

    def _take_in(self, entry: Entry) -> int:
        """Its composition."""
        phase = self._phase_of(entry)
        row = self._free.pop() if self._free else self._entries.append()
        entries, first = self._entries, self._phases["first_entry"]
        entries["keys"][row], entries["energies"][row] = entry.key, entry.formation_energy
        entries["of_entry"][row], entries["next"][row] = phase, first[phase]
        first[phase] = row
        self._rows[int(entry.key)] = row
        return phase

    def _phase_of(self, entry: Entry) -> int:
        """The composition, made where it is new; one that lost its last entry is made anew."""
        amounts = dict(sorted((number, count) for number, count in entry.amounts.items() if count))
        numbers, counts = np.array(list(amounts), dtype=np.int64), np.array(list(amounts.values()), dtype=np.float64)
        fractions = counts / counts.sum()
        system = self._system_of(numbers)
        for phase in self._new.get(system, []):
            if self._is_at(phase, fractions):
                return phase
        known = find_phase(system, fractions, GRID, self._compositions())
        return known if known >= 0 else self._new_phase(system, numbers, fractions)

    def _is_at(self, phase: int, fractions: Floats) -> bool:
        at = self._phases["offsets"][phase]
        own = self._parts["fractions"][at : at + len(fractions)]
        return np.array_equal(np.rint(own * GRID)[:-1], np.rint(fractions * GRID)[:-1])

    def _new_phase(self, system: int, numbers: Ints, fractions: Floats) -> int:
        size = len(numbers)
        unsolved: dict[str, Any] = dict.fromkeys(("shares", "potentials", "facet_potentials"), np.nan)
        at = self._parts.append(size, numbers=numbers, fractions=fractions, basis=-1, **unsolved)
        none = dict.fromkeys(("first_entry", "lowest", "second", "next"), -1)
        energies: dict[str, Any] = {"energies": np.inf, "second_energies": np.inf, "mixture": np.nan}
        weight = weights(np.array([0, size]), numbers, fractions)
        flags = {"stable": False, "pending": False}
        phase = self._phases.append(
            system=system, offsets=at, sizes=size, weights=weight, lowest_key=0, **none, **energies, **flags
        )
        self._new[system].append(phase)
        return phase

    def _system_of(self, numbers: Ints) -> int:
        high, low = (int(word[0]) for word in masks(numbers[None, :]))
        systems = self._systems
        found = find_system(self._table, systems["high"], systems["low"], high, low)
        if found >= 0:
            return found
        solvable = bool(np.all(self._element_phase[numbers] >= 0))
        system = systems.append(high=high, low=low, first=-1, held=0, solvable=solvable)
        self._elements.append(numbers)
        if 2 * systems.size > len(self._table):
            self._table = index_systems(systems["high"][: systems.size], systems["low"][: systems.size])
        else:
            insert_system(self._table, systems["high"], systems["low"], system)
        self._post(system, numbers)
        return system

    def _post(self, system: int, elements: Ints) -> None:
        for number in elements.tolist():
            if number not in self._postings:
                self._postings[number] = Columns(systems=NONE)
            self._postings[number].append(systems=system)

    def _holding(self, numbers: Iterable[int]) -> Ints:
        """The systems that may hold all these elements: those of the rarest."""
        rarest = min((self._postings[number] for number in numbers), key=lambda posting: posting.size)
        return rarest["systems"][: rarest.size]

    # What that moves.

    def _settle(self, touched: set[int]) -> set[int]:
        """Solve again what touched compositions reach; they, and all that was solved or is told against others."""
        turns: Turns = defaultdict(lambda: defaultdict(list))
        for phase in touched:
            turns[int(self._phases["sizes"][phase])][int(self._phases["system"][phase])].append(phase)
        moved, elements = set(touched), set[int]()
        while turns:
            size = min(turns)
            for system, ours in sorted(turns.pop(size).items()):
                self._new.pop(system, None)
                if size == 1:
                    self._systems["solvable"][system] = any(self._phases["first_entry"][one] >= 0 for one in ours)
                before = resettle(system, np.array(sorted(ours), dtype=np.int64), self._table, self._live())
                moved.update(before.phases.tolist())
                spread = [self._spread(before, at, turns) for at in range(len(before.phases))]
                if size == 1 and any(spread):
                    elements.add(int(self._elements[system][0]))
                    self._appear_or_vanish(system, turns)
        return moved | self._with(elements)

    def _spread(self, before: Moved, at: int, turns: Turns) -> bool:
        """Whether a phase became, was, or is another column of larger systems: what it reaches there is marked then."""
        phase = int(before.phases[at])
        was = (bool(before.stable[at]), float(before.energies[at]), int(before.lowest_keys[at]))
        now = (
            bool(self._phases["stable"][phase]),
            float(self._phases["energies"][phase]),
            int(self._phases["lowest_key"][phase]),
        )
        lowest = min((energy for stable, energy, _ in (was, now) if stable), default=np.inf)
        if lowest == np.inf or was == now:
            return False
        at, size = self._phases["offsets"][phase], self._phases["sizes"][phase]
        systems = self._holding(self._parts["numbers"][at : at + size].tolist())
        self._mark(reached_by(phase, lowest, systems, self._compositions(), self._solution()), turns)
        return True

    def _mark(self, phases: Ints, turns: Turns) -> None:
        self._phases["pending"][phases] = True
        sizes, systems = self._phases["sizes"][phases].tolist(), self._phases["system"][phases].tolist()
        for size, system in zip(sizes, systems, strict=True):
            _ = turns[size][system]

    def _appear_or_vanish(self, system: int, turns: Turns) -> None:
        """Systems that an element's first entry makes solvable, or the loss of its last one refuses."""
        number, phase = int(self._elements[system][0]), int(self._systems["first"][system])
        if (self._element_phase[number] < 0) == (phase < 0):
            return
        self._element_phase[number] = phase
        posting = self._postings[number]
        for other in posting["systems"][: posting.size].tolist():
            solvable = bool(np.all(self._element_phase[self._elements[other]] >= 0))
            if other == system or solvable == self._systems["solvable"][other]:
                continue
            self._systems["solvable"][other] = solvable
            phases = np.array(self._linked(other), dtype=np.int64)
            if solvable:
                self._mark(phases, turns)
            else:
                self._forget(phases)

    def _forget(self, phases: Ints) -> None:
        """What was solved of compositions whose system lost an element."""
        self._phases["stable"][phases], self._phases["mixture"][phases] = False, np.nan
        for phase in phases:
            span = slice(self._phases["offsets"][phase], self._phases["offsets"][phase] + self._phases["sizes"][phase])
            for name in ("potentials", "facet_potentials"):
                self._parts[name][span] = np.nan

    def _with(self, elements: set[int]) -> set[int]:
        """The compositions that hold one of these elements: their formation energies are against its lowest entry."""
        postings = [self._postings[number] for number in elements]
        systems = {system for posting in postings for system in posting["systems"][: posting.size].tolist()}
        return {phase for system in systems for phase in self._linked(system)}

    def _linked(self, system: int) -> list[int]:
        phases, phase = [], int(self._systems["first"][system])
        while phase >= 0:
            phases.append(phase)
            phase = int(self._phases["next"][phase])
        return phases

    def _keys_of(self, phases: Iterable[int]) -> list[int]:
        keys = []
        for phase in phases:
            row = int(self._phases["first_entry"][phase])
            while row >= 0:
                keys.append(int(self._entries["keys"][row]))
                row = int(self._entries["next"][row])
        return sorted(keys)

    # The arrays as the kernels take them; new ones after each growth.

    def _compositions(self) -> Compositions:
        systems, phases, parts = self._systems, self._phases, self._parts
        by_system = [systems[name][: systems.size] for name in ("high", "low", "first", "held", "solvable")]
        columns = [phases[name] for name in ("next", "offsets", "sizes")]
        values = [phases[name] for name in ("energies", "weights", "stable")]
        return Compositions._make([*by_system, *columns, parts["numbers"], parts["fractions"], *values])

    def _solution(self) -> Solution:
        parts = [self._parts[name] for name in ("basis", "shares", "potentials", "facet_potentials")]
        return Solution._make([self._phases["mixture"], *parts])

    def _live(self) -> Live:
        entries = [self._entries[name] for name in ("keys", "energies", "next")]
        names = ("first_entry", "lowest", "lowest_key", "second", "second_energies", "pending")
        phases = [self._phases[name] for name in names]
        return Live._make([*entries, *phases, self._compositions(), self._solution()])

    def _solved(self) -> Solved:
        return Solved(
            keys=self._entries["keys"],
            energies=self._entries["energies"],
            of_entry=self._entries["of_entry"],
            lowest=self._phases["lowest"],
            second=self._phases["second"],
            lowest_energies=self._phases["energies"],
            second_energies=self._phases["second_energies"],
            offsets=self._phases["offsets"],
            sizes=self._phases["sizes"],
            numbers=self._parts["numbers"],
            fractions=self._parts["fractions"],
            element_phase=self._element_phase,
            stable=self._phases["stable"],
            solution=self._solution(),
        )


def _chains(of_entry: Ints, count: int) -> tuple[Ints, Ints, Ints]:
    """Rows of entries; the first of each composition; the one after each of them in its composition, -1 at the end."""
    rows, first, following = np.arange(len(of_entry)), np.full(count, -1), np.full(len(of_entry), -1)
    order = np.argsort(of_entry, kind="stable")
    same = of_entry[order][1:] == of_entry[order][:-1]
    following[order[:-1][same]] = order[1:][same]
    first[of_entry[order[::-1]]] = order[::-1]
    return rows, first, following


def _distinct(entries: Iterable[Entry]) -> dict[int, Entry]:
    """By key. Raises BadEntry for a key that isn't int or comes twice."""
    found: dict[int, Entry] = {}
    for entry in entries:
        if not isinstance(entry.key, int) or entry.key in found:
            raise BadEntry(f"entry {entry.key}: a hull that lives on names its entries by int, each its own")
        found[entry.key] = entry
    return found
