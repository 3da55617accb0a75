from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from predictors.compositions import composition_of
from predictors.errors import BadCrystal, BadTrainingSet
from predictors.graph import check_crystal


@pytest.mark.parametrize(
    ("formula", "numbers"),
    [
        ("Li2O", [3, 3, 8]),
        ("OLi2", [3, 3, 8]),
        ("Li4 O2", [3, 3, 8]),
        ("Ca(OH)2", [1, 1, 8, 8, 20]),
        ("Li0.5CoO2", [3, 8, 8, 8, 8, 27, 27]),
    ],
)
def test_a_formula_however_it_is_written(formula: str, numbers: list[int]) -> None:
    assert sorted(composition_of(formula).numbers) == numbers


@given(st.dictionaries(st.sampled_from(["H", "He", "C", "Co", "O", "Os", "U"]), st.integers(1, 30), min_size=1))
def test_fractions_survive_the_way_through_a_formula(counts: dict[str, int]) -> None:
    from ase.data import atomic_numbers

    numbers = composition_of("".join(f"{symbol}{count}" for symbol, count in counts.items())).numbers
    total = sum(counts.values())
    for symbol, count in counts.items():
        assert (numbers == atomic_numbers[symbol]).mean() == pytest.approx(count / total)


@pytest.mark.parametrize(
    ("formula", "reason"),
    [
        ("", "isn't a chemical formula"),
        ("salt", "isn't a chemical formula"),
        ("Na-Cl", "isn't a chemical formula"),
        ("Zz2O", "holds Zz: there is no such element"),
        ("XO", "holds X: there is no such element"),
        ("H999999999O", "more than 100000 atoms"),
        ("Li(OH", "isn't a chemical formula"),
    ],
)
def test_what_is_no_formula_is_told(formula: str, reason: str) -> None:
    with pytest.raises(BadTrainingSet, match=reason):
        composition_of(formula)


def test_a_structure_model_refuses_a_composition() -> None:
    with pytest.raises(BadCrystal):
        check_crystal(composition_of("NaCl"))
