"""Intervals against errors whose distribution is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from predictors.calibration import (
    FEATURES,
    LEVELS,
    PROBABILITIES,
    Calibration,
    coverage_of,
    gaussian_intervals,
    rank_correlation,
)

KINDS = ("normal", "laplace", "skewed", "heavy")


def drawn(rng: np.random.Generator, kind: str, n: int) -> np.ndarray:
    return {
        "normal": lambda: rng.normal(0, 0.05, n),
        "laplace": lambda: rng.laplace(0.01, 0.05, n),
        "skewed": lambda: rng.exponential(0.05, n) - 0.02,
        "heavy": lambda: 0.03 * rng.standard_t(2, n),
    }[kind]()


def known(rng: np.random.Generator, n: int, kind: str = "laplace") -> tuple[np.ndarray, np.ndarray]:
    """Features and errors: the size grows with the deviation and out of domain, the other features say nothing."""
    deviation, outside = rng.normal(0, 1, n), (rng.random(n) < 0.1).astype(float)
    others = rng.normal(0, 1, (n, 3))
    errors = drawn(rng, kind, n) * np.exp(0.7 * deviation + outside)
    return np.column_stack([outside, deviation, others]), errors


@pytest.mark.parametrize("kind", KINDS)
def test_intervals_hold_what_they_say(kind: str) -> None:
    """On fresh draws, within what chance allows: of the test set (binomial) and of the quantiles that were fitted."""
    rng = np.random.default_rng(5)
    calibration = Calibration.fit(*known(rng, 3000, kind))
    features, errors = known(rng, 6000, kind)
    intervals = calibration.intervals(np.zeros(6000), features)
    inside = ((intervals[..., 0] <= errors[:, None]) & (errors[:, None] <= intervals[..., 1])).sum(axis=0)
    for level, found in zip(LEVELS, inside, strict=True):
        low, high = binom.interval(0.9999, 2000, level)  # 1 / (1/3000 + 1/6000): the noise of both together
        assert low / 2000 <= found / 6000 <= high / 2000


def test_what_widens_an_interval_is_found_and_what_says_nothing_is_not(rng: np.random.Generator) -> None:
    features, errors = known(rng, 5000)
    calibration = Calibration.fit(features, errors)
    weights = dict(zip(FEATURES, calibration.weight / calibration.width, strict=True))
    assert weights["deviation"] == pytest.approx(0.7, abs=0.12)
    assert weights["outside"] == pytest.approx(1.0, abs=0.3)
    assert all(abs(weights[name]) < 0.08 for name in ("distance", "local_error", "energy"))
    assert rank_correlation(calibration.scale(features), np.abs(errors)) > 0.4


def test_an_error_that_falls_where_less_is_known_narrows_nothing(rng: np.random.Generator) -> None:
    features = rng.normal(0, 1, (2000, len(FEATURES)))
    errors = rng.normal(0, np.exp(-features[:, 2]))
    calibration = Calibration.fit(features, errors)
    assert calibration.weight[2] == 0
    assert (calibration.weight[:4] >= 0).all()


@given(
    st.integers(1, 40),
    st.integers(0, 2**32 - 1),
    st.sampled_from(["drawn", "tied", "zero", "huge"]),
    st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_few_errors_ties_and_constant_features_give_sound_intervals(n: int, seed: int, errors: str, same: bool) -> None:
    """Nested, around the prediction, rising with the level, wider out of domain: for every crystal, however strange."""
    rng = np.random.default_rng(seed)
    features = np.zeros((n, len(FEATURES))) if same else known(rng, n)[0]
    residuals = {
        "drawn": rng.normal(0, 0.1, n),
        "tied": np.full(n, 0.03),
        "zero": np.zeros(n),
        "huge": rng.normal(0, 1e6, n),
    }[errors]
    calibration = Calibration.fit(features, residuals)
    strange = np.array([[0, 0, 0, 0, 0], [1, 50, 50, 50, -50], [0, -50, -50, -50, 400]], dtype=float)
    levels = [0.1, 0.5, 0.8, 0.9, 0.98]
    ends = calibration.intervals(np.array([-1.0, 0.0, 2.0]), strange, levels)
    assert np.isfinite(ends).all()
    assert (np.diff(ends[..., 0], axis=1) <= 0).all()
    assert (np.diff(ends[..., 1], axis=1) >= 0).all()
    assert (ends[..., 0] <= np.array([[-1.0], [0.0], [2.0]])).all()
    assert (ends[..., 1] >= np.array([[-1.0], [0.0], [2.0]])).all()
    outside = strange.copy()
    outside[:, 0] = 1
    assert (calibration.scale(outside) >= calibration.scale(strange)).all()


@given(st.integers(1, 60), st.integers(0, 2**32 - 1))
@settings(max_examples=50, deadline=None)
def test_the_order_of_the_crystals_does_not_matter(n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    features, errors = known(rng, n)
    order = rng.permutation(n)
    one, other = Calibration.fit(features, errors), Calibration.fit(features[order], errors[order])
    np.testing.assert_array_equal(one.weight, other.weight)
    np.testing.assert_array_equal(one.quantiles, other.quantiles)


def test_an_own_error_does_not_narrow_its_own_interval(rng: np.random.Generator) -> None:
    """With as many features as crystals a fit that counted each with itself would promise far too narrow intervals."""
    inside = []
    for _ in range(300):
        features, errors = rng.normal(0, 1, (13, len(FEATURES))), rng.normal(0, 0.1, 13)
        calibration = Calibration.fit(features[:-1], errors[:-1])
        low, high = calibration.intervals(np.zeros(1), features[-1:], [0.8])[0, 0]
        inside.append(low <= errors[-1] <= high)
    assert np.mean(inside) == pytest.approx(0.8, abs=0.08)


def test_levels_beyond_the_quantiles_are_refused(rng: np.random.Generator) -> None:
    calibration = Calibration.fit(*known(rng, 50))
    for level in (0.99, -0.1, 1.5):
        with pytest.raises(ValueError, match="up to 98%"):
            calibration.intervals(np.zeros(1), np.zeros((1, len(FEATURES))), [level])
    with pytest.raises(ValueError, match="no held-out error"):
        Calibration.fit(np.zeros((0, len(FEATURES))), np.zeros(0))


def test_what_no_fit_gives_is_refused() -> None:
    ones, quantiles = np.ones(len(FEATURES)), np.linspace(-1, 1, len(PROBABILITIES))
    Calibration(ones, ones, ones, 0.0, quantiles, 5)
    for bad in (
        (ones, ones, ones, float("nan"), quantiles, 5),
        (ones, ones, ones[:3], 0.0, quantiles, 5),
        (ones, ones, ones, 0.0, quantiles[:7], 5),
        (ones, ones, ones, 0.0, -quantiles, 5),
        (ones, 0 * ones, ones, 0.0, quantiles, 5),
        (ones, ones, -ones, 0.0, quantiles, 5),
    ):
        with pytest.raises(ValueError, match=r"size|finite|fall"):
            Calibration(*bad)


def test_coverage_of_intervals_that_are_known(rng: np.random.Generator) -> None:
    """Of members that are Gaussian around the truth the raw intervals are right; of members that hardly differ not."""
    spread = rng.uniform(0.01, 0.3, 20_000)
    truth = rng.normal(0, spread / 1.349)
    zero = np.zeros(20_000)
    right = coverage_of(lambda levels: gaussian_intervals(zero, spread, levels), zero, truth)
    assert list(right.shares) == list(LEVELS)
    assert [right.shares[level] for level in LEVELS] == pytest.approx(LEVELS, abs=0.015)
    assert right.expected_error < 0.01
    assert right.spearman > 0.4
    narrow = coverage_of(lambda levels: gaussian_intervals(zero, spread * 0, levels), zero, truth)
    assert narrow.shares[0.9] == 0
    assert narrow.expected_error == pytest.approx(0.5)
    assert np.isnan(narrow.spearman)
