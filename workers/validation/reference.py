"""An ideal structure, built from its space group and one point per orbit, and what counts as a match with it.

A crystal matches a reference when it shows the reference's space group at one of SYMPRECS *and*
`registry.identity.duplicates.same_crystal` finds them the same (structure type with elements in place and a tight
fingerprint, or pymatgen's StructureMatcher at its defaults: lengths 20 %, sites 0.3 of the cube root of the volume per
atom, angles 5 degrees, volumes scaled). The matcher alone would take a ferroelectric for its cubic parent; the space
group or the structure type alone would take a delafossite for an alpha-NaFeO2 type.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, Self

import numpy as np

from registry.crystal import Crystal, Floats
from registry.errors import BadRecord
from registry.identity.composition import ATOMIC_NUMBERS
from registry.identity.duplicates import same_crystal
from registry.identity.prototype import prototype_of

SYMPRECS = (0.01, 0.05, 0.1, 0.2)
"""Angstrom. A relaxation leaves noise of some hundredths; any symmetry that shows at one of these counts."""

SAME_POINT = 1e-3
"""Fractional. Points of one orbit closer than this are one: the table writes thirds to six digits."""


@dataclass(frozen=True)
class Reference:
    """An ideal structure by its generators.

    spacegroup: number; lattice: a, b, c in angstrom, alpha, beta, gamma in degrees (hexagonal axes, origin choice 1)
    sites: (element, Wyckoff position as "4a", fractional coordinates of one of its points), one per orbit
    """

    spacegroup: int
    lattice: tuple[float, ...]
    sites: tuple[tuple[str, str, tuple[float, ...]], ...]

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self:
        sites = tuple((site["element"], site["wyckoff"], tuple(site["position"])) for site in row["sites"])
        return cls(row["spacegroup"], tuple(row["lattice"]), sites)

    @cached_property
    def crystal(self) -> Crystal:
        """The primitive cell."""
        import moyopy

        orbits = [(element, _orbit(self.spacegroup, position)) for element, _, position in self.sites]
        numbers = [ATOMIC_NUMBERS[element] for element, points in orbits for _ in points]
        cell = moyopy.Cell(
            cell_vectors(self.lattice).tolist(), [point for _, all_ in orbits for point in all_], numbers
        )
        primitive = moyopy.MoyoDataset(cell, symprec=1e-3).prim_std_cell
        return Crystal(np.array(primitive.basis), np.array(primitive.numbers), np.array(primitive.positions))

    @cached_property
    def protostructure(self) -> str:
        return prototype_of(self.crystal).protostructure

    def matches(self, crystal: Crystal) -> bool:
        return self.spacegroup in spacegroups(crystal) and same_crystal(self.crystal, crystal) is not None


def spacegroups(crystal: Crystal) -> set[int]:
    """The space groups that a crystal shows at SYMPRECS."""
    found = set()
    for symprec in SYMPRECS:
        try:
            found.add(prototype_of(crystal, symprec).spacegroup_number)
        except BadRecord:  # no symmetry at this tolerance says nothing about the others
            continue
    return found


def cell_vectors(lattice: Sequence[float]) -> Floats:
    """(3, 3) rows in angstrom from a, b, c in angstrom and angles in degrees; a along x, b in the xy plane."""
    a, b, c = lattice[:3]
    cos_alpha, cos_beta, cos_gamma = np.cos(np.radians(lattice[3:]))
    sin_gamma = np.sqrt(1 - cos_gamma**2)
    x, y = cos_beta, (cos_alpha - cos_beta * cos_gamma) / sin_gamma
    return np.array([[a, 0, 0], [b * cos_gamma, b * sin_gamma, 0], [c * x, c * y, c * np.sqrt(1 - x**2 - y**2)]])


def _orbit(spacegroup: int, position: Sequence[float]) -> list[list[float]]:
    """The points of the conventional cell that the space group makes of one."""
    rotations, translations = _operations(spacegroup)
    images = (rotations @ np.array(position) + translations) % 1.0
    points: list[list[float]] = []
    for image in images.tolist():
        apart = np.array(points).reshape(-1, 3) - image
        if not (np.abs(apart - np.round(apart)).max(axis=1, initial=0.0) < SAME_POINT).any():
            points.append(image)
    return points


@cache
def _operations(spacegroup: int) -> tuple[Floats, Floats]:
    """(n, 3, 3) rotations and (n, 3) translations; moyopy's spglib setting is the one of the table."""
    import moyopy

    operations = moyopy.operations_from_number(spacegroup, setting=moyopy.Setting.spglib())
    return np.array(operations.rotations, dtype=np.float64), np.array(operations.translations)
