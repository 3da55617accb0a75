"""A JSON list of pymatgen's ComputedStructureEntry: raw energy, correction, and what else is known in `data`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, BinaryIO

from registry.exporters.pymatgen_structures import structure_document, write_list
from registry.exporters.record import ExportedEnergy, ExportedRecord, facts, first_id, material_id
from registry.identity.composition import SYMBOLS

ELSEWHERE = ("energy", "correction", "parameters")
"""Facts that entries have a place of their own for."""


def write(records: Iterable[ExportedRecord], sink: BinaryIO) -> int:
    """Write a list, one entry a line; a record without an energy is no entry and is passed over."""
    documents = (_document(one, one.energy) for one in records if one.energy is not None)
    return write_list(documents, sink)


def _document(record: ExportedRecord, energy: ExportedEnergy) -> dict[str, Any]:
    amounts = {SYMBOLS[number]: float(count) for number, count in record.crystal.amounts.items()}
    return {
        "@module": "pymatgen.core.entries",
        "@class": "ComputedStructureEntry",
        "energy": energy.total,
        "composition": amounts,
        "entry_id": entry_id(record),
        "correction": energy.correction or 0.0,
        "energy_adjustments": _adjustments(energy),
        "parameters": dict(energy.parameters),
        "data": {name: value for name, value in facts(record).items() if name not in ELSEWHERE},
        "structure": structure_document(record.crystal, {}),
    }


def entry_id(record: ExportedRecord) -> str:
    """mp-149-GGA+U where that is known, else the material's id, else our own."""
    material, entry = material_id(record), first_id(record, "entry")
    if material and entry and entry.startswith(material):
        return entry
    return material or record.public_id


def _adjustments(energy: ExportedEnergy) -> list[dict[str, Any]]:
    """pymatgen makes the correction from these alone."""
    if not energy.correction:
        return []
    kind = {"@module": "pymatgen.core.entries", "@class": "ManualEnergyAdjustment", "@version": None}
    return [{**kind, "value": energy.correction}]
