"""The energy of a composition's ground state, from its formula alone (Merchant et al. 2023, compositional pipeline).

Nodes are the elements, one-hot, with their fraction; every element hears every other. As in Roost (Goodall and Lee,
Nat. Commun. 11, 6280, 2020), messages and read-out are weighted by fractions. What an element tells doesn't depend on
who listens, so the messages of all pairs are one sum per formula: a formula costs as many rows as it has elements.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.functional import silu

from predictors.energy_model import EnergyModel
from predictors.errors import BadCrystal
from predictors.graph import HEAVIEST, CrystalLike


@dataclass(frozen=True, eq=False)
class Formula:
    """numbers: (k,) int64 atomic numbers, ascending; fractions: (k,) float32 of the atoms, 1 in sum."""

    numbers: NDArray[np.int64]
    fractions: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class BatchedFormulas:
    """b formulas of k elements in all.

    numbers: (k,) int64; fractions: (k,) float32; formula: (k,) int64, to which each belongs; count: (b,) of each
    """

    numbers: torch.Tensor
    fractions: torch.Tensor
    formula: torch.Tensor
    count: torch.Tensor

    def to(self, device: torch.device) -> Self:
        """The same on another device."""
        return type(self)(*(getattr(self, field.name).to(device) for field in fields(self)))

    def mean(self, values: torch.Tensor) -> torch.Tensor:
        """(k, w) values per element -> (b, w) means by fractions."""
        totals = values.new_zeros((len(self.count), values.shape[1]))
        return totals.index_add(0, self.formula, values * self.fractions[:, None].to(values.dtype))


def batch_formulas(formulas: Sequence[Formula]) -> BatchedFormulas:
    """Join formulas into tensors on the CPU."""
    sizes = np.array([len(formula.numbers) for formula in formulas], dtype=np.int64)
    arrays = (
        np.concatenate([each.numbers for each in formulas]),
        np.concatenate([each.fractions for each in formulas]),
        np.repeat(np.arange(len(formulas)), sizes),
        sizes,
    )
    return BatchedFormulas(*(torch.from_numpy(array) for array in arrays))


@dataclass(frozen=True)
class CompositionConfig:
    """Shape of the network. frequencies: sines and cosines that tell a fraction."""

    needs_structure: ClassVar[bool] = False
    one_shift: ClassVar[bool] = False
    width: int = 128
    steps: int = 3
    frequencies: int = 8

    def encode(self, crystal: CrystalLike, smallest: float = 1.0) -> Formula:  # noqa: ARG002 -- it has no lengths
        """What the crystal is made of. Raise BadCrystal for no atoms or no such element."""
        numbers, counts = np.unique(np.asarray(crystal.numbers, dtype=np.int64), return_counts=True)
        if not len(numbers) or numbers[0] < 1 or numbers[-1] > HEAVIEST:
            raise BadCrystal(f"a composition needs atoms, their atomic numbers between 1 and {HEAVIEST}")
        return Formula(numbers, (counts / counts.sum()).astype(np.float32))

    def scaled(self, encoded: Formula, factor: float) -> Formula:  # noqa: ARG002 -- it has no volume
        """A composition has no volume."""
        return encoded

    def cost(self, encoded: Formula) -> int:
        """Its elements."""
        return len(encoded.numbers)

    def collate(self, encoded: list[Formula]) -> BatchedFormulas:
        """Several formulas as one batch."""
        return batch_formulas(encoded)

    def build(self) -> CompositionModel:
        """A network of this shape, its weights by chance."""
        return CompositionModel(self)


class CompositionModel(EnergyModel):
    """Formation energy per atom of the ground state of each formula of a batch."""

    config: CompositionConfig
    frequencies: torch.Tensor

    def __init__(self, config: CompositionConfig) -> None:
        super().__init__(config, config.width)
        width = config.width
        self.elements = nn.Embedding(HEAVIEST + 1, width)
        self.fractions = nn.Linear(2 * config.frequencies, width)
        self.steps = nn.ModuleList(ElementStep(width) for _ in range(config.steps))
        self.readout = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 1))
        frequencies = torch.pi * 2.0 ** torch.arange(config.frequencies) / 2
        self.register_buffer("frequencies", frequencies, persistent=False)

    def energy_and_latent(
        self, batch: BatchedFormulas, shared: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """BatchedFormulas of b formulas -> (b,) eV per atom, (b, width) mean features of their elements."""
        waves = self.shared(batch) if shared is None else shared
        elements = self.elements.weight.index_select(0, batch.numbers) + self.fractions(waves)
        for step in self.steps:
            elements = step(elements, batch)
        latent = batch.mean(elements)
        baseline = batch.mean(self.baseline[batch.numbers][:, None]).squeeze(1)
        return baseline + self.scale * self.readout(latent).squeeze(1), latent

    def shared(self, batch: BatchedFormulas) -> torch.Tensor:
        """(k, 2 * frequencies) sines and cosines of the fractions."""
        angles = batch.fractions[:, None] * self.frequencies
        return torch.cat([angles.sin(), angles.cos()], dim=1)

    def fit_constants(self, encoded: list[Formula]) -> None:
        """Nothing: messages are weighted by fractions, whose sum is one."""


class ElementStep(nn.Module):
    """Each element learns from all of its formula, by their fractions."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.from_element = nn.Linear(width, width)
        self.from_messages = nn.Linear(width, width, bias=False)
        self.to_element = nn.Linear(width, width)

    def forward(self, elements: torch.Tensor, batch: BatchedFormulas) -> torch.Tensor:
        """elements (k, w) -> the new ones."""
        normed = self.norm(elements)
        messages = self.from_messages(batch.mean(normed)).index_select(0, batch.formula)
        update: torch.Tensor = self.to_element(silu(self.from_element(normed) + messages))
        return elements + update
