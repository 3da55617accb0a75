"""Training tables: parquet files of plain columns, what they say of themselves, and a hash of what they hold.

The hash is over values in the order of the rows, so another writer or compression of the same rows has the same hash.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from predictors.errors import BadTrainingSet

NEEDED: dict[str, pa.DataType] = {"formula": pa.string(), "target": pa.float64()}
STRUCTURE: dict[str, pa.DataType] = {
    "lattice": pa.list_(pa.float64()),
    "numbers": pa.list_(pa.int64()),
    "frac_coords": pa.list_(pa.float64()),
}
"""What models of structures need besides."""

WELCOME: dict[str, pa.DataType] = {"id": pa.string(), "prototype": pa.string(), "created_at": pa.string()}
"""What rows may carry besides: their name, and what some splits go by."""

COLUMNS = NEEDED | STRUCTURE | WELCOME
READ = COLUMNS | {"split": pa.string()}
"""Of other people's tables: the part of each row, where these are given."""

ABOUT = b"motherlode"
BATCH = 1024


@dataclass(frozen=True)
class Part:
    """One table that was learnt from.

    name: of its file; rows: how many; sha256: over its values; columns: column -> SHA-256 over its values
    level: of its targets, as the table says, or None; query: what to ask a registry to build it anew, or None
    """

    name: str
    rows: int
    sha256: str
    columns: dict[str, str]
    level: str | None = None
    query: dict[str, Any] | None = None


class ContentHash:
    """Digests of columns that come batch by batch; how they are cut into batches is no matter."""

    def __init__(self) -> None:
        self.rows = 0
        self._lengths: dict[str, Any] = {}
        self._values: dict[str, Any] = {}

    def update(self, batch: pa.RecordBatch) -> None:
        """Take in more rows; all batches have the same columns, of the types of READ."""
        self.rows += batch.num_rows
        for name in batch.schema.names:
            lengths, values = _bytes_of(batch.column(name))
            self._lengths.setdefault(name, hashlib.sha256()).update(lengths)
            self._values.setdefault(name, hashlib.sha256()).update(values)

    def columns(self) -> dict[str, str]:
        """Column -> SHA-256."""
        return {
            name: hashlib.sha256(self._lengths[name].digest() + self._values[name].digest()).hexdigest()
            for name in sorted(self._lengths)
        }

    def hexdigest(self) -> str:
        """SHA-256 over all columns and their names."""
        return hashlib.sha256(json.dumps(self.columns()).encode()).hexdigest()

    def part(self, name: str, **said: Any) -> Part:
        """What was taken in, as a part of that name."""
        return Part(name, self.rows, self.hexdigest(), self.columns(), **said)


@dataclass(frozen=True, eq=False)
class TrainingTable:
    """The rows, the level that their targets are said to be of (None: nobody said), and the parts they came from."""

    rows: pa.Table
    level: str | None
    parts: list[Part] = field(default_factory=list)

    @property
    def sha256(self) -> str:
        """Over the values of all rows."""
        return content_hash(self.rows).hexdigest()


def read_table(path: Path, structures: bool = False) -> TrainingTable:
    """The columns of READ that a file has. Raise BadTrainingSet if it is no such table.

    structures: whether those of STRUCTURE must be among them
    """
    if not path.is_file():
        raise BadTrainingSet(f"no training table at {path}")
    try:
        table = pq.read_table(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise BadTrainingSet(f"{path.name} isn't a parquet table: {_one_line(error)}") from error
    needed = NEEDED | (STRUCTURE if structures else {})
    if missing := [name for name in needed if name not in table.column_names]:
        raise BadTrainingSet(f"{path.name} lacks the columns {', '.join(missing)}")
    rows = pa.table({name: _cast(table[name], path.name, name) for name in READ if name in table.column_names})
    about = _about(table, path.name)
    level, parts = about.get("level"), about["parts"]
    return TrainingTable(
        rows, level, parts or [content_hash(rows).part(path.name, level=level, query=about.get("query"))]
    )


def write_table(table: TrainingTable, path: Path) -> None:
    """The same bytes for the same table."""
    about = {"level": table.level, "parts": [asdict(part) for part in table.parts]}
    with path.open("wb") as sink, _writer(sink, table.rows.schema, about) as writer:
        writer.write_table(table.rows, row_group_size=8 * BATCH)


def say_level(path: Path, level: str) -> None:
    """Have a table that is written already say of which level its targets are; its other columns stay."""
    pq.write_table(of_level(pq.read_table(path), level), path)


def of_level(rows: pa.Table, level: str) -> pa.Table:
    """The rows, which say now of which level their targets are."""
    return rows.replace_schema_metadata({**(rows.schema.metadata or {}), ABOUT: json.dumps({"level": level}).encode()})


def write_rows(rows: Iterable[Mapping[str, Any]], sink: BinaryIO, query: Mapping[str, Any]) -> ContentHash:
    """Write rows of all COLUMNS as they come, a thousand at a time; `query` says where they are from, and its "level"
    of which level their targets are."""
    found = ContentHash()
    schema = pa.schema(list(COLUMNS.items()))
    with _writer(sink, schema, {"level": query["level"], "query": dict(query)}) as writer:
        for batch in batches(rows):
            found.update(batch)
            writer.write_batch(batch)
    return found


def batches(rows: Iterable[Mapping[str, Any]]) -> Iterator[pa.RecordBatch]:
    """Rows of all COLUMNS in batches."""
    rest = iter(rows)
    schema = pa.schema(list(COLUMNS.items()))
    while chunk := list(islice(rest, BATCH)):
        yield pa.RecordBatch.from_pylist(chunk, schema=schema)


def joined(tables: Iterable[TrainingTable], level: str) -> TrainingTable:
    """One table of several, of the columns that all have. Raise BadTrainingSet where one is of another level."""
    tables = list(tables)
    for table in tables:
        for part in table.parts:
            if part.level not in (None, level):
                raise BadTrainingSet(
                    f"{part.name} holds targets of level {part.level}, not {level}: "
                    "one model learns from one level (`lode level bridge` brings energies to another)"
                )
    shared = [name for name in READ if all(name in table.rows.column_names for table in tables)]
    rows = pa.concat_tables([table.rows.select(shared) for table in tables]).combine_chunks()
    return TrainingTable(rows, level, [part for table in tables for part in table.parts])


def content_hash(rows: pa.Table) -> ContentHash:
    """Digests of a table whose columns have the types of READ."""
    found = ContentHash()
    for batch in rows.to_batches(max_chunksize=BATCH):
        found.update(batch)
    return found


def _bytes_of(column: pa.Array) -> tuple[bytes, bytes]:
    """How long each item is (-1 where it is missing), and all items one after the other."""
    if pa.types.is_string(column.type):
        words = [None if word is None else word.encode() for word in column.to_pylist()]
        return _lengths(None if word is None else len(word) for word in words), b"".join(word or b"" for word in words)
    if pa.types.is_list(column.type):
        return _lengths(pc.list_value_length(column).to_pylist()), _numbers(column.flatten())
    known = column.is_valid().to_numpy(zero_copy_only=False)
    return known.tobytes(), _numbers(column.fill_null(0))


def _numbers(values: pa.Array) -> bytes:
    numbers = values.to_numpy()
    return bytes((numbers + numbers.dtype.type(0)).tobytes())  # 0 and -0 are one value


def _lengths(lengths: Iterable[int | None]) -> bytes:
    return np.array([-1 if length is None else length for length in lengths], dtype="<i8").tobytes()


def _cast(column: pa.ChunkedArray, file: str, name: str) -> pa.ChunkedArray:
    try:
        cast = column.cast(READ[name])
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise BadTrainingSet(f"{file}: column {name} can't be read as {READ[name]}: {_one_line(error)}") from error
    inner = [chunk.flatten() for chunk in cast.chunks] if pa.types.is_list(READ[name]) else []
    if any(values.null_count for values in inner):
        raise BadTrainingSet(f"{file}: numbers are missing within column {name}")
    return cast


def _about(table: pa.Table, file: str) -> dict[str, Any]:
    """With its `parts` as such."""
    try:
        about: dict[str, Any] = dict(json.loads((table.schema.metadata or {}).get(ABOUT, b"{}")))
        about["parts"] = [Part(**part) for part in about.get("parts", [])]
    except (ValueError, TypeError) as error:
        raise BadTrainingSet(f"{file}: what it says of itself is damaged: {error}") from error
    return about


def _writer(sink: BinaryIO, schema: pa.Schema, about: Mapping[str, Any]) -> pq.ParquetWriter:
    told = json.dumps(about, sort_keys=True).encode()
    return pq.ParquetWriter(sink, schema.with_metadata({ABOUT: told}), compression="zstd")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
