"""How wide an interval must be to hold the truth as often as it says, learnt from errors on held-out crystals.

Two steps. A log-linear model of the size of the error, from what is known of a crystal before its label (`FEATURES`);
then the quantiles of the errors divided by it, as in conformal prediction (Lei et al., JASA 113, 1094 (2018), locally
weighted; each held-out error is divided by a scale that was fitted without it).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LEVELS = (0.5, 0.8, 0.9)
"""Shares of the truth that the intervals of a prediction are to hold."""
FEATURES = ("outside", "deviation", "distance", "local_error", "energy")
"""Whether it is out of domain; ln of the members' standard deviation, of the distance to the training set, and of the
errors there; the predicted energy in eV/atom: high ones are less certain."""
RISING = 4  # all but the last can only widen an interval
PROBABILITIES: Floats = np.arange(1, 100) / 100
SMALLEST_ERROR = 0.002  # eV/atom: the logarithm of a smaller one says nothing
RIDGE = 10.0  # counts as much as ten crystals that say that no feature matters
FURTHEST = (-5.0, 20.0)  # standard deviations that a feature is followed to


@dataclass(frozen=True, eq=False)
class Calibration:
    """centre, width, weight: (f,) of the standardised features; level: ln(eV/atom) at their centre

    quantiles: of (truth - prediction) / scale at PROBABILITIES; count: of the errors that they were fitted on
    """

    centre: Floats
    width: Floats
    weight: Floats
    level: float
    quantiles: Floats
    count: int

    def __post_init__(self) -> None:
        """Raise ValueError for what no fit gives."""
        parts = (self.centre, self.width, self.weight)
        if any(part.shape != (len(FEATURES),) for part in parts) or self.quantiles.shape != PROBABILITIES.shape:
            raise ValueError("its parts are of the wrong size")
        if not all(np.isfinite(part).all() for part in (*parts, self.quantiles, np.array(self.level))):
            raise ValueError("its numbers aren't finite")
        if (np.diff(self.quantiles) < 0).any() or (self.width <= 0).any() or (self.weight[:RISING] < 0).any():
            raise ValueError("its quantiles fall, or intervals would narrow where less is known")

    @classmethod
    def fit(cls, features: Floats, errors: Floats) -> Self:
        """(n, f) features and (n,) truth minus prediction of held-out crystals, eV/atom, all finite; n of at least 1.

        The order of the crystals doesn't matter. Raise ValueError for n = 0.
        """
        if not len(errors):
            raise ValueError("no held-out error to calibrate by")
        order = np.lexsort((*features.T, errors))
        features, errors = features[order], errors[order]
        centre, width = features.mean(axis=0), features.std(axis=0)
        width = np.where(width > 1e-9 * (1 + np.abs(centre)), width, np.inf)
        standard = (features - centre) / width
        sizes = np.log(np.abs(errors) + SMALLEST_ERROR)
        weight, without_itself = _ridge(standard, sizes)
        quantiles = np.quantile(errors / np.exp(without_itself), PROBABILITIES, method="weibull")
        width = np.where(np.isfinite(width), width, 1.0)
        return cls(centre, width, weight, float(sizes.mean()), quantiles, len(errors))

    def scale(self, features: Floats) -> Floats:
        """(n, f) -> (n,) expected size of the error, eV/atom: what ranks crystals by how little is known of them."""
        standard = np.clip((features - self.centre) / self.width, *FURTHEST)
        scale: Floats = np.exp(self.level + standard @ self.weight)
        return scale

    def intervals(self, energy: Floats, features: Floats, levels: Sequence[float] = LEVELS) -> Floats:
        """(n,), (n, f) -> (n, levels, 2) lower and upper end, eV/atom: central ones, widened to hold the prediction.

        Raise ValueError for a level beyond those that the quantiles reach.
        """
        wanted = np.asarray(levels, dtype=np.float64)
        tails = np.stack([(1 - wanted) / 2, (1 + wanted) / 2], axis=1)
        if not ((tails[:, 0] >= PROBABILITIES[0] - 1e-9) & (tails[:, 0] <= 0.5)).all():
            raise ValueError(f"intervals are calibrated up to {1 - 2 * PROBABILITIES[0]:.0%}")
        ends = np.interp(tails, PROBABILITIES, self.quantiles)
        ends = np.stack([np.minimum(ends[:, 0], 0), np.maximum(ends[:, 1], 0)], axis=1)
        return energy[:, None, None] + self.scale(features)[:, None, None] * ends


def _ridge(standard: Floats, sizes: Floats) -> tuple[Floats, Floats]:
    """Weights (f,), those of rising features at least 0; and (n,) each size as predicted from all others but itself."""
    kept = np.ones(standard.shape[1], dtype=bool)
    while True:
        used = standard * kept
        inverse = np.linalg.inv(used.T @ used + RIDGE * np.eye(len(kept)))
        weight = inverse @ used.T @ (sizes - sizes.mean())
        if (weight[:RISING] >= 0).all():
            break
        kept[np.argmin(weight[:RISING])] = False
    leverage = 1 / len(sizes) + np.einsum("ij,jk,ik->i", used, inverse, used)
    missed = sizes - sizes.mean() - used @ weight
    return weight * kept, sizes - missed / np.maximum(1 - leverage, 0.05)


@dataclass(frozen=True)
class Coverage:
    """Whether intervals hold what they say.

    shares: level -> share of the truth inside the intervals of LEVELS
    expected_error: mean of |share - level| over the levels 5 %, 10 % ... 95 % (expected calibration error)
    spearman: rank correlation of the intervals' width with the error's size, NaN for fewer than three crystals
    """

    shares: dict[float, float]
    expected_error: float
    spearman: float


Intervals = Callable[[Sequence[float]], Floats]


def coverage_of(intervals: Intervals, energy: Floats, truth: Floats) -> Coverage:
    """intervals: levels -> (n, levels, 2) lower and upper ends; energy: (n,) what was predicted; n of at least 1."""
    many = np.arange(1, 20) / 20
    widths = np.diff(intervals(LEVELS)[:, -1], axis=1)[:, 0]
    return Coverage(
        dict(zip(LEVELS, _shares(intervals(LEVELS), truth).tolist(), strict=True)),
        float(np.abs(_shares(intervals(many.tolist()), truth) - many).mean()),
        rank_correlation(widths, np.abs(truth - energy)),
    )


def gaussian_intervals(energy: Floats, spread: Floats, levels: Sequence[float] = LEVELS) -> Floats:
    """What the inter-quartile range of the members says by itself, if their energies were Gaussian around the truth."""
    from scipy.special import ndtri

    half = np.outer(spread, ndtri((1 + np.asarray(levels)) / 2)) / (2 * ndtri(0.75))
    ends: Floats = energy[:, None, None] + half[:, :, None] * np.array([-1.0, 1.0])
    return ends


def rank_correlation(a: Floats, b: Floats) -> float:
    """Spearman's; NaN for fewer than three values and where all are equal."""
    from scipy.stats import rankdata

    if len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    return float(np.corrcoef(rankdata(a), rankdata(b))[0, 1])


def _shares(intervals: Floats, truth: Floats) -> Floats:
    inside = (intervals[:, :, 0] <= truth[:, None]) & (truth[:, None] <= intervals[:, :, 1])
    shares: Floats = inside.mean(axis=0)
    return shares
