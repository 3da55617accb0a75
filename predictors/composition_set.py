"""Compositions to learn from: a parquet table of formulas and ground-state energies, read, checked and split."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from string import ascii_letters
from typing import Any

import numpy as np
from numpy.typing import NDArray

from predictors.errors import BadTrainingSet
from predictors.splits import Split, composition_key, split_of
from predictors.training_set import TrainingSet

NAMES = {**{split.value: split for split in Split}, "val": Split.VALIDATION}
MOST_ATOMS = 100_000
"""Of a formula in whole numbers. Beyond it are slips of the keyboard."""
LARGEST_TARGET = 5.0
"""eV/atom either way. No compound is that firm; what says so is a calculation that went wrong."""


@dataclass(frozen=True, eq=False)
class PlainComposition:
    """A crystal of which only the atoms are known: what a structure model refuses, and a composition model predicts.

    numbers: (n,) atomic numbers of one formula unit
    """

    numbers: NDArray[np.int16]

    @property
    def lattice(self) -> NDArray[np.float64]:
        """(3, 3) NaN: it has none."""
        return np.full((3, 3), np.nan)

    @property
    def frac_coords(self) -> NDArray[np.float64]:
        """(n, 3) NaN: it has none."""
        return np.full((len(self.numbers), 3), np.nan)


def composition_of(formula: str) -> PlainComposition:
    """The atoms of a formula, however it is written: "Li2O", "Ca(OH)2", "Li0.5 Co O2". Raise BadTrainingSet."""
    return _atoms(formula, composition_key(formula))


def read_composition_set(path: Path, excluded: Iterable[str] = ()) -> TrainingSet:
    """Read a table with the columns `formula`, `target` (eV/atom) and, where its split is given, `split`.

    split: "train", "val" or "validation", "test"; without the column, by the MD5 of the formula as it is written.
    Rows of an excluded composition, however its formula is written, and targets beyond LARGEST_TARGET are in no part at
    all. Raise BadTrainingSet.
    """
    forbidden = {composition_key(formula): formula for formula in excluded}
    crystals, targets, splits = [], [], []
    for formula, target, split in _rows(path):
        key = composition_key(formula)
        if key not in forbidden and abs(target) <= LARGEST_TARGET:
            crystals.append(_atoms(formula, key))
            targets.append(target)
            splits.append(split)
    for part in (Split.TRAIN, Split.VALIDATION):
        if part not in splits:
            raise BadTrainingSet(f"{path.name}: no composition to use for {part}, once some are left out")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return TrainingSet(crystals, np.array(targets, np.float32), splits, tuple(sorted(forbidden.values())), digest)


def _atoms(formula: str, key: str) -> PlainComposition:
    """key: as `composition_key` writes the formula."""
    from ase.data import atomic_numbers

    counts = {part.rstrip("0123456789"): int(part.lstrip(ascii_letters)) for part in key.split()}
    if unknown := [symbol for symbol in counts if atomic_numbers.get(symbol, 0) < 1]:
        raise BadTrainingSet(f"{formula!r} holds {', '.join(unknown)}: there is no such element")
    if sum(counts.values()) > MOST_ATOMS:
        raise BadTrainingSet(f"{formula!r} has more than {MOST_ATOMS} atoms in whole numbers: round its amounts")
    numbers = [atomic_numbers[symbol] for symbol in counts]
    return PlainComposition(np.repeat(np.array(numbers, dtype=np.int16), list(counts.values())))


def _rows(path: Path) -> list[tuple[str, float, Split]]:
    table = _table(path)
    formulas, targets = table["formula"], table["target"]
    if wrong := [target for target in targets if not (isinstance(target, int | float) and np.isfinite(target))]:
        raise BadTrainingSet(f"{path.name}: {len(wrong)} targets are missing, NaN, infinite or no numbers")
    if not all(isinstance(formula, str) for formula in formulas):
        raise BadTrainingSet(f"{path.name}: a formula is missing or no text")
    if "split" not in table:
        return [(f, t, split_of(f)) for f, t in zip(formulas, targets, strict=True)]
    if other := sorted({str(name) for name in table["split"]} - NAMES.keys()):
        raise BadTrainingSet(f"{path.name}: a split is {', '.join(NAMES)}, not {', '.join(other)}")
    return [(f, t, NAMES[s]) for f, t, s in zip(formulas, targets, table["split"], strict=True)]


def _table(path: Path) -> dict[str, list[Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.is_file():
        raise BadTrainingSet(f"no training table at {path}")
    try:
        table = pq.read_table(path)
    except pa.ArrowInvalid as error:
        raise BadTrainingSet(f"{path.name} isn't a parquet table: {error}") from error
    if missing := [name for name in ("formula", "target") if name not in table.column_names]:
        raise BadTrainingSet(f"{path.name} lacks the columns {', '.join(missing)}")
    columns: dict[str, list[Any]] = table.select(
        [name for name in ("formula", "target", "split") if name in table.column_names]
    ).to_pydict()
    return columns
