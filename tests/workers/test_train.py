"""Ensembles trained by processes of their own."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

pytest.importorskip("torch", reason="the extra `predictors` isn't installed")

from predictors.checkpoint import load_model
from predictors.errors import BadCheckpoint, BadTrainingSet, TrainingFailed
from predictors.members import claimed
from predictors.model_files import ModelFiles, sealed
from predictors.train import train_member
from predictors.train_config import config_of
from predictors.training_set import read_training_set
from predictors.training_table import read_table
from registry.errors import SettingsError
from registry.models import Model, TrainingSet
from tests import factories as make
from tests.predictors.conftest import table  # noqa: F401  (a fixture)
from workers.train import Plan, register, register_files, train

CONFIG = config_of(
    {
        "epochs": 2,
        "batch_size": 16,
        "seed": 5,
        "copies": 1,
        "model": {"width": 8, "steps": 1, "cutoff": 4.0, "max_neighbors": 12, "gaussians": 8},
    }
)


def told(_title: str, _done: int, _total: int) -> None:
    """Nobody watches."""


@pytest.fixture
def plan(table: Path, tmp_path: Path) -> Plan:  # noqa: F811
    return Plan((table,), tmp_path / "run", "test-level", 2, CONFIG)


def rows_of(plan: Plan, seed: int) -> list[dict[str, float]]:
    return [json.loads(line) for line in (plan.folder / f"member{seed}" / "metrics.jsonl").read_text().splitlines()]


def test_an_ensemble_is_trained_registered_and_known_by_its_data(plan: Plan, engine: Engine):
    seen: list[tuple[int, int]] = []
    folder = train(plan, 2, lambda _, done, total: seen.append((done, total)))
    assert [len(rows_of(plan, seed)) for seed in (5, 6)] == [2, 2]
    assert (4, 4) in seen
    record = load_model(folder).record
    assert record.data_hash == read_table(plan.table).sha256
    assert "test_mae" in record.metrics
    with Session(engine) as session:
        make.level(session, "test-level")
        register(session, "tiny", folder)
        stored = session.scalars(select(TrainingSet)).one()
        assert (stored.split, stored.sha256, stored.rows) == ("formula", record.data_hash, record.rows)
        assert [(part["name"], part["query"]) for part in stored.parts] == [(plan.data[0].name, None)]
        assert session.scalars(select(Model)).one().members == 2
    before = (folder / "model.json").read_bytes()
    train(plan, 1, told)  # nothing is left to do
    assert (folder / "model.json").read_bytes() == before


def test_other_data_in_the_folder_is_refused(plan: Plan, tmp_path: Path):
    from predictors.training_table import TrainingTable, write_table

    plan.folder.mkdir()
    rows = read_table(plan.data[0])
    write_table(TrainingTable(rows.rows.slice(1), None, []), plan.table)
    with pytest.raises(SettingsError, match="holds a training on other data"):
        train(plan, 1, told)


def test_another_level_for_the_same_data_is_refused(plan: Plan, engine: Engine):
    folder = train(replace(plan, members=1), 1, told)
    with pytest.raises(SettingsError, match="holds a training at level test-level"):
        train(replace(plan, level="another"), 1, told)
    files = ModelFiles.read(folder)
    with Session(engine) as session:
        for level in ("test-level", "another"):
            make.level(session, level)
            about = json.loads(files.about) | {"level": level}
            register_files(session, level, replace(files, about=sealed(about).encode()))
        assert len({one.level_id for one in session.scalars(select(TrainingSet))}) == 2


def test_what_can_t_be_trained_is_told_before_or_by_its_process(plan: Plan):
    with pytest.raises(BadTrainingSet, match="split by prototype needs a column"):
        train(replace(plan, split="prototype"), 1, told)
    begun = plan.folder / "member5"
    next(train_member(read_training_set(plan.data[0]), begun, replace(CONFIG, batch_size=8), 5))
    with pytest.raises(TrainingFailed, match=r"member 5: .*another plan \(batch_size"):
        train(replace(plan, members=1), 1, told)


def test_a_member_is_shared_by_two_processes(plan: Plan):
    train(replace(plan, members=1, processes=2), 1, told)
    shared = rows_of(plan, 5)
    assert [row["epoch"] for row in shared] == [0, 1]
    alone = train_member(read_training_set(plan.data[0]), plan.folder / "alone", CONFIG, 5)
    assert [row.train_loss for row in alone] == pytest.approx([row["train_loss"] for row in shared], rel=1e-3)


ENDLESS = {"epochs": 10_000, "copies": 1, "model": {"width": 8, "steps": 1, "cutoff": 4.0, "gaussians": 8}}
ATTEND = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where tests run in the background of a shell
import sys
from pathlib import Path
from predictors.train_config import config_of
from workers.train import Plan, train
table, folder, config = Path(sys.argv[1]), Path(sys.argv[2]), config_of(eval(sys.argv[3]))
train(Plan((table,), folder, "test-level", 3, config), 1, lambda *_: print("trains", flush=True))
"""


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGKILL])
def test_members_end_with_the_command_and_none_begins(ending: signal.Signals, table: Path, tmp_path: Path):  # noqa: F811
    folder = tmp_path / "run"
    command = [sys.executable, "-c", ATTEND, str(table), str(folder), repr(ENDLESS)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as parent:
        wait_for(lambda: (folder / "member0" / "state.safetensors").exists())
        parent.send_signal(ending)
        assert parent.wait(30) != 0
    wait_for(lambda: is_free(folder / "member0"))
    assert not (folder / "member1").exists()


def wait_for(happened: Callable[[], bool], seconds: float = 60.0) -> None:
    late = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < late, "it never came"
        time.sleep(0.05)


def is_free(folder: Path) -> bool:
    try:
        with claimed(folder):
            return True
    except BadCheckpoint:
        return False
