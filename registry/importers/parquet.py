"""Parquet tables with a crystal per row: lattice parameters, species and fractional coordinates, or a `cif` column."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from registry.crystal import Crystal, Floats
from registry.errors import BadRecord
from registry.identity.composition import ATOMIC_NUMBERS
from registry.importers.cif import read_block
from registry.importers.own import is_ours, own_record
from registry.importers.record import PARSER_FAULTS, ImportedRecord, Item, checked, reason_of

PARAMETERS = ("a", "b", "c", "alpha", "beta", "gamma")
"""Angstrom and degrees."""

NESTED = ("external_ids", "metadata", "crystal_properties", "parameters")
CRYSTAL_COLUMNS = (*PARAMETERS, "species", "frac_coords")
DERIVED_COLUMNS = ("formula", "nsites", "volume", "material_id", "cif")
BATCH = 512
BUFFER = 1 << 16
"""Bytes of a column that are read at a time."""


def records(path: Path) -> Iterator[Item]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(path, pre_buffer=False, buffer_size=BUFFER)  # else the whole file comes into memory
    except pa.ArrowInvalid as error:
        raise BadRecord(path.name, f"doesn't parse as parquet: {error}") from error
    with table:
        require_columns(table.schema_arrow.names, path.name)
        index = 0
        for batch in table.iter_batches(batch_size=BATCH, use_threads=False):
            for row in batch.to_pylist():
                yield read_row(row, f"{path.name}:{index}", path.name)
                index += 1


def read_row(row: Mapping[str, Any], record: str, source: str) -> Item:
    """One row -> its record, or why there's none. species: symbols with spaces; frac_coords: 3 per site."""
    try:
        crystal = _written(row["cif"], record) if "cif" in row else _crystal(row, record)
        if is_ours(row):
            return own_record(_decoded(row), crystal, record)
        return ImportedRecord(crystal, record, source, _external_ids(row), _metadata(row))
    except BadRecord as error:
        return error
    except PARSER_FAULTS as error:
        return BadRecord(record, reason_of(error))


def require_columns(columns: list[str], name: str) -> None:
    """Raises BadRecord for a table whose rows can't be crystals."""
    missing = [column for column in CRYSTAL_COLUMNS if column not in columns]
    if missing and "cif" not in columns:
        raise BadRecord(name, f"lacks the columns {', '.join(missing)} (or one named cif)")


def _written(cif: str | None, record: str) -> Crystal:
    item = read_block(cif or "", record, record)
    if isinstance(item, BadRecord):
        raise item
    return item.crystal


def _crystal(row: Mapping[str, Any], record: str) -> Crystal:
    species = str(row["species"] or "").split()
    if unknown := [symbol for symbol in species if symbol not in ATOMIC_NUMBERS]:
        raise BadRecord(record, f"unknown element {unknown[0]}")
    if any(row[column] is None for column in CRYSTAL_COLUMNS):
        raise BadRecord(record, "a lattice parameter, the species or the coordinates are empty")
    numbers = np.array([ATOMIC_NUMBERS[symbol] for symbol in species], dtype=np.int16)
    vectors = row.get("lattice")
    lattice = _lattice(*(float(row[column]) for column in PARAMETERS)) if vectors is None else np.array(vectors)
    return checked(Crystal(lattice, numbers, np.array(row["frac_coords"])), record)


def _lattice(a: float, b: float, c: float, alpha: float, beta: float, gamma: float) -> Floats:
    """Rows in pymatgen's orientation: a in the xz plane, c along z. Raise ValueError for angles that close no cell."""
    cos_a, cos_b, cos_g = (math.cos(math.radians(angle)) for angle in (alpha, beta, gamma))
    sin_a, sin_b = math.sin(math.radians(alpha)), math.sin(math.radians(beta))
    cos_g_star = (cos_a * cos_b - cos_g) / (sin_a * sin_b) if sin_a * sin_b else math.inf
    if not abs(cos_g_star) < 1:
        raise ValueError(f"no cell has the angles {alpha:g}, {beta:g}, {gamma:g}")
    sin_g_star = math.sqrt(1 - cos_g_star**2)
    return np.array(
        [[a * sin_b, 0.0, a * cos_b], [-b * sin_a * cos_g_star, b * sin_a * sin_g_star, b * cos_a], [0.0, 0.0, c]]
    )


def _decoded(row: Mapping[str, Any]) -> dict[str, Any]:
    """Our exports write what is nested as JSON."""
    nested = {name: json.loads(row[name]) for name in NESTED if row.get(name)}
    return {**row, **nested}


def _external_ids(row: Mapping[str, Any]) -> dict[str, str]:
    written = row.get("material_id")
    if written is None:
        return {}
    return {"mp" if str(written).startswith(("mp-", "mvc-")) else "entry": str(written)}


def _metadata(row: Mapping[str, Any]) -> dict[str, Any]:
    skipped = {*CRYSTAL_COLUMNS, *DERIVED_COLUMNS}
    return {key: value for key, value in row.items() if key not in skipped and _says_something(value)}


def _says_something(value: Any) -> bool:
    return isinstance(value, str | bool | int) or (isinstance(value, float) and math.isfinite(value))
