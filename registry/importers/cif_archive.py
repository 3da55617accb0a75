"""A zip of CIF files, read member by member without unpacking to disk; members that aren't CIFs are passed over."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path, PureWindowsPath

from registry.errors import BadRecord
from registry.importers.archive import CifShelf, opened
from registry.importers.cif import read_blocks
from registry.importers.record import Item


def records(path: Path) -> Iterator[Item]:
    """Raise BadRecord if it's no zip archive or holds no CIF."""
    with opened(path) as shelf:
        assert shelf.archive is not None
        for member in shelf.archive.infolist():
            if member.filename.lower().endswith(".cif"):
                yield from _member(shelf, member, f"{path.name}:{member.filename}")


def _member(shelf: CifShelf, member: zipfile.ZipInfo, record: str) -> Iterator[Item]:
    try:
        _refuse_outsiders(member, record)
        text = shelf.read(member, record)
    except BadRecord as error:
        yield error
        return
    empty = True
    for item in read_blocks(io.StringIO(text), record, shelf.name):
        empty = False
        yield item
    if empty:
        yield BadRecord(record, "no structures in it")


def _refuse_outsiders(member: zipfile.ZipInfo, record: str) -> None:
    place = PureWindowsPath(member.filename)  # knows both kinds of slashes, and drives
    if place.anchor or ".." in place.parts:
        raise BadRecord(record, "its name leads out of the archive")
