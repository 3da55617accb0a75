"""A label engine for tests: pairs of atoms bind by a soft well, unlike ones more than like ones. Milliseconds a cell.

It goes through the same relaxation as every engine with an ASE calculator. The energy of a pair at distance r is
depth * (s^2 - 2 s) * smooth cutoff, with s = exp(-(r - r0) / width): Morse, so that nothing diverges.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from ase.calculators.calculator import Calculator, all_changes
from ase.stress import full_3x3_to_voigt_6_stress
from numpy.typing import NDArray
from pymatgen.optimization.neighbors import find_points_in_spheres

from registry.crystal import Crystal
from registry.errors import LabelFailure
from registry.hull.levels import Level
from workers.engines.base import Frame, Label, Relaxation, Trajectory
from workers.engines.relaxation import REMEDIES, relax_with, static_with

CUTOFF = 5.0
LIKE, UNLIKE = 0.15, 0.45  # eV
LIKE_LENGTH, UNLIKE_LENGTH, WIDTH = 3.4, 2.7, 0.6  # angstrom
NAME = "7net-0"


def standin_level(name: str = NAME) -> Level:
    """A level of the stand-in's energies; every element's reference is that of its body-centred cubic crystal."""
    references = dict.fromkeys(("Li", "Na", "K", "F", "Cl", "Br", "O", "Ca", "Mg", "S"), -1.0)
    settings = {"force_tolerance": 0.05, "max_steps": 100}
    return Level(name, "stand-in", "pair potential", "none", settings, references, (), "for tests")


class PairPotential(Calculator):  # type: ignore[misc]
    """Energy, forces and stress of the Morse pairs."""

    implemented_properties: ClassVar[list[str]] = ["energy", "forces", "stress"]

    def calculate(self, atoms: Any = None, properties: Any = None, system_changes: Any = all_changes) -> None:
        super().calculate(atoms, properties, system_changes)
        lattice, positions = np.ascontiguousarray(atoms.cell.array), np.ascontiguousarray(atoms.positions)
        one, other, images, distances = find_points_in_spheres(
            positions, positions, CUTOFF, np.ones(3, dtype=np.int64), lattice, 1e-8
        )
        pairs = distances > 1e-6
        one, other, images, distances = one[pairs], other[pairs], images[pairs], distances[pairs]
        vectors = positions[other] + images @ lattice - positions[one]
        energies, slopes = pair_energies(distances, atoms.numbers[one] == atoms.numbers[other])
        pulls = (slopes / distances)[:, None] * vectors
        forces = np.zeros_like(positions)
        np.add.at(forces, one, pulls)
        stress = 0.5 * (vectors.T @ pulls) / atoms.get_volume()
        self.results = {
            "energy": float(energies.sum() / 2),
            "forces": forces,
            "stress": full_3x3_to_voigt_6_stress(stress),
        }


def pair_energies(
    distances: NDArray[np.float64], like: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(n,) eV and (n,) eV/A: energies of the pairs and their derivatives by distance."""
    depth, length = np.where(like, LIKE, UNLIKE), np.where(like, LIKE_LENGTH, UNLIKE_LENGTH)
    well = np.exp(np.minimum(-(distances - length) / WIDTH, 5.0))
    cut, slope = (1 - (distances / CUTOFF) ** 2) ** 2, -4 * distances / CUTOFF**2 * (1 - (distances / CUTOFF) ** 2)
    energy, derivative = depth * (well**2 - 2 * well), depth * (2 * well - 2 * well**2) / WIDTH
    return energy * cut, derivative * cut + energy * slope


class Slow(Trajectory):
    """Takes its time for every step."""

    def __init__(self, trajectory: Trajectory, seconds: float) -> None:
        super().__init__(trajectory.check, trajectory.frames)
        self._trajectory, self._seconds = trajectory, seconds

    def add(self, frame: Frame) -> None:
        time.sleep(self._seconds)
        self._trajectory.add(frame)


class StandIn:
    """An engine for the loop of tests. `seconds`: how long each step takes besides."""

    name = "stand-in"
    version = "stand-in 1"
    remedies = REMEDIES

    def __init__(self, seconds: float = 0.0) -> None:
        self._calculator = PairPotential()
        self._seconds = seconds

    def relax(self, crystal: Crystal, relaxation: Relaxation, trajectory: Trajectory) -> Label:
        return relax_with(self._calculator, crystal, relaxation, Slow(trajectory, self._seconds))

    def static(
        self, crystal: Crystal, trajectory: Trajectory | None = None, changes: Mapping[str, object] | None = None
    ) -> Label:
        return static_with(self._calculator, crystal)

    def energies(self, crystals: Sequence[Crystal]) -> list[float]:
        return [self.static(crystal).energy for crystal in crystals]


class Failing(StandIn):
    """Fails each attempt with what it was given."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self._error = error

    def relax(self, crystal: Crystal, relaxation: Relaxation, trajectory: Trajectory) -> Label:
        raise self._error


def standin_engine(level: Level) -> StandIn:
    """In the place of `engine_of`."""
    if level.engine != StandIn.name:
        raise LabelFailure("missing_engine", f"no engine '{level.engine}' here")
    return StandIn()
