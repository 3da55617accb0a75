"""Several crystals as one graph of tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import ClassVar, Self

import numpy as np
import torch

from predictors.graph import Graph, scale_graph


@dataclass(frozen=True, eq=False)
class BatchedGraph:
    """b crystals as one graph of k classes of atoms and e edges.

    numbers: (k,) int64; src, dst: (e,) int64, counted through the batch; distances: (e,) float32, angstrom
    counts: (e,) float32, neighbours that an edge stands for; crystal: (k,) int64, which crystal a class belongs to
    shares: (k,) float32, share of its crystal's atoms that a class holds; first: (b,) int64, the first class of each
    """

    numbers: torch.Tensor
    src: torch.Tensor
    dst: torch.Tensor
    distances: torch.Tensor
    counts: torch.Tensor
    crystal: torch.Tensor
    shares: torch.Tensor
    first: torch.Tensor

    def to(self, device: torch.device) -> Self:
        """The same on another device."""
        return type(self)(*(getattr(self, field.name).to(device) for field in fields(self)))

    def mean(self, values: torch.Tensor) -> torch.Tensor:
        """(k, w) values per class -> (b, w) means over the atoms of each crystal."""
        totals = values.new_zeros((len(self.first), values.shape[1]))
        return totals.index_add(0, self.crystal, values * self.shares[:, None].to(values.dtype))


def batch_graphs(graphs: Sequence[Graph]) -> BatchedGraph:
    """Join graphs into one of torch tensors on the CPU."""
    sizes = np.array([len(graph.numbers) for graph in graphs], dtype=np.int64)
    edges = np.array([len(graph.src) for graph in graphs], dtype=np.int64)
    first = np.cumsum(sizes) - sizes
    shift = np.repeat(first, edges)
    arrays = (
        np.concatenate([graph.numbers for graph in graphs]),
        np.concatenate([graph.src for graph in graphs]) + shift,
        np.concatenate([graph.dst for graph in graphs]) + shift,
        np.concatenate([graph.distances for graph in graphs]),
        np.concatenate([graph.counts for graph in graphs]),
        np.repeat(np.arange(len(graphs)), sizes),
        np.concatenate([graph.atoms / graph.atoms.sum() for graph in graphs]),
        first,
    )
    return BatchedGraph(*(torch.from_numpy(array) for array in arrays))


class OverGraphs:
    """What the configs of all models over neighbour lists do alike; each has a `cutoff` (angstrom)."""

    needs_structure: ClassVar[bool] = True
    one_shift: ClassVar[bool] = False
    cutoff: float

    def scaled(self, encoded: Graph, factor: float) -> Graph:
        """The neighbour list after every length grew by `factor`."""
        return scale_graph(encoded, factor, self.cutoff)

    def cost(self, encoded: Graph) -> int:
        """Edges and classes of atoms."""
        return len(encoded.src) + len(encoded.numbers)

    def collate(self, encoded: list[Graph]) -> BatchedGraph:
        """Several neighbour lists as one."""
        return batch_graphs(encoded)
