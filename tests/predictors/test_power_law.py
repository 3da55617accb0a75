from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from predictors.errors import BadTrainingSet
from predictors.power_law import fit_power_law

SIZES = (500, 1000, 2000, 4000, 8000, 16000)


@settings(deadline=None)  # the first one imports scipy
@given(st.floats(0.05, 1.5), st.floats(0.01, 100.0))
def test_an_exact_law_is_found(exponent: float, prefactor: float) -> None:
    law = fit_power_law(SIZES, [prefactor * size**-exponent for size in SIZES])
    assert law.exponent == pytest.approx(exponent, rel=1e-6)
    assert law.prefactor == pytest.approx(prefactor, rel=1e-5)
    assert law.exponent_high - law.exponent_low < 1e-6
    assert law.error(3000) == pytest.approx(prefactor * 3000**-exponent, rel=1e-6)


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    rng = np.random.default_rng(0)
    exponents, prefactors = [], []
    for _ in range(600):
        noise = np.exp(rng.normal(0, 0.05, len(SIZES)))
        law = fit_power_law(SIZES, [3.0 * size**-0.4 * each for size, each in zip(SIZES, noise, strict=True)])
        exponents.append(law.exponent_low <= 0.4 <= law.exponent_high)
        prefactors.append(law.prefactor_low <= 3.0 <= law.prefactor_high)
    assert 0.92 < np.mean(exponents) < 0.98
    assert 0.92 < np.mean(prefactors) < 0.98


def test_the_scatter_is_that_of_the_errors() -> None:
    rng = np.random.default_rng(1)
    sizes = np.geomspace(100, 1e6, 400)
    law = fit_power_law(sizes.tolist(), (2.0 * sizes**-0.3 * np.exp(rng.normal(0, 0.1, 400))).tolist())
    assert law.scatter == pytest.approx(0.1, rel=0.1)


@pytest.mark.parametrize(
    ("sizes", "errors", "reason"),
    [
        ((100, 200), (0.2, 0.1), "3 different sizes"),
        ((100, 100, 100, 200), (0.2, 0.2, 0.2, 0.1), "3 different sizes"),
        ((100, 200, 400), (0.2, 0.1), "2 errors"),
        ((100, 200, 400), (0.2, 0.1, 0.0), "positive"),
        ((100, 200, 400), (0.2, 0.1, float("nan")), "finite"),
        ((0, 200, 400), (0.3, 0.2, 0.1), "positive"),
    ],
)
def test_what_holds_no_law_is_refused(sizes: tuple[float, ...], errors: tuple[float, ...], reason: str) -> None:
    with pytest.raises(BadTrainingSet, match=reason):
        fit_power_law(sizes, errors)
