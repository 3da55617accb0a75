"""What a pretrained potential gives, and how its energies become predictions at a level of theory.

A potential knows energies of cells, not formation energies: what turns one into the other (corrections, element
references) belongs to a level, and is handed in by whoever knows levels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from predictors.augmentation import VOLUME_FACTORS, scaled
from predictors.errors import BadCrystal, BadTrainingSet, NoFormationEnergy
from predictors.graph import SHORTEST_DISTANCE, CrystalLike, check_crystal
from predictors.model_files import ModelRecord
from predictors.predictor import Floats, Predictions, Progress
from predictors.volumes import batches, encode_all

CRYSTALS_AT_ONCE = 8
ENERGY_PER_ATOM = (-20.0, 20.0)  # eV; PBE energies with VASP's reference atoms lie between -15 and 5
DENSEST = 2.0  # cubic angstrom per atom; the lists of denser cells take minutes
MOST_STABLE = -6.0  # eV/atom; fluorides of rare earths, the most stable compounds, form at about -4.5

FormationEnergy = Callable[[CrystalLike, float], float]
"""A crystal and its raw energy (eV per cell) -> formation energy at a level, eV/atom. Raises NoFormationEnergy."""


class Potential(Protocol):
    """A pretrained potential. One thread, denormals flushed.

    version: the package that holds its weights; elements: atomic numbers that it was trained on
    batch_cost: how many rows (see `cost`) go into one forward pass: what fits the processor's cache
    most_cost: rows of the largest crystal that it is asked about: what fits four gigabytes
    zero: atomic number -> eV that its energies count an atom from, where it's not near 0 as with PBE in VASP: r2SCAN in
        VASP, whose reference atoms are PBE's, has bismuth at -58
    calculator: of ASE, for energies with forces and stress
    """

    name: str
    version: str
    elements: tuple[int, ...]
    batch_cost: int
    most_cost: int
    zero: Mapping[int, float]
    calculator: Any

    def encode(self, crystal: CrystalLike, smallest: float = 1.0) -> Any:
        """One crystal's graph; `smallest`: the smallest factor that its lengths may be scaled by later. BadCrystal."""
        ...

    def scaled(self, encoded: Any, factor: float) -> Any:
        """The graph after every length grew by `factor`."""
        ...

    def cost(self, encoded: Any) -> int:
        """Rows that the network computes for it."""
        ...

    def energies(self, encoded: Sequence[Any]) -> list[float]:
        """Raw energies in eV per cell, batched and without the gradient that forces need."""
        ...


def check_surroundings(crystal: CrystalLike, elements: Sequence[int], cutoff: float) -> None:
    """Raise BadCrystal where a potential can say nothing: unknown elements, atoms alone or pressed together."""
    from ase.data import chemical_symbols
    from pymatgen.optimization.neighbors import find_points_in_spheres

    check_crystal(crystal)
    if unknown := sorted(set(np.asarray(crystal.numbers).tolist()) - set(elements)):
        raise BadCrystal(f"the potential was not trained on {', '.join(chemical_symbols[z] for z in unknown)}")
    lattice = np.ascontiguousarray(crystal.lattice, dtype=np.float64)
    if (volume := abs(np.linalg.det(lattice)) / len(crystal.numbers)) < DENSEST:
        raise BadCrystal(f"{volume:.2g} cubic angstrom per atom: too dense for any potential")
    points = np.ascontiguousarray((np.asarray(crystal.frac_coords, dtype=np.float64) % 1.0) @ lattice)
    one, _, _, distances = find_points_in_spheres(points, points, cutoff, np.ones(3, dtype=np.int64), lattice, 1e-8)
    if len(alone := np.flatnonzero(np.bincount(one, minlength=len(points)) < 2)):  # each finds itself
        raise BadCrystal(f"atom {alone[0] + 1} of {len(points)} has no neighbour within {cutoff:g} angstrom")
    if np.count_nonzero(distances < SHORTEST_DISTANCE) > len(points):
        raise BadCrystal(f"two atoms lie within {SHORTEST_DISTANCE} angstrom of each other")


def energy_of_atoms(zero: Mapping[int, float], crystal: CrystalLike) -> float:
    """eV per cell that a potential's energies count from; `zero` as in Potential."""
    return sum(zero.get(number, 0.0) for number in np.asarray(crystal.numbers).tolist())


def raw_energies(
    potential: Potential,
    crystals: Sequence[CrystalLike],
    volume_factors: Floats | None = None,
    progress: Progress | None = None,
) -> tuple[Floats, dict[int, str]]:
    """(n, v) eV per cell of n crystals at v volumes each, and why some have none at any: NaN there.

    One neighbour list serves all volumes. What can't be matter is NaN as well.
    """
    factors = np.ones(1) if volume_factors is None else volume_factors
    found = np.full((len(crystals), len(factors)), np.nan)
    refused: dict[int, str] = {}
    for start in range(0, len(crystals), CRYSTALS_AT_ONCE):
        chunk = crystals[start : start + CRYSTALS_AT_ONCE]
        found[start : start + len(chunk)], why = _raw_energies(potential, chunk, factors)
        refused |= {start + index: reason for index, reason in why.items()}
        if progress is not None:
            progress(len(chunk))
    return found, refused


def _raw_energies(
    potential: Potential, crystals: Sequence[CrystalLike], factors: Floats
) -> tuple[Floats, dict[int, str]]:
    lengths = factors ** (1 / 3)
    smallest = float(lengths.min())
    encoded, refused = encode_all(crystals, lambda crystal: _fitting(potential, potential.encode(crystal, smallest)))
    found = np.full((len(crystals), len(factors)), np.nan)
    for batch in batches(potential, encoded, lengths, potential.batch_cost):
        found[batch.rows, batch.columns] = potential.energies(batch.inputs)
    for index in encoded:
        binding = (found[index] - energy_of_atoms(potential.zero, crystals[index])) / len(crystals[index].numbers)
        found[index, ~((binding > ENERGY_PER_ATOM[0]) & (binding < ENERGY_PER_ATOM[1]))] = np.nan
        if np.isnan(found[index]).all():
            refused[index] = f"{potential.name} finds no energy that matter could have"
    return found, refused


def _fitting(potential: Potential, encoded: Any) -> Any:
    if (cost := potential.cost(encoded)) > potential.most_cost:
        raise BadCrystal(f"too large for {potential.name}: {cost} bonds and angles, at most {potential.most_cost}")
    return encoded


@dataclass(frozen=True, eq=False)
class PotentialPredictor:
    """A potential as one member that predicts at the level of the record.

    Its spread is NaN: one opinion says nothing of its own uncertainty.
    """

    potential: Potential
    record: ModelRecord
    formation_energy: FormationEnergy

    def predict(
        self,
        crystals: Sequence[CrystalLike],
        members: int | None = None,
        volume_scan: bool = False,
        progress: Progress | None = None,
    ) -> Predictions:
        """Formation energies per atom; of a scan at the volume of the lowest raw energy, which alone is corrected.

        A bad crystal spoils no other: its energy is NaN and `refused` says why. Raise BadTrainingSet for no members.
        """
        if members is not None and members < 1:
            raise BadTrainingSet("at least one member must be asked")
        factors = VOLUME_FACTORS if volume_scan else np.ones(1)
        raw, refused = raw_energies(self.potential, crystals, factors, progress)
        energies, best = np.full(len(crystals), np.nan), np.ones(len(crystals))
        for index in sorted(set(range(len(crystals))) - refused.keys()):
            lowest = int(np.nanargmin(raw[index]))
            best[index] = factors[lowest]
            try:
                energies[index] = self._plausible(scaled(crystals[index], best[index]), raw[index, lowest])
            except NoFormationEnergy as error:
                refused[index] = str(error)
        spread, latent = np.full(len(crystals), np.nan), np.zeros((len(crystals), 0))
        return Predictions(energies, spread, energies[:, None], best, latent, refused)

    def _plausible(self, crystal: CrystalLike, raw_energy: float) -> float:
        energy = self.formation_energy(crystal, raw_energy)
        if energy < MOST_STABLE:
            raise NoFormationEnergy(f"{self.potential.name} is at a loss: {energy:.1f} eV/atom, as no compound has")
        return energy
