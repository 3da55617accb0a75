"""Training crystals as inputs of a network: neighbour lists made once, and those of strained and rattled copies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from predictors.augmentation import Perturbation, perturbed
from predictors.energy_model import ModelConfig
from predictors.training_set import TrainingSet

Indices = NDArray[np.intp]


class Examples:
    """The crystals of a training set, encoded for one shape of network when they are first asked for."""

    def __init__(self, data: TrainingSet, config: ModelConfig, perturbation: Perturbation) -> None:
        self.data, self.config, self.perturbation = data, config, perturbation
        self._encoded: dict[int, Any] = {}

    def one(self, index: int, rng: np.random.Generator | None = None) -> Any:
        """The crystal as it is or, where dice are given and say so, a copy of it."""
        if rng is not None and rng.random() < self.perturbation.probability:
            return self.config.encode(perturbed(self.data.crystals[index], self.perturbation, rng))
        if index not in self._encoded:
            self._encoded[index] = self.config.encode(self.data.crystals[index])
        return self._encoded[index]

    def batch(self, indices: Sequence[int] | Indices, rng: np.random.Generator | None = None) -> Any:
        """Several of them as one batch of tensors."""
        return self.config.collate([self.one(int(index), rng) for index in indices])
