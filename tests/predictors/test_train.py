from __future__ import annotations

import json
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch

from predictors.checkpoint import TrainingState, load_state, save_state
from predictors.distributed import join_crew
from predictors.errors import BadCheckpoint, BadTrainingSet, Diverged
from predictors.examples import Examples
from predictors.members import METRICS, STATE, EpochMetrics, assemble, trained_model
from predictors.splits import Split, key_of
from predictors.train import Member, train_member
from predictors.train_config import TrainConfig
from predictors.training_set import TrainingSet


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


@pytest.mark.parametrize("copies", [0, 2])
def test_a_run_taken_up_again_gives_what_an_undisturbed_one_gives(
    data: TrainingSet, plan: TrainConfig, tmp_path: Path, copies: int
) -> None:
    plan = replace(plan, copies=copies, model=replace(plan.model, dropout=0.2))
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


def test_two_processes_never_train_in_one_folder(data: TrainingSet, plan: TrainConfig, tmp_path: Path) -> None:
    first = train_member(data, tmp_path, plan, seed=0)
    next(first)
    with pytest.raises(BadCheckpoint, match="another process trains in"):
        next(train_member(data, tmp_path, plan, seed=0))
    first.close()
    assert len(list(train_member(data, tmp_path, plan, seed=0))) == plan.epochs - 1


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
    with pytest.raises(BadCheckpoint, match=r"another plan \(batch_size\)"):
        next(train_member(data, tmp_path, replace(plan, batch_size=8), seed=0))
    with pytest.raises(BadCheckpoint, match=r"another plan \(split\)"):
        next(train_member(replace(data, split_by="chemsys"), tmp_path, plan, seed=0))
    (tmp_path / STATE).write_bytes((tmp_path / STATE).read_bytes()[:-100])
    with pytest.raises(BadCheckpoint, match="can't be read"):
        next(train_member(data, tmp_path, plan, seed=0))
    with pytest.raises(BadCheckpoint, match="can't be read"):
        trained_model(tmp_path / "nowhere")


def test_a_state_of_another_format_is_refused_by_name(data: TrainingSet, plan: TrainConfig, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    next(train_member(data, tmp_path, plan, seed=0))
    state = load_state(tmp_path / STATE)
    tensors = {f"{group}/{name}": tensor for group, named in state.groups.items() for name, tensor in named.items()}
    for about, told in (
        ({"plan": state.said("plan")}, r"format 1 \(an older motherlode\)"),
        ({**state.about, "format": "99", "code_version": "9.1"}, r"format 99 \(9\.1\)"),
    ):
        save_file(tensors, tmp_path / STATE, metadata=about)
        with pytest.raises(BadCheckpoint, match=told):
            next(train_member(data, tmp_path, plan, seed=0))
    save_state(TrainingState(state.groups, {"plan": state.about["plan"]}), tmp_path / STATE)
    with pytest.raises(BadCheckpoint, match="doesn't say its metrics"):
        next(train_member(data, tmp_path, plan, seed=0))


def test_a_copy_depends_on_nothing_but_seed_epoch_and_crystal(data: TrainingSet, plan: TrainConfig) -> None:
    def distances(copies: int, epoch: int, order: list[int], seed: int = 5) -> dict[int, list[float]]:
        examples = Examples(data, plan.model, replace(plan.perturbation, probability=1.0), copies, seed)
        return {index: examples.one(index, epoch).distances.tolist() for index in order}

    for copies in (0, 3):
        forth, back = distances(copies, 1, [0, 1, 2]), distances(copies, 1, [2, 1, 0])
        assert forth == back
        assert distances(copies, 1, [0, 1, 2], seed=6) != forth
    seen = {tuple(distances(3, epoch, [0])[0]) for epoch in range(40)}
    assert len(seen) == 3
    assert len({tuple(distances(0, epoch, [0])[0]) for epoch in range(40)}) == 40


def test_half_the_digits_are_enough_for_the_network(data: TrainingSet, plan: TrainConfig) -> None:
    """What `bfloat16` does on a GPU, done here on the processor."""
    model = plan.model.build()
    batch = plan.model.collate([plan.model.encode(crystal) for crystal in data.crystals[:8]])
    with torch.autocast("cpu", torch.bfloat16):
        halved = model(batch)
    assert torch.allclose(halved.float(), model(batch), atol=0.05)
    torch.autograd.backward(halved.float().sum())
    assert all(torch.isfinite(weight.grad).all() for weight in model.parameters() if weight.grad is not None)


def test_a_diverging_run_says_so(data: TrainingSet, plan: TrainConfig, tmp_path: Path) -> None:
    wild = replace(plan, learning_rate=1e30, epochs=2)
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
    assert ensemble.record.dataset["split"] == "formula"
    assert [part["rows"] for part in ensemble.record.dataset["parts"]] == [len(data.crystals)]


def test_members_of_other_data_or_splits_make_no_ensemble(data: TrainingSet, plan: TrainConfig, tmp_path: Path) -> None:
    for name, each in (("one", data), ("other", replace(data, split_by="chemsys"))):
        next(train_member(each, tmp_path / name, plan, seed=0))
    with pytest.raises(BadTrainingSet, match="different data, splits"):
        assemble([tmp_path / "one", tmp_path / "other"], "PBE")
    with pytest.raises(BadTrainingSet, match="at least one"):
        assemble([], "PBE")


def test_folds_are_left_out_by_one_member_each(data: TrainingSet, plan: TrainConfig) -> None:
    plan, training = replace(plan, folds=3), data.part(Split.TRAIN)
    with join_crew() as crew:
        learnt = [set(Member(data, plan, seed, crew).training.tolist()) for seed in (3, 4, 5)]
    left_out = [set(training.tolist()) - each for each in learnt]
    assert sorted(index for each in left_out for index in each) == training.tolist()
    assert all(0 < len(each) < len(training) for each in left_out)
    compositions = [{key_of(data.crystals[i].numbers) for i in each} for each in left_out]
    assert not any(one & other for one, other in combinations(compositions, 2))
