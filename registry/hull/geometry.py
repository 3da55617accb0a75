"""Convex hulls of formation energies: every chemical system at once, exact, and pure (no database).

`compute_hull` places entries; `Hull` answers for compositions and candidates that are not in it.

Elements are ordinary entries over fixed, arbitrary references, so a lower elemental entry may come later. Results are
exact to about 1e-13 eV/atom and depend on the entries only, not on their order.

Stable: the lowest entry of its composition (at equal energy the one with the smaller key) that lies no higher than
STABILITY_TOLERANCE above the best mixture of other compositions. So an entry exactly on a tie line is stable; of two
equal polymorphs one is, though e_above_hull is 0 for both.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np

from registry.errors import MissingReference
from registry.hull.phases import Entry, EntryTable, Flags, Floats, Ints, Key, Phases, group
from registry.hull.results import HullResult, Share, Solved, missing_reference, place, result, shares

if TYPE_CHECKING:
    from registry.hull.simplex import Compositions, Solution

__all__ = ["Entry", "EntryTable", "Hull", "HullPoint", "HullResult", "HullSolution", "Share", "compute_hull", "warm"]


@dataclass(frozen=True, slots=True)
class HullPoint:
    """The hull at one composition: eV/atom over the entries' own references, its phases, its chemical potentials."""

    energy: float
    decomposition: tuple[Share, ...]
    chemical_potentials: dict[int, float]


def compute_hull(entries: Iterable[Entry] | EntryTable, threads: int = 1) -> HullSolution:
    """Places every entry within its chemical system. Entries of a system without all elemental entries are refused.

    threads: the kernels release the GIL; results don't depend on it. Raises BadEntry for entries that no hull may hold.
    """
    from registry.hull.simplex import index_systems, solve_systems

    table = entries if isinstance(entries, EntryTable) else EntryTable.of(entries)
    phases = group(table)
    compositions = participants(phases, phases.solvable(), np.zeros(len(phases), dtype=np.bool_))
    out = blank_solution(phases)
    index = index_systems(phases.system_high, phases.system_low)
    with ThreadPoolExecutor(threads) as pool:
        for level in _levels(phases, threads):
            tasks = [pool.submit(solve_systems, a, b, compositions, compositions, index, True, out) for a, b in level]
            for task in tasks:
                task.result()
    return HullSolution(table, phases, compositions.stable, out)


def participants(phases: Phases, solvable: Flags, stable: Flags) -> Compositions:
    from registry.hull.simplex import Compositions

    count = np.diff(phases.system_offsets)
    following = np.arange(1, len(phases) + 1)
    following[phases.system_offsets[1:] - 1] = -1
    return Compositions(
        phases.system_high,
        phases.system_low,
        phases.system_offsets[:-1],
        count,
        solvable,
        following,
        phases.offsets[:-1],
        np.diff(phases.offsets),
        phases.numbers,
        phases.fractions,
        phases.energies,
        phases.weights,
        stable,
    )


def blank_solution(phases: Phases) -> Solution:
    from registry.hull.simplex import Solution

    m = len(phases.numbers)
    blank = [np.full(m, np.nan) for _ in range(3)]
    return Solution(np.full(len(phases), np.nan), np.full(m, -1, dtype=np.int64), *blank)


def _levels(phases: Phases, threads: int) -> Iterator[list[tuple[int, int]]]:
    """Ranges of systems: one list per number of elements, in ascending order, cut into pieces for the threads."""
    sizes = np.diff(phases.offsets)[phases.system_offsets[:-1]]
    for size in np.unique(sizes):
        first, last = np.searchsorted(sizes, [size, size + 1])
        pieces = min(threads * 8 if threads > 1 else 1, last - first)
        borders = np.linspace(first, last, pieces + 1).astype(int).tolist()
        yield list(pairwise(borders))


class HullSolution(Mapping[Key, HullResult]):
    """Every entry's place on the hull: columns for bulk work, `HullResult` objects by key for people.

    Columns are (n,), in the order of the entries given, nan (False) for refused ones: `formation_energies`,
    `e_above_hull`, `decomposition_energies` (nan also for the only entry of an element), `phase_separation_energies`,
    `is_stable`.
    Iteration goes over the placed keys; a refused key raises its MissingReference.
    """

    def __init__(self, table: EntryTable, phases: Phases, stable: Flags, solution: Solution) -> None:
        self.table = table
        self.phases = phases
        self.solved = solved_of(table, phases, stable, solution)
        self.placed: Flags = (
            phases.solvable()[phases.system_of][phases.of_entry] if len(phases) else np.zeros(0, np.bool_)
        )
        self.places = place(self.solved, np.arange(len(table)))
        self.formation_energies = self.places.formation_energies
        self.e_above_hull = self.places.e_above_hull
        self.decomposition_energies = self.places.decomposition_energies
        self.phase_separation_energies = self.places.phase_separation_energies
        self.is_stable = self.places.is_stable
        self._rows: dict[Key, int] = {}

    @property
    def refused(self) -> dict[Key, MissingReference]:
        """The entries whose system lacks an elemental entry, each with the error that names the elements."""
        errors: dict[int, MissingReference] = {}
        for row in np.flatnonzero(~self.placed):
            phase = int(self.phases.of_entry[row])
            if phase not in errors:
                errors[phase] = missing_reference(self.solved.missing(phase))
        rows = np.flatnonzero(~self.placed)
        return {self.solved.key(row): errors[int(self.phases.of_entry[row])] for row in rows}

    def hull(self) -> Hull:
        """The stable entries alone, to ask about compositions and candidates."""
        return Hull(self.stable_entries())

    def stable_entries(self) -> EntryTable:
        """The stable entries alone, in the order of the entries given."""
        rows = np.flatnonzero(self.is_stable)
        spans = [np.arange(self.table.offsets[row], self.table.offsets[row + 1]) for row in rows]
        span = np.concatenate(spans) if spans else np.zeros(0, dtype=np.int64)
        offsets = np.concatenate(([0], np.cumsum(np.diff(self.table.offsets)[rows]))).astype(np.int64)
        numbers, amounts = self.table.numbers[span], self.table.amounts[span]
        return EntryTable(self.table.keys[rows], offsets, numbers, amounts, self.table.energies[rows])

    def __len__(self) -> int:
        return int(self.placed.sum())

    def __iter__(self) -> Iterator[Key]:
        return (self.solved.key(row) for row in np.flatnonzero(self.placed))

    def __getitem__(self, key: Key) -> HullResult:
        if not self._rows:
            self._rows = {self.solved.key(row): row for row in range(len(self.table))}
        row = self._rows[key]
        if not self.placed[row]:
            raise missing_reference(self.solved.missing(int(self.phases.of_entry[row])))
        return result(self.solved, row, self.places, row)


def solved_of(table: EntryTable, phases: Phases, stable: Flags, solution: Solution) -> Solved:
    """The arrays of a hull that was solved at once."""
    return Solved(
        table.keys,
        table.energies,
        phases.of_entry,
        phases.lowest,
        phases.second,
        phases.energies,
        phases.second_energies,
        phases.offsets[:-1],
        np.diff(phases.offsets),
        phases.numbers,
        phases.fractions,
        phases.element_phase,
        stable,
        solution,
    )


class Hull:
    """A hull to ask: fixed entries (the stable ones suffice), compositions and candidates that are not in it.

    Energies go in and come out over the entries' own references. Raises BadEntry like `compute_hull`.
    """

    def __init__(self, entries: Iterable[Entry] | EntryTable) -> None:
        from registry.hull.simplex import index_systems

        self._table = entries if isinstance(entries, EntryTable) else EntryTable.of(entries)
        self._phases = group(self._table)
        everything = np.ones(len(self._phases), dtype=np.bool_)
        self._columns = participants(self._phases, self._phases.solvable(), everything)
        self._index: Ints = index_systems(self._phases.system_high, self._phases.system_low)

    @property
    def elements(self) -> list[int]:
        """Atomic numbers with an entry of their own: the hull reaches over these."""
        return [int(number) for number in np.flatnonzero(self._phases.element_phase >= 0)]

    def energy_at(self, amounts: Mapping[int, float]) -> HullPoint:
        """The hull at one composition. Raises MissingReference, naming the elements that have no entry here."""
        query, solution = self._solve([amounts])
        if missing := query.missing(0, self._phases):
            raise missing_reference(missing)
        potentials = dict(zip(query.numbers.tolist(), solution.potentials.tolist(), strict=True))
        mixture = shares(solution.basis, solution.shares, self._phases.lowest, self._table.keys)
        return HullPoint(float(solution.energies[0]), mixture, potentials)

    def energies_at(self, amounts: Sequence[Mapping[int, float]]) -> Floats:
        """(n,) the hull at many compositions, eV/atom; nan where an element has no entry here."""
        query, solution = self._solve(amounts)
        return solution.energies[query.of_entry]

    def decomposition_energies(self, amounts: Sequence[Mapping[int, float]], formation_energies: Floats) -> Floats:
        """(n,) candidates' energy minus the hull, eV/atom: negative would be stable; nan where an element is missing.

        Candidates must not be in the hull themselves. One of a composition on the hull competes with that entry.
        """
        return np.asarray(formation_energies, dtype=np.float64) - self.energies_at(amounts)

    def _solve(self, amounts: Sequence[Mapping[int, float]]) -> tuple[Phases, Solution]:
        from registry.hull.simplex import solve_systems

        query = group(EntryTable.build(range(len(amounts)), amounts, np.zeros(len(amounts))))
        solution = blank_solution(query)
        asked = participants(query, query.solvable(self._phases), np.zeros(len(query), dtype=np.bool_))
        solve_systems(0, len(query.system_low), asked, self._columns, self._index, False, solution)
        return query, solution


def warm() -> float:
    """Compiles the solver, or loads it from its cache, by one small hull; returns the seconds that took."""
    start = perf_counter()
    oxide = [Entry(0, {3: 1}, 0.0), Entry(1, {8: 1}, 0.0), Entry(2, {3: 2, 8: 1}, -2.0)]
    compute_hull(oxide).hull().energy_at({3: 1, 8: 1})
    return perf_counter() - start


def is_warm() -> bool:
    """Whether the compiled solver lies ready in its cache, so that the first hull needn't wait for the compiler.

    It does when the cache of this Python holds a kernel newer than its source. Compiles nothing.
    """
    from registry.hull import simplex

    cache = getattr(getattr(simplex.solve_systems, "stats", None), "cache_path", None)
    if not cache or not Path(cache).is_dir():
        return False
    source = Path(simplex.__file__).stat().st_mtime
    kernels = Path(cache).glob(f"simplex.solve_systems-*.py{sys.version_info.major}{sys.version_info.minor}*.nbi")
    return any(kernel.stat().st_mtime >= source for kernel in kernels)
