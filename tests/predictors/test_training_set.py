from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from predictors.errors import BadTrainingSet
from predictors.splits import Split, split_of
from predictors.training_set import TrainingSet, fit_baseline, read_training_set


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
    with pytest.raises(BadTrainingSet, match="no crystal to use for train"):
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
