"""What every importer yields, and the checks at the door that all of them share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from registry.crystal import Crystal
from registry.errors import BadRecord
from registry.identity.composition import SYMBOLS

if TYPE_CHECKING:
    from pymatgen.core.structure import Structure

CLOSEST = 0.5
"""Angstrom. Atoms nearer than this overlap: the shortest bond there is, H-H, has 0.74."""

FLATTEST = 0.1
"""Cubic angstrom per atom. Below it the lattice vectors lie in a plane."""

PARSER_FAULTS = (
    ValueError, TypeError, KeyError, IndexError, AttributeError, ArithmeticError, AssertionError, RuntimeError,
)  # fmt: skip
"""What the parsers of pymatgen and ase let escape on malformed text: ZeroDivisionError on a CIF cut short, IndexError
on a POSCAR cut short, KeyError, AttributeError and NotImplementedError on fields of a wrong kind."""


@dataclass(frozen=True)
class ImportedEnergy:
    """A total energy that came with a crystal.

    total: eV per cell, uncorrected
    correction: eV per cell, to be added
    run_type: "GGA", "GGA+U", "R2SCAN", ... as the source says, or None
    parameters: hubbards, potcars and whatever else describes the level of theory
    """

    total: float
    correction: float = 0.0
    run_type: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class ImportedRecord:
    """One crystal of a file, checked.

    record: "file:index", counted from 0 in the order of the file, bad records included
    source: where the file says that it comes from, or the name of the file
    external_ids: kind -> id: {"mp": "mp-149"}
    metadata: what else the file says, JSON-ready
    """

    crystal: Crystal
    record: str
    source: str
    external_ids: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    energy: ImportedEnergy | None = None


Item = ImportedRecord | BadRecord
"""A record, or the error (not raised) that says why there's none."""


def checked(crystal: Crystal, record: str) -> Crystal:
    """The crystal itself. Raise BadRecord if it's no crystal: NaN, flat cell, unknown element, overlapping atoms."""
    if not (np.isfinite(crystal.lattice).all() and np.isfinite(crystal.frac_coords).all()):
        raise BadRecord(record, "coordinates or lattice aren't finite numbers")
    if crystal.volume < FLATTEST * crystal.nsites:
        raise BadRecord(record, f"the cell of {crystal.nsites} atoms has a volume of {crystal.volume:.3g} A^3")
    if unknown := [number for number in crystal.amounts if not 0 < number < len(SYMBOLS)]:
        raise BadRecord(record, f"no element has the atomic number {unknown[0]}")
    if (pair := _overlap(crystal)) is not None:
        one, other, distance = pair
        raise BadRecord(
            record,
            f"overlapping atoms: {SYMBOLS[crystal.numbers[one]]} (site {one}) and {SYMBOLS[crystal.numbers[other]]} "
            f"(site {other}) are {distance:.2f} A apart, the least allowed is {CLOSEST} A",
        )
    return crystal


def crystal_of(structure: Structure, record: str) -> Crystal:
    """From pymatgen, checked. Raise BadRecord, also for partial occupancy and species that are no element."""
    from pymatgen.core.periodic_table import DummySpecies

    for index, site in enumerate(structure):
        for species in site.species:
            if isinstance(species, DummySpecies):
                raise BadRecord(record, f"unknown element {species.symbol} (site {index})")
        if not site.is_ordered:
            raise BadRecord(record, f"partial occupancy: site {index} holds {site.species_string}; order it first")
    if len(structure) == 0:
        raise BadRecord(record, "no atoms")
    return checked(Crystal.from_pymatgen(structure), record)


def reason_of(error: Exception) -> str:
    """One line of what a parser's exception says."""
    text = " ".join(str(error).split())
    if isinstance(error, KeyError):
        text = f"{text} is missing"
    return text[:200] or type(error).__name__


def _overlap(crystal: Crystal) -> tuple[int, int, float] | None:
    """The first two sites closer than CLOSEST, and their distance in angstrom; a site may overlap its own image."""
    from pymatgen.optimization.neighbors import find_points_in_spheres

    points = np.ascontiguousarray((crystal.frac_coords % 1.0) @ crystal.lattice)
    centres, others, images, distances = find_points_in_spheres(
        points, points, CLOSEST, np.ones(3, dtype=np.int64), np.ascontiguousarray(crystal.lattice), 1e-8
    )
    same = (centres == others) & (images == 0).all(axis=1)
    close = np.flatnonzero(~same)
    if not len(close):
        return None
    first = close[np.argmin(distances[close])]
    return int(centres[first]), int(others[first]), float(distances[first])
