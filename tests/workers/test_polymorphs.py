from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from registry.crystal import Crystal
from registry.identity.composition import Composition
from workers.candidates.generation import Settings
from workers.polymorphs import STEP, at_best_volume, drawn, hypothetical

ROCK_SALT = Crystal(
    np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]) * 2.82, np.array([11, 17]), np.array([[0, 0, 0], [0.5, 0.5, 0.5]])
)


class Parabola:
    """Energies of the second-order Birch equation of state about one volume."""

    name = version = "parabola"

    def __init__(self, best: float) -> None:
        self.best = best

    def energies(self, crystals: Sequence[Crystal]) -> list[float]:
        x = np.array([(self.best / crystal.volume) ** (2 / 3) for crystal in crystals])
        return [float(energy) for energy in 5.0 * (x - 1) ** 2 - 6.0]


@pytest.mark.parametrize("ratio", [STEP**-4.3, 0.9, 1.0, 1.27, STEP**3.9])
def test_best_volume_is_found_wherever_it_lies_within_reach(ratio: float) -> None:
    best = ROCK_SALT.volume * ratio
    found = at_best_volume(Parabola(best))([ROCK_SALT])[0]
    assert found is not None
    crystal, energy = found
    assert crystal.volume == pytest.approx(best, rel=1e-9)
    assert energy == pytest.approx(-6.0, abs=1e-9)


@pytest.mark.parametrize("ratio", [0.2, 5.0])
def test_none_where_the_minimum_is_out_of_reach(ratio: float) -> None:
    best = ROCK_SALT.volume * ratio
    assert at_best_volume(Parabola(best))([ROCK_SALT, ROCK_SALT]) == [None, None]


class Broken(Parabola):
    def energies(self, crystals: Sequence[Crystal]) -> list[float]:
        return [float("nan")] * len(crystals)


def test_none_where_the_engine_gives_no_number() -> None:
    assert at_best_volume(Broken(1.0))([ROCK_SALT]) == [None]


def formulas(crystals: list[Crystal]) -> set[str]:
    return {Composition.of(crystal.amounts).reduced_formula for crystal in crystals}


def test_hypothetical_leaves_out_the_excluded_however_written() -> None:
    every = hypothetical([ROCK_SALT], [("Na", "K", "Cl", "Br")], [], Settings())
    fewer = hypothetical([ROCK_SALT], [("Na", "K", "Cl", "Br")], ["ClK"], Settings())
    assert "KCl" in formulas(every)
    assert formulas(every) - formulas(fewer) == {"KCl"}


def test_drawn_is_the_same_for_the_same_seed() -> None:
    compounds = [ROCK_SALT.scaled(20.0 + number) for number in range(50)]
    assert drawn(compounds, 10, ["Na"], 3) == drawn(compounds, 10, ["Na"], 3)
    assert len({crystal.volume for crystal in drawn(compounds, 99, ["Na"], 3)}) == 50
