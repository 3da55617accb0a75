"""Where a model has learnt, on clouds of points whose place is known."""

from __future__ import annotations

import numpy as np
import pytest

from predictors import domain
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
    _, distance = fitted.nearest(cloud(rng, 2000))
    assert (distance > fitted.threshold).mean() == pytest.approx(0.02, abs=0.015)
    middle = np.zeros((1, 12))
    middle[0, :2] = 5  # between the clusters: near their mean, like none of them
    _, between = fitted.nearest(middle)
    assert between[0] > 1.5 * fitted.threshold
    reason = fitted.reason(float(between[0]), SODIUM_CHLORIDE)
    assert reason is not None
    assert "times the distance to the training set that is trusted" in reason
    assert fitted.reason(0.0, SODIUM_CHLORIDE) is None


def test_a_crystal_that_was_learnt_from_is_near(rng: np.random.Generator) -> None:
    latent = cloud(rng, 500)
    fitted = Domain.fit(latent, np.zeros(500), EVERYWHERE, cloud(rng, 300))
    _, distance = fitted.nearest(latent)
    assert distance.max() < 0.05 * fitted.threshold


def test_landmarks_tell_the_errors_around_them(fitted: Domain) -> None:
    points = np.zeros((2, 12))
    points[1, 0] = 10
    owner, _ = fitted.nearest(points)
    low, high = fitted.errors[owner].astype(float)
    assert high - low > 0.5


def test_many_training_crystals_become_few_landmarks(
    fitted: Domain, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(domain, "LANDMARKS", 50)
    small = Domain.fit(cloud(rng, 2000), np.ones(2000), EVERYWHERE, cloud(rng, 1000))
    assert len(small.landmarks) == 50
    _, distance = small.nearest(cloud(rng, 1000))
    assert (distance > small.threshold).mean() < 0.05
    far = np.zeros((1, 12))
    far[0, 0] = -10
    assert small.nearest(far)[1][0] > 2 * small.threshold


def test_the_order_of_the_crystals_does_not_matter(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(domain, "LANDMARKS", 40)
    latent, errors, held_out = cloud(rng, 300), rng.normal(0, 0.1, 300), cloud(rng, 50)
    order = rng.permutation(300)
    one = Domain.fit(latent, errors, EVERYWHERE, held_out)
    other = Domain.fit(latent[order], errors[order], EVERYWHERE, held_out[::-1])
    np.testing.assert_array_equal(one.landmarks, other.landmarks)
    np.testing.assert_array_equal(one.errors, other.errors)
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
        _, distance = fitted.nearest(latent)
        assert np.isfinite(distance).all()
        assert fitted.reason(float(distance[0]), SODIUM_CHLORIDE) is None


def test_what_no_fit_gives_is_refused(fitted: Domain) -> None:
    parts = (fitted.centre, fitted.axes, fitted.landmarks, fitted.errors, fitted.crystals)
    Domain(*parts, 1.0)
    for bad, threshold in (
        (parts, float("nan")),
        (parts, -1.0),
        ((fitted.centre[:3], *parts[1:]), 1.0),
        ((parts[0], parts[1][0], *parts[2:]), 1.0),
        ((*parts[:3], fitted.errors[:3], fitted.crystals), 1.0),
        ((*parts[:4], fitted.crystals[:10]), 1.0),
        ((*parts[:2], fitted.landmarks * np.float16("nan"), *parts[3:]), 1.0),
    ):
        with pytest.raises(ValueError, match=r"size|finite|unpack"):
            Domain(*bad, threshold)
