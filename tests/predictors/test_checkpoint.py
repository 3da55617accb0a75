from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from predictors.augmentation import PlainCrystal
from predictors.checkpoint import (
    ABOUT,
    WEIGHTS,
    TrainingState,
    checkpoint_hash,
    load_model,
    load_state,
    save_model,
    save_state,
)
from predictors.ensemble import Ensemble, ModelRecord
from predictors.errors import BadCheckpoint
from predictors.structure_model import StructureModel

RECORD = ModelRecord("PBE", (11, 17), ("NaBr",), "abc", "0.1.0", {"validation_mae": 0.05})
SALT = PlainCrystal(np.eye(3) * 3.5, np.array([11, 17], dtype=np.int16), np.array([[0, 0, 0], [0.5, 0.5, 0.5]]))


@pytest.fixture
def ensemble(model: StructureModel) -> Ensemble:
    torch.manual_seed(1)
    other = StructureModel(model.config).eval()
    return Ensemble([model, other], RECORD)


@pytest.fixture
def folder(ensemble: Ensemble, tmp_path: Path) -> Path:
    save_model(ensemble, tmp_path / "model")
    return tmp_path / "model"


def test_a_model_comes_back_as_it_went(ensemble: Ensemble, folder: Path) -> None:
    loaded = load_model(folder)
    assert loaded.record == RECORD
    assert loaded.config == ensemble.config
    np.testing.assert_array_equal(loaded.predict([SALT]).member_energies, ensemble.predict([SALT]).member_energies)


def test_the_hash_is_of_the_content(ensemble: Ensemble, folder: Path, tmp_path: Path) -> None:
    save_model(ensemble, tmp_path / "again")
    assert checkpoint_hash(tmp_path / "again") == checkpoint_hash(folder)
    save_model(Ensemble(ensemble.members[:1], RECORD), tmp_path / "other")
    assert checkpoint_hash(tmp_path / "other") != checkpoint_hash(folder)


def test_nothing_is_left_beside_the_model(folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == [ABOUT, WEIGHTS]


def change(folder: Path, **values: object) -> None:
    about = json.loads((folder / ABOUT).read_text())
    (folder / ABOUT).write_text(json.dumps(about | values))


@pytest.mark.parametrize(
    ("values", "reason"),
    [({"format": 99}, "format 99"), ({"members": 3}, "no readable model"), ({"config": {"depth": 1}}, "no readable")],
)
def test_another_format_or_shape_is_refused(folder: Path, values: dict[str, object], reason: str) -> None:
    change(folder, **values)
    with pytest.raises(BadCheckpoint, match=reason):
        load_model(folder)


def test_damage_is_refused(folder: Path) -> None:
    content = bytearray((folder / WEIGHTS).read_bytes())
    content[-5] ^= 1
    (folder / WEIGHTS).write_bytes(content)
    with pytest.raises(BadCheckpoint, match="isn't the file"):
        load_model(folder)
    (folder / ABOUT).write_text("{")
    with pytest.raises(BadCheckpoint, match="no readable model"):
        load_model(folder)
    (folder / ABOUT).write_text("[]")
    with pytest.raises(BadCheckpoint, match="no readable model"):
        load_model(folder)
    for ask in (load_model, checkpoint_hash):
        with pytest.raises(BadCheckpoint):
            ask(folder / "nowhere")


def test_a_training_state_comes_back(tmp_path: Path) -> None:
    state = TrainingState({"model": {"a.weight": torch.arange(4.0)}, "best": {"b": torch.ones(())}}, {"plan": "{}"})
    save_state(state, tmp_path / "s")
    loaded = load_state(tmp_path / "s")
    assert loaded.about == {"plan": "{}"}
    assert torch.equal(loaded.group("model")["a.weight"], torch.arange(4.0))
    with pytest.raises(BadCheckpoint, match="lacks 'optimizer'"):
        loaded.group("optimizer")
