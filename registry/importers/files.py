"""Which reader takes which file; what is wrong with a file as a whole is one bad record."""

from __future__ import annotations

import fnmatch
import gzip
import importlib
import re
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TextIO

from registry.errors import BadRecord
from registry.importers.record import PARSER_FAULTS, Item, reason_of

Reader = Callable[[Path], Iterator[Item]]

READERS: dict[str, str] = {
    "*.cif": "cif",
    "*.mcif": "cif",
    "*.zip": "cif_archive",
    "*.poscar": "poscar",
    "*.vasp": "poscar",
    "*.extxyz": "extxyz",
    "*.xyz": "extxyz",
    "*.json": "pymatgen_json",
    "*.parquet": "parquet",
    "*.db": "ase_db",
    "*.csv": "gnome",
    "poscar*": "poscar",
    "contcar*": "poscar",
}
"""Pattern of the lower-case file name, without .gz -> the module beside this one that reads it; the first that fits."""

PACKED = ("parquet", "cif_archive")
"""Readers of files that are packed by themselves; a .gz around them isn't read."""

ASE_JSON = re.compile(r'\s*\{\s*"(\d+|ids|nextid)"\s*:')
"""How ASE's JSON begins: rows under their numbers."""


def read_file(path: str | Path, structures: Path | None = None) -> Iterator[Item]:
    """Yield every record of a file, and a BadRecord (not raised) in the place of each that can't be stored.

    structures: where the CIFs of a table lie that has none itself
    """
    path = Path(path)
    empty = True
    try:
        for item in _reader(path, structures)(path):
            empty = False
            yield item
    except BadRecord as error:
        empty = False
        yield error
    except (*PARSER_FAULTS, OSError, EOFError, MemoryError, zlib.error) as error:
        empty = False
        yield BadRecord(path.name, f"can't be read: {reason_of(error)}")
    if empty:
        yield BadRecord(path.name, "no structures in it")


def open_text(path: Path, errors: str = "strict") -> TextIO:
    """Open for reading, unpacking .gz and passing over a byte order mark on the way."""
    if path.suffix.lower() == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig", errors=errors)
    return path.open(encoding="utf-8-sig", errors=errors)


def format_of(path: Path) -> str | None:
    """The name of the reader for a file, by its name alone (JSON may be ASE's all the same)."""
    name = path.name.lower().removesuffix(".gz")
    return next((reader for pattern, reader in READERS.items() if fnmatch.fnmatchcase(name, pattern)), None)


def _reader(path: Path, structures: Path | None) -> Reader:
    if not path.exists():
        raise BadRecord(path.name, "no such file")
    if path.is_dir():
        raise BadRecord(path.name, "is a folder: name the files in it")
    if path.stat().st_size == 0:
        raise BadRecord(path.name, "the file is empty")
    name = format_of(path)
    if name is None:
        raise BadRecord(path.name, f"unknown format: known are {', '.join(READERS)}, also as .gz")
    if name in PACKED and path.suffix.lower() == ".gz":
        raise BadRecord(path.name, "is packed twice: unpack the .gz first")
    if name == "pymatgen_json" and _is_ase_json(path):
        name = "ase_db"
    reader: Callable[..., Iterator[Item]] = importlib.import_module(f"registry.importers.{name}").records
    return partial(reader, structures=structures) if name == "gnome" else reader


def _is_ase_json(path: Path) -> bool:
    with open_text(path, errors="replace") as file:
        return ASE_JSON.match(file.read(200)) is not None
