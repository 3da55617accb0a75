"""Symmetry-aware partial substitution (SAPS): which subsets of an ion's sites differ under the space group.

Replacing a part of the sites of one ion lowers the symmetry. Subsets that a symmetry operation of the parent carries
into each other give the same crystal, so one of each class is kept. Up to `max_sites` sites all subsets are looked
at; beyond, only unions of whole Wyckoff orbits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import moyopy
import numpy as np
from numpy.typing import NDArray

from registry.crystal import Crystal

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MAX_BITS = 20  # 2**20 unions of orbits at most


@dataclass(frozen=True, eq=False)
class Symmetry:
    """A primitive cell with what its space group does to its sites.

    permutations: (g, n) int64; operation k carries site i onto site permutations[k, i].
    orbits: (n,) int64, the first site of each site's Wyckoff orbit.  wyckoffs: one letter per site.
    """

    crystal: Crystal
    number: int
    permutations: Ints
    orbits: Ints
    wyckoffs: tuple[str, ...]


def primitive(crystal: Crystal, symprec: float = 1e-2) -> Crystal:
    """The standardised primitive cell. ValueError if moyopy finds no symmetry within `symprec` (angstrom)."""
    cell = _dataset(crystal, symprec).prim_std_cell
    return Crystal(np.array(cell.basis), np.array(cell.numbers, np.int16), np.mod(cell.positions, 1.0))


def symmetry(crystal: Crystal, symprec: float = 1e-2) -> Symmetry:
    """The space group of a primitive cell and its action. ValueError if the search fails."""
    data = _dataset(crystal, symprec)
    rotations = np.array(data.operations.rotations, dtype=np.float64)
    translations = np.array(data.operations.translations, dtype=np.float64)
    permutations = _permutations(crystal, rotations, translations)
    return Symmetry(crystal, data.number, permutations, np.array(data.orbits), tuple(data.wyckoffs))


def unique_subsets(
    found: Symmetry, sites: Sequence[int] | Ints, *, max_sites: int = 8, both_change: bool = False
) -> list[Ints]:
    """One subset of `sites` of each symmetry class, neither empty nor all, the small ones first.

    sites: all sites of one ion, closed under the group.
    both_change: the subset and the rest are both replaced, so a subset and its complement are the same partition.
    """
    members = np.array(sites, dtype=np.int64)
    blocks = _blocks(found, members, max_sites)
    if not 2 <= len(blocks) <= MAX_BITS:
        return []
    masks = np.arange(1, 2 ** len(blocks) - 1, dtype=np.int64)
    images = _images(masks, _block_permutations(found, blocks))
    if both_change:
        images = np.minimum(images, (2 ** len(blocks) - 1) ^ images)
    unique = masks[masks == images.min(axis=1)]
    subsets = [np.concatenate([block for i, block in enumerate(blocks) if mask >> i & 1]) for mask in unique.tolist()]
    return sorted(subsets, key=lambda subset: (len(subset), subset.tolist()))


def _dataset(crystal: Crystal, symprec: float) -> moyopy.MoyoDataset:
    cell = moyopy.Cell(crystal.lattice.tolist(), crystal.frac_coords.tolist(), crystal.numbers.tolist())
    return moyopy.MoyoDataset(cell, symprec=symprec)


def _permutations(crystal: Crystal, rotations: Floats, translations: Floats) -> Ints:
    images = np.einsum("gij,nj->gni", rotations, crystal.frac_coords) + translations[:, None, :]
    apart = images[:, :, None, :] - crystal.frac_coords
    distances = np.linalg.norm((apart - np.round(apart)) @ crystal.lattice, axis=-1)
    return np.unique(distances.argmin(axis=-1), axis=0)


def _blocks(found: Symmetry, members: Ints, max_sites: int) -> list[Ints]:
    """What is replaced as a whole: single sites in small sets, Wyckoff orbits in large ones."""
    if len(members) <= max_sites:
        return [members[i : i + 1] for i in range(len(members))]
    return [members[found.orbits[members] == orbit] for orbit in np.unique(found.orbits[members])]


def _block_permutations(found: Symmetry, blocks: Sequence[Ints]) -> Ints:
    """(h, blocks) int64: the distinct ways in which the group permutes the blocks."""
    block_of = np.full(found.crystal.nsites, -1, dtype=np.int64)
    for i, block in enumerate(blocks):
        block_of[block] = i
    firsts = np.array([block[0] for block in blocks])
    return np.unique(block_of[found.permutations[:, firsts]], axis=0)


def _images(masks: Ints, permutations: Ints) -> Ints:
    """(masks, h) int64: every image of every bit mask."""
    bits = (masks[:, None] >> np.arange(permutations.shape[1])) & 1
    return np.asarray(bits @ (1 << permutations).T, dtype=np.int64)
