from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from predictors.errors import BadTrainingSet
from predictors.splits import Split, split_of
from predictors.training_set import TrainingSet, fit_baseline, read_training_set
from predictors.training_table import read_table

FORMULAS = ["Li2O", "NaCl", "MgO", "CaF2", "Al2O3"]
PARTS = ["train", "train", "val", "test", "train"]


def of_formulas(path: Path, **columns: Sequence[Any]) -> Path:
    pq.write_table(pa.table({name: list(column) for name, column in columns.items()}), path)
    return path


def change(table: Path, to: Path, **columns: list[object]) -> Path:
    original = pq.read_table(table)
    pq.write_table(pa.table({name: columns.get(name, original[name]) for name in original.column_names}), to)
    return to


def test_every_row_goes_where_its_formula_says(table: Path, data: TrainingSet) -> None:
    formulas = pq.read_table(table)["formula"].to_pylist()
    assert data.splits == [split_of(formula) for formula in formulas]
    assert sum(len(data.part(split)) for split in Split) == len(formulas)
    assert len(data.data_hash) == 64


def test_excluded_formulas_are_in_no_part_however_they_are_written(table: Path, data: TrainingSet) -> None:
    formulas = pq.read_table(table)["formula"].to_pylist()
    victim = next(f for f in formulas if f.startswith("Br") and f[2:3].isupper() and f.isalpha())
    turned = victim[2:] + "Br"
    kept = read_training_set(table, excluded=[turned])
    assert len(kept.crystals) == len(formulas) - formulas.count(victim)
    assert kept.excluded == (turned,)


def test_large_cells_can_be_left_out(table: Path) -> None:
    assert max(len(c.numbers) for c in read_training_set(table, max_sites=2).crystals) == 2


def test_a_missing_target_is_refused(table: Path, tmp_path: Path) -> None:
    count = pq.read_table(table).num_rows
    bad = change(table, tmp_path / "nan.parquet", target=[None, *[0.0] * (count - 1)])
    with pytest.raises(BadTrainingSet, match="1 targets are missing"):
        read_training_set(bad)


def test_a_bad_row_is_named(table: Path, tmp_path: Path) -> None:
    lattices = pq.read_table(table)["lattice"].to_pylist()
    bad = change(table, tmp_path / "flat.parquet", lattice=[[0.0] * 9, *lattices[1:]])
    with pytest.raises(BadTrainingSet, match=r"a row of .*too small"):
        read_training_set(bad)


def test_two_atoms_in_one_place_are_found_before_any_training(table: Path, tmp_path: Path) -> None:
    columns = pq.read_table(table).to_pydict()
    row = next(row for row, numbers in enumerate(columns["numbers"]) if len(numbers) > 1)
    columns["frac_coords"][row][3:6] = columns["frac_coords"][row][:3]
    bad = change(table, tmp_path / "heap.parquet", frac_coords=columns["frac_coords"])
    with pytest.raises(BadTrainingSet, match=r"a row of .*two atoms in one place"):
        read_training_set(bad)


def test_a_table_to_be_judged_on_needs_nothing_to_learn_from(table: Path, tmp_path: Path) -> None:
    every = pq.read_table(table)
    pq.write_table(every.filter([split_of(f) is Split.TEST for f in every["formula"].to_pylist()]), tmp_path / "t")
    held_out = read_training_set(tmp_path / "t")
    assert set(held_out.splits) == {Split.TEST}
    with pytest.raises(BadTrainingSet, match="no crystal to use for train"):
        held_out.ensure_learnable()


@pytest.mark.parametrize("numbers", [None, [], [70_000], [0], [11, 17, 1]])
def test_a_row_of_odd_atoms_is_named(table: Path, tmp_path: Path, numbers: list[int] | None) -> None:
    rest = pq.read_table(table)["numbers"].to_pylist()[1:]
    bad = change(table, tmp_path / "odd.parquet", numbers=[numbers, *rest])
    with pytest.raises(BadTrainingSet, match="a row of "):
        read_training_set(bad)


def test_empty_missing_and_foreign_files_are_refused(table: Path, tmp_path: Path) -> None:
    with pytest.raises(BadTrainingSet, match="no training table"):
        read_training_set(tmp_path / "none.parquet")
    pq.write_table(pq.read_table(table).slice(0, 0), tmp_path / "empty.parquet")
    with pytest.raises(BadTrainingSet, match=r"empty\.parquet: no crystal that isn't of an excluded formula"):
        read_training_set(tmp_path / "empty.parquet")
    pq.write_table(pq.read_table(table).drop(["target"]), tmp_path / "lacking.parquet")
    with pytest.raises(BadTrainingSet, match="lacks the columns target"):
        read_training_set(tmp_path / "lacking.parquet")
    (tmp_path / "text.parquet").write_text("not a table")
    with pytest.raises(BadTrainingSet, match=r"text\.parquet"):
        read_training_set(tmp_path / "text.parquet")


def test_the_baseline_finds_additive_energies(data: TrainingSet) -> None:
    own = np.random.default_rng(1).normal(size=119)
    targets = np.array([own[c.numbers].mean() for c in data.crystals], dtype=np.float32)
    additive = TrainingSet(data.crystals, targets, data.splits, (), "")
    everything = np.arange(len(targets))
    seen = sorted({int(z) for c in data.crystals for z in c.numbers})
    np.testing.assert_allclose(fit_baseline(additive, everything, ridge=1e-9)[seen], own[seen], atol=1e-4)


def test_models_without_structures_learn_from_formulas_alone(tmp_path: Path) -> None:
    path = of_formulas(tmp_path / "a.parquet", formula=FORMULAS, target=[-1.0] * 5, split=PARTS)
    data = read_training_set(path, split_by="given", structures=False)
    assert data.splits == [Split.TRAIN, Split.TRAIN, Split.VALIDATION, Split.TEST, Split.TRAIN]
    assert data.elements() == [3, 8, 11, 13, 17]
    assert data.data_hash == read_table(path).sha256
    with pytest.raises(BadTrainingSet, match=r"a\.parquet lacks the columns lattice, numbers, frac_coords"):
        read_training_set(path, split_by="given")


def test_a_table_of_structures_has_one_hash_and_one_split_for_all_models(table: Path, data: TrainingSet) -> None:
    compositions = read_training_set(table, structures=False)
    assert (compositions.data_hash, compositions.parts) == (data.data_hash, data.parts)
    assert len(compositions.crystals) == len(set(pq.read_table(table)["formula"].to_pylist()))
    assert set(compositions.splits) == set(data.splits)


def test_of_several_rows_of_a_composition_the_lowest_counts(tmp_path: Path) -> None:
    formulas = ["NaCl", "ClNa", "Li2O", "Na2Cl2"]
    path = of_formulas(tmp_path / "a", formula=formulas, target=[-1.0, -3.0, -2.0, -1.5], split=[*PARTS[:3], "test"])
    with pytest.raises(BadTrainingSet, match="no crystal to use for validation"):
        read_training_set(path, excluded=["OLi2"], split_by="given", structures=False).ensure_learnable()
    data = read_training_set(path, split_by="given", structures=False)
    assert data.targets.tolist() == [-3.0, -2.0]
    assert data.splits == [Split.TRAIN, Split.VALIDATION]


def test_wild_ground_states_and_excluded_compositions_are_in_no_part(tmp_path: Path) -> None:
    path = of_formulas(tmp_path / "a", formula=FORMULAS, target=[-2.0, -1.8, -2.9, -7.5, -3.0], split=PARTS)
    data = read_training_set(path, excluded=["ClNa"], split_by="given", structures=False)
    assert np.allclose(data.targets, [-2.0, -2.9, -3.0])
    assert data.excluded == ("ClNa",)


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"formula": FORMULAS}, "lacks the columns target"),
        ({"target": [-1.0, None, -1.0, float("nan"), -1.0]}, "2 targets are missing"),
        ({"target": ["a"] * 5}, "column target can't be read as double"),
        ({"formula": [*FORMULAS[:4], None], "target": [-1.0] * 5}, "a row has no formula"),
        ({"formula": [*FORMULAS[:4], "salt"], "target": [-1.0] * 5}, "'salt' isn't a chemical"),
        ({"target": [-1.0] * 5, "split": ["train", "dev", "val", "test", "all"]}, "not all, dev"),
        ({"target": [-1.0] * 5, "split": ["train", "val", None, "test", None]}, "2 rows have no split"),
        ({"target": [9.0] * 5}, "no crystal that isn't"),
    ],
)
def test_a_bad_table_of_formulas_is_told_in_one_line(tmp_path: Path, columns: dict[str, Any], reason: str) -> None:
    usual = {"formula": FORMULAS, "split": PARTS}
    path = of_formulas(tmp_path / "a.parquet", **{**usual, **columns})
    with pytest.raises(BadTrainingSet, match=reason):
        read_training_set(path, split_by="given", structures=False)
