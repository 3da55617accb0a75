"""Several members, one opinion: the median of their energies, and their inter-quartile range as its uncertainty.

A candidate as proposed has the wrong volume. The volume scan asks for its energy at 20 volumes from 80 to 120 % and
takes the lowest (Merchant et al. 2023). One neighbour list serves all 20, and what the members have in common is
computed once for all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from predictors.augmentation import VOLUME_FACTORS
from predictors.confidence import Asked, Confidence
from predictors.energy_model import EnergyModel, ModelConfig
from predictors.errors import BadTrainingSet, UnknownElement
from predictors.graph import CrystalLike, Graph, check_numbers, oddity
from predictors.model_files import ModelRecord
from predictors.predictor import Floats, Predictions
from predictors.volumes import batches, encode_all

CRYSTALS_AT_ONCE = 64
BATCH_COST = 4_000
"""Rows of a batch: fewer, and the calls cost as much as what they compute; more, and the rows leave the cache."""


@dataclass(frozen=True, eq=False)
class Ensemble:
    """Trained members of one shape, where they come from, and what is known of their errors."""

    members: list[EnergyModel]
    record: ModelRecord
    confidence: Confidence | None = None

    def __post_init__(self) -> None:
        if not self.members:
            raise BadTrainingSet("an ensemble needs at least one trained member")
        if any(member.config != self.config for member in self.members):
            raise BadTrainingSet("the members of an ensemble must have one shape: train them with one config")

    @property
    def config(self) -> ModelConfig:
        return self.members[0].config

    def unknown_elements(self, crystal: CrystalLike) -> list[int]:
        """The atomic numbers of a crystal that no training crystal held."""
        return sorted({int(z) for z in crystal.numbers} - set(self.record.elements))

    def predict(
        self,
        crystals: Sequence[CrystalLike],
        members: int | None = None,
        volume_scan: bool = False,
        progress: Callable[[int], None] | None = None,
        batch_cost: int = BATCH_COST,
    ) -> Predictions:
        """Formation energies per atom at the model's level.

        members: how many of them to ask (the first ones; all by default). volume_scan: for unrelaxed candidates; off
        for relaxed crystals. batch_cost: rows per batch, a matter of memory and speed. progress: called with the number
        of crystals done since its last call. Call `predictors.cpu.tune_cpu` once per process before.
        A bad crystal spoils no other: its energy is NaN and `refused` says why. Raise BadTrainingSet for no members.
        """
        asked = self.members[:members]
        if members is not None and members < 1:
            raise BadTrainingSet("at least one member must be asked")
        factors = VOLUME_FACTORS if volume_scan else np.ones(1)
        parts = []
        for start in range(0, max(len(crystals), 1), CRYSTALS_AT_ONCE):
            chunk = crystals[start : start + CRYSTALS_AT_ONCE]
            parts.append(self._predict(chunk, asked, factors, batch_cost))
            if progress is not None and len(chunk):
                progress(len(chunk))
        found = Predictions.joined(parts)
        if self.confidence is None:
            return found
        return self.confidence.judge(found, crystals, Asked.of(len(self.members), members, volume_scan))

    def _predict(
        self, crystals: Sequence[CrystalLike], asked: list[EnergyModel], factors: Floats, batch_cost: int
    ) -> Predictions:
        lengths = factors ** (1 / 3)
        smallest = float(lengths.min())
        encoded, refused = encode_all(crystals, lambda crystal: self._encode(crystal, smallest))
        energies = np.full((len(crystals), len(factors), len(asked)), np.nan)
        latent = np.full((len(crystals), len(factors), asked[0].latent_width), np.nan)
        for batch in batches(self.config, encoded, lengths, batch_cost):
            found, first_latent = ask(asked, self.config.collate(batch.inputs))
            at = batch.rows, batch.columns
            energies[at], latent[at] = found.numpy(), first_latent.numpy()
        for index in [index for index in encoded if not np.isfinite(energies[index]).all()]:
            energies[index], refused[index] = np.nan, "the model finds no finite energy for it"
        graphs = {index: each for index, each in encoded.items() if isinstance(each, Graph) and index not in refused}
        odd = {index: why for index, each in graphs.items() if (why := oddity(each))}
        return replace(Predictions.of(energies, factors, latent, refused), odd=odd)

    def _encode(self, crystal: CrystalLike, smallest: float) -> Any:
        """The input, which still reaches the cutoff after lengths shrink to `smallest` of themselves."""
        check_numbers(crystal)
        if unknown := self.unknown_elements(crystal):
            raise UnknownElement(unknown)
        return self.config.encode(crystal, smallest)


@torch.inference_mode()
def ask(members: Sequence[EnergyModel], batch: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """(b, m) energies of a batch by m members of one shape, eV per atom, and (b, w) the first one's latent vectors."""
    shared = members[0].shared(batch)
    energies, latents = zip(*(member.energy_and_latent(batch, shared) for member in members), strict=True)
    return torch.stack(energies, dim=1), latents[0]
