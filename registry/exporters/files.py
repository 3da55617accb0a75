"""Which writer makes which format, and files that appear whole or not at all."""

from __future__ import annotations

import gzip
import importlib
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from registry.disk import draft_of, flush
from registry.errors import LodeError, SettingsError
from registry.exporters.record import ExportedRecord

Writer = Callable[[Iterable[ExportedRecord], BinaryIO], int]
"""Writes the records and says how many they were."""


@dataclass(frozen=True)
class Format:
    """The module beside this one that writes it; `text` can go to a terminal or a pipe, and into a .gz."""

    module: str
    text: bool


FORMATS: dict[str, Format] = {
    "parquet": Format("parquet", text=False),
    "extxyz": Format("extxyz", text=True),
    "json": Format("pymatgen_structures", text=True),
    "entries": Format("pymatgen_entries", text=True),
    "cif": Format("cif", text=False),
}


def writer(name: str) -> Writer:
    """The function that writes a format; its libraries are imported now."""
    found: Writer = importlib.import_module(f"registry.exporters.{FORMATS[name].module}").write
    return found


@contextmanager
def destination(path: Path, name: str) -> Iterator[BinaryIO]:
    """Where the bytes of a file go: packed where its name ends in .gz. Raises SettingsError, LodeError."""
    packed = path.name.lower().endswith(".gz")
    if packed and not FORMATS[name].text:
        raise SettingsError(f"{path}: {name} is packed already: leave .gz away")
    with _opened(path) as file:
        if not packed:
            yield file
            return
        with gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0) as packing:  # same rows, same bytes
            yield cast("BinaryIO", packing)


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    try:
        if path.is_dir():
            raise SettingsError(f"{path} is a folder: name a file in it")
        special = path.exists() and not path.is_file()  # /dev/null, a named pipe: not to be replaced by a file
        with path.open("wb") if special else _whole(path.resolve()) as file:
            yield file
    except OSError as error:
        raise LodeError(f"{path} can't be written: {error.strerror or error}") from error


@contextmanager
def _whole(path: Path) -> Iterator[BinaryIO]:
    """A draft beside the file, which takes its place when everything is on disk."""
    draft = draft_of(path)
    try:
        with draft.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
        flush(path.parent)
    finally:
        draft.unlink(missing_ok=True)
