"""The kinds of models by name, as checkpoints name them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from predictors.composition_model import CompositionConfig
from predictors.energy_model import ModelConfig
from predictors.published_model import PublishedConfig
from predictors.structure_model import StructureConfig

KINDS: dict[str, type[Any]] = {
    "structure": StructureConfig,
    "published": PublishedConfig,
    "composition": CompositionConfig,
}


def kind_of(config: ModelConfig) -> str:
    """The name of a config's kind."""
    return next(name for name, kind in KINDS.items() if type(config) is kind)


def as_values(config: ModelConfig) -> dict[str, Any]:
    """A config as plain values; `from_values` reads them."""
    return {"kind": kind_of(config), **asdict(config)}  # type: ignore[call-overload]


def from_values(values: Mapping[str, Any]) -> ModelConfig:
    """Raise KeyError or TypeError for another kind or unknown fields."""
    values = dict(values)
    config: ModelConfig = KINDS[values.pop("kind")](**values)
    return config
