"""Several processes that train one model: each takes its share of every batch (torch's DistributedDataParallel).

torchrun starts them: `torchrun --nproc-per-node 2 ...`; a GPU each where there are some (NCCL), CPUs elsewhere (gloo).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import distributed, nn


@dataclass(frozen=True)
class Crew:
    """The processes of one training as one of them sees it: its number among how many, and its device."""

    rank: int
    size: int
    device: torch.device

    @property
    def leads(self) -> bool:
        """Whether this is the one that writes."""
        return self.rank == 0

    def wrap(self, model: nn.Module) -> nn.Module:
        """The model whose gradients are averaged over the crew."""
        if self.size == 1:
            return model
        from torch.nn.parallel import DistributedDataParallel

        return DistributedDataParallel(model)

    def share(self, indices: NDArray[np.intp]) -> NDArray[np.intp]:
        """This process's part of a batch; the whole one where there is too little for all."""
        return indices[self.rank :: self.size] if len(indices) >= self.size else indices

    def total(self, value: float) -> float:
        """The sum over the crew."""
        if self.size == 1:
            return value
        tensor = torch.tensor(value, dtype=torch.float64, device=self.device)
        distributed.all_reduce(tensor)
        return float(tensor)

    def mean(self, value: float) -> float:
        """The mean over the crew."""
        return self.total(value) / self.size

    def agree(self, answer: bool) -> bool:
        """Whether any of the crew says so: all leave a loop at the same step, or none."""
        return self.total(float(answer)) > 0


@contextmanager
def join_crew() -> Iterator[Crew]:
    """The crew that torchrun started this process in, or a crew of one."""
    cuda = torch.cuda.is_available()
    size = int(os.environ.get("WORLD_SIZE", "1"))
    rank, local = int(os.environ.get("RANK", "0")), int(os.environ.get("LOCAL_RANK", "0"))
    device = torch.device(f"cuda:{local}" if cuda else "cpu")
    if size == 1:
        yield Crew(0, 1, device)
        return
    distributed.init_process_group("nccl" if cuda else "gloo")
    try:
        yield Crew(rank, size, device)
    finally:
        distributed.destroy_process_group()
