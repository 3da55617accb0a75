from __future__ import annotations

import numpy as np
import pytest
import torch

from predictors.augmentation import PlainCrystal
from predictors.energy_model import EnergyModel
from predictors.published_model import PublishedConfig
from predictors.structure_model import StructureModel, envelope


def energy(model: EnergyModel, *crystals: PlainCrystal) -> list[float]:
    with torch.no_grad():
        return model(model.config.collate([model.config.encode(c) for c in crystals])).double().tolist()


@pytest.fixture(params=["ours", "published"])
def either(request: pytest.FixtureRequest, model: StructureModel) -> EnergyModel:
    """Ours, and the published one with weights by chance."""
    if request.param == "ours":
        return model
    torch.manual_seed(0)
    return PublishedConfig(width=16).build().eval()


@pytest.fixture
def crystal(rng: np.random.Generator) -> PlainCrystal:
    lattice = np.eye(3) * 5 + rng.normal(0, 0.4, (3, 3))
    return PlainCrystal(lattice, np.array([3, 8, 8, 22], dtype=np.int16), rng.random((4, 3)))


def rotation(rng: np.random.Generator) -> np.ndarray:
    q, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    return q


def test_the_energy_knows_no_order_origin_orientation_or_image(
    either: EnergyModel, crystal: PlainCrystal, rng: np.random.Generator
) -> None:
    order = np.array([2, 0, 3, 1])
    shift = rng.random(3)
    same = [
        PlainCrystal(crystal.lattice, crystal.numbers[order], crystal.frac_coords[order]),
        PlainCrystal(crystal.lattice, crystal.numbers, crystal.frac_coords + shift),
        PlainCrystal(crystal.lattice @ rotation(rng), crystal.numbers, crystal.frac_coords),
        PlainCrystal(crystal.lattice, crystal.numbers, crystal.frac_coords + rng.integers(-3, 3, (4, 3))),
    ]
    first, *others = energy(either, crystal, *same)
    np.testing.assert_allclose(others, first, atol=2e-5)


def test_a_supercell_has_the_energy_of_its_cell(either: EnergyModel, crystal: PlainCrystal) -> None:
    doubled = PlainCrystal(
        crystal.lattice * np.array([[2.0], [1], [1]]),
        np.tile(crystal.numbers, 2),
        np.concatenate([crystal.frac_coords / [2, 1, 1], (crystal.frac_coords + np.array([1, 0, 0])) / [2, 1, 1]]),
    )
    np.testing.assert_allclose(*energy(either, crystal, doubled), atol=2e-5)


def test_a_crystal_is_judged_alike_alone_and_in_company(either: EnergyModel, crystal: PlainCrystal) -> None:
    lonely = PlainCrystal(np.eye(3) * 40, np.array([18], dtype=np.int16), np.zeros((1, 3)))
    alone = [energy(either, crystal)[0], energy(either, lonely)[0]]
    np.testing.assert_allclose(energy(either, crystal, lonely), alone, atol=1e-5)
    assert np.isfinite(alone).all()


def test_the_energy_is_smooth_where_a_neighbour_leaves_the_cutoff(model: StructureModel) -> None:
    def at(side: float) -> float:
        return energy(model, PlainCrystal(np.eye(3) * side, np.array([11], dtype=np.int16), np.zeros((1, 3))))[0]

    edge = model.config.cutoff
    assert abs(at(edge - 1e-3) - at(edge + 1e-3)) < 1e-5
    assert abs(at(edge - 0.8) - at(edge + 1e-3)) > 1e-4


def test_the_envelope_falls_from_one_to_zero() -> None:
    weights = envelope(torch.tensor([0.0, 2.0, 3.999, 4.0, 5.0]), 4.0)
    assert weights[0] == 1
    assert 0.8 < float(weights[1]) < 1
    assert weights[2:].abs().max() < 1e-5
