"""Training tables from the tables of other people: their crystals, and a column of theirs as the target."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from registry.crystal import Crystal
from registry.errors import BadRecord, SettingsError
from registry.identity.composition import Composition
from registry.importers.parquet import read_row, require_columns
from registry.importers.record import ImportedRecord

BATCH = 512


@dataclass(frozen=True, eq=False)
class Tabulated:
    """rows: as `predictors.training_set` reads them; left_out: reason -> how many of the records."""

    rows: pd.DataFrame
    left_out: Mapping[str, int]


def tabulated(path: Path, target: str) -> Tabulated:
    """The crystals of a parquet table with its column `target` (formation energies, eV/atom, at one level).

    Left out: rows without target, rows marked `suspect`, rows that are no crystal or, to the last digit, one that an
    earlier row holds. The split goes by the table's own columns `formula`, `prototype`, `created_at`, where they are.
    Raise SettingsError for no parquet table, no such column or nothing to learn from, BadRecord for no crystals.
    """
    left_out: Counter[str] = Counter()
    rows, seen = [], set()
    for row, item in _rows(path, target):
        if isinstance(item, BadRecord) or (reason := _unfit(row, target)):
            left_out["no crystal" if isinstance(item, BadRecord) else reason] += 1
        elif (digits := _digits(item.crystal)) in seen:
            left_out["the same crystal as in an earlier row"] += 1
        else:
            seen.add(digits)
            formula = str(row.get("formula") or Composition.of(item.crystal.amounts).alphabetical_formula)
            rows.append(_row(item.record, formula, item.crystal, float(row[target])) | _for_splits(row))
    if not rows:
        why = ", ".join(f"{count} {reason}" for reason, count in sorted(left_out.items())) or "it has no rows"
        raise SettingsError(f"{path.name} holds nothing to learn from: {why}")
    return Tabulated(pd.DataFrame(rows), left_out)


def _rows(path: Path, target: str) -> Iterator[tuple[dict[str, Any], ImportedRecord | BadRecord]]:
    try:
        with pq.ParquetFile(path) as table:
            _check_columns(table.schema_arrow, path.name, target)
            rows = (row for batch in table.iter_batches(batch_size=BATCH) for row in batch.to_pylist())
            for index, row in enumerate(rows):
                yield row, read_row(row, f"{path.name}:{index}", path.name)
    except (pa.ArrowException, OSError) as error:
        raise SettingsError(f"{path} isn't a parquet table: {' '.join(str(error).split())[:200]}") from error


def _check_columns(schema: pa.Schema, name: str, target: str) -> None:
    if target not in schema.names:
        numeric = [field.name for field in schema if pa.types.is_floating(field.type)]
        raise SettingsError(f"{name} has no column '{target}'; numbers are in: {', '.join(numeric)}")
    require_columns(schema.names, name)


def _unfit(row: Mapping[str, Any], target: str) -> str:
    """Why a crystal can't be learnt from; empty where it can."""
    if row.get("suspect"):
        return "marked suspect"
    value = row[target]
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return "" if number and isfinite(value) else f"no {target}"


def _digits(crystal: Crystal) -> bytes:
    parts = (crystal.lattice, crystal.frac_coords, crystal.numbers)
    return hashlib.sha256(b"".join(part.tobytes() for part in parts)).digest()


def _for_splits(row: Mapping[str, Any]) -> dict[str, str | None]:
    """What splits may go by besides the formula, if the table has it."""
    told = {name: row[name] for name in ("prototype", "created_at") if name in row}
    return {name: None if value is None else str(value) for name, value in told.items()}


def _row(record: str, formula: str, crystal: Crystal, target: float) -> dict[str, Any]:
    return {
        "id": record,
        "formula": formula,
        "lattice": crystal.lattice.ravel(),
        "numbers": crystal.numbers,
        "frac_coords": crystal.frac_coords.ravel(),
        "target": target,
    }
