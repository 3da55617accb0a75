"""A structure ensemble of a few weights drawn by chance, seeded: what tests of the loop score with."""

from __future__ import annotations

from pathlib import Path

from tests.workers.standin import NAME

ELEMENTS = (3, 8, 9, 11, 12, 16, 17, 19, 20, 35)


def save_tiny_model(folder: Path, level: str = NAME, members: int = 3) -> Path:
    """Write the ensemble as the project ships its own; the folder."""
    import torch

    from predictors.checkpoint import save_model
    from predictors.ensemble import Ensemble
    from predictors.model_files import ModelRecord
    from predictors.structure_model import StructureConfig, StructureModel

    torch.manual_seed(1)
    config = StructureConfig(width=8, steps=1, cutoff=4.0, max_neighbors=12, gaussians=8)
    built = [StructureModel(config).eval() for _ in range(members)]
    for member in built:
        member.baseline.fill_(-0.5)
        member.scale.fill_(0.3)
        member.adjacency.fill_(8.0)
    save_model(Ensemble(built, ModelRecord(level, ELEMENTS, data_hash=f"by chance, {level}")), folder)
    return folder


def save_tiny_composition_model(folder: Path, level: str = "mp2018", members: int = 2) -> Path:
    """An ensemble that predicts formulas of Li, O, Na and Cl; the folder."""
    import torch

    from predictors.checkpoint import save_model
    from predictors.composition_model import CompositionConfig
    from predictors.ensemble import Ensemble
    from predictors.model_files import ModelRecord

    torch.manual_seed(0)
    built = [CompositionConfig(width=8, steps=1).build().eval() for _ in range(members)]
    save_model(Ensemble(built, ModelRecord(level, (3, 8, 11, 17))), folder)
    return folder
