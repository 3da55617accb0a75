"""CIFs that lie beside a table: in a zip archive or in a folder, found by the names of the files."""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from registry.errors import BadRecord
from registry.importers.record import LARGEST, reason_of

ENCRYPTED = 0x1
"""The bit of a member's flags (PKWARE's APPNOTE.TXT 6.3, section 4.4.4)."""

PACKED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""What is unpacked piece by piece, so that a member that lies about its size can't fill the memory."""

FAULTS = (zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError, ValueError)
"""What unpacking a damaged, encrypted or oddly packed member raises."""

Place = Path | zipfile.ZipInfo


@dataclass(frozen=True)
class CifShelf:
    """places: name of a file without its ending -> where it lies"""

    name: str
    places: Mapping[str, Place]
    archive: zipfile.ZipFile | None = None

    def find(self, *names: str) -> Place | None:
        """Under the first of the names that there is."""
        return next((self.places[name] for name in names if name in self.places), None)

    def read(self, place: Place, record: str) -> str:
        """Raise BadRecord for one that is too large, packed in a way that isn't read, or damaged."""
        if (complaint := _complaint(place)) is not None:
            raise BadRecord(record, complaint)
        try:
            return self._bytes(place).decode("utf-8-sig", errors="replace")
        except FAULTS as error:
            raise BadRecord(record, f"its CIF can't be read from {self.name}: {reason_of(error)}") from error

    def _bytes(self, place: Place) -> bytes:
        if isinstance(place, Path):
            return place.read_bytes()
        assert self.archive is not None
        with self.archive.open(place) as member:
            return member.read(place.file_size)  # without a number a gigabyte may come at once, whatever size is told


def _complaint(place: Place) -> str | None:
    """Why a CIF isn't even opened."""
    size = place.file_size if isinstance(place, zipfile.ZipInfo) else place.stat().st_size
    if size > LARGEST:
        return f"its CIF has {size} bytes, the most allowed are {LARGEST}"
    if isinstance(place, Path):
        return None
    if place.flag_bits & ENCRYPTED:
        return "is encrypted: unpack it first"
    if place.compress_type not in PACKED:
        return "is packed in a way that isn't read: pack it by deflate"
    return None


@contextmanager
def opened(path: Path) -> Iterator[CifShelf]:
    """Raise BadRecord if it's neither a folder nor a zip archive, or holds no CIF."""
    if path.is_dir():
        yield _shelf(path.name, {file.stem: file for file in _files(path)}, None)
        return
    with _archive(path) as archive:
        members = [info for info in archive.infolist() if info.filename.lower().endswith(".cif")]
        yield _shelf(path.name, {PurePosixPath(info.filename).stem: info for info in members}, archive)


def content_of(path: Path) -> bytes:
    """A digest of what lies there: names, sizes, and check sums (of a folder: times) of the files."""
    if path.is_dir():
        told = [f"{file.relative_to(path)} {file.stat().st_size} {file.stat().st_mtime_ns}" for file in _files(path)]
    else:
        with _archive(path) as archive:
            told = [f"{info.filename} {info.file_size} {info.CRC}" for info in archive.infolist()]
    return hashlib.sha256("\n".join(told).encode("utf-8", errors="surrogateescape")).digest()


def _archive(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except FAULTS as error:
        raise BadRecord(path.name, f"is neither a folder nor a zip archive of CIFs: {reason_of(error)}") from error


def _files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.suffix.lower() == ".cif" and file.is_file())


def _shelf(name: str, places: Mapping[str, Place], archive: zipfile.ZipFile | None) -> CifShelf:
    if not places:
        raise BadRecord(name, "holds no CIF")
    return CifShelf(name, places, archive)
