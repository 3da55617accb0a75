"""What every kind of model goes through: training, kill -9, resumption, calibration, a folder, predictions."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from predictors.checkpoint import load_model, save_model
from predictors.confidence import Asked, fitted
from predictors.distributed import join_crew
from predictors.evaluate import evaluate
from predictors.examples import Examples
from predictors.members import METRICS, assemble, trained_model
from predictors.model_files import ModelFiles
from predictors.shapes import KINDS
from predictors.splits import Split
from predictors.train import Member, train_member
from predictors.train_config import TrainConfig, config_of
from predictors.train_plan import MemberPlan
from predictors.training_set import TrainingSet, read_training_set
from predictors.training_table import STRUCTURE

SHAPES: dict[str, dict[str, Any]] = {
    "structure": {"width": 8, "edge_width": 8, "steps": 1, "cutoff": 4.0, "max_neighbors": 12, "gaussians": 8},
    "published": {"width": 8, "steps": 1, "cutoff": 3.5, "gaussians": 8},
    "composition": {"width": 8, "steps": 1},
}


@pytest.fixture(params=KINDS)
def config(request: pytest.FixtureRequest) -> TrainConfig:
    return config_of({"epochs": 300, "batch_size": 32, "model": {"kind": request.param, **SHAPES[request.param]}})


@pytest.fixture
def needed(table: Path, config: TrainConfig, tmp_path: Path) -> Path:
    """A table with no columns but those that the kind needs."""
    columns = ["formula", "target", *(STRUCTURE if config.model.needs_structure else ())]
    pq.write_table(pq.read_table(table).select(columns), tmp_path / "t")
    return tmp_path / "t"


@pytest.fixture
def learnt(needed: Path, config: TrainConfig) -> TrainingSet:
    return read_training_set(needed, structures=config.model.needs_structure)


def test_energies_are_shifted_as_the_kind_has_it(learnt: TrainingSet, config: TrainConfig) -> None:
    with join_crew() as crew:
        model = Member(learnt, config, 0, crew).model
    of_elements = model.baseline[learnt.elements()]
    if config.model.one_shift:
        shift = learnt.targets[learnt.part(Split.TRAIN)].mean()
        assert of_elements.tolist() == pytest.approx([shift] * len(of_elements))
        assert float(model.scale) == 1.0
    else:
        assert len(set(of_elements.tolist())) > 1


def test_a_killed_training_goes_on_to_a_model_that_predicts(
    needed: Path, learnt: TrainingSet, config: TrainConfig, tmp_path: Path
) -> None:
    done = killed_after(2, MemberPlan(needed, tmp_path / "m", config, seed=3))
    _, before = trained_model(tmp_path / "m")
    assert len(before) >= done
    resumed = train_member(learnt, tmp_path / "m", replace(config, patience=1), seed=3)
    assert next(resumed).epoch == len(before)
    resumed.close()

    ensemble = fitted(assemble([tmp_path / "m"], "mine"), learnt)
    metrics = evaluate(ensemble, learnt).as_metrics()
    assert metrics["test_single_mae"] == pytest.approx(metrics["test_mae"])  # of one member
    assert ("perturbed_mae" in metrics) == config.model.needs_structure
    save_model(ensemble, tmp_path / "model")
    loaded = load_model(tmp_path / "model")
    assert ModelFiles.read(tmp_path / "model").needs_structure() == config.model.needs_structure
    assert (loaded.record.data_hash, loaded.record.rows) == (learnt.data_hash, ensemble.record.rows)

    asked = [learnt.crystals[i] for i in learnt.part(Split.TEST)]
    found, again = ensemble.predict(asked), loaded.predict(asked)
    np.testing.assert_array_equal(found.energy, again.energy)
    assert not again.refused
    assert again.intervals is not None
    assert again.outside is not None
    assert np.isfinite(again.intervals).all()


def killed_after(epochs: int, plan: MemberPlan) -> int:
    """Rows of metrics that its process had written when it got SIGKILL."""
    file = plan.folder.with_suffix(".json")
    plan.write(file)
    command = [sys.executable, "-m", "predictors.train_plan", str(file)]
    process = subprocess.Popen(command, cwd=Path(__file__).parents[2], env={**os.environ, "OMP_NUM_THREADS": "1"})
    deadline = time.monotonic() + 600
    metrics = plan.folder / METRICS
    while not metrics.exists() or metrics.read_text().count("\n") < epochs:
        assert process.poll() is None, "it ended before it was killed"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    return metrics.read_text().count("\n")


def test_only_what_has_a_structure_is_perturbed(learnt: TrainingSet, config: TrainConfig) -> None:
    needs = config.model.needs_structure
    assert (config.perturbation.probability > 0) == needs
    examples = Examples(learnt, config.model, config.perturbation)
    seen = {id(examples.one(0, epoch)) for epoch in range(20)}
    assert (len(seen) > 1) == needs


def test_the_scan_is_calibrated_where_volumes_matter(learnt: TrainingSet, config: TrainConfig, tmp_path: Path) -> None:
    next(train_member(learnt, tmp_path / "m", config, seed=0))
    confidence = fitted(assemble([tmp_path / "m"], "mine"), learnt).confidence
    assert confidence is not None
    assert (Asked.SCAN in confidence.calibrations) == config.model.needs_structure
    assert {Asked.ALL, Asked.FIRST} <= set(confidence.calibrations)
