"""The parts of the comparison that need neither a training nor a potential."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import torch

from benchmarks.predictors_unrelaxed import (
    PAPER,
    PLAIN,
    answers,
    figures,
    hull_energies,
    interval,
    judged,
    lowest_within,
    recall_of_lowest,
)
from benchmarks.unrelaxed_candidates import training_set
from predictors.augmentation import VOLUME_FACTORS, PlainCrystal
from predictors.ensemble import Ensemble
from predictors.model_files import ModelRecord
from predictors.splits import Split
from predictors.structure_model import StructureConfig
from predictors.training_set import TrainingSet
from registry.crystal import Crystal

RNG = np.random.default_rng(0)
SALT = Crystal(np.eye(3) * 4.0, np.array([11, 17]), np.array([[0, 0, 0], [0.5, 0.5, 0.5]]))


def test_a_narrow_scan_takes_no_volume_beyond_its_ends():
    medians = np.abs(VOLUME_FACTORS - 0.8)[None, :] + np.array([[0.0], [1.0]])
    assert np.allclose(lowest_within(medians, 0.2), [0.0, 1.0])
    assert np.allclose(lowest_within(medians, 0.1), [0.1, 1.1], atol=0.011)


def test_the_wide_scan_is_the_scan_of_the_ensemble():
    torch.manual_seed(0)
    members = [StructureConfig(width=16, edge_width=16, steps=2).build().eval() for _ in range(3)]
    ensemble = Ensemble(members, ModelRecord("by chance", (11, 17)))
    found = answers(ensemble, [SALT])
    assert found["80-120 %"] == pytest.approx(ensemble.predict([SALT], volume_scan=True).energy, abs=1e-4)
    assert found[PLAIN] == pytest.approx(ensemble.predict([SALT]).energy)
    assert found["80-120 %"] <= found["90-110 %"]


def test_a_constant_error_is_all_bias_and_no_wrong_order():
    target, hull = RNG.normal(size=100), RNG.normal(size=100)
    found = figures(target + 0.25, target, hull)
    assert found["mae"] == pytest.approx(0.25)
    assert found["median"] == pytest.approx(0.25)
    assert found["bias"] == pytest.approx(0.25)
    assert found["spearman"] == pytest.approx(1.0)
    assert found["recall_of_lowest_tenth"] == 1.0


def test_what_lies_near_the_hull_is_judged_apart():
    hull, target = np.zeros(4), np.array([-0.5, 0.05, 0.15, 2.0])
    found = figures(target + np.array([0.1, 0.3, 9.0, 9.0]), target, hull)
    assert (found["near_hull"], found["near_hull_mae"]) == (2, pytest.approx(0.2))


def test_ranks_are_of_the_energy_above_the_hull():
    hull = np.linspace(-5, 0, 100)
    target = hull + RNG.permutation(100) / 100
    by_chemistry_alone = figures(hull, target, hull)
    assert figures(target, target, hull)["spearman"] == pytest.approx(1.0)
    assert by_chemistry_alone["recall_of_lowest_tenth"] < 0.5


def test_recall_counts_the_truly_lowest():
    true = np.arange(20.0)
    assert recall_of_lowest(true, true) == 1.0
    assert recall_of_lowest(-true, true) == 0.0
    assert recall_of_lowest(np.where(true == 1, 99.0, true), true) == 0.5


def test_the_interval_holds_the_mean_and_narrows_with_more_values():
    values = RNG.normal(3.0, 1.0, 400)
    low, high = interval(values)
    assert low < values.mean() < high
    assert high - low == pytest.approx(4 / 20, rel=0.2)
    assert interval(np.full(5, 2.0)) == [2.0, 2.0]


def test_a_candidate_that_one_way_refuses_counts_for_none():
    target = np.zeros(50)
    model, way = PAPER
    found = {model: {way: np.full(50, 0.2)}, "better": {way: np.full(50, 0.1)}}
    found["better"][way][7] = np.nan
    told = judged(found, target, target)
    assert {row["n"] for ways in told.values() for row in ways.values()} == {49}
    assert told[model][way]["mae_minus_paper"] == [0.0, 0.0]
    assert told["better"][way]["mae_minus_paper"] == pytest.approx([-0.1, -0.1])


def test_elements_are_at_zero_and_compounds_lie_below():
    learnt = TrainingSet([SALT], np.array([-2.0], dtype=np.float32), [Split.TRAIN], (), "made up")
    lithium = SALT.with_numbers(np.array([3, 3], dtype=np.int16))
    richer = Crystal(np.eye(3) * 5, np.array([11, 11, 11, 17]), RNG.random((4, 3)))
    assert hull_energies(learnt, [SALT, lithium, richer]) == pytest.approx([-2.0, 0.0, -1.0])


def test_training_rows_are_drawn_evenly_and_hold_no_candidate(tmp_path: Path):
    tables = [_table(tmp_path / "one.parquet", range(3, 90)), _table(tmp_path / "two.parquet", range(3, 90))]
    proposed = PlainCrystal(np.eye(3) * 4, np.array([17, 11], dtype=np.int16), np.zeros((2, 3)))
    whole = training_set(tables, tmp_path / "learnt.parquet", 174, 2, [proposed])
    assert len(whole.crystals) == 2 * 86
    assert whole.excluded == ("ClNa",)
    few = training_set(tables, tmp_path / "learnt.parquet", 120, 2, [])
    assert len(few.crystals) == 120
    assert np.isin(few.targets, [0.0]).sum() == 60


def _table(path: Path, partners: range) -> Path:
    """Chlorides of all kinds; targets tell the table."""
    numbers = [[z, 17] for z in partners]
    rows = {
        "formula": ["?"] * len(numbers),
        "lattice": [(np.eye(3) * 4).ravel()] * len(numbers),
        "numbers": numbers,
        "frac_coords": [[0.0, 0.0, 0.0, 0.5, 0.5, 0.5]] * len(numbers),
        "target": [float(path.stem == "two")] * len(numbers),
    }
    pyarrow.parquet.write_table(pa.table(rows), path)
    return path
