"""Two processes that torchrun starts on this machine's processor, and what one process finds."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from predictors.distributed import Crew, device_of
from predictors.errors import BadConfig
from predictors.members import METRICS, STATE, trained_model
from predictors.train import train_member
from predictors.train_config import TrainConfig
from predictors.train_plan import MemberPlan
from predictors.training_set import TrainingSet
from tests.predictors.gradients import gradients

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"]
CLOCK = ("crystals_per_second", "elapsed_seconds")


def torchrun(*arguments: str) -> subprocess.Popen[bytes]:
    """In a group of its own, so that all of it can be killed."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.Popen(
        [*TORCHRUN, *arguments],
        cwd=Path(__file__).parents[2],
        env=environment,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def ended(process: subprocess.Popen[bytes]) -> str:
    _, said = process.communicate(timeout=600)
    assert process.returncode == 0, said.decode()[-2000:]
    return said.decode()


def rows_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / METRICS).read_text().splitlines()]


def figures(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if name not in CLOCK} for row in rows]


def test_two_processes_find_the_gradients_of_the_whole_batch(table: Path, data: TrainingSet, tmp_path: Path) -> None:
    ended(torchrun("tests.predictors.gradients", str(table), str(tmp_path)))
    alone = gradients(data, Crew(0, 1, torch.device("cpu")))
    for rank in ("0", "1"):
        found = load_file(tmp_path / rank)
        assert found.keys() == alone.keys()
        for name, gradient in alone.items():
            scale = float(gradient.abs().max())
            assert float((found[name] - gradient).abs().max()) <= 1e-5 * scale + 1e-9, (rank, name)


def test_killed_and_taken_up_again_two_processes_give_what_undisturbed_ones_do(
    table: Path, data: TrainingSet, plan: TrainConfig, tmp_path: Path
) -> None:
    plan = replace(plan, epochs=20, copies=2)
    plans = {name: MemberPlan(table, tmp_path / name, plan, seed=3) for name in ("whole", "broken")}
    for name, each in plans.items():
        each.write(tmp_path / f"{name}.json")
    ended(torchrun("predictors.train_plan", str(tmp_path / "whole.json")))
    process = torchrun("predictors.train_plan", str(tmp_path / "broken.json"))
    deadline = time.monotonic() + 300
    while not (tmp_path / "broken" / METRICS).exists() or len(rows_of(tmp_path / "broken")) < 2:
        assert process.poll() is None, "it ended before it was killed"
        assert time.monotonic() < deadline
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    kill_children_of(tmp_path / "broken.json")
    process.communicate()
    assert len(rows_of(tmp_path / "broken")) < plan.epochs
    ended(torchrun("predictors.train_plan", str(tmp_path / "broken.json")))
    assert figures(rows_of(tmp_path / "broken")) == figures(rows_of(tmp_path / "whole"))  # a row an epoch: one writes
    left = {path.name for path in (tmp_path / "broken").iterdir() if not path.name.endswith(".new")}  # of the kill
    assert left == {METRICS, STATE}
    one, other = (trained_model(tmp_path / name)[0].state_dict() for name in ("whole", "broken"))
    assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())
    alone = [row.validation_mae for row in train_member(data, tmp_path / "alone", plan, seed=3)]
    assert [row["validation_mae"] for row in rows_of(tmp_path / "whole")][:3] == pytest.approx(alone[:3], rel=1e-2)


def test_processes_of_one_crew_have_a_gpu_each_and_members_share_them() -> None:
    assert [device_of(local, 4, 4).index for local in range(4)] == [0, 1, 2, 3]
    assert [device_of(local, 1, 2).index for local in range(4)] == [0, 1, 0, 1]
    with pytest.raises(BadConfig, match="2 GPUs here"):
        device_of(2, 3, 2)


def kill_children_of(plan: Path) -> None:
    """torchrun gives each process a session of its own."""
    import psutil

    for process in psutil.process_iter(["cmdline"]):
        if str(plan) in (process.info["cmdline"] or ()):
            process.kill()


def test_what_is_wrong_with_a_plan_is_told_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text("{}")
    command = [sys.executable, "-m", "predictors.train_plan", str(tmp_path / "plan.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert done.stderr.startswith("lode: ")
    assert "is no plan of a training" in done.stderr
