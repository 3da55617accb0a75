"""Several processes that train one model: each takes its share of every batch (torch's DistributedDataParallel).

torchrun starts them: `torchrun --nproc-per-node 2 -m predictors.train_plan PLAN.json`; a GPU each where there are some
(NCCL), CPUs elsewhere (gloo). Gradients are those of one process with the whole batch.
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

from predictors.errors import BadConfig


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

    def weight(self, indices: NDArray[np.intp]) -> float:
        """What the mean loss of this process's part counts, so that the mean over the crew is that of the batch."""
        return len(self.share(indices)) * self.size / len(indices) if len(indices) >= self.size else 1.0

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
    """The crew that torchrun started this process in, or a crew of one. Raise BadConfig for too few GPUs."""
    size, rank, local = (int(os.environ.get(name, of_one)) for name, of_one in ENVIRONMENT.items())
    cuda = torch.cuda.is_available()
    device = device_of(local, size, torch.cuda.device_count()) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(device)
    if size == 1:
        yield Crew(0, 1, device)
        return
    distributed.init_process_group("nccl" if cuda else "gloo")
    try:
        yield Crew(rank, size, device)
    finally:
        distributed.destroy_process_group()


def device_of(local: int, size: int, gpus: int) -> torch.device:
    """The GPU of a process: one each in a crew, which raises BadConfig for too few; those alone share what is there."""
    if size > 1 and local >= gpus:
        raise BadConfig(f"{gpus} GPUs here: start as many processes")
    return torch.device(f"cuda:{local % gpus}")


ENVIRONMENT = {"WORLD_SIZE": "1", "RANK": "0", "LOCAL_RANK": "0"}
"""What torchrun tells, and what holds without it."""
