from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from predictors.augmentation import PlainCrystal
from predictors.energy_model import EnergyModel
from predictors.equivalence import TOLERANCE
from predictors.graph import build_graph
from predictors.published_model import PublishedConfig
from predictors.structure_model import StructureConfig

ROCK_SALT = PlainCrystal(
    np.eye(3) * 5.64,
    np.array([11] * 4 + [17] * 4, dtype=np.int16),
    np.array([[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]] * 2) + np.repeat([[0.0], [0.5]], 4, axis=0),
)


def models() -> list[EnergyModel]:
    torch.manual_seed(0)
    built = [
        StructureConfig(width=16, edge_width=16, max_neighbors=None, cutoff=4.5).build().eval(),
        PublishedConfig(width=16, cutoff=4.5).build().eval(),
    ]
    for model in built:
        model.adjacency.fill_(12.0)
    return list(built)


def energies(crystal: PlainCrystal, tolerance: float | None) -> np.ndarray:
    graph = build_graph(crystal, 4.5, tolerance=tolerance)
    with torch.no_grad():
        return np.array([float(model.double()(model.config.collate([graph]))) for model in models()])


def symmetric(seed: int) -> PlainCrystal:
    """A cell of few kinds of atoms, doubled and mirrored, so that some are equivalent."""
    rng = np.random.default_rng(seed)
    half = rng.random((3, 3)) * np.array([0.5, 1, 1])
    coords = np.concatenate([half, -half, half + np.array([0.5, 0, 0]), -half + np.array([0.5, 0, 0])])
    numbers = np.tile(rng.choice([3, 8, 22], 3), 4).astype(np.int16)
    return PlainCrystal(np.diag(rng.uniform(5, 8, 3)), numbers, coords)


def test_rock_salt_is_two_atoms_with_a_few_shells() -> None:
    graph = build_graph(ROCK_SALT, 4.5)
    assert sorted(graph.numbers.tolist()) == [11, 17]
    assert graph.atoms.tolist() == [4, 4]
    assert sorted(graph.counts.tolist()) == [6, 6, 12, 12]
    assert (np.diff(graph.dst) >= 0).all()
    assert graph.neighbors == build_graph(ROCK_SALT, 4.5, tolerance=None).neighbors == 18


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_the_energies_are_those_of_all_atoms(seed: int) -> None:
    crystal = symmetric(seed)
    merged, whole = build_graph(crystal, 4.5, tolerance=1e-4), build_graph(crystal, 4.5, tolerance=None)
    assert len(merged.numbers) <= 3 < len(whole.numbers)
    assert merged.atoms.sum() == len(whole.numbers)
    assert merged.neighbors == pytest.approx(whole.neighbors)
    np.testing.assert_allclose(energies(crystal, 1e-4), energies(crystal, None), atol=1e-5)


def gradients(crystal: PlainCrystal, tolerance: float | None) -> list[torch.Tensor]:
    """Of the shipped shape of neighbour lists: cutoff, cap."""
    torch.manual_seed(0)
    model = StructureConfig(width=16, edge_width=16).build().double()
    model.adjacency.fill_(24.0)
    graph = build_graph(crystal, model.config.cutoff, model.config.max_neighbors, tolerance)
    energy, _ = model.energy_and_latent(model.config.collate([graph]))
    energy.sum().backward()
    return [weights.grad for weights in model.parameters() if weights.grad is not None]


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_the_gradients_are_those_of_all_atoms(seed: int) -> None:
    for crystal in (ROCK_SALT, symmetric(seed)):
        for one, other in zip(gradients(crystal, TOLERANCE), gradients(crystal, None), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6 * float(other.abs().max()) + 1e-12)


def test_atoms_that_differ_stay_apart() -> None:
    moved = ROCK_SALT.frac_coords.copy()
    moved[0, 0] += 0.01
    crystal = PlainCrystal(ROCK_SALT.lattice, ROCK_SALT.numbers, moved)
    assert len(build_graph(crystal, 4.5).numbers) > 2
    np.testing.assert_allclose(energies(crystal, 1e-3), energies(crystal, None), atol=1e-4)


def test_atoms_without_neighbours_are_equivalent() -> None:
    crystal = PlainCrystal(
        np.eye(3) * 30, np.array([2, 2, 10], dtype=np.int16), np.array([[0, 0, 0], [0.5] * 3, [0.2] * 3])
    )
    graph = build_graph(crystal, 4.5)
    assert sorted(zip(graph.numbers.tolist(), graph.atoms.tolist(), strict=True)) == [(2, 2), (10, 1)]
    assert len(graph.src) == 0
