"""Run by torchrun from test_distributed.py: the gradients that a crew finds, written by each of its processes.

python -m tests.predictors.gradients TABLE FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from predictors.augmentation import Perturbation
from predictors.distributed import Crew, join_crew
from predictors.train import Member
from predictors.train_config import TrainConfig
from predictors.training_set import TrainingSet, read_training_set
from tests.predictors.conftest import SMALL

SIZES = (16, 7, 1)
"""Of batches: one that is shared evenly, one that isn't, one that is too small to share."""


def gradients(data: TrainingSet, crew: Crew) -> dict[str, torch.Tensor]:
    """Of the losses of three batches, by size and weight; `loss` is this process's, averaged over the crew."""
    plan = TrainConfig(model=SMALL, perturbation=Perturbation(probability=0.5))
    found = {}
    for size in SIZES:
        member = Member(data, plan, 3, crew)
        loss = member._loss(np.sort(member.training)[:size])
        torch.autograd.backward(loss)
        for name, weight in member.model.named_parameters():
            if weight.grad is not None:
                found[f"{size}/{name}"] = weight.grad
        found[f"{size}/loss"] = torch.tensor(crew.mean(loss.item()))
    return found


if __name__ == "__main__":
    torch.set_num_threads(1)
    with join_crew() as crew:
        save_file(gradients(read_training_set(Path(sys.argv[1])), crew), Path(sys.argv[2]) / str(crew.rank))
