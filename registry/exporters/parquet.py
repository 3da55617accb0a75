"""Parquet with plain columns and lists, which DuckDB and Spark read, and registry/importers/parquet.py.

A cell stands there twice: its three vectors (`lattice`, nine numbers, exact) and its six parameters, which say neither
how it lies in space nor whether it is left-handed. `external_ids`, `metadata`, `crystal_properties` (a list) and
`parameters` are JSON in text: `external_ids->>'mp'` in DuckDB.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from registry.exporters.cell import PARAMETERS, cell_parameters
from registry.exporters.record import ExportedRecord, as_json, facts, material_id
from registry.identity.composition import SYMBOLS

TEXT, NUMBER, NUMBERS = pa.string(), pa.float64(), pa.list_(pa.float64())
COLUMNS: dict[str, pa.DataType] = {
    "lode_id": TEXT,
    "relaxed_from": TEXT,
    "material_id": TEXT,
    "external_ids": TEXT,
    "reduced_formula": TEXT,
    "source": TEXT,
    "licence": TEXT,
    "citation": TEXT,
    "non_commercial": pa.bool_(),  # null: it may be used commercially
    "metadata": TEXT,
    "crystal_properties": TEXT,
    "nsites": pa.int32(),
    "volume": NUMBER,  # cubic angstrom
    "lattice": NUMBERS,  # rows, angstrom
    **dict.fromkeys(PARAMETERS, NUMBER),  # angstrom, degrees
    "species": TEXT,  # symbols with spaces between them
    "frac_coords": NUMBERS,  # three per site
    "level": TEXT,
    "energy": NUMBER,  # eV per cell, raw
    "energy_of": TEXT,
    "correction": NUMBER,  # eV per cell
    "off_hull": TEXT,
    "formation_energy_per_atom": NUMBER,
    "e_above_hull": NUMBER,
    "as_of": TEXT,
    "parameters": TEXT,
    "energy_source": TEXT,  # null, as the other terms of the energy are: those of the crystal
    "energy_licence": TEXT,
    "energy_citation": TEXT,
    "energy_non_commercial": pa.bool_(),
}
SCHEMA = pa.schema(list(COLUMNS.items()))
BATCH = 1024
ROW_GROUP = 8 * BATCH


def write(records: Iterable[ExportedRecord], sink: BinaryIO) -> int:
    """Write a table, some thousand rows at a time."""
    written = 0
    with pq.ParquetWriter(sink, SCHEMA, compression="zstd") as table:
        batches = _batches(iter(records))
        while group := list(islice(batches, ROW_GROUP // BATCH)):
            rows = pa.Table.from_batches(group)
            table.write_table(rows, row_group_size=ROW_GROUP)
            written += rows.num_rows
    return written


def _batches(records: Iterator[ExportedRecord]) -> Iterator[pa.RecordBatch]:
    while batch := list(islice(records, BATCH)):
        rows = [row(record) for record in batch]
        columns = {name: pa.array([one.get(name) for one in rows], kind) for name, kind in COLUMNS.items()}
        yield pa.record_batch(columns, schema=SCHEMA)


def row(record: ExportedRecord) -> dict[str, Any]:
    """The columns of a record; what is unknown isn't there."""
    crystal = record.crystal
    return {
        **{name: _plain(value) for name, value in facts(record).items()},
        "material_id": material_id(record),
        "nsites": crystal.nsites,
        "volume": crystal.volume,
        "lattice": crystal.lattice.ravel(),
        **cell_parameters(crystal.lattice),
        "species": " ".join(SYMBOLS[number] for number in crystal.numbers),
        "frac_coords": crystal.frac_coords.ravel(),
    }


def _plain(value: Any) -> Any:
    return as_json(value) if isinstance(value, Mapping | list) else value
