"""CHGNet's pretrained potentials, as its package's wheel holds them.

chgnet is CHGNet 0.3.0 (Deng et al., Nat. Mach. Intell. 5, 1031, 2023; MPtrj, PBE/PBE+U). It learnt energies with the
corrections of MaterialsProject2020Compatibility in them: they are never corrected again.

chgnet-r2scan went on from there with Materials Project's r2SCAN calculations, uncorrected (Huang et al., npj Comput.
Mater., 2025). No scheme corrects r2SCAN.
"""

from __future__ import annotations

import contextlib
import copy
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from predictors.cpu import tune_cpu
from predictors.errors import BadCrystal
from predictors.graph import CrystalLike
from predictors.potentials.base import check_surroundings
from predictors.potentials.named import installed

YTTERBIUM = 70  # none of it is in Materials Project's r2SCAN set
MPTRJ = (*range(1, 84), *range(89, 95))
"""All that MPtrj holds: hydrogen to plutonium, but for polonium to radium."""


@dataclass(frozen=True)
class Weights:
    """What differs from one set of weights to another.

    chgnet: chgnet's own name of them; version: the words after the package's version
    """

    chgnet: str
    version: str
    elements: tuple[int, ...]


WEIGHTS = {
    "chgnet": Weights("0.3.0", "", MPTRJ),
    "chgnet-r2scan": Weights("r2scan", " r2scan", tuple(z for z in MPTRJ if z != YTTERBIUM)),
}


class CHGNet:
    """A graph is chgnet's CrystalGraph: bonds to 6 angstrom, and angles between those up to 3."""

    batch_cost = 3_000  # bonds and angles
    most_cost = 900_000

    def __init__(self, name: str) -> None:
        """One of WEIGHTS. Raise PotentialMissing where chgnet isn't installed."""
        weights = WEIGHTS[name]
        self.name, self.elements = name, weights.elements
        self.version = f"chgnet {installed('chgnet')}{weights.version}"
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        from chgnet.model.dynamics import CHGNetCalculator
        from chgnet.model.model import CHGNet as Network

        tune_cpu(1)
        with contextlib.redirect_stdout(io.StringIO()):  # it prints what it loads, between the lines of our JSON
            self._model = Network.load(model_name=weights.chgnet, use_device="cpu", verbose=False).eval()
            self.calculator = CHGNetCalculator(self._model, use_device="cpu", on_isolated_atoms="ignore")
        atoms: Any = self._model.composition_model
        self.zero = dict(enumerate(atoms.fc.weight[0].tolist(), 1))

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
        """Energies in eV per cell; those of chgnet have the corrections inside."""
        import torch

        with torch.no_grad():
            per_atom = self._model(list(encoded), task="e")["e"].tolist()
        return [energy * len(graph.atomic_number) for energy, graph in zip(per_atom, encoded, strict=True)]
