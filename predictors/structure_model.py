"""The energy of a crystal from its structure: a message-passing network after Merchant et al., Nature 624, 80 (2023).

Theirs: one-hot elements, Gaussian edge features, shallow swish MLPs, messages divided by the data set's mean adjacency,
a read-out over all atoms (`predictors.published_model` is theirs as published). Ours besides: a linear baseline per
element, a first layer factored into its parts (so that it runs per atom, not per edge), messages filtered by a function
of the distance, residuals, a smooth cutoff, and a cap of nearest neighbours, which keeps large cells affordable.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.functional import silu

from predictors.batch import BatchedGraph, OverGraphs
from predictors.energy_model import EnergyModel
from predictors.graph import HEAVIEST, CrystalLike, Graph, build_graph
from predictors.message_passing import MessagePassing, message_passing


@dataclass(frozen=True)
class StructureConfig(OverGraphs):
    """Shape of the network. Lengths in angstrom.

    width: features of an atom; edge_width: of a message. Edges are twenty times as many as atoms, so atoms may be wide.
    dropout: share of an atom's update that training leaves out, by chance
    """

    cutoff: float = 5.0
    max_neighbors: int | None = 24
    width: int = 192
    edge_width: int = 96
    steps: int = 4
    gaussians: int = 16
    first_gaussian: float = 1.0
    gaussian_width: float = 0.4
    dropout: float = 0.0

    def encode(self, crystal: CrystalLike, smallest: float = 1.0) -> Graph:
        """The neighbour list, far enough for lengths scaled by `smallest`. Raise BadCrystal."""
        return build_graph(crystal, self.cutoff / smallest, self.max_neighbors)

    def build(self, backend: str = "torch") -> StructureModel:
        """A network of this shape, its weights by chance; `backend`: see `message_passing`."""
        return StructureModel(self, backend)


@dataclass(frozen=True, eq=False)
class EdgeFeatures:
    """What the steps need of the edges: (e, g) Gaussians; (e, g + 1) these and 1, times the weights of messages."""

    gaussians: torch.Tensor
    weighted: torch.Tensor
    passing: MessagePassing


class StructureModel(EnergyModel):
    """Besides the buffers of EnergyModel: `adjacency`, the mean number of neighbours in the training set."""

    config: StructureConfig
    adjacency: torch.Tensor
    centres: torch.Tensor

    def __init__(self, config: StructureConfig, backend: str = "torch") -> None:
        super().__init__(config, config.width)
        self.backend = backend  # a matter of the machine: no checkpoint names it
        width = config.width
        self.elements = nn.Embedding(HEAVIEST + 1, width)
        self.steps = nn.ModuleList(Step(config) for _ in range(config.steps))
        self.readout = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 1))
        self.register_buffer("adjacency", torch.ones(()))
        centres = torch.linspace(config.first_gaussian, config.cutoff, config.gaussians)
        self.register_buffer("centres", centres, persistent=False)

    def energy_and_latent(
        self, batch: BatchedGraph, shared: EdgeFeatures | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """BatchedGraph of b crystals -> (b,) eV per atom, (b, width) mean features of their atoms."""
        features = shared or self.shared(batch)
        weighted = features.weighted / self.adjacency
        atoms = self.elements(batch.numbers)
        for step in self.steps:
            atoms = step(atoms, features.gaussians, weighted, features.passing)
        latent = batch.mean(atoms)
        baseline = batch.mean(self.baseline[batch.numbers][:, None]).squeeze(1)
        return baseline + self.scale * self.readout(latent).squeeze(1), latent

    def shared(self, batch: BatchedGraph) -> EdgeFeatures:
        """All members of one shape see the same distances."""
        offsets = (batch.distances[:, None] - self.centres) / self.config.gaussian_width
        weights = (envelope(batch.distances, self.config.cutoff) * batch.counts)[:, None]
        gaussians = torch.exp(-offsets.square())
        passing = message_passing(self.backend, batch.src, batch.dst, len(batch.numbers))
        return EdgeFeatures(gaussians, torch.cat([gaussians * weights, weights], dim=1), passing)

    def fit_constants(self, encoded: list[Graph]) -> None:
        """Set the mean adjacency."""
        mean = sum(graph.neighbors for graph in encoded) / len(encoded)
        self.adjacency.fill_(max(mean, 1.0))


class Step(nn.Module):
    """One step of message passing: atoms learn from their edges."""

    def __init__(self, config: StructureConfig) -> None:
        super().__init__()
        width, edge_width, gaussians = config.width, config.edge_width, config.gaussians
        self.norm = nn.LayerNorm(width)
        self.from_source = nn.Linear(width, edge_width)
        self.from_target = nn.Linear(width, edge_width, bias=False)
        self.from_edge = nn.Linear(gaussians, edge_width, bias=False)
        self.filter = nn.Linear(gaussians, edge_width)
        self.from_atom = nn.Linear(width, edge_width)
        self.from_messages = nn.Linear(edge_width, edge_width, bias=False)
        self.to_atom = nn.Linear(edge_width, width)
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self, atoms: torch.Tensor, gaussians: torch.Tensor, weighted: torch.Tensor, passing: MessagePassing
    ) -> torch.Tensor:
        """atoms (k, w), gaussians (e, g), weighted (e, g + 1) -> the new atoms."""
        normed = self.norm(atoms)
        ends = passing.add_ends(self.from_source(normed), self.from_target(normed))
        frozen = not torch.is_grad_enabled()  # then nothing has to be kept for a gradient
        summed = torch.addmm(ends, gaussians, self.from_edge.weight.t(), out=ends if frozen else None)
        hidden = silu(summed, inplace=frozen)
        # The filter times the message's weight, as one product: a pass over all edges less.
        filters = weighted @ torch.cat([self.filter.weight.t(), self.filter.bias[None]])
        messages = passing.sum_messages(torch.mul(hidden, filters, out=hidden if frozen else None))
        update = self.to_atom(silu(self.from_atom(normed) + self.from_messages(messages)))
        new_atoms: torch.Tensor = atoms + self.dropout(update)
        return new_atoms


def envelope(distances: torch.Tensor, cutoff: float) -> torch.Tensor:
    """A weight that falls smoothly from 1 to 0 at the cutoff, two derivatives included.

    Gasteiger et al., arXiv:2003.03123, eq. 8 with p = 6, without its 1/d.
    """
    x = (distances / cutoff).clamp(max=1.0)
    return 1 - 28 * x**6 + 48 * x**7 - 21 * x**8
