"""The structure model of Merchant et al., Nature 624, 80 (2023), as published with its code.

A graph network (Battaglia et al., arXiv:1806.01261, algorithm 1, with sums over sent and over received edges apart):
one-hot elements and Gaussians of the distances embedded linearly, then in each step edges, atoms and a global state
updated by a swish MLP of everything they touch, sums over edges divided by the mean number of neighbours; the last step
updates the global state to the energy. The first layer of each MLP is factored into its parts, which changes no value.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from predictors.batch import BatchedGraph, OverGraphs
from predictors.energy_model import EnergyModel
from predictors.graph import HEAVIEST, CrystalLike, Graph, build_graph
from predictors.message_passing import MessagePassing, message_passing


@dataclass(frozen=True)
class PublishedConfig(OverGraphs):
    """Shape of the network. Lengths in angstrom. Energies are shifted by one constant and not scaled, as published."""

    one_shift: ClassVar[bool] = True
    cutoff: float = 4.0
    width: int = 256
    steps: int = 3
    gaussians: int = 30
    first_gaussian: float = 0.05
    gaussian_width: float = 0.5

    def encode(self, crystal: CrystalLike, smallest: float = 1.0) -> Graph:
        """The neighbour list, far enough for lengths scaled by `smallest`. Raise BadCrystal."""
        return build_graph(crystal, self.cutoff / smallest)

    def build(self, backend: str = "torch") -> PublishedModel:
        """A network of this shape, its weights by chance; `backend`: see `message_passing`."""
        return PublishedModel(self, backend)


class PublishedModel(EnergyModel):
    """Besides the buffers of EnergyModel: `adjacency`, the mean number of neighbours in the training set."""

    config: PublishedConfig
    adjacency: torch.Tensor
    centres: torch.Tensor

    def __init__(self, config: PublishedConfig, backend: str = "torch") -> None:
        super().__init__(config, config.width)
        self.backend = backend
        width = config.width
        self.elements = nn.Embedding(HEAVIEST + 1, width)
        self.edges = nn.Linear(config.gaussians, width)
        self.whole = nn.Parameter(torch.zeros(width))
        self.steps = nn.ModuleList(GraphNetwork(width) for _ in range(config.steps))
        self.readout = nn.Linear(width, 1)
        self.register_buffer("adjacency", torch.ones(()))
        centres = torch.linspace(config.first_gaussian, config.cutoff, config.gaussians)
        self.register_buffer("centres", centres, persistent=False)

    def energy_and_latent(
        self, batch: BatchedGraph, shared: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """BatchedGraph of b crystals -> (b,) eV per atom, (b, width) the global state of the last step."""
        passing = Ends(batch, self.backend, self.adjacency)
        edges = self.edges(self.shared(batch) if shared is None else shared)
        atoms = self.elements(batch.numbers)
        whole = self.whole.expand(len(batch.first), -1)
        for step in self.steps:
            atoms, edges, whole = step(atoms, edges, whole, passing)
        baseline = batch.mean(self.baseline[batch.numbers][:, None]).squeeze(1)
        return baseline + self.scale * self.readout(whole).squeeze(1), whole

    def shared(self, batch: BatchedGraph) -> torch.Tensor:
        """(e, gaussians) Gaussians of the distances."""
        offsets = (batch.distances[:, None] - self.centres) / self.config.gaussian_width
        return torch.exp(-offsets.square())

    def fit_constants(self, encoded: list[Graph]) -> None:
        """Set the mean adjacency."""
        mean = sum(graph.neighbors for graph in encoded) / len(encoded)
        self.adjacency.fill_(max(mean, 1.0))


class Ends:
    """Sums over received edges, sent edges, atoms and edges of a batch, over the classes of equivalent atoms."""

    def __init__(self, batch: BatchedGraph, backend: str, adjacency: torch.Tensor) -> None:
        classes = len(batch.numbers)
        self.batch, self.adjacency = batch, adjacency
        self.passing: MessagePassing = message_passing(backend, batch.src, batch.dst, classes)
        self._back: MessagePassing = message_passing(backend, batch.dst, batch.src, classes)
        self._received = batch.counts[:, None]
        shares = batch.shares.index_select(0, batch.dst), batch.shares.index_select(0, batch.src)
        self._sent = (batch.counts * shares[0] / shares[1])[:, None]

    def received(self, edges: torch.Tensor) -> torch.Tensor:
        """(e, w) -> (k, w): sums over the edges that end at an atom, by the mean adjacency."""
        return self.passing.sum_messages(edges * self._received) / self.adjacency

    def sent(self, edges: torch.Tensor) -> torch.Tensor:
        """(e, w) -> (k, w): sums over the edges that begin at an atom, by the mean adjacency."""
        return self._back.sum_messages(edges * self._sent) / self.adjacency


class GraphNetwork(nn.Module):
    """One step: edges, then atoms, then the global state."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.edge = Update(width, 4)
        self.atom = Update(width, 4)
        self.whole = Update(width, 3)

    def forward(
        self, atoms: torch.Tensor, edges: torch.Tensor, whole: torch.Tensor, ends: Ends
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """atoms (k, w), edges (e, w), whole (b, w) -> the new ones."""
        own, source, target, above = self.edge.parts
        of_crystal = above(whole).index_select(0, ends.batch.crystal)
        at_ends = ends.passing.add_ends(source(atoms), target(atoms) + of_crystal)
        edges = self.edge.finish(own(edges) + at_ends)
        received, sent = ends.received(edges), ends.sent(edges)
        own, source, target, above = self.atom.parts
        of_crystal = above(whole).index_select(0, ends.batch.crystal)
        atoms = self.atom.finish(own(atoms) + source(sent) + target(received) + of_crystal)
        own, of_edges, above = self.whole.parts
        mean_edges = ends.batch.mean(received)
        return atoms, edges, self.whole.finish(own(ends.batch.mean(atoms)) + of_edges(mean_edges) + above(whole))


class Update(nn.Module):
    """A swish MLP of one hidden layer, whose first layer is a sum over its inputs.

    The swish has a slope of its own for each feature; the hidden weights start orthogonal, as in the published code.
    """

    def __init__(self, width: int, inputs: int) -> None:
        super().__init__()
        self.parts = nn.ModuleList(nn.Linear(width, width, bias=number == 0) for number in range(inputs))
        self.slope = nn.Parameter(torch.ones(width))
        self.last = nn.Linear(width, width)
        for name, weight in self.parts.named_parameters():
            if name.endswith("weight"):
                nn.init.orthogonal_(weight, (2.75 / inputs) ** 0.5)

    def finish(self, hidden: torch.Tensor) -> torch.Tensor:
        """The sum of the parts -> the output."""
        output: torch.Tensor = self.last(hidden * torch.sigmoid(self.slope * hidden))
        return output
