"""Extended XYZ: Cartesian positions for everybody, and beside them the fractional coordinates, which are exact.

`energy` is by custom that of the very frame: that of a later, relaxed one is called `relaxed_energy`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, BinaryIO

from registry.exporters.record import ExportedRecord, as_json, facts, first_id
from registry.identity.composition import SYMBOLS

ID_KEYS = {"mp": "mp_id", "alexandria": "alexandria_id", "icsd": "icsd_id"}
"""Under what the first name of a scheme stands by itself, as registry/importers/extxyz.py reads it."""

BOOLEANS = {"T", "F", "true", "false", "True", "False", "TRUE", "FALSE"}


def write(records: Iterable[ExportedRecord], sink: BinaryIO) -> int:
    """Write frame after frame."""
    written = 0
    for record in records:
        sink.write(_frame(record).encode())
        written += 1
    return written


def _frame(record: ExportedRecord) -> str:
    crystal = record.crystal
    lattice = " ".join(map(repr, crystal.lattice.ravel().tolist()))
    info = " ".join(f"{key}={_written(value)}" for key, value in _info(record).items())
    head = f'Lattice="{lattice}" Properties=species:S:1:pos:R:3:frac_coords:R:3 pbc="T T T" {info}'
    positions = (crystal.frac_coords @ crystal.lattice).tolist()
    sites = zip(crystal.numbers.tolist(), positions, crystal.frac_coords.tolist(), strict=True)
    atoms = [f"{SYMBOLS[number]} {' '.join(map(repr, xyz + abc))}" for number, xyz, abc in sites]
    return "\n".join([str(crystal.nsites), head, *atoms, ""])


def _info(record: ExportedRecord) -> dict[str, Any]:
    told = facts(record)
    if record.energy is not None and record.energy.of != record.public_id:
        told["relaxed_energy"] = told.pop("energy")
    named = {key: first_id(record, scheme) for scheme, key in ID_KEYS.items()}
    return {key: value for key, value in named.items() if value is not None} | told


def _written(value: Any) -> str:
    """A value as ase's reader gives it back: itself where that is plain, else as JSON behind its mark."""
    if isinstance(value, float):
        return repr(value)
    plain = value if isinstance(value, str) and _means_itself(value) else f"_JSON {as_json(value)}"
    return '"' + plain.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _means_itself(text: str) -> bool:
    """Whether it isn't read as numbers ("00123" would lose its zeros), booleans, nothing, or JSON."""
    words = text.replace(",", " ").split()
    if not words or not text.isprintable() or text.startswith("_JSON "):
        return False
    return not all(map(_is_number, words)) and not set(words) <= BOOLEANS


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
