"""Extended XYZ, one frame after the other."""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np

from registry.crystal import Crystal
from registry.errors import BadRecord
from registry.importers.files import open_text
from registry.importers.own import is_ours, own_record
from registry.importers.record import (
    LARGEST,
    MOST_SITES,
    PARSER_FAULTS,
    ImportedEnergy,
    ImportedRecord,
    Item,
    checked,
    reason_of,
)

if TYPE_CHECKING:
    from ase import Atoms

TOO_MANY_ATOMS = f"more than {MOST_SITES} atoms, the most allowed"
ID_KEYS = {
    "material_id": "mp",
    "mp_id": "mp",
    "mp-id": "mp",
    "alexandria_id": "alexandria",
    "icsd": "icsd",
    "icsd_id": "icsd",
}


def records(path: Path) -> Iterator[Item]:
    with open_text(path) as lines:
        for index, frame in enumerate(_frames(lines, path.name)):
            record = f"{path.name}:{index}"
            yield read_frame(frame, record, path.name) if frame else BadRecord(record, TOO_MANY_ATOMS)


def read_frame(frame: str, record: str, source: str) -> Item:
    """One frame as text -> its record, or why there's none."""
    from ase.io import read

    try:
        return _imported(read(io.StringIO(frame), index=0, format="extxyz"), record, source)
    except BadRecord as error:
        return error
    except (*PARSER_FAULTS, OSError) as error:  # ase's XYZError is an OSError
        return BadRecord(record, f"doesn't parse as extended XYZ: {reason_of(error)}")


def _frames(lines: TextIO, name: str) -> Iterator[str]:
    """Nothing for one that is passed over, since it has more atoms than any record.

    Raise BadRecord where the count of atoms isn't one: no later frame can be found then.
    """
    index = 0
    while head := lines.readline(LARGEST):
        if not head.strip():
            continue
        if not head.strip().isdecimal():
            raise BadRecord(f"{name}:{index}", f"{head.strip()[:40]!r} is no number of atoms; the rest wasn't read")
        count = int(head)
        body = deque(islice(lines, count), maxlen=None if count <= MOST_SITES else 0)
        if not (last := lines.readline(LARGEST)):
            raise BadRecord(f"{name}:{index}", f"the file ends within the {count} atoms of this frame")
        yield "".join([head, *body, last]) if count <= MOST_SITES else ""
        index += 1


def _imported(atoms: Any, record: str, source: str) -> ImportedRecord:
    if len(atoms) == 0:
        raise BadRecord(record, "no atoms")
    if not atoms.pbc.all() or not np.asarray(atoms.cell).any():
        raise BadRecord(record, 'no periodic cell: its comment line needs Lattice="..." and no false pbc')
    crystal = Crystal(np.asarray(atoms.cell), atoms.numbers, _frac_coords(atoms))
    if is_ours(atoms.info):
        told = atoms.calc.results if atoms.calc else {}
        return own_record({**told, **atoms.info}, checked(crystal, record), record)
    info = {key: _plain(value) for key, value in atoms.info.items() if np.ndim(value) == 0 and value is not None}
    return ImportedRecord(
        crystal=checked(crystal, record),
        record=record,
        source=str(info.get("source", source)),
        external_ids={ID_KEYS[key]: str(value) for key, value in info.items() if key in ID_KEYS},
        metadata={key: value for key, value in info.items() if key not in ID_KEYS and key != "source"},
        energy=_energy(atoms),
    )


def _frac_coords(atoms: Any) -> Any:
    """Those that our exports tell beside the Cartesian ones, out of which they come rounded; never against these."""
    told, found = atoms.arrays.get("frac_coords"), atoms.cell.scaled_positions(atoms.positions)
    same = np.shape(told) == np.shape(found) and np.allclose(told, found, rtol=0, atol=1e-6)
    return told if same else found


def _plain(value: Any) -> str | int | float | bool:
    plain = value.item() if isinstance(value, np.generic) else value
    return plain if isinstance(plain, str | int | float) else str(plain)


def _energy(atoms: Atoms) -> ImportedEnergy | None:
    results: dict[str, Any] = atoms.calc.results if atoms.calc else {}
    return ImportedEnergy(float(results["energy"])) if "energy" in results else None
