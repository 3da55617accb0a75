from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from predictors.checkpoint import load_model
from predictors.composition_model import CompositionConfig
from predictors.compositions import composition_of
from predictors.ensemble import Ensemble
from predictors.half_precision import halved, save_halved
from predictors.model_files import ModelRecord


def test_what_is_stored_in_half_precision_predicts_what_was_judged(tmp_path: Path) -> None:
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
