"""Weights of half the digits (float16): half the bytes, and energies that differ by less than the model errs."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import torch

from predictors.checkpoint import save_model
from predictors.ensemble import Ensemble


def halved(ensemble: Ensemble) -> Ensemble:
    """The same members, weights rounded to half precision (float16): they predict as they will when read again."""
    return _changed(ensemble, lambda weights: weights.half().float())


def save_halved(ensemble: Ensemble, folder: Path) -> None:
    """Write the ensemble with its weights in half precision, half as large; reading gives single precision again."""
    save_model(_changed(ensemble, lambda weights: weights.half()), folder)


def _changed(ensemble: Ensemble, change: Callable[[torch.Tensor], torch.Tensor]) -> Ensemble:
    members = deepcopy(ensemble.members)
    for member in members:
        for weights in member.parameters():
            weights.data = change(weights.data)
    return replace(ensemble, members=members)
