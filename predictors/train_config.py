"""How a member is trained: one dataclass, which a file of TOML or JSON fills, and checks of what stands in it."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, get_type_hints

from pydantic import Field, TypeAdapter, ValidationError

from predictors.augmentation import Perturbation
from predictors.energy_model import ModelConfig
from predictors.errors import BadConfig
from predictors.shapes import KINDS, as_values, kind_of
from predictors.structure_model import StructureConfig

Count = Annotated[int, Field(ge=1, le=10**6)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]
Folds = Annotated[int, Field(ge=2, le=100)]
Copies = Annotated[int, Field(ge=0, le=1000)]
Share = Annotated[float, Field(ge=0, le=1)]
Amount = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]

LARGEST_SHAPE = 4096
LARGEST = {"cutoff": 15.0, "first_gaussian": 15.0, "gaussian_width": 15.0, "frequencies": 64}
"""Of a network's shape. Neighbour lists are made for distances below 64 angstrom, and take memory by their cube."""


@dataclass(frozen=True)
class TrainConfig:
    """The plan of one member's training."""

    model: ModelConfig = field(default_factory=StructureConfig)
    perturbation: Perturbation = field(default_factory=Perturbation)
    copies: Copies = 0  # of a crystal, made once and kept in memory; 0: each epoch draws new ones, which takes longer
    seed: Seed = 0  # of the first member; the others count on from it
    epochs: Count = 30
    batch_size: Count = 64
    learning_rate: NotNegative = 2e-3
    warmup_epochs: NotNegative = 1.0
    weight_decay: NotNegative = 1e-2
    huber_delta: Amount = 0.01  # eV per atom: but for the smallest, errors count by their size
    gradient_norm: Amount = 1.0
    ema_decay: Share = 0.999
    patience: Count | None = None  # epochs without a better validation error
    bootstrap: bool = False
    folds: Folds | None = None  # each member leaves one of so many parts out; see TrainingSet.fold
    bfloat16: bool = False  # matrix products of half the digits, where there is a GPU
    max_minutes: Amount | None = None  # the schedule is hurried so that it ends then

    def __post_init__(self) -> None:
        """Raise BadConfig for perturbed copies of what has no structure."""
        if self.perturbation.probability and not self.model.needs_structure:
            raise BadConfig(
                f"a {kind_of(self.model)} model sees no structure that could be perturbed: "
                f"perturbation.probability is {self.perturbation.probability:g}, it should be 0"
            )


def read_config(path: Path | None, changes: Mapping[str, Any] | None = None) -> TrainConfig:
    """The config that a file says (.toml or .json; None: the defaults) after `changes`. Raise BadConfig.

    Keys are the fields of TrainConfig; the tables `model` (with a `kind`) and `perturbation` hold those of their own.
    """
    values = _read(path) if path is not None else {}
    for name, value in (changes or {}).items():
        known = values.get(name)
        values[name] = {**known, **value} if isinstance(known, dict) and isinstance(value, Mapping) else value
    try:
        return config_of(values)
    except BadConfig as error:
        raise BadConfig(f"{path}: {error}" if path is not None else str(error)) from error


def config_of(values: Mapping[str, Any]) -> TrainConfig:
    """The config of plain values; what isn't there is as usual. Raise BadConfig."""
    values = dict(values)
    model, perturbation = (_table(values.pop(name, {}), name) for name in ("model", "perturbation"))
    checked = _checked(TrainConfig, values)
    kind = model.pop("kind", "structure")
    if not isinstance(kind, str) or kind not in KINDS:
        raise BadConfig(f"model: there is no kind {kind!r}: choose {', '.join(KINDS)}")
    shape = _checked(KINDS[kind], model, f"model of kind {kind}: ")
    _check_shape(shape, f"model of kind {kind}: ")
    if not KINDS[kind].needs_structure:
        perturbation = {"probability": 0.0, **perturbation}
    moves = _checked(Perturbation, perturbation, "perturbation: ")
    _check_perturbation(moves)
    return TrainConfig(**{**checked, "model": KINDS[kind](**shape), "perturbation": Perturbation(**moves)})


def values_of(config: TrainConfig) -> dict[str, Any]:
    """A config as plain values; `config_of` reads them."""
    return {**asdict(config), "model": as_values(config.model)}


def _read(path: Path) -> dict[str, Any]:
    readers = {".toml": tomllib.loads, ".json": json.loads}
    if path.suffix not in readers:
        raise BadConfig(f"{path}: a config ends in .toml or .json")
    try:
        return _table(readers[path.suffix](path.read_text()), str(path))
    except (OSError, ValueError) as error:
        raise BadConfig(f"{path} can't be read: {error}") from error


def _table(value: Any, name: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise BadConfig(f"{name} is a table of names and values, not {value!r:.40}")
    return dict(value)


def _checked(shape: type[Any], values: Mapping[str, Any], where: str = "") -> dict[str, Any]:
    """The values, if they are fields of a dataclass and of their types."""
    known = get_type_hints(shape, include_extras=True)
    hints = {field.name: known[field.name] for field in fields(shape)}
    if unknown := sorted(values.keys() - hints.keys()):
        raise BadConfig(f"{where}there is no {', '.join(unknown)}; there are {', '.join(hints)}")
    return {name: _one(hints[name], value, f"{where}{name}") for name, value in values.items()}


def _one(hint: Any, value: Any, name: str) -> Any:
    try:
        return TypeAdapter(hint).validate_python(value, strict=True)
    except ValidationError as error:
        said = error.errors()[0]["msg"].removeprefix("Input ")
        raise BadConfig(f"{name} = {value!r:.40}: it {said}") from error


def _check_shape(values: Mapping[str, Any], where: str) -> None:
    """Every number of a network's shape is above 0 and of a size that a machine can hold; a dropout is a share."""
    for name, value in values.items():
        if name == "dropout" and not 0 <= value < 1:
            raise BadConfig(f"{where}{name} = {value!r}: it should be from 0 to below 1")
        most = LARGEST.get(name, LARGEST_SHAPE)
        if name != "dropout" and isinstance(value, int | float) and not 0 < value <= most and value is not False:
            raise BadConfig(f"{where}{name} = {value!r}: it should be a number above 0, at most {most:g}")


def _check_perturbation(values: Mapping[str, float]) -> None:
    for name, value in values.items():
        if not 0 <= value <= 1:
            raise BadConfig(f"perturbation: {name} = {value!r}: it should be between 0 and 1")
