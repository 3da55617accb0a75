"""Pictures as files: all of them are written, or none."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from pathlib import Path

from registry.errors import SettingsError

SUFFIXES = (".html", ".png")


def beside(path: Path) -> tuple[Path, Path]:
    """Where the HTML and the PNG of one picture go: the name as given, less either suffix."""
    stem = path.with_suffix("") if path.suffix.lower() in SUFFIXES else path
    return stem.with_name(stem.name + ".html"), stem.with_name(stem.name + ".png")


def write_files(contents: Mapping[Path, bytes]) -> list[Path]:
    """Write each file beside its place first, then move all; missing folders are made.

    Raises SettingsError, with the places as they were, where one can't be written.
    """
    drafts = {path: path.with_name(f".{path.name}.{secrets.token_hex(4)}") for path in contents}
    try:
        for path, content in contents.items():
            _check(path)
            path.parent.mkdir(parents=True, exist_ok=True)
            drafts[path].write_bytes(content)
        for path, draft in drafts.items():
            draft.replace(path)
    except (OSError, ValueError) as error:  # ValueError: a name with a NUL
        raise SettingsError(f"can't write {path}: {getattr(error, 'strerror', None) or error}") from error
    finally:
        for draft in drafts.values():
            _drop(draft)
    return list(contents)


def _check(path: Path) -> None:
    if path.is_dir():
        raise IsADirectoryError(None, "there is a folder of that name")


def _drop(draft: Path) -> None:
    try:
        draft.unlink(missing_ok=True)
    except (OSError, ValueError):
        return
