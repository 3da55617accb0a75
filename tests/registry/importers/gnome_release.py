"""A small release in GNoME's own form: the table's columns as released, and CIFs beside it. The numbers are made up."""

from __future__ import annotations

import csv
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pymatgen.core import Lattice, Structure
from pymatgen.io.cif import CifWriter

COLUMNS = [
    "", "Composition", "MaterialId", "Reduced Formula", "Elements", "NSites", "Volume", "Density", "Point Group",
    "Space Group", "Space Group Number", "Crystal System", "UnCorrected Energy", "Corrected Energy",
    "Formation Energy Per Atom", "Decomposition Energy Per Atom", "Dimensionality Cheon", "Bandgap", "Is Train",
    "Decomposition Energy Per Atom All", "Decomposition Energy Per Atom Relative", "Decomposition Energy Per Atom MP",
    "Decomposition Energy Per Atom MP OQMD",
]  # fmt: skip


def salt(one: str, other: str, edge: float = 4.0) -> Structure:
    """In the structure of CsCl."""
    return Structure(Lattice.cubic(edge), [one, other], [[0, 0, 0], [0.5, 0.5, 0.5]])


def row(structure: Structure, material_id: str, **changes: Any) -> dict[str, Any]:
    """Totals of -3.5 and -3.75 eV/atom, a formation energy of -1.2; `changes` go by column, with _ for a blank."""
    atoms = len(structure)
    told = {
        "": 17,
        "Composition": structure.composition.alphabetical_formula.replace(" ", ""),
        "MaterialId": material_id,
        "Reduced Formula": structure.composition.reduced_formula,
        "Elements": str([element.symbol for element in structure.composition.elements]),
        "NSites": atoms,
        "Volume": round(structure.volume, 4),
        "Density": round(float(structure.density), 4),
        "Point Group": "m-3m",
        "Space Group": "Pm-3m",
        "Space Group Number": 221,
        "Crystal System": "cubic",
        "UnCorrected Energy": -3.5 * atoms,
        "Corrected Energy": -3.75 * atoms,
        "Formation Energy Per Atom": -1.2,
        "Decomposition Energy Per Atom": -0.05,
        "Dimensionality Cheon": "3D",
        "Bandgap": 0.2022,
        "Is Train": True,
        "Decomposition Energy Per Atom All": 0.0,
        "Decomposition Energy Per Atom Relative": "",
        "Decomposition Energy Per Atom MP": -0.06,
        "Decomposition Energy Per Atom MP OQMD": -0.04,
    }
    return told | {name.replace("_", " "): value for name, value in changes.items()}


def write_table(path: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, COLUMNS)
        table.writeheader()
        table.writerows(rows)
    return path


def cif(structure: Structure) -> str:
    return str(CifWriter(structure))


def write_zip(path: Path, cifs: Mapping[str, str]) -> Path:
    """Name of a file without its ending -> text, in a folder of the archive's name, as released."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in cifs.items():
            archive.writestr(f"{path.stem}/{name}.CIF", text)
    return path


def write_folder(path: Path, cifs: Mapping[str, str]) -> Path:
    path.mkdir()
    for name, text in cifs.items():
        (path / f"{name}.CIF").write_text(text)
    return path
