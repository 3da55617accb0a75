"""What a power cut must not take back."""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def draft_of(path: Path) -> Path:
    """A name beside `path` for what takes its place once it is whole; no two processes or threads get the same."""
    return path.with_name(f".lode-{os.getpid()}-{secrets.token_hex(4)}.part")


def flush(path: Path) -> None:
    """Have a file's content, or a folder's list of names, on disk before going on."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
