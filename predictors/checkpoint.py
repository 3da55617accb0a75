"""Models and training states on disk: safetensors and JSON. Loading executes nothing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from predictors.code_version import code_version
from predictors.confidence import Confidence
from predictors.energy_model import EnergyModel, ModelConfig
from predictors.ensemble import Ensemble
from predictors.errors import BadCheckpoint
from predictors.model_files import FORMAT, ModelFiles, sealed, write_atomically
from predictors.shapes import as_values, from_values

CONFIDENCE = "confidence."  # prefix of its tensors
STATE_FORMAT = "2"
"""Of training states: changes when what they hold does."""


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

    def said(self, name: str) -> str:
        """Raise BadCheckpoint if the state says nothing of the kind."""
        if name not in self.about:
            raise BadCheckpoint(f"the training state doesn't say its {name}: start the member in a new folder")
        return self.about[name]


def save_state(state: TrainingState, path: Path) -> None:
    """Replace the file in one step: a kill leaves the old state or the new one."""
    from safetensors.torch import save

    tensors = {
        f"{group}/{name}": tensor.detach().contiguous()
        for group, named in state.groups.items()
        for name, tensor in named.items()
    }
    about = {**state.about, "format": STATE_FORMAT, "code_version": code_version()}
    about["sha256"] = _hash_of(tensors, about)
    write_atomically(path, save(tensors, metadata=about))


def load_state(path: Path) -> TrainingState:
    """Raise BadCheckpoint if the file is missing, damaged or of another format."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            about = file.metadata() or {}
            _check_format(about, path)
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 -- no dict: it can't be iterated
    except (OSError, SafetensorError) as error:
        raise BadCheckpoint(f"{path} can't be read: {error}") from error
    if about.get("sha256") != _hash_of(tensors, about):
        raise BadCheckpoint(f"{path} isn't the training state that was written: start the member in a new folder")
    groups: dict[str, dict[str, torch.Tensor]] = {}
    for key, tensor in tensors.items():
        group, _, name = key.partition("/")
        groups.setdefault(group, {})[name] = tensor
    return TrainingState(groups, about)


def _hash_of(tensors: Mapping[str, torch.Tensor], about: Mapping[str, str]) -> str:
    """Over names and values of the tensors, and all text but the hash itself."""
    found = hashlib.sha256(json.dumps({**about, "sha256": ""}, sort_keys=True).encode())
    for name in sorted(tensors):
        found.update(f"{name} {tensors[name].dtype} {list(tensors[name].shape)}".encode())
        found.update(tensors[name].cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def _check_format(about: dict[str, str], path: Path) -> None:
    found, by = about.get("format", "1"), about.get("code_version", "an older motherlode")
    if found != STATE_FORMAT:
        raise BadCheckpoint(
            f"{path} is a training state of format {found} ({by}), this code goes on from {STATE_FORMAT}: "
            "take that version, or start the member in a new folder"
        )


def save_model(ensemble: Ensemble, folder: Path) -> None:
    """Write `model.safetensors` and `model.json` into a folder (made if need be), each in one step."""
    from safetensors.torch import save

    weights = save(
        {
            f"member{number}.{name}": tensor.contiguous()
            for number, member in enumerate(ensemble.members)
            for name, tensor in member.state_dict().items()
        }
        | _confidence_tensors(ensemble.confidence)
    )
    about = {
        "format": FORMAT,
        "members": len(ensemble.members),
        "config": as_values(ensemble.config),
        **asdict(ensemble.record),
        "confidence": ensemble.confidence and ensemble.confidence.as_values(),
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
    }
    ModelFiles(folder.name, sealed(about).encode(), weights).write(folder)


def load_model(folder: Path) -> Ensemble:
    """Read a model's folder. Raise BadCheckpoint if it is damaged, incomplete or of another format version."""
    return model_from(ModelFiles.read(folder))


def model_from(files: ModelFiles) -> Ensemble:
    """Build the ensemble. Raise BadCheckpoint if the files are damaged or of another format version."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    about, record = files.checked(), files.record()
    try:
        tensors = load(files.weights)
        config = from_values(about["config"])
        members = [_member(config, tensors, f"member{number}.") for number in range(files.members())]
    except (ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise BadCheckpoint(f"model {files.name} can't be read: {error}") from error
    return Ensemble(members, record, _confidence(files.name, about.get("confidence"), tensors, members[0].latent_width))


def _confidence_tensors(confidence: Confidence | None) -> dict[str, torch.Tensor]:
    arrays = confidence.tensors() if confidence is not None else {}
    return {f"{CONFIDENCE}{name}": torch.from_numpy(array.copy()) for name, array in arrays.items()}


def _confidence(name: str, about: Any, tensors: dict[str, torch.Tensor], width: int) -> Confidence | None:
    """width: of the latent vectors. None for a model that was saved without. Raise BadCheckpoint."""
    if about is None:
        return None
    arrays = {n.removeprefix(CONFIDENCE): t.numpy() for n, t in tensors.items() if n.startswith(CONFIDENCE)}
    try:
        confidence = Confidence.from_values(about, arrays)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadCheckpoint(f"model {name}: its calibration is damaged: {error}") from error
    if len(confidence.domain.centre) != width:
        raise BadCheckpoint(f"model {name}: its calibration is damaged: it belongs to another network")
    return confidence


def _member(config: ModelConfig, tensors: dict[str, torch.Tensor], prefix: str) -> EnergyModel:
    """Raise ValueError for weights that don't fit the shape, before it takes memory, or aren't numbers."""
    weights = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    with torch.device("meta"):
        wanted = {name: tensor.shape for name, tensor in config.build().state_dict().items()}
    if wanted != {name: tensor.shape for name, tensor in weights.items()}:
        raise ValueError("its weights aren't of the shape that it says")
    if bad := [name for name, tensor in weights.items() if not torch.isfinite(tensor).all()]:
        raise ValueError(f"its weights {bad[0]} aren't finite")
    model = config.build()
    model.load_state_dict(weights)
    return model.eval()
