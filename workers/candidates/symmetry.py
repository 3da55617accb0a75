"""The space group of a parent as permutations of its sites."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from registry.compiled import entry_point
from registry.crystal import Crystal, Floats, Species
from registry.errors import BadRecord
from registry.identity.prototype import symmetry_of

Ints = NDArray[np.int64]
Permutations = NDArray[np.int64]
Operations = tuple[Floats, Floats]
"""(g, 3, 3) rotations and (g, 3) translations on fractional coordinates (columns)."""


class NoSymmetry(ValueError):
    """No space group is found that maps the sites of a crystal onto each other."""


@dataclass(frozen=True, eq=False)
class Symmetry:
    """A cell with what its space group does to its sites.

    permutations: (g, n) int64; operation k carries site i onto site permutations[k, i].
    orbits: (n,) int64, the first site of each site's Wyckoff orbit.  wyckoffs: one letter per site.
    """

    crystal: Crystal
    number: int
    permutations: Permutations
    orbits: Ints
    wyckoffs: tuple[str, ...]


def standardised(crystal: Crystal, symprec: float = 1e-2, *, conventional: bool = False) -> Symmetry:
    """The standardised primitive cell with its group, by one search; on request the conventional cell.

    The positions are made exactly symmetric. In a centred conventional cell the group holds the centring translations
    too, up to 192 operations in all.
    Raise NoSymmetry where moyopy finds no group within `symprec` (angstrom) or might search forever.
    """
    data = _dataset(crystal, symprec)
    primitive_cell = _crystal(data.prim_std_cell)
    letter = dict(zip(data.mapping_std_prim, data.wyckoffs, strict=True))
    cell, sites = primitive_cell, range(primitive_cell.nsites)
    if conventional:
        cell = _crystal(data.std_cell)
        sites = _sites_below(cell, primitive_cell).tolist()
    permutations = _permutations(cell, _operations(data.hall_number, not conventional), symprec)
    return Symmetry(cell, data.number, permutations, permutations.min(axis=0), tuple(letter[site] for site in sites))


def primitive(crystal: Crystal, symprec: float = 1e-2) -> Crystal:
    """The standardised primitive cell alone. Raise NoSymmetry as `standardised` does."""
    return _crystal(_dataset(crystal, symprec).prim_std_cell)


def symmetry(crystal: Crystal, symprec: float = 1e-2) -> Symmetry:
    """A cell as it is, a supercell too, with those operations of its group that keep its lattice.

    Raise NoSymmetry as `standardised` does.
    """
    data = _dataset(crystal, symprec)
    found = (np.array(data.operations.rotations, np.float64), np.array(data.operations.translations, np.float64))
    permutations = _permutations(crystal, found, 2 * symprec)
    return Symmetry(crystal, data.number, permutations, permutations.min(axis=0), tuple(data.wyckoffs))


def _dataset(crystal: Crystal, symprec: float) -> Any:
    try:
        return symmetry_of(crystal, symprec)
    except BadRecord as error:
        raise NoSymmetry(str(error)) from error


def _crystal(cell: Any) -> Crystal:
    return Crystal(np.array(cell.basis), np.array(cell.numbers, np.int16), np.mod(cell.positions, 1.0))


@cache
def _operations(hall_number: int, primitive_cell: bool) -> Operations:
    """Of a standardised cell: those of the tables."""
    import moyopy

    setting = moyopy.Setting.hall_number(hall_number)
    number = moyopy.HallSymbolEntry(hall_number).number
    found = moyopy.operations_from_number(number, setting=setting, primitive=primitive_cell)
    return np.array(found.rotations, np.float64), np.array(found.translations, np.float64)


def _permutations(crystal: Crystal, operations: Operations, tolerance: float) -> Permutations:
    found = _site_images(*operations, crystal.frac_coords, crystal.lattice, crystal.numbers, tolerance)
    if found.min() < 0:
        raise NoSymmetry("the operations of the space group found don't map the sites onto each other")
    return found


def _sites_below(cell: Crystal, primitive_cell: Crystal) -> Ints:
    """(n,) int64: the site of the primitive cell that each site of a larger one repeats."""
    coords = cell.frac_coords @ cell.lattice @ np.linalg.inv(primitive_cell.lattice)
    apart = coords[:, None, :] - primitive_cell.frac_coords
    return np.asarray(np.linalg.norm((apart - np.rint(apart)) @ primitive_cell.lattice, axis=-1).argmin(axis=1))


@entry_point
def _site_images(
    rotations: Floats, translations: Floats, coords: Floats, lattice: Floats, numbers: Species, tolerance: float
) -> Permutations:
    """(g, n) int64, every image used once; -1 where no site of the species lies within the tolerance (angstrom)."""
    found = np.full((len(rotations), len(coords)), -1, dtype=np.int64)
    taken = np.full(len(coords), -1, dtype=np.int64)
    image, apart = np.empty(3), np.empty(3)
    for g in range(len(rotations)):
        for i in range(len(coords)):
            for k in range(3):
                image[k] = translations[g, k]
                for axis in range(3):
                    image[k] += rotations[g, k, axis] * coords[i, axis]
            for j in range(len(coords)):
                if numbers[j] != numbers[i] or taken[j] == g:
                    continue
                for k in range(3):
                    apart[k] = image[k] - coords[j, k]
                    apart[k] -= np.rint(apart[k])
                squared = 0.0
                for k in range(3):
                    moved = apart[0] * lattice[0, k] + apart[1] * lattice[1, k] + apart[2] * lattice[2, k]
                    squared += moved * moved
                if squared <= tolerance * tolerance:
                    found[g, i] = j
                    taken[j] = g
                    break
    return found
