"""The crystals, or for models without structures the compositions, to learn from: a table, read, checked and split."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from predictors.augmentation import PlainCrystal
from predictors.compositions import PlainComposition, composition_of
from predictors.errors import BadCrystal, BadTrainingSet
from predictors.graph import HEAVIEST, CrystalLike, check_apart, check_crystal
from predictors.splits import Split, column_of, composition_key, key_of, md5_bucket, split_table
from predictors.training_table import STRUCTURE, Part, read_table

LARGEST_GROUND_STATE = 5.0
"""eV/atom either way. No compound is that firm; what says so is a calculation that went wrong."""

LARGEST_ENERGY = 50.0
"""eV/atom either way. Atoms pressed together reach some tens; beyond are total energies, or none at all."""


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

    def fold(self, count: int) -> NDArray[np.intp]:
        """(m,) which of `count` folds each crystal is in: by the MD5 of its composition, so that none is in two.

        Where each member of an ensemble leaves one of them out of its training, there is for every training crystal an
        error of a member that never saw it (the jackknife+ of Barber et al., Ann. Stat. 49, 486, 2021).
        """
        return np.array([md5_bucket(key, count) for key in self._compositions], dtype=np.intp)

    @cached_property
    def _compositions(self) -> list[str]:
        return [key_of(crystal.numbers) for crystal in self.crystals]

    def ensure_learnable(self) -> None:
        """Raise BadTrainingSet unless there is something to learn from, and something to stop by."""
        for split in (Split.TRAIN, Split.VALIDATION):
            if split not in self.splits:
                count = len(self.splits)
                raise BadTrainingSet(
                    f"no crystal to use for {split}, of {count} that aren't of excluded formulas or too large"
                )

    def elements(self) -> list[int]:
        """The atomic numbers that the training part holds."""
        return sorted({int(z) for i in self.part(Split.TRAIN) for z in self.crystals[i].numbers})


def read_training_set(
    path: Path,
    excluded: Iterable[str] = (),
    max_sites: int | None = None,
    split_by: str = "formula",
    structures: bool = True,
) -> TrainingSet:
    """Read a table with the columns `formula`, `target` (eV/atom) and, for models that need structures, `lattice` (9),
    `numbers` (n), `frac_coords` (3n).

    structures: without, the compositions of the formulas are what is learnt from: each once, with its lowest energy.
    Rows of an excluded composition, however its formula is written, are in no part at all; where the parts begin and
    end doesn't depend on what is left out. Raise BadTrainingSet.
    """
    table = read_table(path, structures)
    columns = _columns(table.rows, split_by, structures)
    parts = split_table(split_by, columns)
    keys = [composition_key(_known(formula)) for formula in columns["formula"]]
    forbidden = {composition_key(formula): formula for formula in excluded}
    kept = [row for row, key in enumerate(keys) if key not in forbidden]
    targets = _targets(path.name, columns, kept)
    kept = _small(columns, kept, max_sites) if structures else _ground_states(keys, targets, kept)
    splits = [parts[row] for row in kept]
    if not kept:
        raise BadTrainingSet(f"{path.name}: no crystal that isn't of an excluded formula or too large")
    crystals = _crystals(columns, keys, kept) if structures else _compositions(columns, keys, kept)
    excluded_formulas = tuple(sorted(forbidden.values()))
    return TrainingSet(crystals, targets[kept], splits, excluded_formulas, table.sha256, split_by, tuple(table.parts))


def _columns(rows: pa.Table, split_by: str, structures: bool) -> dict[str, list[Any]]:
    """Those that are read here, as plain values."""
    wanted = {"formula", "target", *(STRUCTURE if structures else ()), column_of(split_by)}
    return {name: rows[name].to_pylist() for name in rows.column_names if name in wanted}


def _targets(file: str, columns: Mapping[str, list[Any]], rows: list[int]) -> NDArray[np.float32]:
    """Of all rows; those of `rows` are numbers."""
    targets = np.array(columns["target"], dtype=np.float32)
    if wrong := int((~np.isfinite(targets[rows])).sum()):
        raise BadTrainingSet(f"{file}: {wrong} targets are missing, NaN or infinite")
    if wild := int((np.abs(targets[rows]) > LARGEST_ENERGY).sum()):
        raise BadTrainingSet(
            f"{file}: {wild} targets beyond {LARGEST_ENERGY:g} eV/atom: formation energies per atom are wanted"
        )
    return targets


def _small(columns: Mapping[str, list[Any]], rows: list[int], max_sites: int | None) -> list[int]:
    if max_sites is None:
        return rows
    return [row for row in rows if len(columns["numbers"][row] or ()) <= max_sites]


def _ground_states(keys: list[str], targets: NDArray[np.float32], rows: list[int]) -> list[int]:
    """The row of the lowest energy of each composition, in order, but for wild energies."""
    lowest: dict[str, int] = {}
    for row in rows:
        if abs(targets[row]) <= LARGEST_GROUND_STATE:
            best = lowest.setdefault(keys[row], row)
            if targets[row] < targets[best]:
                lowest[keys[row]] = row
    return sorted(lowest.values())


def _known(formula: str | None) -> str:
    if formula is None:
        raise BadTrainingSet("a row has no formula")
    return formula


def _compositions(columns: Mapping[str, list[Any]], keys: list[str], rows: list[int]) -> list[PlainComposition]:
    return [composition_of(columns["formula"][row], keys[row]) for row in rows]


def _crystals(columns: Mapping[str, list[Any]], keys: list[str], rows: list[int]) -> list[PlainCrystal]:
    found = [_crystal(columns["formula"][row], *(columns[name][row] for name in STRUCTURE)) for row in rows]
    for row, crystal in zip(rows, found, strict=True):
        if (held := key_of(crystal.numbers)) != keys[row]:
            raise BadTrainingSet(f"a row of {columns['formula'][row]} holds the atoms of {held}")
    return found


def _crystal(formula: str, lattice: list[float], numbers: list[int], coords: list[float]) -> PlainCrystal:
    try:
        crystal = PlainCrystal(
            np.array(lattice, dtype=np.float64).reshape(3, 3),
            np.array(numbers, dtype=np.int16),
            np.array(coords, dtype=np.float64).reshape(-1, 3),
        )
        check_crystal(crystal)
        check_apart(crystal)
    except (BadCrystal, ValueError, TypeError, OverflowError) as error:
        raise BadTrainingSet(f"a row of {formula}: {error}") from error
    return crystal


def fit_baseline(data: TrainingSet, indices: NDArray[np.intp], ridge: float = 1e-3) -> NDArray[np.float32]:
    """One energy per element, (119,) eV per atom: least squares of the targets on the atomic fractions."""
    fractions = np.zeros((len(indices), HEAVIEST + 1))
    for row, index in enumerate(indices):
        numbers = data.crystals[index].numbers
        np.add.at(fractions[row], numbers, 1 / len(numbers))
    normal = fractions.T @ fractions + ridge * np.eye(HEAVIEST + 1)
    return np.linalg.solve(normal, fractions.T @ data.targets[indices]).astype(np.float32)
