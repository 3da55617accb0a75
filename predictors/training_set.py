"""The crystals to learn from: a parquet table, read, checked and split."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from predictors.augmentation import PlainCrystal
from predictors.errors import BadCrystal, BadTrainingSet
from predictors.graph import HEAVIEST, CrystalLike, check_crystal
from predictors.splits import Split, composition_key, split_of

COLUMNS = ("formula", "lattice", "numbers", "frac_coords", "target")


@dataclass(frozen=True, eq=False)
class TrainingSet:
    """Crystals with their energies at one level.

    crystals: m of them; targets: (m,) float32, formation energy per atom, eV; split: m names
    excluded: the formulas that were asked to be left out, whether the table held them or not, sorted
    data_hash: SHA-256 of the table's file
    """

    crystals: Sequence[CrystalLike]
    targets: NDArray[np.float32]
    splits: list[Split]
    excluded: tuple[str, ...]
    data_hash: str

    def part(self, split: Split) -> NDArray[np.intp]:
        """The indices of one part."""
        return np.array([i for i, each in enumerate(self.splits) if each == split], dtype=np.intp)

    def elements(self) -> list[int]:
        """The atomic numbers that the training part holds."""
        return sorted({int(z) for i in self.part(Split.TRAIN) for z in self.crystals[i].numbers})


def read_training_set(path: Path, excluded: Iterable[str] = (), max_sites: int | None = None) -> TrainingSet:
    """Read a table with the columns `formula`, `lattice` (9), `numbers` (n), `frac_coords` (3n), `target` (eV/atom).

    Rows of an excluded composition, however its formula is written, are in no part at all. Raise BadTrainingSet.
    """
    forbidden = {composition_key(formula): formula for formula in excluded}
    crystals, targets, splits = [], [], []
    for row in _rows(path):
        if composition_key(row["formula"]) in forbidden or (max_sites and len(row["numbers"]) > max_sites):
            continue
        crystals.append(_crystal(row["formula"], row["lattice"], row["numbers"], row["frac_coords"]))
        targets.append(row["target"])
        splits.append(split_of(row["formula"]))
    energies = np.array(targets, dtype=np.float32)
    _check(path.name, energies, splits)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return TrainingSet(crystals, energies, splits, tuple(sorted(forbidden.values())), digest)


def _rows(path: Path) -> list[dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.is_file():
        raise BadTrainingSet(f"no training table at {path}")
    try:
        table = pq.read_table(path)
    except pa.ArrowInvalid as error:
        raise BadTrainingSet(f"{path.name} isn't a parquet table: {error}") from error
    missing = [name for name in COLUMNS if name not in table.column_names]
    if missing:
        raise BadTrainingSet(f"{path.name} lacks the columns {', '.join(missing)}")
    rows: list[dict[str, Any]] = table.select(list(COLUMNS)).to_pylist()
    return rows


def _crystal(formula: str, lattice: list[float], numbers: list[int], coords: list[float]) -> PlainCrystal:
    try:
        crystal = PlainCrystal(
            np.array(lattice, dtype=np.float64).reshape(3, 3),
            np.array(numbers, dtype=np.int16),
            np.array(coords, dtype=np.float64).reshape(-1, 3),
        )
        check_crystal(crystal)
    except (BadCrystal, ValueError) as error:
        raise BadTrainingSet(f"a row of {formula}: {error}") from error
    return crystal


def _check(name: str, energies: NDArray[np.float32], splits: list[Split]) -> None:
    if not np.isfinite(energies).all():
        raise BadTrainingSet(f"{name}: {int((~np.isfinite(energies)).sum())} targets are missing, NaN or infinite")
    for split in (Split.TRAIN, Split.VALIDATION):
        if split not in splits:
            raise BadTrainingSet(f"{name}: no crystal to use for {split}, once the excluded formulas are left out")


def fit_baseline(data: TrainingSet, indices: NDArray[np.intp], ridge: float = 1e-3) -> NDArray[np.float32]:
    """One energy per element, (119,) eV per atom: least squares of the targets on the atomic fractions."""
    fractions = np.zeros((len(indices), HEAVIEST + 1))
    for row, index in enumerate(indices):
        numbers = data.crystals[index].numbers
        np.add.at(fractions[row], numbers, 1 / len(numbers))
    normal = fractions.T @ fractions + ridge * np.eye(HEAVIEST + 1)
    return np.linalg.solve(normal, fractions.T @ data.targets[indices]).astype(np.float32)
