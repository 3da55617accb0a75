"""A folder of Parquet files for DuckDB and Spark: `nelements=3/part-0000.parquet`, and so on.

A row holds what registry/exporters/parquet.py says of a material and every other field of registry/query/fields.py,
null where no level was asked for. The number of elements stands in the folders' names alone, as Hive has it. Rows come
ordered by nelements and chemsys, so that the statistics of a row group tell readers which ones hold a chemical system.

Spark wants it plain: no unsigned integers, timestamps in microseconds of UTC, lists of plain values, names that differ
by more than their case.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from registry.disk import draft_of, flush
from registry.errors import LodeError, SettingsError
from registry.exporters import parquet
from registry.exporters.record import ExportedRecord
from registry.query.fields import FIELDS, Field, Type

PARTITION = "nelements"
TYPES: dict[Type, pa.DataType] = {
    Type.INTEGER: pa.int32(),
    Type.FLOAT: pa.float64(),
    Type.BOOLEAN: pa.bool_(),
    Type.TIMESTAMP: pa.timestamp("us", tz="UTC"),
    Type.ELEMENTS: pa.list_(pa.string()),
    Type.WORDS: pa.list_(pa.string()),
}
"""Everything else is text."""

ADDED: dict[str, Field] = {
    name: field for name, field in FIELDS.items() if name != PARTITION and name not in parquet.COLUMNS
}
"""Fields that the plain table doesn't have."""

SCHEMA = pa.schema(
    [*((name, TYPES.get(field.type, pa.string())) for name, field in ADDED.items()), *parquet.COLUMNS.items()]
)
ROW_GROUP = 32 * parquet.BATCH
PART = 16 * ROW_GROUP
NAME = "part-{:04}.parquet"


def write(records: Iterable[ExportedRecord], folder: Path) -> int:
    """Write the partitions of records that come in the order of nelements; a part holds half a million rows."""
    partitions = groupby(records, lambda record: int(record.fields[PARTITION]))
    written = sum(_partition(rows, folder / f"{PARTITION}={number}") for number, rows in partitions)
    if not written:  # a part without rows: readers of no file at all wouldn't know the columns
        (folder / f"{PARTITION}=1").mkdir()
        _part(iter(()), folder / f"{PARTITION}=1" / NAME.format(0))
    return written


@contextmanager
def destination(path: Path) -> Iterator[Path]:
    """A draft beside the folder, which takes its place when everything is on disk. Raises SettingsError, LodeError."""
    folder = path.resolve()
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise SettingsError(f"{path} is there already: name a folder that is new or empty")
        with _draft(folder) as draft:
            yield draft
            _on_disk(draft)
            draft.replace(folder)
        flush(folder.parent)
    except OSError as error:
        raise LodeError(f"{path} can't be written: {error.strerror or error}") from error


@contextmanager
def _draft(folder: Path) -> Iterator[Path]:
    draft = draft_of(folder)
    try:
        draft.mkdir()
        yield draft
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _partition(records: Iterator[ExportedRecord], folder: Path) -> int:
    folder.mkdir()
    parts = groupby(enumerate(records), lambda one: one[0] // PART)
    return sum(_part((record for _, record in part), folder / NAME.format(number)) for number, part in parts)


def _part(records: Iterator[ExportedRecord], path: Path) -> int:
    order = pq.SortingColumn.from_ordering(SCHEMA, [("chemsys", "ascending")])
    written = 0
    with pq.ParquetWriter(path, SCHEMA, compression="zstd", sorting_columns=order, write_page_index=True) as table:
        while group := list(_batches(records)):
            rows = pa.Table.from_batches(group)
            table.write_table(rows, row_group_size=ROW_GROUP)
            written += rows.num_rows
    return written


def _batches(records: Iterator[ExportedRecord]) -> Iterator[pa.RecordBatch]:
    """The batches of one row group."""
    for _ in range(ROW_GROUP // parquet.BATCH):
        if batch := [_row(record) for record in islice(records, parquet.BATCH)]:
            columns = [pa.array([row.get(one.name) for row in batch], one.type) for one in SCHEMA]
            yield pa.record_batch(columns, schema=SCHEMA)


def _row(record: ExportedRecord) -> dict[str, Any]:
    added = {name: _shown(field, record) for name, field in ADDED.items()}
    return {**added, **parquet.row(record)}


def _shown(field: Field, record: ExportedRecord) -> Any:
    if field.table == "property":
        return _latest(record, field)
    value = record.fields[field.name]
    return value or [] if field.type is Type.WORDS else value


def _latest(record: ExportedRecord, field: Field) -> float | None:
    """The number that was stored last, of those that may leave."""
    numbers = [one.value for one in record.properties if one.name == field.name and not isinstance(one.value, str)]
    if not numbers:
        return None
    return int(numbers[-1]) if field.type is Type.INTEGER else numbers[-1]


def _on_disk(draft: Path) -> None:
    for path in (*draft.rglob("*"), draft):
        flush(path)
