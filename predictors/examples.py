"""Training crystals as inputs of a network: neighbour lists made once, and those of strained and rattled copies.

Which copy an epoch sees follows from (seed, epoch, crystal) alone: not from the order of crystals, nor from how many
processes share them, nor from where a run was taken up again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from predictors.augmentation import Perturbation, perturbed
from predictors.energy_model import ModelConfig
from predictors.errors import BadCrystal
from predictors.training_set import TrainingSet

Indices = NDArray[np.intp]
KEPT = 1 << 30
"""In the place of an epoch: the dice of a copy that every epoch may see."""


class Examples:
    """The crystals of a training set, encoded for one shape of network when they are first asked for.

    copies: of each crystal, made once and kept; 0: every epoch draws new ones
    """

    def __init__(
        self, data: TrainingSet, config: ModelConfig, perturbation: Perturbation, copies: int = 0, seed: int = 0
    ) -> None:
        self.data, self.config, self.perturbation = data, config, perturbation
        self.copies, self.seed = copies, seed
        self._encoded: dict[tuple[int, int], Any] = {}

    def one(self, index: int, epoch: int | None = None) -> Any:
        """The crystal as it is or, where the dice of an epoch say so, a copy of it."""
        if epoch is None or not self.perturbation.probability:
            return self._kept(index, 0)
        dice = np.random.default_rng((self.seed, epoch, index))
        if dice.random() >= self.perturbation.probability:
            return self._kept(index, 0)
        return self._kept(index, 1 + int(dice.integers(self.copies))) if self.copies else self._copy(index, dice)

    def batch(self, indices: Sequence[int] | Indices, epoch: int | None = None) -> Any:
        """Several of them as one batch of tensors."""
        return self.config.collate([self.one(int(index), epoch) for index in indices])

    def _kept(self, index: int, number: int) -> Any:
        """Copy `number`, or for 0 the crystal itself."""
        if (index, number) not in self._encoded:
            self._encoded[index, number] = (
                self._copy(index, np.random.default_rng((self.seed, KEPT, index, number)))
                if number
                else self.config.encode(self.data.crystals[index])
            )
        return self._encoded[index, number]

    def _copy(self, index: int, dice: np.random.Generator) -> Any:
        """Or the crystal itself, where the dice have thrown its atoms together or its cell flat."""
        try:
            return self.config.encode(perturbed(self.data.crystals[index], self.perturbation, dice))
        except BadCrystal:
            return self._kept(index, 0)
