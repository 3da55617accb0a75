"""Training crystals as inputs: what the dice may not do."""

from __future__ import annotations

import numpy as np

from predictors.augmentation import Perturbation
from predictors.examples import Examples
from predictors.training_set import TrainingSet
from tests.predictors.conftest import SMALL


def test_a_copy_that_is_no_crystal_is_the_crystal_itself(data: TrainingSet) -> None:
    """Strains of 100 % throw cells flat: the training goes on, and sees what it knows."""
    wild = Examples(data, SMALL, Perturbation(1.0, 1.0, 1.0, 1.0))
    plain = Examples(data, SMALL, Perturbation(0.0))
    unchanged = 0
    for index in range(len(data.crystals)):
        as_it_is, copies = plain.one(index), [wild.one(index, epoch) for epoch in range(20)]
        unchanged += sum(np.array_equal(copy.distances, as_it_is.distances) for copy in copies)
    assert 0 < unchanged < 20 * len(data.crystals)
