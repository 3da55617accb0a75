from __future__ import annotations

import numpy as np
import pytest

from predictors.ensemble import Ensemble
from predictors.errors import BadTrainingSet
from predictors.evaluate import errors_of, evaluate
from predictors.model_files import ModelRecord
from predictors.predictor import Predictions
from predictors.splits import Split
from predictors.structure_model import StructureModel
from predictors.training_set import TrainingSet


def predictions(members: np.ndarray) -> Predictions:
    return Predictions.of(members[:, None, :], np.ones(1), np.zeros((len(members), 1, 0)))


def test_errors_are_those_of_the_textbook(rng: np.random.Generator) -> None:
    targets = np.array([0.0, -1.0, -2.0, -3.0])
    errors = errors_of(predictions((targets + np.array([0.1, -0.1, 0.3, 0.1]))[:, None]), targets)
    assert errors.mae == pytest.approx(0.15)
    assert errors.rmse == pytest.approx(np.sqrt(0.03))
    assert errors.bias == pytest.approx(0.1)
    assert errors.r2 == pytest.approx(1 - 0.03 / 1.25)
    assert errors.n == 4


def test_a_calibrated_spread_covers_half_and_an_honest_one_ranks(rng: np.random.Generator) -> None:
    width = rng.uniform(0.01, 0.3, 3000)
    targets = rng.normal(0, width)
    members = rng.normal(0, width[:, None], (3000, 101))
    errors = errors_of(predictions(members), targets)
    assert errors.coverage == pytest.approx(0.5, abs=0.04)
    assert errors.spearman > 0.4
    assert errors.single_mae == pytest.approx(np.sqrt(2) * errors.mae, rel=0.05)


def test_refused_crystals_are_left_out() -> None:
    members = np.array([[0.1], [np.nan], [0.3]])
    assert errors_of(predictions(members), np.zeros(3)).n == 2
    with pytest.raises(BadTrainingSet, match="no crystal"):
        errors_of(predictions(np.full((2, 1), np.nan)), np.zeros(2))


def test_an_ensemble_is_judged_on_every_split_and_on_copies(model: StructureModel, data: TrainingSet) -> None:
    done: list[int] = []
    ensemble = Ensemble([model, model], ModelRecord("PBE", tuple(range(1, 119))))
    result = evaluate(ensemble, data, most=10, progress=done.append)
    assert set(result.splits) <= {"train", "validation", "test"}
    assert result.splits["train"].n == 10
    assert result.splits["validation"].n == len(data.part(Split.VALIDATION))
    assert result.copies["perturbed_scan"].mae != result.copies["perturbed"].mae
    metrics = result.as_metrics()
    assert metrics["validation_mae"] == result.splits["validation"].mae
    assert all(np.isfinite(value) for value in metrics.values())
    assert sum(done) > 20


def test_a_part_of_which_nothing_can_be_predicted_is_left_out(model: StructureModel, data: TrainingSet) -> None:
    """A training must not be lost with the judgement on it."""
    result = evaluate(Ensemble([model], ModelRecord("PBE", elements=(1,))), data)
    assert (result.splits, result.copies, result.as_metrics()) == ({}, {}, {})
