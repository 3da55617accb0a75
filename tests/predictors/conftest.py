"""Small crystals with a made-up energy that a structure model can learn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from predictors.augmentation import Perturbation, PlainCrystal
from predictors.structure_model import StructureConfig, StructureModel
from predictors.train import TrainConfig
from predictors.training_set import TrainingSet, read_training_set

SYMBOLS = {3: "Li", 8: "O", 9: "F", 11: "Na", 12: "Mg", 16: "S", 17: "Cl", 19: "K", 20: "Ca", 35: "Br"}
SMALL = StructureConfig(width=16, edge_width=16, steps=2, cutoff=4.0, max_neighbors=16)


def random_crystal(
    rng: np.random.Generator, atoms: int = 4, elements: tuple[int, ...] = tuple(SYMBOLS)
) -> PlainCrystal:
    lattice = np.eye(3) * 4.2 + rng.normal(0, 0.3, (3, 3))
    grid = np.array([[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]])[:atoms]
    coords = grid + rng.normal(0, 0.03, (atoms, 3))
    return PlainCrystal(lattice, rng.choice(elements, atoms).astype(np.int16), coords)


def made_up_energy(crystal: PlainCrystal) -> float:
    volume = abs(np.linalg.det(crystal.lattice)) / len(crystal.numbers)
    return float(-0.05 * np.sqrt(crystal.numbers).mean() - 0.1 * np.std(crystal.numbers) ** 0.5 + 0.01 * (volume - 18))


def formula_of(crystal: PlainCrystal) -> str:
    numbers, counts = np.unique(crystal.numbers, return_counts=True)
    counts = counts // np.gcd.reduce(counts)
    parts = sorted(zip([SYMBOLS[z] for z in numbers.tolist()], counts.tolist(), strict=True))
    return "".join(f"{symbol}{count if count > 1 else ''}" for symbol, count in parts)


def write_table(path: Path, crystals: list[PlainCrystal]) -> Path:
    columns = {
        "formula": [formula_of(c) for c in crystals],
        "lattice": [c.lattice.ravel().tolist() for c in crystals],
        "numbers": [c.numbers.tolist() for c in crystals],
        "frac_coords": [c.frac_coords.ravel().tolist() for c in crystals],
        "target": [made_up_energy(c) for c in crystals],
    }
    pa.parquet.write_table(pa.table(columns), path)
    return path


@pytest.fixture(scope="session")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    crystals = [random_crystal(rng, int(rng.integers(1, 5))) for _ in range(80)]
    return write_table(tmp_path_factory.mktemp("data") / "train.parquet", crystals)


@pytest.fixture(scope="session")
def data(table: Path) -> TrainingSet:
    return read_training_set(table)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


@pytest.fixture
def plan() -> TrainConfig:
    return TrainConfig(model=SMALL, perturbation=Perturbation(probability=0.5), epochs=4, batch_size=16)


@pytest.fixture
def model(rng: np.random.Generator) -> StructureModel:
    """Weights by chance, all of them in use."""
    import torch

    torch.manual_seed(0)
    model = StructureModel(SMALL)
    model.baseline.copy_(torch.from_numpy(rng.normal(size=119).astype(np.float32)))
    model.adjacency.fill_(12.0)
    return model.eval()
