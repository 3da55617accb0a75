"""Bring a table of known crystals to a level: one single point each, plus the level's corrections.

The result is a training table: formula, lattice, numbers, frac_coords, raw energy, correction. Formation energies
follow from the level's references (`with_targets`), so new references need no new single points.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from registry.crystal import Crystal
from registry.errors import SettingsError
from registry.hull.levels import Level
from registry.identity.composition import SYMBOLS, Composition
from workers.engines.base import Engine

T = TypeVar("T")

CHUNK = 200
COLUMNS = ("id", "elements", "lattice", "numbers", "frac_coords", "energy", "correction")
PLAUSIBLE = 6.0
"""eV/atom: a formation energy farther from zero is a potential's fancy, far from what it was trained on."""


Labeller = Callable[[Sequence[Crystal]], list[tuple[Crystal, float] | None]]
"""Crystals -> what each became and its raw energy (eV per cell), in order; None where it came to nothing."""


def as_they_stand(engine: Engine) -> Labeller:
    """A single point each."""

    def label(crystals: Sequence[Crystal]) -> list[tuple[Crystal, float] | None]:
        found = zip(crystals, engine.energies(crystals), strict=True)
        return [(crystal, energy) if math.isfinite(energy) else None for crystal, energy in found]

    return label


def relabel(
    records: Sequence[tuple[str, Crystal]],
    label: Labeller,
    level: Level,
    folder: Path,
    progress: Callable[[int], None],
    chunk: int = CHUNK,
) -> None:
    """Write `folder`/part-NNNNN.parquet, `chunk` records each; parts that exist are kept, so a killed run resumes.

    records: (record name, crystal). Raises SettingsError if the folder holds parts of others, or
    of another level.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _claim_folder(folder, records, level)
    for number, some in enumerate(_chunks(records, chunk)):
        part = folder / f"part-{number:05d}.parquet"
        if not part.exists():
            _write(_rows(some, label, level), part)
        progress(len(some))


def _claim_folder(folder: Path, records: Sequence[tuple[str, Crystal]], level: Level) -> None:
    """Parts are told apart by their number alone, so a folder belongs to one list of records at one level."""
    digest = hashlib.sha256()
    for name, crystal in records:
        digest.update(name.encode() + crystal.numbers.tobytes())
        digest.update(np.round(np.vstack([crystal.lattice, crystal.frac_coords]), 6).tobytes())
    for owner, told, of in (("records.sha256", digest.hexdigest(), "crystals"), ("level", level.name, "levels")):
        path = folder / owner
        if path.exists() and path.read_text() != told:
            raise SettingsError(f"{folder} holds parts of other {of}: choose another folder with --out")
        path.write_text(told)


def with_targets(folder: Path, level: Level) -> pd.DataFrame:
    """The training table with `target`: formation energy per atom in eV at `level`.

    Rows of elements without reference and of implausible energies are left out.
    """
    parts = sorted(folder.glob("part-*.parquet"))
    if not parts:
        raise SettingsError(f"no relabelled parts in {folder}: run `lode model relabel` first")
    table = pd.concat([pd.read_parquet(part) for part in parts], ignore_index=True).dropna(subset=["correction"])
    known = set(level.references)
    table = table[[known.issuperset(elements) for elements in table["elements"]]].copy()
    if table.empty:
        raise SettingsError(f"none of the crystals in {folder} has a formation energy at level {level.name}")
    table["formula"] = [Composition.of(_crystal(row).amounts).alphabetical_formula for row in table.to_dict("records")]
    table["target"] = [_target(level, row) for row in table.to_dict("records")]
    return table[table["target"].abs() <= PLAUSIBLE]


def _target(level: Level, row: dict[Any, Any]) -> float:
    crystal = _crystal(row)
    return level.formation_energy(crystal.amounts, row["energy"] + row["correction"])


def _crystal(row: dict[Any, Any]) -> Crystal:
    return Crystal(row["lattice"], row["numbers"], row["frac_coords"])


def _rows(chunk: list[tuple[str, Crystal]], label: Labeller, level: Level) -> list[dict[str, Any]]:
    labelled = label([crystal for _, crystal in chunk])
    return [_row(level, name, *found) for (name, _), found in zip(chunk, labelled, strict=True) if found is not None]


def _row(level: Level, name: str, crystal: Crystal, energy: float) -> dict[str, Any]:
    return {
        "id": name,
        "elements": sorted(SYMBOLS[number] for number in crystal.amounts),
        "lattice": crystal.lattice.ravel(),
        "numbers": crystal.numbers,
        "frac_coords": crystal.frac_coords.ravel(),
        "energy": energy,
        "correction": level.correct(crystal, energy).energy,
    }


def _write(rows: list[dict[str, Any]], part: Path) -> None:
    scratch = part.with_suffix(".writing")
    pd.DataFrame(rows, columns=list(COLUMNS)).to_parquet(scratch)
    scratch.rename(part)


def _chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk
