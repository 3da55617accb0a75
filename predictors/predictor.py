"""What every predictor gives, be it an ensemble of ours or a pretrained potential."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from predictors.graph import CrystalLike
from predictors.model_files import ModelRecord

Floats = NDArray[np.float64]
Progress = Callable[[int], None]


@dataclass(frozen=True, eq=False)
class Predictions:
    """Formation energies of n crystals by m members, eV per atom. NaN where a crystal was refused.

    energy: (n,) median of the members; spread: (n,) their inter-quartile range; member_energies: (n, m)
    volume_factor: (n,) the scaling at which the energy is lowest; 1 without a volume scan
    latent: (n, w) what the first member read the energy from; w = 0 where a predictor has none
    refused: index -> why no energy could be predicted
    """

    energy: Floats
    spread: Floats
    member_energies: Floats
    volume_factor: Floats
    latent: Floats
    refused: dict[int, str]

    @classmethod
    def of(cls, energies: Floats, factors: Floats, latent: Floats, refused: dict[int, str] | None = None) -> Self:
        """(n, volumes, m) energies and (n, volumes, w) latent vectors -> at the volume where the median is lowest."""
        medians = np.median(energies, axis=2)
        best = np.argmin(medians, axis=1)
        each = np.arange(len(energies))
        chosen = energies[each, best]
        low, high = np.percentile(chosen, [25, 75], axis=1) if len(chosen) else (np.zeros(0), np.zeros(0))
        return cls(medians[each, best], high - low, chosen, factors[best], latent[each, best], refused or {})

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Predictions of several lists of crystals, one after the other; at least one part."""
        names = [field.name for field in fields(cls) if field.name != "refused"]
        arrays: dict[str, Floats] = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
        before = np.cumsum([0, *(len(part.energy) for part in parts)])
        refused = {
            int(start) + index: why
            for start, part in zip(before[:-1], parts, strict=True)
            for index, why in part.refused.items()
        }
        return cls(**arrays, refused=refused)


class Predictor(Protocol):
    """Formation energies at one level of theory, which the record names."""

    @property
    def record(self) -> ModelRecord: ...

    def predict(
        self,
        crystals: Sequence[CrystalLike],
        members: int | None = None,
        volume_scan: bool = False,
        progress: Progress | None = None,
    ) -> Predictions:
        """In order; a bad crystal spoils no other: its energy is NaN and `refused` says why."""
        ...
