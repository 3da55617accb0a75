"""SevenNet's pretrained potentials (Park et al., JCTC 20, 4857, 2024; MPtrj, PBE/PBE+U), as its wheel holds them.

7net-0 labels by default; 7net-l3i5 has features of one order more. Their energies are uncorrected, as VASP would give
them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from predictors.cpu import tune_cpu
from predictors.graph import CrystalLike
from predictors.potentials.base import check_surroundings
from predictors.potentials.named import installed


@dataclass(frozen=True)
class Weights:
    """What differs from one set of weights to another.

    version: the words after the package's version
    batch_cost, most_cost: edges, as in Potential; larger batches leave the cache and gain nothing on a CPU
    """

    version: str
    batch_cost: int
    most_cost: int


WEIGHTS = {"7net-0": Weights("", 1_500, 80_000), "7net-l3i5": Weights(" l3i5", 1_500, 33_000)}


class SevenNet:
    """A graph is the dict of arrays that sevenn builds of ASE's atoms, with vectors for edges."""

    zero: Mapping[int, float] = MappingProxyType({})

    def __init__(self, name: str) -> None:
        """One of WEIGHTS. Raise PotentialMissing where sevenn isn't installed."""
        weights = WEIGHTS[name]
        self.name, self.batch_cost, self.most_cost = name, weights.batch_cost, weights.most_cost
        self.version = f"sevenn {installed('sevenn')}{weights.version}"
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        from sevenn.calculator import SevenNetCalculator

        tune_cpu(1)
        self.calculator = SevenNetCalculator(name, device="cpu")
        self.elements = tuple(sorted(self.calculator.type_map))

    def encode(self, crystal: CrystalLike, smallest: float = 1.0) -> dict[str, Any]:
        """Edges as far as the cutoff reaches once lengths shrink to `smallest` of themselves. Raise BadCrystal."""
        from ase import Atoms
        from sevenn.train.dataload import unlabeled_atoms_to_graph

        cutoff = self.calculator.cutoff / smallest
        check_surroundings(crystal, self.elements, self.calculator.cutoff)
        atoms = Atoms(crystal.numbers, cell=crystal.lattice, scaled_positions=crystal.frac_coords, pbc=True)
        graph: dict[str, Any] = unlabeled_atoms_to_graph(atoms, cutoff, with_shift=False)
        return graph

    def scaled(self, encoded: dict[str, Any], factor: float) -> dict[str, Any]:
        """The graph after every length grew by `factor`: edges beyond the cutoff are gone."""
        from sevenn import _keys

        vectors = encoded[_keys.EDGE_VEC] * factor
        near = np.einsum("ij,ij->i", vectors, vectors) < self.calculator.cutoff**2
        return encoded | {
            _keys.POS: encoded[_keys.POS] * factor,
            _keys.CELL_VOLUME: encoded[_keys.CELL_VOLUME] * factor**3,
            _keys.EDGE_VEC: vectors[near],
            _keys.EDGE_IDX: encoded[_keys.EDGE_IDX][:, near],
        }

    def cost(self, encoded: dict[str, Any]) -> int:
        """Its edges."""
        from sevenn import _keys

        return len(encoded[_keys.EDGE_VEC])

    def energies(self, encoded: Sequence[dict[str, Any]]) -> list[float]:
        """Raw energies in eV per cell: without forces and in batches 2.5 times the rate of the calculator."""
        import torch
        from sevenn import _keys
        from sevenn.atom_graph_data import AtomGraphData
        from torch_geometric.data import Batch

        model = self.calculator.model
        graphs = [AtomGraphData.from_numpy_dict(dict(graph)) for graph in encoded]
        data = model._preprocess(Batch.from_data_list(graphs))
        model.set_is_batch_data(True)
        try:
            with torch.no_grad():
                for name, module in model._modules.items():
                    if name != "force_output":
                        data = module(data)
        finally:
            model.set_is_batch_data(False)  # the calculator asks the same model about one crystal
        energies: list[float] = data[_keys.PRED_TOTAL_ENERGY].reshape(-1).tolist()
        return energies
