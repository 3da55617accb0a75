from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from predictors.checkpoint import load_model
from predictors.composition_set import composition_of


@pytest.fixture
def table(tmp_path: Path) -> Path:
    formulas = [
        f"{c}{i}{a}{j}" for c in ("Li", "Na", "Mg") for a in ("O", "S") for i in range(1, 6) for j in range(1, 6)
    ]
    targets = [-0.1 * len(formula) - 0.3 * int(formula[-1]) for formula in formulas]
    pa.parquet.write_table(pa.table({"formula": formulas, "target": targets}), tmp_path / "table.parquet")
    return tmp_path / "table.parquet"


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "predictors.train_compositions", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])


def test_an_ensemble_is_trained_judged_and_taken_up_again(table: Path, tmp_path: Path) -> None:
    asked = (table, tmp_path / "out", "--level", "mine", "--members", 2, "--epochs", 2)
    first = run(*asked)
    assert first.returncode == 0, first.stderr
    assert "member 1 epoch 2" in first.stdout
    ensemble = load_model(tmp_path / "out" / "model")
    assert (ensemble.record.level, ensemble.record.rows, len(ensemble.members)) == ("mine", 150, 2)
    assert ensemble.record.metrics["test_mae"] <= ensemble.record.metrics["test_single_mae"]
    again = run(*asked)
    assert "epoch" not in again.stdout
    assert load_model(tmp_path / "out" / "model").record == ensemble.record


def test_what_is_stored_in_half_precision_predicts_what_was_judged(table: Path, tmp_path: Path) -> None:
    import torch

    from predictors.composition_model import CompositionConfig
    from predictors.ensemble import Ensemble
    from predictors.model_files import ModelRecord
    from predictors.train_compositions import halved, save_halved

    torch.manual_seed(0)
    ensemble = Ensemble([CompositionConfig(width=16).build().eval()], ModelRecord("mine", (3, 8)))
    save_halved(halved(ensemble), tmp_path / "model")
    read = load_model(tmp_path / "model")
    crystals = [composition_of("Li2O")]
    assert np.array_equal(read.predict(crystals).energy, halved(ensemble).predict(crystals).energy)
    assert read.predict(crystals).energy == pytest.approx(ensemble.predict(crystals).energy, abs=2e-3)
    assert next(read.members[0].parameters()).dtype == torch.float32
    stored = (tmp_path / "model" / "model.safetensors").stat().st_size
    assert stored < 3 * sum(weights.numel() for weights in ensemble.members[0].parameters())


def test_what_is_no_table_is_one_line(tmp_path: Path) -> None:
    found = run(tmp_path / "none.parquet", tmp_path, "--level", "mine")
    assert (found.returncode, found.stderr.strip()) == (1, f"lode: no training table at {tmp_path / 'none.parquet'}")
