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

ENCRYPTED = 0x1
"""The bit of a member's flags (PKWARE's APPNOTE.TXT 6.3, section 4.4.4)."""

PACKED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""What is unpacked piece by piece, so that a member that lies about its size can't fill the memory."""


def records(path: Path) -> Iterator[Item]:
    """Raise BadRecord if it's no zip archive or holds no CIF."""
    with opened(path) as shelf:
        assert shelf.archive is not None
        for member in shelf.archive.infolist():
            if member.filename.lower().endswith(".cif"):
                yield from _member(shelf, member, f"{path.name}:{member.filename}")


def _member(shelf: CifShelf, member: zipfile.ZipInfo, record: str) -> Iterator[Item]:
    if (complaint := _complaint(member)) is not None:
        yield BadRecord(record, complaint)
        return
    try:
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


def _complaint(member: zipfile.ZipInfo) -> str | None:
    """Why a member isn't even opened."""
    place = PureWindowsPath(member.filename)  # knows both kinds of slashes, and drives
    if place.anchor or ".." in place.parts:
        return "its name leads out of the archive"
    if member.flag_bits & ENCRYPTED:
        return "is encrypted: unpack it first"
    if member.compress_type not in PACKED:
        return "is packed in a way that isn't read: pack it by deflate"
    return None
