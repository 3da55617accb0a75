"""CIF blocks that registry/exporters/cif.py wrote: read plainly, since pymatgen sorts sites and rounds coordinates."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np

from registry.crystal import Crystal
from registry.errors import BadRecord
from registry.identity.composition import ATOMIC_NUMBERS
from registry.importers.own import own_record
from registry.importers.record import ImportedRecord, checked

OWN_TAG = re.compile(r"^_lode_(\w+) (.+)$", re.MULTILINE)
SITE = re.compile(r"^[A-Z][a-z]?\d+ ([A-Z][a-z]?) (\S+) (\S+) (\S+) 1$", re.MULTILINE)
NUMBERS = {"energy", "correction"}
NESTED = {"external_ids", "metadata", "crystal_properties", "parameters", "non_commercial", "energy_non_commercial"}


def is_own_block(block: str) -> bool:
    return "\n_lode_id 'lode-" in block and "\n_lode_lattice '" in block


def read_own_block(block: str, record: str) -> ImportedRecord:
    """Raise BadRecord, or ValueError and the like where somebody has edited it beyond understanding."""
    facts = {name: _value(name, written) for name, written in OWN_TAG.findall(block)}
    lattice = np.array(facts.pop("lattice").split(), dtype=np.float64).reshape(3, 3)
    sites = SITE.findall(block)
    if unknown := [symbol for symbol, *_ in sites if symbol not in ATOMIC_NUMBERS]:
        raise BadRecord(record, f"unknown element {unknown[0]}")
    coords = np.array([site[1:] for site in sites], dtype=np.float64)
    hand = 1 if np.linalg.det(lattice) > 0 else -1  # the block itself is of the right-handed cell
    numbers = np.array([ATOMIC_NUMBERS[site[0]] for site in sites], dtype=np.int16)
    crystal = checked(Crystal(lattice, numbers, hand * coords), record)
    return own_record({**facts, "lode_id": facts["id"]}, crystal, record)


def _value(name: str, written: str) -> Any:
    if name in NUMBERS:
        return float(written)
    text = written[1:-1] if written.startswith("'") else written
    return json.loads(text) if name in NESTED or text.startswith('"') else text
