"""A structure ensemble of a few weights drawn by chance, seeded: what tests of the loop score with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tests.workers.standin import NAME

if TYPE_CHECKING:
    from predictors.training_set import TrainingSet

ELEMENTS = (3, 8, 9, 11, 12, 16, 17, 19, 20, 35)


def save_tiny_model(folder: Path, level: str = NAME, members: int = 3, confident: bool = False) -> Path:
    """Write the ensemble as the project ships its own; the folder. confident: with the calibration of `salts`."""
    import torch

    from predictors.checkpoint import save_model
    from predictors.confidence import fitted
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
    ensemble = Ensemble(built, ModelRecord(level, ELEMENTS, data_hash=f"by chance, {level}"))
    save_model(fitted(ensemble, salts()) if confident else ensemble, folder)
    return folder


def salts() -> TrainingSet:
    """Cells of two unlike atoms, 3.8 to 4.2 angstrom wide: to learn from the even ones, the odd ones to check."""
    from itertools import combinations

    import numpy as np

    from predictors.augmentation import PlainCrystal
    from predictors.splits import Split
    from predictors.training_set import TrainingSet

    rng = np.random.default_rng(0)
    pairs = [(pair, width) for pair in combinations(ELEMENTS, 2) for width in (3.8, 3.9, 4.0, 4.1, 4.2)]
    coords = np.array([[0, 0, 0], [0.5, 0.5, 0.5]])
    crystals = [PlainCrystal(np.eye(3) * width, np.array(pair, dtype=np.int16), coords) for pair, width in pairs]
    splits = [Split.VALIDATION if i % 2 else Split.TRAIN for i in range(len(pairs))]
    return TrainingSet(crystals, rng.normal(-0.5, 0.1, len(pairs)).astype(np.float32), splits, (), "")


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
