"""The Materials Project crystals of LODE_TEST_DATA with their energies at level mp2018, as the predictors take them."""

from __future__ import annotations

import hashlib
import os
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from ase.data import atomic_numbers
from numpy.typing import NDArray
from pymatgen.core import Lattice, Structure

from predictors.augmentation import PlainCrystal
from predictors.splits import Split, split_of
from predictors.training_set import TrainingSet

TABLE = Path("mp_structures") / "mp_36737.parquet"
TARGET = "e_form_mp2018"
PARTS = (Split.TRAIN, Split.VALIDATION, Split.TEST)


def table_path() -> Path:
    """Raise SystemExit where there are no real data."""
    folder = os.environ.get("LODE_TEST_DATA")
    if not folder or not (Path(folder) / TABLE).exists():
        raise SystemExit(f"LODE_TEST_DATA names no folder with {TABLE}: no real crystals to measure on")
    return Path(folder) / TABLE


@cache
def table() -> pd.DataFrame:
    """The rows with a target that isn't suspect, and `split`: by the MD5 of the formula as it stands."""
    columns = ["formula", "nsites", "a", "b", "c", "alpha", "beta", "gamma", "species", "frac_coords", TARGET]
    rows = pd.read_parquet(table_path(), columns=[*columns, "suspect"])
    rows = rows[~rows.suspect.astype(bool) & rows[TARGET].notna()].reset_index(drop=True)
    return rows.assign(split=rows.formula.map(split_of), elements=rows.species.map(lambda text: len(set(text.split()))))


def some(split: Split, count: int | None = None, most_sites: int | None = None, seed: int = 0) -> pd.DataFrame:
    """`count` rows of a split drawn by `seed`, all by default."""
    rows = table()
    rows = rows[(rows.split == split) & (rows.nsites <= (most_sites or rows.nsites.max()))]
    return rows if count is None or count >= len(rows) else rows.sample(count, random_state=seed)


def crystals(rows: pd.DataFrame) -> list[PlainCrystal]:
    """In order."""
    return [
        PlainCrystal(
            np.array(Lattice.from_parameters(row.a, row.b, row.c, row.alpha, row.beta, row.gamma).matrix),
            np.array([atomic_numbers[symbol] for symbol in row.species.split()], dtype=np.int16),
            np.asarray(row.frac_coords, dtype=np.float64).reshape(-1, 3),
        )
        for row in rows.itertuples()
    ]


def structures(some: list[PlainCrystal]) -> list[Structure]:
    """The same for pymatgen."""
    return [Structure(Lattice(one.lattice), one.numbers.tolist(), one.frac_coords) for one in some]


def targets(rows: pd.DataFrame) -> NDArray[np.float32]:
    """(n,) formation energies, eV per atom."""
    return rows[TARGET].to_numpy(dtype=np.float32)


def training_set(
    train: int | None = None, validation: int | None = None, test: int | None = None, most_sites: int | None = None
) -> TrainingSet:
    """So many crystals of each split, drawn by chance but the same at each run; all by default."""
    counts = zip(PARTS, (train, validation, test), strict=True)
    rows = pd.concat([some(split, count, most_sites) for split, count in counts])
    digest = hashlib.sha256("\n".join(map(str, rows.index)).encode()).hexdigest()
    return TrainingSet(crystals(rows), targets(rows), list(rows.split), (), digest)
