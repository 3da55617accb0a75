"""From solved compositions to the place of every entry: one way for a hull solved at once and for one that lives on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from registry.errors import MissingReference
from registry.hull.phases import Flags, Floats, Ints, Key

if TYPE_CHECKING:
    from registry.hull.programs import Solution

Share = tuple[Key, float]
"""A phase and the fraction of the atoms that goes into it."""

SMALLEST_SHARE = 1e-9


@dataclass(frozen=True, slots=True)
class HullResult:
    """Where one entry lies. Energies in eV/atom.

    energy: the entry's own, against the fixed references it came with
    formation_energy_per_atom: against the lowest entry of each element in this hull
    e_above_hull: >= 0, to the hull that includes the entry
    decomposition_energy: minus the hull of all other entries, polymorphs included; negative: stable, by how much;
        None for the only entry of an element, which nothing competes with
    phase_separation_energy: minus the hull of all entries of other compositions; for elements e_above_hull (both as
        pymatgen's `get_phase_separation_energy(stable_only=False)`)
    decomposition: the phases of the hull at this composition; for a stable entry itself
    competitors: the phases that decomposition_energy is against; empty where that is None
    chemical_potentials: atomic number -> eV/atom against the lowest entry of the element, on one facet of the hull at
        this composition (a stable phase touches several)
    """

    key: Key
    energy: float
    formation_energy_per_atom: float
    e_above_hull: float
    decomposition_energy: float | None
    phase_separation_energy: float
    is_stable: bool
    decomposition: tuple[Share, ...]
    competitors: tuple[Share, ...]
    chemical_potentials: dict[int, float]


@dataclass(frozen=True, eq=False, slots=True)
class Solved:
    """Entries, their compositions, and what the linear programs gave; arrays may be longer than what is in use.

    keys, energies, of_entry: (n,) by entry; the others by composition (c,) or by its elements (m,), as in
    `phases.Phases` and `systems.Compositions`
    """

    keys: NDArray[Any]
    energies: Floats
    of_entry: Ints
    lowest: Ints
    second: Ints
    lowest_energies: Floats
    second_energies: Floats
    offsets: Ints
    sizes: Ints
    numbers: Ints
    fractions: Floats
    element_phase: Ints
    stable: Flags
    solution: Solution

    def key(self, row: int | np.int64) -> Key:
        key: Key = self.keys[row].item()
        return key

    def elements(self, phase: int) -> list[int]:
        numbers: list[int] = self.numbers[self.offsets[phase] : self.offsets[phase] + self.sizes[phase]].tolist()
        return numbers

    def missing(self, phase: int) -> list[int]:
        """Atomic numbers of a composition that have no entry of their own."""
        return [z for z in self.elements(phase) if self.element_phase[z] < 0]


@dataclass(frozen=True, eq=False, slots=True)
class Places:
    """Columns of some rows, nan (False) for those of a system that wasn't solved; see `HullResult`."""

    formation_energies: Floats
    e_above_hull: Floats
    decomposition_energies: Floats
    phase_separation_energies: Floats
    is_stable: Flags


def place(solved: Solved, rows: Ints) -> Places:
    """Where entries lie."""
    phase, energies = solved.of_entry[rows], solved.energies[rows]
    mixture, lowest = solved.solution.energies[phase], solved.lowest_energies[phase]
    is_lowest = solved.lowest[phase] == rows
    others = np.where(is_lowest, solved.second_energies[phase], lowest)
    is_stable = is_lowest & solved.stable[phase]
    above = np.maximum(energies - np.minimum(mixture, lowest), 0.0)
    e_above_hull = np.where(is_stable, 0.0, above)
    return Places(
        formation_energies=energies - _references(solved, phase),
        e_above_hull=e_above_hull,
        decomposition_energies=_finite(energies - np.minimum(mixture, others)),
        phase_separation_energies=np.where(np.isinf(mixture), e_above_hull, energies - mixture),
        is_stable=is_stable,
    )


def result(solved: Solved, row: int, places: Places, at: int) -> HullResult:
    """One entry's place: `places` holds it at `at`."""
    phase = int(solved.of_entry[row])
    decomposition_energy = float(places.decomposition_energies[at])
    on_hull = solved.stable[phase]
    return HullResult(
        key=solved.key(row),
        energy=float(solved.energies[row]),
        formation_energy_per_atom=float(places.formation_energies[at]),
        e_above_hull=float(places.e_above_hull[at]),
        decomposition_energy=None if np.isnan(decomposition_energy) else decomposition_energy,
        phase_separation_energy=float(places.phase_separation_energies[at]),
        is_stable=bool(places.is_stable[at]),
        decomposition=((solved.key(solved.lowest[phase]), 1.0),) if on_hull else _mixture(solved, phase),
        competitors=_competitors(solved, row, phase),
        chemical_potentials=_potentials(solved, phase),
    )


def shares(basis: Ints, amounts: Floats, lowest: Ints, keys: NDArray[Any]) -> tuple[Share, ...]:
    """The phases of one program's basis by key, without those of no share."""
    pairs = zip(basis, amounts, strict=True)
    return tuple((keys[lowest[p]].item(), float(x)) for p, x in pairs if p >= 0 and x > SMALLEST_SHARE)


def missing_reference(numbers: Sequence[int]) -> MissingReference:
    """The error that names these elements."""
    from ase.data import chemical_symbols

    return MissingReference([chemical_symbols[number] for number in numbers])


def _references(solved: Solved, phases: Ints) -> Floats:
    """(n,) eV/atom of the lowest elements at the compositions given."""
    if not len(phases):
        return np.zeros(0)
    sizes = solved.sizes[phases]
    starts = np.concatenate(([0], np.cumsum(sizes)[:-1]))
    span = np.repeat(solved.offsets[phases] - starts, sizes) + np.arange(sizes.sum())
    element = solved.element_phase[solved.numbers[span]]
    energies = np.where(element >= 0, solved.lowest_energies[element], np.nan)
    return np.asarray(np.add.reduceat(solved.fractions[span] * energies, starts))


def _finite(values: Floats) -> Floats:
    return np.where(np.isfinite(values), values, np.nan)


def _mixture(solved: Solved, phase: int) -> tuple[Share, ...]:
    span = slice(solved.offsets[phase], solved.offsets[phase] + solved.sizes[phase])
    return shares(solved.solution.basis[span], solved.solution.shares[span], solved.lowest, solved.keys)


def _competitors(solved: Solved, row: int, phase: int) -> tuple[Share, ...]:
    lowest = int(solved.lowest[phase])
    polymorph = int(solved.second[phase]) if row == lowest else lowest
    if polymorph >= 0 and solved.energies[polymorph] <= solved.solution.energies[phase]:
        return ((solved.key(polymorph), 1.0),)
    return _mixture(solved, phase)


def _potentials(solved: Solved, phase: int) -> dict[int, float]:
    numbers = solved.elements(phase)
    span = slice(solved.offsets[phase], solved.offsets[phase] + solved.sizes[phase])
    against = solved.lowest_energies[solved.element_phase[numbers]]
    values = solved.solution.facet_potentials[span] - against
    return dict(zip(numbers, values.tolist(), strict=True))
