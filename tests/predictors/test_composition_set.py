from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from predictors.composition_set import composition_of, read_composition_set
from predictors.errors import BadCrystal, BadTrainingSet
from predictors.graph import check_crystal
from predictors.splits import Split, split_of

FORMULAS = ["Li2O", "NaCl", "MgO", "CaF2", "Al2O3"]
SPLITS = ["train", "train", "val", "test", "train"]


def table(path: Path, **columns: Sequence[Any]) -> Path:
    pa.parquet.write_table(pa.table({name: list(column) for name, column in columns.items()}), path)
    return path


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


def test_the_split_that_a_table_names_is_kept(tmp_path: Path) -> None:
    data = read_composition_set(table(tmp_path / "a", formula=FORMULAS, target=[-1.0] * 5, split=SPLITS))
    assert data.splits == [Split.TRAIN, Split.TRAIN, Split.VALIDATION, Split.TEST, Split.TRAIN]
    assert data.elements() == [3, 8, 11, 13, 17]


def test_without_a_split_the_formula_decides(tmp_path: Path) -> None:
    formulas = [f"Li{n}O" for n in range(1, 60)]
    data = read_composition_set(table(tmp_path / "a", formula=formulas, target=[-1.0] * 59))
    assert data.splits == [split_of(formula) for formula in formulas]


def test_excluded_compositions_and_wild_energies_are_in_no_part(tmp_path: Path) -> None:
    path = table(tmp_path / "a", formula=FORMULAS, target=[-2.0, -1.8, -2.9, -7.5, -3.0], split=SPLITS)
    data = read_composition_set(path, excluded=["ClNa"])
    assert np.allclose(data.targets, [-2.0, -2.9, -3.0])
    assert data.excluded == ("ClNa",)


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"formula": FORMULAS}, "lacks the columns target"),
        ({"formula": FORMULAS, "target": [-1.0, None, -1.0, float("nan"), -1.0]}, "2 targets are missing"),
        ({"formula": FORMULAS, "target": ["a"] * 5}, "5 targets are missing"),
        ({"formula": [*FORMULAS[:4], None], "target": [-1.0] * 5}, "a formula is missing"),
        ({"formula": [*FORMULAS[:4], "salt"], "target": [-1.0] * 5, "split": SPLITS}, "'salt' isn't a chemical"),
        ({"formula": FORMULAS, "target": [-1.0] * 5, "split": ["train", "dev", "val", "test", None]}, "not None, dev"),
        ({"formula": FORMULAS, "target": [-1.0] * 5, "split": ["test"] * 5}, "no composition to use for train"),
    ],
)
def test_a_bad_table_is_told_in_one_line(tmp_path: Path, columns: dict[str, Any], reason: str) -> None:
    with pytest.raises(BadTrainingSet, match=reason):
        read_composition_set(table(tmp_path / "a.parquet", **columns))


def test_no_table_is_told(tmp_path: Path) -> None:
    with pytest.raises(BadTrainingSet, match="no training table"):
        read_composition_set(tmp_path / "none")
    (tmp_path / "text").write_text("formula,target")
    with pytest.raises(BadTrainingSet, match="isn't a parquet table"):
        read_composition_set(tmp_path / "text")
