"""Unrelaxed copies of crystals: scaled to many volumes for prediction, strained and rattled for training."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from predictors.graph import CrystalLike

VOLUME_FACTORS: NDArray[np.float64] = np.linspace(0.8, 1.2, 20)
LARGEST_STRAIN = 0.12


@dataclass(frozen=True, eq=False)
class PlainCrystal:
    """A crystal as three arrays: lattice (3, 3) angstrom, numbers (n,), frac_coords (n, 3)."""

    lattice: NDArray[np.float64]
    numbers: NDArray[np.int16]
    frac_coords: NDArray[np.float64]


@dataclass(frozen=True)
class Perturbation:
    """How far a copy may be from its relaxed crystal.

    probability: of a crystal to be seen as a copy in an epoch
    isotropic: standard deviation of the isotropic linear strain; three times as much in volume
    anisotropic: standard deviation of each component of the symmetric strain
    rattle: largest standard deviation of the displacements, angstrom; each copy draws its own below it
    """

    probability: float = 0.6
    isotropic: float = 0.04
    anisotropic: float = 0.02
    rattle: float = 0.1


def scaled(crystal: CrystalLike, volume_factor: float) -> PlainCrystal:
    """The crystal with its volume multiplied, its fractional coordinates kept."""
    return PlainCrystal(crystal.lattice * volume_factor ** (1 / 3), crystal.numbers, crystal.frac_coords)


def perturbed(crystal: CrystalLike, perturbation: Perturbation, rng: np.random.Generator) -> PlainCrystal:
    """A strained and rattled copy. As a training example it carries the energy of the *relaxed* crystal.

    So the model learns to guess, from a candidate as proposed, the energy after its relaxation.
    """
    strain = rng.normal(0.0, perturbation.anisotropic, (3, 3))
    isotropic = np.clip(rng.normal(0.0, perturbation.isotropic), -LARGEST_STRAIN, LARGEST_STRAIN)
    lattice = crystal.lattice @ (np.eye(3) * (1 + isotropic) + (strain + strain.T) / 2)
    moves = rng.normal(0.0, perturbation.rattle * rng.random(), (len(crystal.numbers), 3))
    return PlainCrystal(lattice, crystal.numbers, crystal.frac_coords + moves @ np.linalg.inv(lattice))
