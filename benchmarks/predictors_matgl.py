"""matgl's MEGNet and M3GNet, trained by a plain loop.

What they get: their published shapes (every default of matgl, MEGNet's `include_state` among them), targets
standardised as in their ModelLightningModule, its Adam with a learning rate of 1e-3 and its cosine decay to 1 %, timed
so that it ends with the run; batches of 32, the default of their trainer; the L1 loss, which is what both sides are
judged by (their default, the squared error, is not); the weights of the epoch with the least validation error. Graphs
are built before the clock starts, but for M3GNet's line graphs (triples of atoms), which matgl's `collate_fn_graph`
leaves to each forward pass: its users pay for them as well. Lightning's trainer is left out: it would cost them time
at every step.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pymatgen.core import Structure
from torch.nn.functional import l1_loss

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from matgl.ext.pymatgen import Structure2Graph
    from matgl.graph.data import collate_fn_graph
    from matgl.models import M3GNet, MEGNet
    from matgl.utils.training import ModelLightningModule

BATCH = 32
PEERS = {"megnet": MEGNet, "m3gnet": M3GNet}
Example = tuple[Any, torch.Tensor, torch.Tensor, dict[str, float]]


@dataclass(frozen=True, eq=False)
class Data:
    """Graphs with their energies, and which of them to learn from and to stop by."""

    examples: list[Example]
    training: NDArray[np.intp]
    validation: NDArray[np.intp]

    def targets(self, indices: NDArray[np.intp]) -> NDArray[np.float64]:
        return np.array([self.examples[i][3]["energy"] for i in indices])


@dataclass(frozen=True)
class Run:
    """epochs: whole ones that were done; per_second: structures trained on, validation left out."""

    epochs: int
    seconds: float
    per_second: float


class Peer:
    """A model of matgl with untrained weights."""

    def __init__(self, name: str, cutoff: float | None = None, seed: int = 0) -> None:
        torch.manual_seed(seed)
        self.model = PEERS[name](**({} if cutoff is None else {"cutoff": cutoff}))
        self.converter = Structure2Graph(self.model.element_types, self.model.cutoff)
        self.module = ModelLightningModule(self.model)

    def examples(self, structures: Sequence[Structure], targets: Sequence[float]) -> list[Example]:
        found = []
        for structure, target in zip(structures, targets, strict=True):
            graph, lattice, state = self.converter.get_graph(structure)
            found.append((graph, lattice, torch.tensor(state, dtype=torch.float32), {"energy": float(target)}))
        return found

    def energies(self, examples: Sequence[Example]) -> torch.Tensor:
        """(b,) in the module's units."""
        graph, lattice, state, _ = collate_fn_graph(list(examples))
        found: torch.Tensor = self.module(graph, lattice, state_attr=state).reshape(-1)
        return found * self.module.data_std + self.module.data_mean

    @torch.no_grad()
    def predict(self, examples: Sequence[Example], batch: int = 64) -> NDArray[np.float64]:
        """(n,) eV per atom."""
        self.model.eval()
        parts = [self.energies(examples[start : start + batch]) for start in range(0, len(examples), batch)]
        return torch.cat(parts).numpy().astype(np.float64)

    def train(self, data: Data, minutes: float, batch: int = BATCH, seed: int = 0) -> Run:
        """For so long; ends with the best weights."""
        energies = data.targets(data.training)
        self.module.data_mean, self.module.data_std = float(energies.mean()), float(energies.std())
        optimizer = torch.optim.Adam(self.model.parameters(), lr=self.module.lr)
        rng, began, training = np.random.default_rng(seed), time.monotonic(), 0.0
        best, weights, epochs, seen = float("inf"), deepcopy(self.model.state_dict()), 0, 0
        while (elapsed := time.monotonic() - began) < 60 * minutes:
            order, before = rng.permutation(data.training), time.monotonic()
            for indices in np.split(order, range(batch, len(order), batch)):
                elapsed = time.monotonic() - began
                if elapsed >= 60 * minutes:
                    break
                self._step(data, indices, optimizer, elapsed / (60 * minutes))
                seen += len(indices)
            training += time.monotonic() - before
            epochs = seen // len(order)
            error = float(np.abs(self.predict(self._of(data, data.validation)) - data.targets(data.validation)).mean())
            if error < best:
                best, weights = error, deepcopy(self.model.state_dict())
        self.model.load_state_dict(weights)
        return Run(epochs, time.monotonic() - began, seen / training)

    def _step(self, data: Data, indices: NDArray[np.intp], optimizer: torch.optim.Optimizer, share: float) -> None:
        lowest = self.module.decay_alpha
        for group in optimizer.param_groups:
            group["lr"] = self.module.lr * (lowest + (1 - lowest) * 0.5 * (1 + float(np.cos(np.pi * share))))
        self.train_step(self._of(data, indices), optimizer)

    def train_step(self, examples: Sequence[Example], optimizer: torch.optim.Optimizer) -> None:
        self.model.train()
        loss = l1_loss(self.energies(examples), torch.tensor([one[3]["energy"] for one in examples]))
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimizer.step()

    def _of(self, data: Data, indices: NDArray[np.intp]) -> list[Example]:
        return [data.examples[i] for i in indices]
