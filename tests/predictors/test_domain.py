"""Where a model has learnt, on clouds of points whose place is known."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from predictors.domain import FEW, Domain

EVERYWHERE = np.full(119, 1000)
SODIUM_CHLORIDE = np.array([11, 17])


def cloud(rng: np.random.Generator, n: int, width: int = 12) -> np.ndarray:
    """Three clusters in a plane of the latent space, with noise in all directions."""
    centres = np.zeros((3, width))
    centres[1, 0], centres[2, 1] = 10, 10
    return centres[rng.integers(0, 3, n)] + rng.normal(0, 0.3, (n, width))


@pytest.fixture
def fitted(rng: np.random.Generator) -> Domain:
    latent = cloud(rng, 2000)
    errors = np.where(latent[:, 0] > 5, 0.2, 0.02)
    return Domain.fit(latent, errors, EVERYWHERE, cloud(rng, 1000))


def test_fresh_points_of_the_same_kind_are_inside_and_strangers_are_not(
    fitted: Domain, rng: np.random.Generator
) -> None:
    distance, _ = fitted.look(cloud(rng, 2000))
    assert (distance > fitted.threshold).mean() == pytest.approx(0.02, abs=0.015)
    middle = np.zeros((1, 12))
    middle[0, :2] = 5  # between the clusters: near their mean, like none of them
    between, _ = fitted.look(middle)
    assert between[0] > 1.5 * fitted.threshold
    reason = fitted.reason(float(between[0]), SODIUM_CHLORIDE)
    assert reason is not None
    assert "times the distance to the training set that is trusted" in reason
    assert fitted.reason(0.0, SODIUM_CHLORIDE) is None


def test_a_crystal_that_was_learnt_from_is_near(rng: np.random.Generator) -> None:
    latent = cloud(rng, 500)
    fitted = Domain.fit(latent, np.zeros(500), EVERYWHERE, cloud(rng, 300))
    distance, _ = fitted.look(latent)
    assert distance.max() < 0.1 * fitted.threshold


def test_a_crystal_that_was_learnt_from_is_inside_though_its_point_is_rounded(rng: np.random.Generator) -> None:
    """Even if all held-out crystals coincide with points."""
    latent = cloud(rng, 500)
    first = Domain.fit(latent, np.zeros(500), EVERYWHERE, cloud(rng, 300))
    exact = first.points[:50] @ np.linalg.pinv(first.axes.astype(float)) + first.centre
    fitted = Domain.fit(latent, np.zeros(500), EVERYWHERE, exact)
    distance, _ = fitted.look(latent)
    assert (distance <= fitted.threshold).all()


def test_the_errors_of_the_neighbours_are_told(fitted: Domain) -> None:
    points = np.zeros((2, 12))
    points[1, 0] = 10
    _, (low, high) = fitted.look(points)
    assert np.exp(high - low) == pytest.approx(0.202 / 0.022, rel=0.01)


def test_the_order_of_the_crystals_does_not_matter(rng: np.random.Generator) -> None:
    latent, errors, held_out = cloud(rng, 300), rng.normal(0, 0.1, 300), cloud(rng, 50)
    order = rng.permutation(300)
    one = Domain.fit(latent, errors, EVERYWHERE, held_out)
    other = Domain.fit(latent[order], errors[order], EVERYWHERE, held_out[::-1])
    np.testing.assert_array_equal(one.points, other.points)
    np.testing.assert_array_equal(one.errors, other.errors)
    np.testing.assert_array_equal(one.look(held_out), other.look(held_out))
    assert one.threshold == other.threshold


def test_elements_of_few_crystals_are_outside(rng: np.random.Generator) -> None:
    crystals = EVERYWHERE.copy()
    crystals[17] = FEW - 1
    fitted = Domain.fit(cloud(rng, 50), np.zeros(50), crystals, cloud(rng, 50))
    assert fitted.reason(0.0, SODIUM_CHLORIDE) == f"out of domain: fewer than {FEW} training crystals hold Cl"
    assert fitted.reason(0.0, np.array([11])) is None


@pytest.mark.parametrize("n", [1, 2, 3])
def test_a_training_set_of_almost_nothing(n: int, rng: np.random.Generator) -> None:
    """And one whose crystals are all the same to the model."""
    for latent in (cloud(rng, n), np.ones((n, 12)), np.ones((n, 1))):
        fitted = Domain.fit(latent, np.zeros(n), EVERYWHERE, latent[:1])
        distance, _ = fitted.look(latent)
        assert np.isfinite(distance).all()
        assert fitted.reason(float(distance[0]), SODIUM_CHLORIDE) is None


def test_what_no_fit_gives_is_refused(fitted: Domain) -> None:
    parts = (fitted.centre, fitted.axes, fitted.points, fitted.errors, fitted.crystals)
    Domain(*parts, 1.0)
    for bad, threshold in (
        (parts, float("nan")),
        (parts, -1.0),
        ((fitted.centre[:3], *parts[1:]), 1.0),
        ((parts[0], parts[1][0], *parts[2:]), 1.0),
        ((*parts[:3], fitted.errors[:3], fitted.crystals), 1.0),
        ((*parts[:4], fitted.crystals[:10]), 1.0),
        ((*parts[:3], fitted.errors * np.float16("nan"), fitted.crystals), 1.0),
    ):
        with pytest.raises(ValueError, match=r"size|finite|unpack"):
            Domain(*bad, threshold)


FLUSHED = """
import numpy as np, torch
from predictors.domain import Domain
torch.set_flush_denormal(True)
latent = np.random.default_rng(0).normal(size=(5_000, 4)) ** 3
Domain.fit(latent, np.full(len(latent), 0.1), np.full(119, 100), latent[:100])
"""


def test_many_points_where_denormal_floats_are_flushed() -> None:
    """As they are wherever a model predicts."""
    assert subprocess.run([sys.executable, "-c", FLUSHED]).returncode == 0
