"""The constant that a training leaves over.

Dropout is on while weights are learnt and off when they are asked; what a network says in the mean isn't the same then.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace

import numpy as np

from predictors.energy_model import EnergyModel
from predictors.ensemble import Ensemble
from predictors.splits import Split
from predictors.training_set import TrainingSet


def centred(ensemble: Ensemble, data: TrainingSet, progress: Callable[[int], None] | None = None) -> Ensemble:
    """The ensemble with each member's baseline moved, so that the median of its errors on the validation part is 0.

    A member that can predict nothing of that part stays as it is.
    """
    part = data.part(Split.VALIDATION)
    found = ensemble.predict([data.crystals[i] for i in part], progress=progress)
    known = np.isfinite(found.energy)
    if not known.any():
        return ensemble
    shifts = np.median((found.member_energies - data.targets[part, None])[known], axis=0)
    members = [_moved(member, -float(shift)) for member, shift in zip(ensemble.members, shifts, strict=True)]
    return replace(ensemble, members=members)


def _moved(member: EnergyModel, by: float) -> EnergyModel:
    """by: eV/atom, of each element."""
    moved = deepcopy(member)
    moved.baseline += by
    return moved
