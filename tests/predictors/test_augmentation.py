from __future__ import annotations

import numpy as np
import pytest

from predictors.augmentation import LARGEST_STRAIN, VOLUME_FACTORS, Perturbation, PlainCrystal, perturbed, scaled


@pytest.fixture
def crystal(rng: np.random.Generator) -> PlainCrystal:
    return PlainCrystal(np.eye(3) * 5, np.array([3, 8, 8], dtype=np.int16), rng.random((3, 3)))


def volume(crystal: PlainCrystal) -> float:
    return float(abs(np.linalg.det(crystal.lattice)))


def test_twenty_volumes_from_80_to_120_percent(crystal: PlainCrystal) -> None:
    volumes = [volume(scaled(crystal, factor)) / volume(crystal) for factor in VOLUME_FACTORS]
    np.testing.assert_allclose(volumes, np.linspace(0.8, 1.2, 20))


def test_copies_spread_as_they_are_told(crystal: PlainCrystal, rng: np.random.Generator) -> None:
    plan = Perturbation(isotropic=0.04, anisotropic=0.02, rattle=0.1)
    copies = [perturbed(crystal, plan, rng) for _ in range(600)]
    strains = [(volume(c) / volume(crystal)) ** (1 / 3) - 1 for c in copies]
    moves = np.array([(c.frac_coords - crystal.frac_coords) @ c.lattice for c in copies])
    assert np.std(strains) == pytest.approx(np.hypot(0.04, 0.02 / np.sqrt(3)), rel=0.15)
    assert np.std(moves) == pytest.approx(0.1 / np.sqrt(3), rel=0.15)
    assert np.abs(strains).max() < LARGEST_STRAIN + 0.06


def test_a_copy_keeps_elements_and_leaves_its_crystal_alone(crystal: PlainCrystal, rng: np.random.Generator) -> None:
    lattice, coords = crystal.lattice.copy(), crystal.frac_coords.copy()
    copy = perturbed(crystal, Perturbation(), rng)
    np.testing.assert_array_equal(copy.numbers, crystal.numbers)
    np.testing.assert_array_equal(crystal.lattice, lattice)
    np.testing.assert_array_equal(crystal.frac_coords, coords)


def test_no_perturbation_is_no_change(crystal: PlainCrystal, rng: np.random.Generator) -> None:
    copy = perturbed(crystal, Perturbation(isotropic=0, anisotropic=0, rattle=0), rng)
    np.testing.assert_allclose(copy.lattice, crystal.lattice)
    np.testing.assert_allclose(copy.frac_coords, crystal.frac_coords)
