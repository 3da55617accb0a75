"""ASE's databases, opened for reading only: SQLite files (.db) and ASE's JSON.

Kept: the crystal, the energy with its calculator and magnetic moment, the key-value pairs, and as properties the
moment, in Bohr magnetons as ASE has it, and a band gap whose unit the database's `key_descriptions` tell as eV (SQLite
alone: in JSON they stand behind the rows). Left behind: forces, velocities, constraints, and the `data` of a row.
"""

from __future__ import annotations

import gzip
import json
import math
import re
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from ase.db.row import AtomsRow
from ase.db.sqlite import SQLite3Database
from ase.io.jsonio import decode

from registry.crystal import Crystal
from registry.errors import BadRecord
from registry.identity.composition import SYMBOLS
from registry.importers.extxyz import ID_KEYS
from registry.importers.files import open_text
from registry.importers.record import PARSER_FAULTS, ImportedEnergy, ImportedRecord, Item, checked, reason_of
from registry.properties import BAND_GAP, CrystalProperty

Row = Callable[[], Any]
"""Decodes one AtomsRow: what is wrong with it is then wrong with it alone."""

MAGNETIC_MOMENT = "magnetic_moment"
GAP_KEYS = ("band_gap", "bandgap", "gap")

Units = Mapping[str, str]
"""Key of a key-value pair -> its unit, where the database describes it."""

CHUNK = 1 << 20
"""Characters read at a time."""

NAME = re.compile(r'[\s,{]*("(?:[^"\\]|\\.)*")\s*:\s*')
CLOSED = re.compile(r"[\s,]*\}\s*")


def records(path: Path) -> Iterator[Item]:
    rows = _json_rows(path) if path.name.lower().removesuffix(".gz").endswith(".json") else _sqlite_rows(path)
    try:
        for index, (row, units) in enumerate(rows):
            yield read_row(row, f"{path.name}:{index}", path.name, units)
    except sqlite3.Error as error:
        raise BadRecord(path.name, f"the database is damaged, the rest wasn't read: {error}") from error


def read_row(row: Row, record: str, source: str, units: Units) -> Item:
    """One row -> its record, or why there's none."""
    try:
        return _imported(row(), record, source, units)
    except BadRecord as error:
        return error
    except (*PARSER_FAULTS, sqlite3.Error) as error:
        return BadRecord(record, f"doesn't parse as a row of an ASE database: {reason_of(error)}")


class _ReadOnly(SQLite3Database):
    """ASE would make its tables in any SQLite file that has none."""

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(f"{Path(str(self.filename)).as_uri()}?mode=ro", uri=True, timeout=20)


def _sqlite_rows(path: Path) -> Iterator[tuple[Row, Units]]:
    """One row at a time; the ids come first, so that a row that can't be decoded doesn't end the query."""
    with _unpacked(path) as file, _ReadOnly(str(file.absolute())) as database:
        connection: sqlite3.Connection = database.connection
        _require_systems(connection, path.name)
        units = _units(connection)
        for (key,) in connection.execute("SELECT id FROM systems ORDER BY id"):
            yield partial(_selected, database, key), units


def _selected(database: SQLite3Database, key: int) -> Any:
    return next(database.select(id=key, include_data=False))


def _units(connection: sqlite3.Connection) -> Units:
    """Descriptions are (short, long, unit)."""
    try:
        (written,) = connection.execute("SELECT value FROM information WHERE name = 'metadata'").fetchone()
        described = dict(json.loads(written)["key_descriptions"])
    except (sqlite3.Error, ValueError, TypeError, KeyError):
        return {}
    return {key: str(one[2]) for key, one in described.items() if isinstance(one, list) and len(one) == 3}


def _require_systems(connection: sqlite3.Connection, name: str) -> None:
    try:
        found = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'systems'").fetchone()
    except sqlite3.Error as error:
        raise BadRecord(name, f"is no ASE database: {error}") from error
    if found is None:
        raise BadRecord(name, "is no ASE database: it has no table named systems")


@contextmanager
def _unpacked(path: Path) -> Iterator[Path]:
    """The file itself, or what is packed in it, for as long as it is read: SQLite reads no stream."""
    if path.suffix.lower() != ".gz":
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="lode-") as folder:
        target = Path(folder) / path.stem
        with gzip.open(path) as packed, target.open("wb") as file:
            shutil.copyfileobj(packed, file)
        yield target


def _json_rows(path: Path) -> Iterator[tuple[Row, Units]]:
    """Rows stand under their ids; beside them are "ids", "nextid" and "metadata"."""
    with open_text(path) as file:
        for name, text in _members(file):
            if name.isdecimal():
                yield partial(_decoded, text), {}


def _decoded(text: str) -> Any:
    return AtomsRow(decode(text))  # type: ignore[no-untyped-call]  # ase is typed in part


def _members(file: TextIO) -> Iterator[tuple[str, str]]:
    """The members of the outermost object, values as text: one at a time, so that memory stays flat on a long file."""
    text, at = file.read(CHUNK), 0
    while True:
        if (member := _member(text, at)) is not None:
            name, value, at = member
            yield name, value
        elif chunk := file.read(max(CHUNK, len(text) - at)):
            text, at = text[at:] + chunk, 0
        elif CLOSED.fullmatch(text, at):
            return
        else:
            raise ValueError("its JSON is broken or cut short")


def _member(text: str, at: int) -> tuple[str, str, int] | None:
    """Name, value and where the next one begins; None if the text ends before something stands behind the value."""
    if (name := NAME.match(text, at)) is None:
        return None
    try:
        _, end = json.JSONDecoder().raw_decode(text, name.end())
    except json.JSONDecodeError:
        return None
    return (json.loads(name[1]), text[name.end() : end], end) if end < len(text) else None


def _imported(row: Any, record: str, source: str, units: Units) -> ImportedRecord:
    pairs: dict[str, Any] = _plain(row.key_value_pairs)
    return ImportedRecord(
        crystal=_crystal(row, record),
        record=record,
        source=str(pairs.pop("source", source)),
        external_ids=_external_ids(row, pairs),
        metadata={key: value for key, value in pairs.items() if key not in ID_KEYS and value is not None},
        energy=_energy(row),
        properties=list(_properties(row, pairs, units, record)),
    )


def _crystal(row: Any, record: str) -> Crystal:
    numbers, lattice = np.asarray(row.numbers), np.asarray(row.cell, dtype=np.float64).reshape(3, 3)
    if not len(numbers):
        raise BadRecord(record, "no atoms")
    if not np.asarray(row.pbc).all() or not lattice.any():
        raise BadRecord(record, "no periodic cell: it needs three lattice vectors and pbc along each")
    if unknown := [int(number) for number in numbers if not 0 < number < len(SYMBOLS)]:
        raise BadRecord(record, f"no element has the atomic number {unknown[0]}")
    coords = np.linalg.solve(lattice.T, np.asarray(row.positions).T).T
    return checked(Crystal(lattice, numbers, np.asarray(coords, dtype=np.float64)), record)


def _external_ids(row: Any, pairs: Mapping[str, Any]) -> dict[str, str]:
    """Under "ase" the id that a row keeps when it's copied from one database to another."""
    named = {ID_KEYS[key]: str(value) for key, value in pairs.items() if key in ID_KEYS}
    unique = row.get("unique_id")
    return named | ({"ase": str(unique)} if unique else {})


def _energy(row: Any) -> ImportedEnergy | None:
    energy = row.get("energy")
    if energy is None:
        return None
    told = {key: _plain(row.get(key)) for key in ("calculator", "calculator_parameters", "magmom")}
    return ImportedEnergy(
        float(energy), parameters={key: value for key, value in told.items() if value not in (None, {})}
    )


def _properties(row: Any, pairs: Mapping[str, Any], units: Units, record: str) -> Iterator[CrystalProperty]:
    """What has a unit: the moment of the cell, and the band gap. Raise BadRecord for a gap that is no number.

    NaN stands for what wasn't computed.
    """
    method, moment = str(row.get("calculator") or "unknown"), _plain(row.get("magmom"))
    if isinstance(moment, int | float) and not math.isnan(moment):
        yield CrystalProperty(MAGNETIC_MOMENT, float(moment), "mu_B", method)
    key = next((one for one in GAP_KEYS if pairs.get(one) is not None and units.get(one) == "eV"), None)
    if key is not None and not isinstance(pairs[key], int | float):
        raise BadRecord(record, f"its {key} is no number, but {pairs[key]!r:.40}")
    if key is not None and not math.isnan(pairs[key]):
        yield CrystalProperty(BAND_GAP, float(pairs[key]), "eV", method, {"key": key})


def _plain(value: Any) -> Any:
    """JSON-ready."""
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value if value is None or isinstance(value, str | int | float) else str(value)
