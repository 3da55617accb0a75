"""SevenNet models that somebody has trained or fine-tuned, in two files: `model.safetensors` and `model.json`.

Loading executes nothing: weights are tensors, and the architecture is plain values under names that sevenn knows. What
sevenn itself writes is a pickle, which runs what is in it when it is read; so a checkpoint becomes these two files
once, by whoever trained it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from predictors.cpu import tune_cpu
from predictors.errors import BadCheckpoint
from predictors.model_files import FORMAT, ModelFiles, sealed
from predictors.potentials.named import installed
from predictors.potentials.sevennet import WEIGHTS, SevenNet

ARCHITECTURE = "sevennet"
BUILDING_FAULTS = (KeyError, ValueError, TypeError, RuntimeError, AssertionError, IndexError, AttributeError)
"""What sevenn lets escape for a configuration that is none."""

COSTLY = WEIGHTS["7net-l3i5"]
"""Bounds of the largest one that ships: a smaller network takes less memory."""


class TrainedSevenNet(SevenNet):
    """A SevenNet model of one's own, one fidelity. Its name is its folder's, its version the hash of its two files."""

    def __init__(self, files: ModelFiles) -> None:
        """Raise PotentialMissing where sevenn isn't installed, BadCheckpoint for files that are none."""
        package = f"sevenn {installed('sevenn')}"
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        from sevenn.calculator import SevenNetCalculator

        tune_cpu(1)
        network = _network(files)
        self.name, self.version = files.name, f"{files.sha256[:16]} ({package})"
        self.batch_cost, self.most_cost = COSTLY.batch_cost, COSTLY.most_cost
        self.calculator = SevenNetCalculator(network, file_type="model_instance", device="cpu")
        self.elements = tuple(sorted(self.calculator.type_map))


def load_trained(folder: Path, sha256: str) -> TrainedSevenNet:
    """The model in a folder, if its files are those of that hash (ModelFiles.sha256).

    Raise BadCheckpoint for others, and for damaged ones; PotentialMissing where sevenn isn't installed.
    """
    files = ModelFiles.read(folder)
    if files.sha256 != sha256:
        raise BadCheckpoint(f"{folder} holds another model than the level names: {files.sha256}, not {sha256}")
    return TrainedSevenNet(files)


def trained_files(name: str, config: Mapping[str, Any], network: Any) -> ModelFiles:
    """A network of sevenn with the configuration that it was built of, as files; `write` puts them in a folder.

    Raise BadCheckpoint for what can't be told in plain values: several fidelities, or an accelerator's own weights.
    """
    from safetensors.torch import save

    weights = save({key: tensor.detach().cpu().contiguous() for key, tensor in network.state_dict().items()})
    about = {
        "format": FORMAT,
        "architecture": ARCHITECTURE,
        "config": _plain(name, config),
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
    }
    return ModelFiles(name, sealed(about).encode(), weights)


def _names() -> tuple[str, ...]:
    """The keys of a configuration that say what is built; all else is of the training."""
    from sevenn import _keys
    from sevenn._const import DEFAULT_E3_EQUIVARIANT_MODEL_CONFIG

    return (*DEFAULT_E3_EQUIVARIANT_MODEL_CONFIG, _keys.SHIFT, _keys.SCALE, _keys.USE_SPECIES_WISE_SHIFT_SCALE)


def _plain(name: str, config: Mapping[str, Any]) -> dict[str, Any]:
    from sevenn import _keys

    if config.get(_keys.USE_MODALITY) or config.get(_keys.USE_FLASH_TP) or config.get(_keys.USE_OEQ):
        raise BadCheckpoint(f"{name} has several fidelities, or weights of an accelerator: neither can be stored")
    types = {int(number): int(index) for number, index in config[_keys.TYPE_MAP].items()}
    told = {key: config[key] for key in _names() if key in config}
    try:
        return dict(json.loads(json.dumps(told | {"numbers": sorted(types, key=types.__getitem__)}, default=_listed)))
    except (TypeError, ValueError) as error:
        raise BadCheckpoint(f"the configuration of {name} isn't plain values: {error}") from error


def _listed(value: Any) -> Any:
    """Arrays and tensors as lists."""
    if not hasattr(value, "tolist"):
        raise TypeError(f"{value!r:.40} is no plain value")
    return value.tolist()


def _network(files: ModelFiles) -> Any:
    """Raise BadCheckpoint where architecture and weights don't make a network."""
    from safetensors import SafetensorError
    from safetensors.torch import load
    from sevenn.model_build import build_E3_equivariant_model

    about = files.checked()
    if about.get("architecture") != ARCHITECTURE or not isinstance(about.get("config"), dict):
        raise BadCheckpoint(f"model {files.name} is no {ARCHITECTURE}")
    try:
        network = build_E3_equivariant_model(_config(about["config"]))
        network.load_state_dict(load(files.weights), strict=True)
    except (*BUILDING_FAULTS, SafetensorError) as error:
        raise BadCheckpoint(f"model {files.name} builds no network: {error}") from error
    return network


def _config(told: Mapping[str, Any]) -> dict[str, Any]:
    """What sevenn builds of. Names that say nothing of the architecture are left out, whoever wrote them."""
    from sevenn import _keys
    from sevenn._const import DEFAULT_E3_EQUIVARIANT_MODEL_CONFIG

    numbers = [int(number) for number in told["numbers"]]
    return {
        **DEFAULT_E3_EQUIVARIANT_MODEL_CONFIG,
        **{key: told[key] for key in _names() if key in told},
        _keys.USE_FLASH_TP: False,
        _keys.USE_OEQ: False,
        _keys.CUEQUIVARIANCE_CONFIG: {},
        _keys.TYPE_MAP: {number: index for index, number in enumerate(numbers)},
        _keys.NUM_SPECIES: len(numbers),
    }
