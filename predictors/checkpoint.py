"""Models and training states on disk: safetensors and JSON. Loading executes nothing."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from predictors.ensemble import Ensemble, ModelRecord
from predictors.errors import BadCheckpoint
from predictors.structure_model import ModelConfig, StructureModel

FORMAT = 1
WEIGHTS = "model.safetensors"
ABOUT = "model.json"


@dataclass(frozen=True, eq=False)
class TrainingState:
    """Tensors by group and name, and text about them."""

    groups: dict[str, dict[str, torch.Tensor]]
    about: dict[str, str]

    def group(self, name: str) -> dict[str, torch.Tensor]:
        """Raise BadCheckpoint if the state has no such group."""
        if name not in self.groups:
            raise BadCheckpoint(f"the training state lacks {name!r}: start the member in a new folder")
        return self.groups[name]


def save_state(state: TrainingState, path: Path) -> None:
    """Replace the file in one step: a kill leaves the old state or the new one."""
    from safetensors.torch import save

    tensors = {
        f"{group}/{name}": tensor.detach().contiguous()
        for group, named in state.groups.items()
        for name, tensor in named.items()
    }
    write_atomically(path, save(tensors, metadata=state.about))


def load_state(path: Path) -> TrainingState:
    """Raise BadCheckpoint if the file is missing or damaged."""
    from safetensors import SafetensorError, safe_open

    groups: dict[str, dict[str, torch.Tensor]] = {}
    try:
        with safe_open(path, framework="pt") as file:
            about = file.metadata()
            for key in file.keys():  # noqa: SIM118 -- not a dict: it can't be iterated
                group, name = key.split("/", 1)
                groups.setdefault(group, {})[name] = file.get_tensor(key)
    except (OSError, SafetensorError) as error:
        raise BadCheckpoint(f"{path} can't be read: {error}") from error
    return TrainingState(groups, about or {})


def save_model(ensemble: Ensemble, folder: Path) -> None:
    """Write `model.safetensors` and `model.json` into a folder (made if need be), each in one step."""
    from safetensors.torch import save

    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        f"member{number}.{name}": tensor.contiguous()
        for number, member in enumerate(ensemble.members)
        for name, tensor in member.state_dict().items()
    }
    weights = save(tensors)
    about = {
        "format": FORMAT,
        "kind": "structure ensemble",
        "members": len(ensemble.members),
        "config": asdict(ensemble.config),
        **asdict(ensemble.record),
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
    }
    write_atomically(folder / WEIGHTS, weights)
    write_atomically(folder / ABOUT, (json.dumps(about, indent=2, sort_keys=True) + "\n").encode())


def load_model(folder: Path) -> Ensemble:
    """Read a model's folder. Raise BadCheckpoint if it is damaged, incomplete or of another format version."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        about = dict(json.loads((folder / ABOUT).read_text()))
        weights = (folder / WEIGHTS).read_bytes()
        _check_format(folder, about, weights)
        tensors = load(weights)
        config = ModelConfig(**about["config"])
        members = [_member(config, tensors, f"member{number}.") for number in range(about["members"])]
        record = ModelRecord(
            level=about["level"],
            elements=tuple(about["elements"]),
            excluded=tuple(about["excluded"]),
            data_hash=about["data_hash"],
            code_version=about["code_version"],
            metrics=about["metrics"],
        )
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise BadCheckpoint(f"{folder} holds no readable model: {error}") from error
    return Ensemble(members, record)


def checkpoint_hash(folder: Path) -> str:
    """SHA-256 over both files of a model's folder: equal hashes, equal predictions. Raise BadCheckpoint."""
    try:
        return hashlib.sha256((folder / ABOUT).read_bytes() + (folder / WEIGHTS).read_bytes()).hexdigest()
    except OSError as error:
        raise BadCheckpoint(f"{folder} holds no model: {error}") from error


def _check_format(folder: Path, about: dict[str, Any], weights: bytes) -> None:
    if about["format"] != FORMAT:
        raise BadCheckpoint(f"{folder} is of format {about['format']}, this code reads {FORMAT}: update motherlode")
    if about["weights_sha256"] != hashlib.sha256(weights).hexdigest():
        raise BadCheckpoint(f"{folder / WEIGHTS} isn't the file that {ABOUT} describes: fetch the model again")


def _member(config: ModelConfig, tensors: dict[str, torch.Tensor], prefix: str) -> StructureModel:
    model = StructureModel(config)
    model.load_state_dict({n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)})
    return model.eval()


def write_atomically(path: Path, content: bytes) -> None:
    """Write beside the file, then rename over it."""
    beside = path.with_name(f"{path.name}.{os.getpid()}.new")
    with beside.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
