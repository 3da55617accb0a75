"""The crystals to learn from: a parquet table, read, checked and split."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from predictors.augmentation import PlainCrystal
from predictors.errors import BadCrystal, BadTrainingSet
from predictors.graph import HEAVIEST, CrystalLike, check_crystal
from predictors.splits import Split, composition_key, split_table
from predictors.training_table import Part, read_table


@dataclass(frozen=True, eq=False)
class TrainingSet:
    """Crystals with their energies at one level.

    crystals: m of them; targets: (m,) float32, formation energy per atom, eV; split: m names
    excluded: the formulas that were asked to be left out, whether the table held them or not, sorted
    data_hash: SHA-256 over the table's values, those of excluded formulas too
    split_by: the way of predictors.splits; parts: the tables that the rows came from
    """

    crystals: Sequence[CrystalLike]
    targets: NDArray[np.float32]
    splits: list[Split]
    excluded: tuple[str, ...]
    data_hash: str
    split_by: str = "formula"
    parts: tuple[Part, ...] = ()

    def part(self, split: Split) -> NDArray[np.intp]:
        """The indices of one part."""
        return np.array([i for i, each in enumerate(self.splits) if each == split], dtype=np.intp)

    def elements(self) -> list[int]:
        """The atomic numbers that the training part holds."""
        return sorted({int(z) for i in self.part(Split.TRAIN) for z in self.crystals[i].numbers})


def read_training_set(
    path: Path, excluded: Iterable[str] = (), max_sites: int | None = None, split_by: str = "formula"
) -> TrainingSet:
    """Read a table with the columns `formula`, `lattice` (9), `numbers` (n), `frac_coords` (3n), `target` (eV/atom).

    Rows of an excluded composition, however its formula is written, are in no part at all; where the parts begin and
    end doesn't depend on what is left out. Raise BadTrainingSet.
    """
    forbidden = {composition_key(formula): formula for formula in excluded}
    table = read_table(path)
    columns = {name: table.rows[name].to_pylist() for name in table.rows.column_names}
    kept = [
        row
        for row, formula in enumerate(columns["formula"])
        if composition_key(_known(formula)) not in forbidden
        and len(columns["numbers"][row] or ()) <= (max_sites or np.inf)
    ]
    parts = split_table(split_by, columns)
    crystals = [_crystal(*(columns[name][row] for name in CRYSTAL)) for row in kept]
    energies = np.array([columns["target"][row] for row in kept], dtype=np.float32)
    splits = [parts[row] for row in kept]
    _check(path.name, energies, splits)
    excluded_formulas = tuple(sorted(forbidden.values()))
    return TrainingSet(crystals, energies, splits, excluded_formulas, table.sha256, split_by, tuple(table.parts))


CRYSTAL = ("formula", "lattice", "numbers", "frac_coords")


def _known(formula: str | None) -> str:
    if formula is None:
        raise BadTrainingSet("a row has no formula")
    return formula


def _crystal(formula: str, lattice: list[float], numbers: list[int], coords: list[float]) -> PlainCrystal:
    try:
        crystal = PlainCrystal(
            np.array(lattice, dtype=np.float64).reshape(3, 3),
            np.array(numbers, dtype=np.int16),
            np.array(coords, dtype=np.float64).reshape(-1, 3),
        )
        check_crystal(crystal)
    except (BadCrystal, ValueError, TypeError, OverflowError) as error:
        raise BadTrainingSet(f"a row of {formula}: {error}") from error
    return crystal


def _check(name: str, energies: NDArray[np.float32], splits: list[Split]) -> None:
    if not np.isfinite(energies).all():
        raise BadTrainingSet(f"{name}: {int((~np.isfinite(energies)).sum())} targets are missing, NaN or infinite")
    for split in (Split.TRAIN, Split.VALIDATION):
        if split not in splits:
            raise BadTrainingSet(
                f"{name}: no crystal to use for {split}, of {len(splits)} that aren't of excluded formulas or too large"
            )


def fit_baseline(data: TrainingSet, indices: NDArray[np.intp], ridge: float = 1e-3) -> NDArray[np.float32]:
    """One energy per element, (119,) eV per atom: least squares of the targets on the atomic fractions."""
    fractions = np.zeros((len(indices), HEAVIEST + 1))
    for row, index in enumerate(indices):
        numbers = data.crystals[index].numbers
        np.add.at(fractions[row], numbers, 1 / len(numbers))
    normal = fractions.T @ fractions + ridge * np.eye(HEAVIEST + 1)
    return np.linalg.solve(normal, fractions.T @ data.targets[indices]).astype(np.float32)
