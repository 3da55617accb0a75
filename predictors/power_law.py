"""A power law through errors at several sizes, with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from predictors.errors import BadTrainingSet

FEWEST = 3
CONFIDENCE = 0.95


@dataclass(frozen=True)
class PowerLaw:
    """error = prefactor * n ** -exponent, errors in eV per atom.

    *_low, *_high: CONFIDENCE intervals; scatter: standard deviation of the logarithm of the errors about the line
    """

    prefactor: float
    prefactor_low: float
    prefactor_high: float
    exponent: float
    exponent_low: float
    exponent_high: float
    scatter: float

    def error(self, size: float) -> float:
        """eV per atom after learning from so many crystals."""
        return float(self.prefactor * size**-self.exponent)


def fit_power_law(sizes: Sequence[float], errors: Sequence[float]) -> PowerLaw:
    """A line through the logarithms by least squares, each size with equal weight.

    Intervals from the scatter about the line, by Student's t with two degrees of freedom fewer than sizes (Draper and
    Smith, Applied Regression Analysis, ch. 1). Raise BadTrainingSet for fewer than three different sizes, or for sizes
    or errors that aren't finite and positive.
    """
    from scipy.stats import t as student

    x, y = _logarithms(sizes, "sizes"), _logarithms(errors, "errors")
    if len(x) != len(y) or len(np.unique(x)) < FEWEST:
        raise BadTrainingSet(f"{len(x)} sizes, {len(y)} errors: a power law needs {FEWEST} different sizes at least")
    spread = float(((x - x.mean()) ** 2).sum())
    slope = float(((x - x.mean()) * y).sum() / spread)
    intercept = float(y.mean() - slope * x.mean())
    scatter = float(np.sqrt(((y - intercept - slope * x) ** 2).sum() / (len(x) - 2)))
    reach = float(student.ppf(0.5 + CONFIDENCE / 2, len(x) - 2)) * scatter
    of_slope, of_intercept = reach / np.sqrt(spread), reach * np.sqrt(1 / len(x) + x.mean() ** 2 / spread)
    prefactor, prefactor_low, prefactor_high = np.exp(intercept + of_intercept * np.array([0.0, -1.0, 1.0])).tolist()
    return PowerLaw(
        prefactor,
        prefactor_low,
        prefactor_high,
        exponent=-slope,
        exponent_low=-slope - float(of_slope),
        exponent_high=-slope + float(of_slope),
        scatter=scatter,
    )


def _logarithms(values: Sequence[float], what: str) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    array = np.array(values, dtype=np.float64)
    if not (np.isfinite(array) & (array > 0)).all():
        raise BadTrainingSet(f"a power law through {what} {array.tolist()}: they must be finite and positive")
    return np.log(array)
