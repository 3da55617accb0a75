"""Known crystals with other elements on their sites: which, how many, at what volume."""

from __future__ import annotations

import numpy as np
import pytest

from registry.crystal import Crystal
from registry.identity.composition import ATOMIC_NUMBERS, Composition
from workers.candidates.volume import predicted_volume
from workers.substitutes import Chances, Drawing, substitutes

ROCK_SALT = Crystal(np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]) * 2.82, [11, 17], [[0, 0, 0], [0.5] * 3])
PEROVSKITE = Crystal(np.eye(3) * 3.9, [20, 22, 8, 8, 8], [[0.5] * 3, [0, 0, 0], [0.5, 0, 0], [0, 0.5, 0], [0, 0, 0.5]])
ELEMENTS = ["Li", "Na", "K", "Mg", "Ca", "Ti", "O", "S", "F", "Cl", "Br", "Ne"]


def formulas(crystals: list[Crystal]) -> list[str]:
    return [Composition.of(crystal.amounts).reduced_formula for crystal in crystals]


def test_each_is_a_parent_with_other_elements_and_none_comes_twice() -> None:
    found = substitutes([ROCK_SALT, PEROVSKITE], ELEMENTS, [], 200, seed=0)
    assert len(found) == 200
    assert len({(crystal.nsites, crystal.numbers.tobytes()) for crystal in found}) == 200
    for crystal in found:
        parent = ROCK_SALT if crystal.nsites == 2 else PEROVSKITE
        assert not np.array_equal(crystal.numbers, parent.numbers)
        assert len(crystal.amounts) == len(parent.amounts)
        assert ATOMIC_NUMBERS["Ne"] not in crystal.amounts
        np.testing.assert_array_equal(crystal.frac_coords, parent.frac_coords)
        assert crystal.volume == pytest.approx(predicted_volume(crystal, parent), rel=0.15)


def test_they_follow_from_the_seed_and_the_first_from_no_count() -> None:
    many = substitutes([ROCK_SALT], ELEMENTS, [], 40, seed=3)
    few = substitutes([ROCK_SALT], ELEMENTS, [], 10, seed=3)
    assert formulas(few) == formulas(many[:10])
    assert formulas(few) != formulas(substitutes([ROCK_SALT], ELEMENTS, [], 10, 4))


def test_excluded_formulas_are_left_out_however_they_are_written() -> None:
    found = formulas(substitutes([ROCK_SALT], ["Li", "Na", "F", "Cl"], ["FLi"], 1000, seed=0))
    assert "LiF" not in found
    assert "NaF" in found


def test_there_are_no_more_than_there_are() -> None:
    assert len(substitutes([ROCK_SALT], ["Na", "Cl", "F"], [], 1000, seed=0)) == 5  # of six, the parent is none


def test_near_elements_are_likelier_and_none_is_out_of_reach() -> None:
    chances = Chances(sorted(ELEMENTS), Drawing())
    of_sodium = dict(zip(chances.symbols, chances.of(ATOMIC_NUMBERS["Na"]), strict=True))
    assert sum(of_sodium.values()) == pytest.approx(1)
    assert of_sodium["Na"] == 0
    assert of_sodium["K"] > 5 * of_sodium["O"] > 0


def test_nothing_to_draw_from_is_told() -> None:
    with pytest.raises(ValueError, match="parents and at least two elements"):
        substitutes([], ELEMENTS, [], 10, seed=0)
    with pytest.raises(ValueError, match="parents and at least two elements"):
        substitutes([ROCK_SALT], ["Na", "Ne"], [], 10, seed=0)
