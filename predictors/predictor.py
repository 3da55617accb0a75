"""What every predictor gives, be it an ensemble of ours or a pretrained potential."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Protocol, Self

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
    odd: index -> why a crystal is hardly matter, whatever a model says of it
    Of a model with a confidence (else None), NaN where a crystal was refused:
    intervals: (n, 3, 2) lower and upper ends of the central 50, 80 and 90 % intervals; None too for a way of asking
        that has no calibration (see predictors.confidence)
    distance: (n,) to the training set in the first member's latent space
    outside: index -> why the crystal is outside of the model's domain, so that its energy can't be trusted
    """

    energy: Floats
    spread: Floats
    member_energies: Floats
    volume_factor: Floats
    latent: Floats
    refused: dict[int, str]
    odd: dict[int, str] = field(default_factory=dict)
    intervals: Floats | None = None
    distance: Floats | None = None
    outside: dict[int, str] | None = None

    def first_member(self) -> Self:
        """What the first member alone would have said of the same crystals at the same volumes."""
        first = self.member_energies[:, :1]
        said = (first[:, 0], first[:, 0] * 0, first)
        return type(self)(*said, self.volume_factor, self.latent, self.refused, self.odd)

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
        before = [int(start) for start in np.cumsum([0, *(len(part.energy) for part in parts)])[:-1]]
        joined: dict[str, Any] = {}
        for name in (one.name for one in fields(cls)):
            values = [getattr(part, name) for part in parts]
            if any(value is None for value in values):
                joined[name] = None
            elif isinstance(values[0], dict):
                joined[name] = {
                    start + index: why for start, of in zip(before, values, strict=True) for index, why in of.items()
                }
            else:
                joined[name] = np.concatenate(values)
        return cls(**joined)


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
