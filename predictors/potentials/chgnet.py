"""CHGNet 0.3.0 (Deng et al., Nat. Mach. Intell. 5, 1031, 2023; MPtrj, PBE/PBE+U), as its package's wheel holds it.

It learnt energies with the corrections of MaterialsProject2020Compatibility in them: they are never corrected again.
"""

from __future__ import annotations

import contextlib
import copy
import io
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from predictors.cpu import tune_cpu
from predictors.errors import BadCrystal
from predictors.graph import CrystalLike
from predictors.potentials.base import check_surroundings
from predictors.potentials.named import installed

ELEMENTS = (*range(1, 84), *range(89, 95))
"""All that MPtrj holds: hydrogen to plutonium, but for polonium to radium."""


class CHGNet:
    """A graph is chgnet's CrystalGraph: bonds to 6 angstrom, and angles between those up to 3."""

    name = "chgnet"
    elements = ELEMENTS
    batch_cost = 3_000  # bonds and angles
    most_cost = 900_000

    def __init__(self) -> None:
        """Raise PotentialMissing where chgnet isn't installed."""
        self.version = f"chgnet {installed('chgnet')}"
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        from chgnet.model.dynamics import CHGNetCalculator
        from chgnet.model.model import CHGNet as Network

        tune_cpu(1)
        with contextlib.redirect_stdout(io.StringIO()):  # it prints what it loads, between the lines of our JSON
            self._model = Network.load(use_device="cpu", verbose=False).eval()
            self.calculator = CHGNetCalculator(self._model, use_device="cpu", on_isolated_atoms="ignore")

    def encode(self, crystal: CrystalLike, smallest: float = 1.0) -> Any:
        """Bonds as far as both cutoffs reach once lengths shrink to `smallest` of themselves. Raise BadCrystal."""
        from chgnet.graph import CrystalGraphConverter
        from pymatgen.core import Structure

        cutoffs = [self._model.graph_converter.atom_graph_cutoff, self._model.graph_converter.bond_graph_cutoff]
        check_surroundings(crystal, self.elements, cutoffs[0])
        convert = CrystalGraphConverter(
            atom_graph_cutoff=cutoffs[0] / smallest, bond_graph_cutoff=cutoffs[1] / smallest
        )
        structure = Structure(crystal.lattice, np.asarray(crystal.numbers).tolist(), crystal.frac_coords)
        try:
            return convert(structure)
        except (RuntimeError, ValueError) as error:
            raise BadCrystal(f"chgnet builds no graph of it: {error}") from error

    def scaled(self, encoded: Any, factor: float) -> Any:
        """The graph after every length grew by `factor`. Bonds beyond the cutoffs stay: they weigh nothing."""
        graph = copy.copy(encoded)
        graph.lattice = encoded.lattice.detach() * factor
        return graph

    def cost(self, encoded: Any) -> int:
        """Its bonds and angles."""
        return len(encoded.atom_graph) + len(encoded.bond_graph)

    def energies(self, encoded: Sequence[Any]) -> list[float]:
        """Energies in eV per cell, corrections inside."""
        import torch

        with torch.no_grad():
            per_atom = self._model(list(encoded), task="e")["e"].tolist()
        return [energy * len(graph.atomic_number) for energy, graph in zip(per_atom, encoded, strict=True)]
