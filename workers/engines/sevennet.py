"""7net-0: the pretrained potential that labels by default (Park et al., JCTC 20, 4857, 2024; MPtrj, PBE/PBE+U)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

from registry.crystal import Crystal
from registry.errors import MissingExtra
from workers.engines.base import Beat, Label, Relaxation
from workers.engines.relaxation import relax_with, static_with, to_atoms

BATCH = 4  # crystals per forward pass; larger batches leave the cache and gain nothing on a CPU


class SevenNet:
    """One thread, denormals flushed (they slow matrix products 5-fold)."""

    name = "7net-0"

    def __init__(self) -> None:
        self.version = f"sevenn {_installed('sevenn')}"
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        import torch
        from sevenn.calculator import SevenNetCalculator

        torch.set_num_threads(1)
        torch.set_flush_denormal(True)
        self._calculator = SevenNetCalculator("7net-0", device="cpu")

    def relax(self, crystal: Crystal, settings: Relaxation, beat: Beat) -> Label:
        return relax_with(self._calculator, crystal, settings, beat)

    def static(self, crystal: Crystal) -> Label:
        return static_with(self._calculator, crystal)

    def energies(self, crystals: Sequence[Crystal]) -> list[float]:
        """Batched and without the gradient that forces need: 2.5 times the rate of `static`."""
        found: list[float] = []
        for start in range(0, len(crystals), BATCH):
            found += self._forward(crystals[start : start + BATCH])
        return found

    def _forward(self, crystals: Sequence[Crystal]) -> list[float]:
        import torch
        from sevenn import _keys
        from sevenn.atom_graph_data import AtomGraphData
        from sevenn.train.dataload import unlabeled_atoms_to_graph
        from torch_geometric.data import Batch

        model, cutoff = self._calculator.model, self._calculator.cutoff
        graphs = [unlabeled_atoms_to_graph(to_atoms(crystal), cutoff, with_shift=False) for crystal in crystals]
        data = model._preprocess(Batch.from_data_list([AtomGraphData.from_numpy_dict(graph) for graph in graphs]))
        model.set_is_batch_data(True)
        with torch.no_grad():
            for name, module in model._modules.items():
                if name != "force_output":
                    data = module(data)
        model.set_is_batch_data(False)
        energies: list[float] = data[_keys.PRED_TOTAL_ENERGY].reshape(-1).tolist()
        return energies


def _installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        raise MissingExtra(package, "potentials") from None
