"""An optimizer's memory by name, so that it can be stored as tensors."""

from __future__ import annotations

import torch

from predictors.checkpoint import TrainingState


def optimizer_groups(optimizer: torch.optim.Optimizer, model: torch.nn.Module) -> dict[str, dict[str, torch.Tensor]]:
    """The optimizer's memory by kind ("exp_avg", ...) and parameter name."""
    groups: dict[str, dict[str, torch.Tensor]] = {}
    for name, parameter in model.named_parameters():
        for kind, value in optimizer.state[parameter].items():
            groups.setdefault(f"optimizer_{kind}", {})[name] = value
    return groups


def restore_optimizer(optimizer: torch.optim.Optimizer, model: torch.nn.Module, state: TrainingState) -> None:
    """Give the optimizer back the memory that `optimizer_groups` took."""
    kinds = [group.removeprefix("optimizer_") for group in state.groups if group.startswith("optimizer_")]
    for name, parameter in model.named_parameters():
        optimizer.state[parameter] = {
            kind: state.group(f"optimizer_{kind}")[name].to(parameter.device) for kind in kinds
        }
