"""VASP's POSCAR and CONTCAR: one structure per file."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from registry.errors import BadRecord
from registry.importers.files import open_text
from registry.importers.record import LARGEST, PARSER_FAULTS, TOO_LARGE, ImportedRecord, Item, crystal_of, reason_of


def records(path: Path) -> Iterator[Item]:
    with open_text(path) as file:
        text = file.read(LARGEST + 1)
    if len(text) > LARGEST:
        raise BadRecord(path.name, TOO_LARGE)
    yield read_poscar(text, f"{path.name}:0", path.name)


def read_poscar(text: str, record: str, source: str) -> Item:
    try:
        structure = _parsed(text)
        return ImportedRecord(crystal_of(structure, record), record, source, metadata=_metadata(text))
    except BadRecord as error:
        return error
    except PARSER_FAULTS as error:
        return BadRecord(record, f"doesn't parse as POSCAR: {reason_of(error)}")


def _parsed(text: str) -> Any:
    """Raise ValueError where pymatgen would make up the elements (VASP 4 files don't name them)."""
    from pymatgen.io.vasp.inputs import Poscar

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        structure = Poscar.from_str(text).structure
    if any("cannot be determined" in str(warning.message) for warning in told):
        raise ValueError("no line names the elements (VASP 4 style): write them above the line of counts")
    return structure


def _metadata(text: str) -> dict[str, Any]:
    comment = text.splitlines()[0].strip()
    return {"comment": comment} if comment else {}
