"""CIF, with any number of data blocks."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, TextIO

from registry.errors import BadRecord
from registry.importers.files import open_text
from registry.importers.own_cif import is_own_block, read_own_block
from registry.importers.record import LARGEST, PARSER_FAULTS, TOO_LARGE, ImportedRecord, Item, crystal_of, reason_of

ID_TAGS = {
    "_database_code_icsd": "icsd",
    "_icsd_database_code": "icsd",
    "_cod_database_code": "cod",
    "_database_code_amcsd": "amcsd",
}


def records(path: Path) -> Iterator[Item]:
    with open_text(path, errors="replace") as lines:  # Latin-1 in the names of authors harms no atom
        yield from read_blocks(lines, path.name, path.name)


def read_blocks(lines: TextIO, name: str, source: str) -> Iterator[Item]:
    """Every data block with atoms, as "name:index"."""
    for index, block in enumerate(filter(_holds_atoms, _blocks(lines))):
        yield read_block(block, f"{name}:{index}", source)


def read_block(block: str, record: str, source: str) -> Item:
    """One data block as text -> its record, or why there's none."""
    if len(block) > LARGEST:
        return BadRecord(record, TOO_LARGE)
    try:
        if is_own_block(block):
            return read_own_block(block, record)
        structure, tags = _parsed(block)
        return ImportedRecord(
            crystal=crystal_of(structure, record),
            record=record,
            source=source,
            external_ids={
                kind: str(tags[tag]) for tag, kind in ID_TAGS.items() if tags.get(tag) not in (None, "?", ".")
            },
            metadata=_metadata(tags, block),
        )
    except BadRecord as error:
        return error
    except PARSER_FAULTS as error:
        return BadRecord(record, f"doesn't parse as CIF: {_told(error)}")


def _blocks(lines: TextIO) -> Iterator[str]:
    """Cut before each data_ line that's outside of a text field, whose bounds are lines that start with a semicolon.

    Of a block larger than LARGEST the rest is passed over.
    """
    block: list[str] = []
    size, in_text = 0, False
    for line in iter(partial(lines.readline, LARGEST), ""):
        in_text ^= line.startswith(";")
        heads = line.lstrip().lower().startswith("data_")
        if heads and not in_text and block:
            yield "".join(block)
            block, size = [], 0
        if size <= LARGEST:
            block.append("> " + line if heads and in_text else line)  # pymatgen would cut there
            size += len(line)
    yield "".join(block)


def _holds_atoms(block: str) -> bool:
    """False for blocks of bibliography alone and for comments before the first block."""
    if "_atom_site_" in block or "_cell_length_a" in block:
        return True
    return not re.search(r"^(data_|#)", block, re.MULTILINE | re.IGNORECASE) and bool(block.strip())


def _parsed(block: str) -> tuple[Any, dict[str, Any]]:
    """The structure and the tags. Raise ValueError also where pymatgen would only warn that it lost atoms."""
    from pymatgen.io.cif import CifParser

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        parser = CifParser.from_str(block)
        tags: dict[str, Any] = next(iter(parser.as_dict().values()), {})
        if not any(tag.startswith("_atom_site_") for tag in tags):
            raise ValueError("no atoms listed")
        structure = parser.parse_structures(primitive=False, on_error="raise")[0]
        lost = parser.check(structure)
    if lost and lost.startswith(("Missing elements", "Incorrect stoichiometry")) and structure.is_ordered:
        raise ValueError(f"its atoms don't add up to its formula: {lost}")
    return structure, tags


def _metadata(tags: dict[str, Any], block: str) -> dict[str, Any]:
    name = re.search(r"^data_(\S*)", block, re.MULTILINE | re.IGNORECASE)
    chosen = {"block": name[1] if name else None, "name": tags.get("_chemical_name_mineral")}
    return {key: value for key, value in chosen.items() if value}


def _told(error: Exception) -> str:
    """pymatgen's message without its frame."""
    return re.sub(r"^No structure parsed for section \d+ in CIF\. ?", "", reason_of(error)) or "no structure in it"
