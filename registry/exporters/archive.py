"""A zip file written front to back in constant memory: zipfile keeps half a kilobyte a member until the end.

The layout is that of PKWARE's APPNOTE.TXT 6.3, sections 4.3.7 (local header), 4.3.12 (central directory), 4.3.14-16
(end records) and 4.5.3 (Zip64).
"""

from __future__ import annotations

import shutil
import struct
import zlib
from tempfile import SpooledTemporaryFile
from types import TracebackType
from typing import BinaryIO, Self

FULL_2, FULL_4 = 0xFFFF, 0xFFFFFFFF
"""What a short field holds when the value stands in Zip64's long one."""

VERSION = 45
"""Of the format that a reader has to know: 4.5 has Zip64."""

UTF8, DEFLATED = 0x800, 8
MOMENT = (0, 0x21)
"""1980-01-01 00:00, so that the same members make the same bytes."""

UNIX_FILE = 0o100644 << 16
DIRECTORY_IN_MEMORY = 1 << 20


class Archive:
    """A zip; members are packed. What isn't closed without an error has no end and is no zip."""

    def __init__(self, sink: BinaryIO) -> None:
        self.members = 0
        self._sink = sink
        self._offset = 0
        self._directory = SpooledTemporaryFile(DIRECTORY_IN_MEMORY)  # noqa: SIM115  (closed in __exit__)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        with self._directory:
            if kind is None:
                self._finish()

    def add(self, name: str, content: bytes) -> None:
        """Append a file; each name is given once."""
        packed, path = _deflated(content), name.encode()
        sizes = (zlib.crc32(content), len(packed), len(content))
        shared = (VERSION, UTF8, DEFLATED, *MOMENT, *sizes, len(path))
        self._directory.write(_directory_entry(shared, path, self._offset))
        self._write(struct.pack("<4s5H3I2H", b"PK\3\4", *shared, 0) + path)
        self._write(packed)
        self.members += 1

    def _write(self, content: bytes) -> None:
        self._sink.write(content)
        self._offset += len(content)

    def _finish(self) -> None:
        start, size = self._offset, self._directory.tell()
        self._directory.seek(0)
        shutil.copyfileobj(self._directory, self._sink)
        self._sink.write(_end(self.members, size, start))


def _deflated(content: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(content) + packer.flush()


def _directory_entry(shared: tuple[int, ...], path: bytes, offset: int) -> bytes:
    extra = struct.pack("<2HQ", 1, 8, offset) if offset >= FULL_4 else b""
    rest = (len(extra), 0, 0, 0, UNIX_FILE, min(offset, FULL_4))
    return struct.pack("<4sBB5H3I5H2I", b"PK\1\2", VERSION, 3, *shared, *rest) + path + extra


def _end(members: int, size: int, start: int) -> bytes:
    last = struct.pack(
        "<4s4H2IH", b"PK\5\6", 0, 0, *[min(members, FULL_2)] * 2, min(size, FULL_4), min(start, FULL_4), 0
    )
    if members < FULL_2 and max(size, start) < FULL_4:
        return last
    long = struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, VERSION, VERSION, 0, 0, members, members, size, start)
    return long + struct.pack("<4sIQI", b"PK\6\7", 0, start + size, 1) + last
