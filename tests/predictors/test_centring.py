"""The constant that a training leaves over is taken away, and nothing else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from predictors.centring import centred
from predictors.ensemble import Ensemble
from predictors.model_files import ModelRecord
from predictors.splits import Split
from predictors.structure_model import StructureModel
from predictors.training_set import TrainingSet


@pytest.fixture
def ensemble(model: StructureModel, data: TrainingSet) -> Ensemble:
    return Ensemble([model], ModelRecord("PBE", tuple(data.elements())))


def test_errors_on_the_validation_part_have_the_median_0(ensemble: Ensemble, data: TrainingSet) -> None:
    part = data.part(Split.VALIDATION)
    crystals = [data.crystals[i] for i in part]
    before, after = ensemble.predict(crystals).energy, centred(ensemble, data).predict(crystals).energy
    assert np.median(after - data.targets[part]) == pytest.approx(0, abs=1e-5)
    assert np.ptp(after - before) < 1e-5
    np.testing.assert_array_equal(ensemble.predict(crystals).energy, before)  # the one that was given stays


def test_without_a_crystal_that_it_knows_it_stays_as_it_is(ensemble: Ensemble, data: TrainingSet) -> None:
    stranger = replace(ensemble, record=ModelRecord("PBE", (2,)))
    assert centred(stranger, data) is stranger
