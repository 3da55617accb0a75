"""The energy of a crystal from its structure: a message-passing network after Merchant et al., Nature 624, 80 (2023).

Theirs: one-hot elements, Gaussian edge features, shallow swish MLPs, three steps, messages divided by the data
set's mean adjacency, a global read-out. Ours besides: a linear baseline per element, a first layer factored into
its parts (so that it runs per atom, not per edge), residuals, and a smooth cutoff.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.functional import silu

from predictors.graph import HEAVIEST, BatchedGraph
from predictors.message_passing import MessagePassing, message_passing


@dataclass(frozen=True)
class ModelConfig:
    """Shape of the network. Lengths in angstrom."""

    cutoff: float = 5.0
    max_neighbors: int | None = 24
    width: int = 96
    steps: int = 4
    edge_updates: bool = False
    gaussians: int = 30
    first_gaussian: float = 0.05
    gaussian_width: float = 0.5


class StructureModel(nn.Module):
    """Formation energy per atom (eV) of each crystal of a batch.

    Buffers fitted on the training set: `baseline` (eV per atom of each element), `scale` (eV, what one unit of the
    network's output means), `adjacency` (mean number of neighbours).
    """

    baseline: torch.Tensor
    scale: torch.Tensor
    adjacency: torch.Tensor
    centres: torch.Tensor

    def __init__(self, config: ModelConfig, backend: str = "auto") -> None:
        super().__init__()
        self.config = config
        self.backend = backend  # a matter of the machine: no checkpoint names it
        width = config.width
        self.elements = nn.Embedding(HEAVIEST + 1, width)
        self.edges = nn.Linear(config.gaussians, width) if config.edge_updates else nn.Identity()
        edge_width = width if config.edge_updates else config.gaussians
        self.steps = nn.ModuleList(Step(width, edge_width, config.edge_updates) for _ in range(config.steps))
        self.readout = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 1))
        self.register_buffer("baseline", torch.zeros(HEAVIEST + 1))
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("adjacency", torch.ones(()))
        centres = torch.linspace(config.first_gaussian, config.cutoff, config.gaussians)
        self.register_buffer("centres", centres, persistent=False)

    def forward(self, batch: BatchedGraph) -> torch.Tensor:
        """BatchedGraph of b crystals -> (b,) eV per atom."""
        passing = message_passing(self.backend, batch.src, batch.dst, len(batch.numbers))
        weights = (envelope(batch.distances, self.config.cutoff) / self.adjacency)[:, None]
        atoms = self.elements(batch.numbers)
        edges = self.edges(self.gaussian_features(batch.distances))
        for step in self.steps:
            atoms, edges = step(atoms, edges, weights, passing)
        correction: torch.Tensor = self.readout(mean_over_atoms(atoms, batch)).squeeze(1)
        return self.baseline_energy(batch) + self.scale * correction

    def gaussian_features(self, distances: torch.Tensor) -> torch.Tensor:
        """(e,) -> (e, gaussians)."""
        offsets = (distances[:, None] - self.centres) / self.config.gaussian_width
        return torch.exp(-offsets.square())

    def baseline_energy(self, batch: BatchedGraph) -> torch.Tensor:
        """(b,) eV per atom: the sum of the elements' own energies."""
        return mean_over_atoms(self.baseline[batch.numbers][:, None], batch).squeeze(1)


class Step(nn.Module):
    """One step of message passing: atoms learn from their edges and, if wanted, edges from their ends."""

    def __init__(self, width: int, edge_width: int, edge_updates: bool) -> None:
        super().__init__()
        self.from_source = nn.Linear(width, width)
        self.from_target = nn.Linear(width, width, bias=False)
        self.from_edge = nn.Linear(edge_width, width, bias=False)
        self.to_edge = nn.Linear(width, width) if edge_updates else None
        self.from_atom = nn.Linear(width, width)
        self.from_messages = nn.Linear(width, width, bias=False)
        self.to_atom = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)

    def forward(
        self, atoms: torch.Tensor, edges: torch.Tensor, weights: torch.Tensor, passing: MessagePassing
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """atoms (n, w), edges (e, w), weights (e, 1) -> the new atoms and edges."""
        normed = self.norm(atoms)
        ends = passing.add_ends(self.from_source(normed), self.from_target(normed))
        hidden = silu(torch.addmm(ends, edges, self.from_edge.weight.t()))
        messages = passing.sum_messages(hidden * weights)
        if self.to_edge is not None:
            edges = edges + self.to_edge(hidden)
        return atoms + self.to_atom(silu(self.from_atom(normed) + self.from_messages(messages))), edges


def envelope(distances: torch.Tensor, cutoff: float) -> torch.Tensor:
    """A weight that falls smoothly from 1 to 0 at the cutoff, two derivatives included.

    Gasteiger et al., arXiv:2003.03123, eq. 8 with p = 6, without its 1/d.
    """
    x = (distances / cutoff).clamp(max=1.0)
    return 1 - 28 * x**6 + 48 * x**7 - 21 * x**8


def mean_over_atoms(values: torch.Tensor, batch: BatchedGraph) -> torch.Tensor:
    """(n, w) values per atom -> (b, w) means per crystal."""
    totals = values.new_zeros((len(batch.sizes), values.shape[1])).index_add(0, batch.crystal, values)
    return totals / batch.sizes[:, None]
