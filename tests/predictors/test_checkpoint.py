from __future__ import annotations

import json
import subprocess
import sys
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from predictors.augmentation import PlainCrystal
from predictors.checkpoint import (
    STATE_FORMAT,
    TrainingState,
    load_model,
    load_state,
    model_from,
    save_model,
    save_state,
)
from predictors.code_version import code_version
from predictors.ensemble import Ensemble
from predictors.errors import BadCheckpoint
from predictors.model_files import ABOUT, WEIGHTS, ModelFiles, ModelRecord, sealed
from predictors.structure_model import StructureModel

RECORD = ModelRecord("PBE", (11, 17), ("NaBr",), "abc", 80, "0.1.0", {"validation_mae": 0.05})
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
    assert ModelFiles.read(tmp_path / "again").sha256 == ModelFiles.read(folder).sha256
    save_model(Ensemble(ensemble.members[:1], RECORD), tmp_path / "other")
    assert ModelFiles.read(tmp_path / "other").sha256 != ModelFiles.read(folder).sha256


def test_what_it_is_can_be_said_without_torch(folder: Path) -> None:
    files = ModelFiles.read(folder)
    assert (files.record(), files.members()) == (RECORD, 2)
    script = (
        "import sys; from pathlib import Path; from predictors.model_files import ModelFiles\n"
        f"print(ModelFiles.read(Path({str(folder)!r})).record().level, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["PBE", "False"]


def test_a_model_can_be_built_from_its_bytes(ensemble: Ensemble, folder: Path) -> None:
    files = ModelFiles.read(folder)
    built = model_from(ModelFiles("elsewhere", files.about, files.weights))
    np.testing.assert_array_equal(built.predict([SALT]).energy, ensemble.predict([SALT]).energy)
    with pytest.raises(BadCheckpoint, match=r"elsewhere: model\.safetensors isn't the file"):
        model_from(ModelFiles("elsewhere", files.about, files.weights[:-1]))


def test_nothing_is_left_beside_the_model(folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == [ABOUT, WEIGHTS]


def change(folder: Path, **values: object) -> None:
    """What another writer could leave: other values, and a right hash of them."""
    about = json.loads((folder / ABOUT).read_text())
    (folder / ABOUT).write_text(sealed(about | values))


@pytest.mark.parametrize(
    ("values", "reason"),
    [({"format": 99}, "format 99"), ({"members": 3}, "can't be read"), ({"config": {"depth": 1}}, "can't be")],
)
def test_another_format_or_shape_is_refused(folder: Path, values: dict[str, object], reason: str) -> None:
    change(folder, **values)
    with pytest.raises(BadCheckpoint, match=reason):
        load_model(folder)


def test_a_model_without_a_hash_of_what_it_says_is_refused(folder: Path) -> None:
    about = json.loads((folder / ABOUT).read_text())
    del about["sha256"]
    (folder / ABOUT).write_text(json.dumps(about))
    with pytest.raises(BadCheckpoint, match="isn't what was written"):
        load_model(folder)


def test_no_bit_of_what_a_model_says_of_itself_can_flip(folder: Path) -> None:
    files = ModelFiles.read(folder)
    for place in range(len(files.about)):
        flipped = bytearray(files.about)
        flipped[place] ^= 1 << place % 8
        with pytest.raises(BadCheckpoint, match=r"^model flipped[^\n]*$"):
            ModelFiles("flipped", bytes(flipped), files.weights).checked()


def test_a_shape_that_its_weights_don_t_have_takes_no_memory(folder: Path) -> None:
    files = ModelFiles.read(folder)
    about = files.checked()
    about["config"]["width"] = 10**7  # a layer of it would take 400 TB
    with pytest.raises(BadCheckpoint, match="weights aren't of the shape"):
        model_from(replace(files, about=sealed(about).encode()))


@pytest.mark.parametrize(("name", "value"), [("members", 0), ("members", "x"), ("members", None), ("config", None)])
def test_a_model_that_says_odd_things_of_itself_is_refused(folder: Path, name: str, value: object) -> None:
    files = ModelFiles.read(folder)
    odd = replace(files, about=sealed({**files.checked(), name: value}).encode())
    with pytest.raises(BadCheckpoint, match="can't be read"):
        model_from(odd)
    with pytest.raises(BadCheckpoint, match="can't be read"):
        (odd.needs_structure if name == "config" else odd.members)()


def test_weights_that_are_no_numbers_are_refused(ensemble: Ensemble, tmp_path: Path) -> None:
    broken = deepcopy(ensemble.members[0])
    broken.baseline[3] = float("nan")
    save_model(replace(ensemble, members=[broken]), tmp_path)
    with pytest.raises(BadCheckpoint, match="baseline aren't finite"):
        load_model(tmp_path)


def test_a_training_state_comes_back(tmp_path: Path) -> None:
    state = TrainingState({"model": {"a.weight": torch.arange(4.0)}, "best": {"b": torch.ones(())}}, {"plan": "{}"})
    save_state(state, tmp_path / "s")
    loaded = load_state(tmp_path / "s")
    assert loaded.said("plan") == "{}"
    assert loaded.said("code_version") == code_version()
    assert torch.equal(loaded.group("model")["a.weight"], torch.arange(4.0))
    with pytest.raises(BadCheckpoint, match="lacks 'optimizer'"):
        loaded.group("optimizer")


def test_a_damaged_training_state_is_refused_by_name(tmp_path: Path) -> None:
    import pickle

    path = tmp_path / "state.safetensors"
    tensors = {"a": torch.arange(64.0), "half": torch.ones(3, dtype=torch.bfloat16), "none": torch.zeros(0)}
    save_state(TrainingState({"model": tensors}, {"plan": "of member 7"}), path)
    content = path.read_bytes()
    damaged = {"": b"", "cut": content[:-1], "pickle": pickle.dumps(tensors), "text": b"epoch 7"}
    for old, new in ((b"member 7", b"member 8"), (b"model/a", b"model/b"), (content[-200:], bytes(200))):
        damaged[str(old)] = content.replace(old, new)
    for bad in damaged.values():
        path.write_bytes(bad)
        with pytest.raises(BadCheckpoint, match=r"state\.safetensors (can't be read|isn't the training state)"):
            load_state(path)
    path.write_bytes(content.replace(b'"sha256"', b'"sha257"'))
    with pytest.raises(BadCheckpoint, match="isn't the training state that was written"):
        load_state(path)
    path.write_bytes(content.replace(f'"format":"{STATE_FORMAT}"'.encode(), b'"format":"9"'))
    with pytest.raises(BadCheckpoint, match=r"is a training state of format 9"):
        load_state(path)
