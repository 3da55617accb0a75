"""What every energy model is: a linear baseline per element plus what its network says, and a latent vector."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar, Protocol

import torch
from torch import nn

from predictors.graph import HEAVIEST, CrystalLike


class ModelConfig(Protocol):
    """The shape of a network, and how a crystal becomes its input. A frozen dataclass of plain values.

    one_shift: whether one energy for all elements is taken out of the targets, and their own size kept, as published;
        else a linear baseline per element, and the rest brought to the size of 1
    needs_structure: whether lattice and positions matter; without, a composition is as good as a crystal, and there is
    nothing to strain, rattle or scale
    """

    needs_structure: ClassVar[bool]
    one_shift: ClassVar[bool]

    def encode(self, crystal: CrystalLike, smallest: float = 1.0) -> Any:
        """One crystal's input; `smallest`: the smallest factor that its lengths may be scaled by later. BadCrystal."""
        ...

    def scaled(self, encoded: Any, factor: float) -> Any:
        """The input after every length grew by `factor`."""
        ...

    def cost(self, encoded: Any) -> int:
        """Rows that the network computes for it, a measure of time and memory."""
        ...

    def collate(self, encoded: list[Any]) -> Any:
        """Several inputs as one batch of tensors, which has `.to(device)`."""
        ...

    def build(self) -> EnergyModel:
        """A network of this shape, its weights by chance."""
        ...


class EnergyModel(nn.Module):
    """Formation energy per atom (eV) of each crystal of a batch.

    Buffers fitted on the training set: `baseline` (119,) eV per atom of each element, `scale` (eV, what one unit of the
    network's output means).
    """

    config: ModelConfig
    latent_width: int
    baseline: torch.Tensor
    scale: torch.Tensor

    def __init__(self, config: ModelConfig, latent_width: int) -> None:
        super().__init__()
        self.config, self.latent_width = config, latent_width
        self.register_buffer("baseline", torch.zeros(HEAVIEST + 1))
        self.register_buffer("scale", torch.ones(()))

    def forward(self, batch: Any) -> torch.Tensor:
        """Batch of b crystals -> (b,) eV per atom."""
        return self.energy_and_latent(batch)[0]

    @abstractmethod
    def energy_and_latent(self, batch: Any, shared: Any = None) -> tuple[torch.Tensor, torch.Tensor]:
        """(b,) eV per atom, and (b, w) what the energy was read from; `shared`: what `shared` gave for this batch."""

    @abstractmethod
    def shared(self, batch: Any) -> Any:
        """What all members of an ensemble may compute once for a batch."""

    @abstractmethod
    def fit_constants(self, encoded: list[Any]) -> None:
        """Set what the network takes from the training set besides baseline and scale."""
