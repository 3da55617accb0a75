from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from predictors.augmentation import PlainCrystal
from predictors.batch import batch_graphs
from predictors.errors import BadCrystal
from predictors.graph import build_graph, scale_graph

CUBE = PlainCrystal(np.eye(3) * 4.0, np.array([11], dtype=np.int16), np.zeros((1, 3)))
LONELY = PlainCrystal(np.eye(3) * 30.0, np.array([10], dtype=np.int16), np.zeros((1, 3)))


def crystal(seed: int, atoms: int) -> PlainCrystal:
    rng = np.random.default_rng(seed)
    lattice = np.eye(3) * (3.0 + atoms) + rng.normal(0, 0.4, (3, 3))
    return PlainCrystal(lattice, rng.integers(1, 90, atoms).astype(np.int16), rng.random((atoms, 3)))


def brute_force(c: PlainCrystal, cutoff: float, reach: int = 4) -> list[tuple[int, int, float]]:
    steps = np.arange(-reach, reach + 1)
    images = np.stack(np.meshgrid(steps, steps, steps), -1).reshape(-1, 3)
    found = []
    for i, here in enumerate(c.frac_coords):
        for j, there in enumerate(c.frac_coords):
            lengths = np.linalg.norm((there + images - here) @ c.lattice, axis=1)
            found += [(i, j, length) for length in lengths if 1e-6 < length < cutoff]
    return sorted(found)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), atoms=st.integers(1, 4))
def test_neighbours_are_those_of_brute_force(seed: int, atoms: int) -> None:
    c = crystal(seed, atoms)
    graph = build_graph(c, 5.0, tolerance=None)
    ours = sorted(zip(graph.dst.tolist(), graph.src.tolist(), graph.distances.tolist(), strict=True))
    theirs = brute_force(c, 5.0)
    assert [(i, j) for i, j, _ in ours] == [(i, j) for i, j, _ in theirs]
    np.testing.assert_allclose([d for *_, d in ours], [d for *_, d in theirs], atol=1e-5)


def test_edges_are_sorted_by_centre() -> None:
    assert (np.diff(build_graph(crystal(1, 4), 5.0, 8).dst) >= 0).all()


def test_the_cap_keeps_whole_shells() -> None:
    assert build_graph(CUBE, 7.0).neighbors == 26
    assert build_graph(CUBE, 7.0, 4).neighbors == 6  # all six nearest tie
    assert build_graph(CUBE, 7.0, 7).neighbors == 18


def test_an_isolated_atom_is_a_node_without_edges() -> None:
    for cap in (None, 3):
        graph = build_graph(LONELY, 5.0, cap)
        assert (len(graph.numbers), len(graph.src)) == (1, 0)


def test_a_scaled_list_is_the_list_of_the_scaled_crystal() -> None:
    c = crystal(3, 4)
    small = build_graph(PlainCrystal(c.lattice * 0.93, c.numbers, c.frac_coords), 5.0, 12)
    scaled = scale_graph(build_graph(c, 5.0 / 0.93, 12), 0.93, 5.0)
    np.testing.assert_allclose(np.sort(scaled.distances), np.sort(small.distances), atol=1e-5)


@pytest.mark.parametrize("cap", [None, 4, 24])
def test_a_list_scaled_by_nothing_is_itself_even_where_atoms_lie_at_the_cutoff(cap: int | None) -> None:
    """Networks without a smooth cutoff must see in training what they see when they are asked."""
    for length in (4.0, 4.0 * 2**0.5, np.nextafter(4.0, 0), np.nextafter(4.0, 5)):
        c = PlainCrystal(np.eye(3) * length, CUBE.numbers, CUBE.frac_coords)
        graph = build_graph(c, 4.0, cap)
        assert scale_graph(graph, 1.0, 4.0).neighbors == graph.neighbors


def test_the_cap_parts_no_shell_that_rounding_has_spread() -> None:
    rng = np.random.default_rng(0)
    for spread in (1e-5, 1e-3, 5e-3):
        nearly = PlainCrystal(CUBE.lattice + rng.normal(0, spread, (3, 3)), CUBE.numbers, CUBE.frac_coords)
        assert build_graph(nearly, 7.0, 4).neighbors == 6


def test_a_batch_counts_through() -> None:
    batch = batch_graphs([build_graph(CUBE, 4.5), build_graph(LONELY, 4.5), build_graph(CUBE, 4.5)])
    assert batch.crystal.tolist() == [0, 1, 2]
    assert batch.shares.tolist() == [1, 1, 1]
    assert batch.first.tolist() == [0, 1, 2]
    assert (batch.src.tolist(), batch.dst.tolist(), batch.counts.tolist()) == ([0, 2], [0, 2], [6, 6])
    assert batch.distances.dtype == torch.float32


@pytest.mark.parametrize(
    ("lattice", "numbers", "coords", "reason"),
    [
        (np.eye(3) * 4, [], np.zeros((0, 3)), "without atoms"),
        (np.eye(3) * 4, [11], [[0, np.nan, 0]], "NaN"),
        (np.full((3, 3), np.inf), [11], [[0, 0, 0]], "NaN"),
        (np.zeros((3, 3)), [11], [[0, 0, 0]], "too small"),
        (np.diag([0.1, 100, 100]), [11], [[0, 0, 0]], "shorter"),
        (np.eye(3) * 4, [0], [[0, 0, 0]], "between 1 and 118"),
        (np.eye(3) * 4, [11, 17], [[0, 0, 0]], "2 atoms"),
    ],
)
def test_a_bad_crystal_is_refused_with_its_reason(
    lattice: np.ndarray, numbers: list[int], coords: list[list[float]], reason: str
) -> None:
    bad = PlainCrystal(
        np.asarray(lattice, dtype=float), np.array(numbers, dtype=np.int16), np.asarray(coords, dtype=float)
    )
    with pytest.raises(BadCrystal, match=reason):
        build_graph(bad, 5.0)
