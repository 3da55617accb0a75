"""The folders that trainings leave behind: their rows of metrics, their best weights, and the ensemble they make."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from predictors.checkpoint import TrainingState, load_state
from predictors.code_version import code_version
from predictors.energy_model import EnergyModel
from predictors.ensemble import Ensemble
from predictors.errors import BadCheckpoint, BadTrainingSet
from predictors.model_files import ModelRecord
from predictors.shapes import from_values

STATE = "state.safetensors"
METRICS = "metrics.jsonl"


@dataclass(frozen=True)
class EpochMetrics:
    """What one epoch gave. Errors in eV per atom; the validation error is that of the averaged weights."""

    epoch: int
    train_loss: float
    validation_mae: float
    best_validation_mae: float
    learning_rate: float
    crystals_per_second: float
    elapsed_seconds: float


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Keep a folder, made if need be, from other processes of this machine. Raise BadCheckpoint where one has it."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / METRICS).open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise BadCheckpoint(f"another process trains in {folder}: wait for it, or end it") from error
        yield


def assemble(folders: list[Path], level: str) -> Ensemble:
    """The members of several folders as one ensemble at a level. Raise BadCheckpoint or BadTrainingSet."""
    states = [load_state(folder / STATE) for folder in folders]
    if not states:
        raise BadTrainingSet("an ensemble needs at least one trained member")
    plans = [json.loads(state.said("plan")) for state in states]
    learnt_from = {json.dumps([plan.get(name) for name in ("data", "excluded", "split")]) for plan in plans}
    if len(learnt_from) > 1:
        raise BadTrainingSet("the members were trained on different data, splits or exclusions: train them on the same")
    trained = [_trained(state, folder) for state, folder in zip(states, folders, strict=True)]
    record = ModelRecord(
        level=level,
        elements=tuple(sorted({z for state in states for z in json.loads(state.said("elements"))})),
        excluded=tuple(plans[0]["excluded"]),
        data_hash=plans[0]["data"],
        code_version=code_version(),
        metrics={"mean_member_validation_mae": float(np.mean([rows[-1].best_validation_mae for _, rows in trained]))},
        dataset={
            "split": plans[0]["split"],
            "parts": json.loads(states[0].said("dataset")),
            "left_out": [_left_out(plan) for plan in plans],
        },
    )
    return Ensemble([model for model, _ in trained], record)


def _left_out(plan: dict[str, Any]) -> list[int] | None:
    """[which, of how many] folds a member never saw; see `TrainingSet.fold`."""
    folds = plan.get("folds")
    return None if folds is None else [plan["seed"] % folds, folds]


def trained_model(folder: Path) -> tuple[EnergyModel, list[EpochMetrics]]:
    """The best averaged weights of a member's folder, and its metrics. Raise BadCheckpoint."""
    return _trained(load_state(folder / STATE), folder)


def _trained(state: TrainingState, folder: Path) -> tuple[EnergyModel, list[EpochMetrics]]:
    try:
        model = from_values(json.loads(state.said("plan"))["model"]).build()
        model.load_state_dict(state.group("best"))
        rows = [EpochMetrics(**row) for row in json.loads(state.said("metrics"))]
    except (ValueError, KeyError, TypeError, RuntimeError) as error:
        raise BadCheckpoint(f"{folder / STATE} can't be read: {error}") from error
    return model.eval(), rows
