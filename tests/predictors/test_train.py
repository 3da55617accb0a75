from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from predictors.errors import BadCheckpoint, Diverged
from predictors.train import METRICS, STATE, EpochMetrics, TrainConfig, assemble, train_member, trained_model
from predictors.training_set import TrainingSet

SCRIPT = """
import sys
from pathlib import Path
from predictors.augmentation import Perturbation
from predictors.structure_model import StructureConfig
from predictors.train import TrainConfig, train_member
from predictors.training_set import read_training_set
small = StructureConfig(width=16, edge_width=16, steps=2, cutoff=4.0, max_neighbors=16)
plan = TrainConfig(model=small, perturbation=Perturbation(probability=0.5), epochs=200, batch_size=16)
for row in train_member(read_training_set(Path(sys.argv[1])), Path(sys.argv[2]), plan, seed=3):
    pass
"""


def figures(rows: list[EpochMetrics]) -> list[tuple[float, ...]]:
    """What mustn't depend on the clock."""
    return [(row.epoch, row.train_loss, row.validation_mae, row.best_validation_mae, row.learning_rate) for row in rows]


def test_training_learns(data: TrainingSet, plan: TrainConfig, tmp_path: Path) -> None:
    rows = list(train_member(data, tmp_path, replace(plan, epochs=12, learning_rate=5e-3), seed=0))
    assert len(rows) == 12
    assert rows[-1].train_loss < 0.9 * rows[0].train_loss
    assert rows[-1].best_validation_mae < rows[0].validation_mae
    written = [EpochMetrics(**json.loads(line)) for line in (tmp_path / METRICS).read_text().splitlines()]
    assert written == rows


def test_a_run_taken_up_again_gives_what_an_undisturbed_one_gives(
    data: TrainingSet, plan: TrainConfig, tmp_path: Path
) -> None:
    whole = list(train_member(data, tmp_path / "whole", plan, seed=1))
    run = train_member(data, tmp_path / "broken", plan, seed=1)
    first = [next(run), next(run)]
    run.close()
    with (tmp_path / "broken" / METRICS).open("a") as file:
        file.write('{"half a li')
    rest = list(train_member(data, tmp_path / "broken", plan, seed=1))
    assert figures(first + rest) == figures(whole)
    assert len((tmp_path / "broken" / METRICS).read_text().splitlines()) == plan.epochs
    one, other = (trained_model(tmp_path / name)[0].state_dict() for name in ("whole", "broken"))
    for name, tensor in one.items():
        assert torch.equal(tensor, other[name]), name


def test_kill_9_leaves_a_state_that_can_be_taken_up(table: Path, data: TrainingSet, tmp_path: Path) -> None:
    command = [sys.executable, "-c", SCRIPT, str(table), str(tmp_path)]
    process = subprocess.Popen(command, cwd=Path(__file__).parents[2], env={**os.environ, "OMP_NUM_THREADS": "1"})
    deadline = time.monotonic() + 600
    while not (tmp_path / METRICS).exists() or (tmp_path / METRICS).read_text().count("\n") < 3:
        assert process.poll() is None, "it ended before it was killed"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    _, rows = trained_model(tmp_path)
    assert [row.epoch for row in rows] == list(range(len(rows)))
    assert len(rows) >= 3


def test_members_of_other_seeds_differ(data: TrainingSet, plan: TrainConfig, tmp_path: Path) -> None:
    short = replace(plan, epochs=1, bootstrap=True)
    losses = {next(train_member(data, tmp_path / str(seed), short, seed)).train_loss for seed in (0, 1)}
    assert len(losses) == 2


def test_patience_ends_a_run_that_no_longer_improves(data: TrainingSet, plan: TrainConfig, tmp_path: Path) -> None:
    hopeless = replace(plan, epochs=50, learning_rate=0.0, patience=2)
    assert len(list(train_member(data, tmp_path, hopeless, seed=0))) == 3


def test_the_time_ends_a_run_and_anneals_its_learning_rate(
    data: TrainingSet, plan: TrainConfig, tmp_path: Path
) -> None:
    rows = list(train_member(data, tmp_path, replace(plan, epochs=10_000, max_minutes=0.02), seed=0))
    assert 0 < len(rows) < 10_000
    assert rows[-1].learning_rate < 0.2 * plan.learning_rate


def test_another_plan_or_damage_is_refused(data: TrainingSet, plan: TrainConfig, tmp_path: Path) -> None:
    next(train_member(data, tmp_path, plan, seed=0))
    with pytest.raises(BadCheckpoint, match="another plan"):
        next(train_member(data, tmp_path, replace(plan, batch_size=8), seed=0))
    (tmp_path / STATE).write_bytes((tmp_path / STATE).read_bytes()[:-100])
    with pytest.raises(BadCheckpoint, match="can't be read"):
        next(train_member(data, tmp_path, plan, seed=0))
    with pytest.raises(BadCheckpoint, match="can't be read"):
        trained_model(tmp_path / "nowhere")


def test_a_diverging_run_says_so(data: TrainingSet, plan: TrainConfig, tmp_path: Path) -> None:
    wild = replace(plan, learning_rate=float("inf"), epochs=2)
    with pytest.raises(Diverged, match="smaller learning rate"):
        list(train_member(data, tmp_path, wild, seed=0))


def test_members_become_an_ensemble(data: TrainingSet, plan: TrainConfig, tmp_path: Path) -> None:
    folders = [tmp_path / str(seed) for seed in range(2)]
    for seed, folder in enumerate(folders):
        list(train_member(data, folder, replace(plan, epochs=1), seed))
    ensemble = assemble(folders, "PBE")
    predictions = ensemble.predict(data.crystals[:5])
    assert predictions.member_energies.shape == (5, 2)
    assert np.isfinite(predictions.energy).all()
    assert ensemble.record.elements == tuple(data.elements())
    assert ensemble.record.data_hash == data.data_hash
