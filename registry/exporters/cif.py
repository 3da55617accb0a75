"""A zip of CIF files, one a material, without symmetry: every atom of the cell is listed.

What CIF has no tag for stands under `_lode_...`: as it is where it is plain text, as JSON elsewhere. `_lode_id` names
the stored arrays, `_lode_lattice` are their vectors: lengths and angles don't say how a cell lies in space.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

from registry.crystal import Crystal
from registry.exporters.archive import Archive
from registry.exporters.cell import cell_parameters, right_handed
from registry.exporters.record import ExportedRecord, as_json, facts, first_id
from registry.identity.composition import SYMBOLS

ID_TAGS = {"icsd": "_database_code_icsd", "cod": "_cod_database_code", "amcsd": "_database_code_amcsd"}
SITE_TAGS = ("label", "type_symbol", "fract_x", "fract_y", "fract_z", "occupancy")
PLAIN = re.compile(r"[A-Za-z0-9][ !$-&(-~]*")
"""Printable ASCII without the quotes that would end it and the # that readers take for a comment."""


def write(records: Iterable[ExportedRecord], sink: BinaryIO) -> int:
    """Write a zip; a file is named by the material's id."""
    with Archive(sink) as archive:
        for record in records:
            archive.add(f"{record.relaxed_from or record.public_id}.cif", block(record).encode())
    return archive.members


def block(record: ExportedRecord) -> str:
    """One data block."""
    crystal = right_handed(record.crystal)
    lines = [f"data_{record.public_id}", *_identification(record), *_cell(crystal)]
    lines += ["_symmetry_space_group_name_H-M 'P 1'", "_symmetry_Int_Tables_number 1"]
    lines += ["loop_", "_symmetry_equiv_pos_as_xyz", "'x, y, z'"]
    lines += ["loop_", *(f"_atom_site_{tag}" for tag in SITE_TAGS), *_sites(crystal)]
    return "\n".join(lines) + "\n"


def _identification(record: ExportedRecord) -> Iterator[str]:
    for scheme, tag in ID_TAGS.items():
        if name := first_id(record, scheme):
            yield f"{tag} {_written(name)}"
    yield f"_lode_lattice '{' '.join(map(repr, record.crystal.lattice.ravel().tolist()))}'"
    for fact, value in facts(record).items():
        yield f"_lode_{fact.removeprefix('lode_')} {_written(value)}"


def _cell(crystal: Crystal) -> Iterator[str]:
    for name, value in cell_parameters(crystal.lattice).items():
        yield f"_cell_{'length' if len(name) == 1 else 'angle'}_{name} {value!r}"
    yield f"_cell_volume {crystal.volume!r}"
    amounts = " ".join(f"{SYMBOLS[number]}{count}" for number, count in crystal.amounts.items())
    yield f"_chemical_formula_sum '{amounts}'"


def _sites(crystal: Crystal) -> Iterator[str]:
    for index, (number, abc) in enumerate(zip(crystal.numbers, crystal.frac_coords.tolist(), strict=True)):
        symbol = SYMBOLS[number]
        yield f"{symbol}{index} {symbol} {' '.join(map(repr, abc))} 1"


def _written(value: Any) -> str:
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, str) and PLAIN.fullmatch(value):
        return f"'{value}'"
    return "'" + as_json(value).replace("'", "\\u0027").replace("#", "\\u0023") + "'"
