"""Training tables from the tables of other people: their crystals, and a column of theirs as the target."""

from __future__ import annotations

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
from registry.importers.parquet import read_row
from registry.importers.record import ImportedRecord

BATCH = 512


@dataclass(frozen=True, eq=False)
class Tabulated:
    """rows: as `predictors.training_set` reads them; left_out: reason -> how many of the records."""

    rows: pd.DataFrame
    left_out: Mapping[str, int]


def tabulated(path: Path, target: str) -> Tabulated:
    """The crystals of a parquet table with its column `target` (formation energies, eV/atom, at one level).

    Left out: rows without target, rows marked `suspect`, rows that are no crystal. The split goes by the table's own
    column `formula`, where there is one. Raise SettingsError for no parquet table or no such column.
    """
    left_out: Counter[str] = Counter()
    rows = []
    for row, item in _rows(path, target):
        if reason := _unfit(row, item, target):
            left_out[reason] += 1
        elif isinstance(item, ImportedRecord):
            formula = str(row.get("formula") or Composition.of(item.crystal.amounts).alphabetical_formula)
            rows.append(_row(item.record, formula, item.crystal, row[target]))
    return Tabulated(pd.DataFrame(rows), left_out)


def _rows(path: Path, target: str) -> Iterator[tuple[dict[str, Any], ImportedRecord | BadRecord]]:
    try:
        table = pq.ParquetFile(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise SettingsError(f"{path} isn't a parquet table: {error}") from error
    with table:
        if target not in table.schema_arrow.names:
            numeric = [field.name for field in table.schema_arrow if pa.types.is_floating(field.type)]
            raise SettingsError(f"{path.name} has no column '{target}'; numbers are in: {', '.join(numeric)}")
        rows = (row for batch in table.iter_batches(batch_size=BATCH) for row in batch.to_pylist())
        for index, row in enumerate(rows):
            yield row, read_row(row, f"{path.name}:{index}", path.name)


def _unfit(row: Mapping[str, Any], item: ImportedRecord | BadRecord, target: str) -> str | None:
    if isinstance(item, BadRecord):
        return "no crystal"
    if row.get("suspect"):
        return "marked suspect"
    value = row[target]
    return None if isinstance(value, float) and isfinite(value) else f"no {target}"


def _row(record: str, formula: str, crystal: Crystal, target: float) -> dict[str, Any]:
    return {
        "record": record,
        "formula": formula,
        "lattice": crystal.lattice.ravel(),
        "numbers": crystal.numbers,
        "frac_coords": crystal.frac_coords.ravel(),
        "target": target,
    }
