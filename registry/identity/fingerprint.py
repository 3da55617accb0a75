"""A vector that equal crystals share whatever their cell, origin, orientation, volume and order of atoms.

Average minimum distances (Widdowson & Kurlin, MATCH 87, 529, 2022), resolved by species: for every ordered pair of
elements, the mean over the first's atoms of the distance to the 1st, 2nd ... NEIGHBOURS-th atom of the second, in units
of the cube root of the volume per atom. Mirror images share it; some different crystals do as well, so that equality
needs the structure type beside it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from registry.crystal import Crystal, Floats, Species

NEIGHBOURS = 12
AT_ONCE = 1 << 22
"""Distances that are held together, as 32 bytes each: cells of a thousand atoms have a hundred million."""

Fingerprint = NDArray[np.float32]
"""(k*k*NEIGHBOURS,) for k elements, in ascending order of atomic number; comparable within one reduced formula."""


def fingerprint_of(crystal: Crystal) -> Fingerprint:
    """Return (k*k*NEIGHBOURS,) float32, dimensionless. Raise ValueError for a flat cell."""
    scale = (crystal.volume / crystal.nsites) ** (1 / 3)
    lattice, frac = compact(crystal)
    radius = 1.25 * (3 * NEIGHBOURS * crystal.volume / (4 * np.pi * min(crystal.amounts.values()))) ** (1 / 3)
    while True:
        images = _images(lattice, radius)
        shells = _shells(lattice, frac, images, crystal.numbers)
        if (farthest := float(np.sqrt(max(shell.max() for shell in shells)))) <= radius:
            break
        radius = min(farthest, 2 * radius) * (1 + 1e-9)
    return np.concatenate([np.sqrt(shell).mean(axis=0) for shell in shells]).astype(np.float32) / np.float32(scale)


def fingerprint_distance(one: Fingerprint, other: Fingerprint) -> float:
    """The largest difference of any component; infinity for crystals of different numbers of elements."""
    return float(np.abs(one - other).max()) if len(one) == len(other) else float("inf")


def sees_whole_cell(crystal: Crystal, fingerprint: Fingerprint) -> bool:
    """Whether the neighbours counted reach across the cell.

    Where they don't, crystals that differ far away (polytypes: stackings of the same layers) share the fingerprint.
    """
    lattice, _ = compact(crystal)
    reach = fingerprint[NEIGHBOURS - 1 :: NEIGHBOURS].min() * (crystal.volume / crystal.nsites) ** (1 / 3)
    return bool(np.linalg.norm(lattice, axis=1).max() < 2 * reach)


def compact(crystal: Crystal) -> tuple[Floats, Floats]:
    """The Minkowski-reduced lattice (rows, angstrom) and wrapped coordinates in it: few images then reach far."""
    import moyopy

    basis, _ = moyopy.minkowski_reduce(crystal.lattice.tolist())
    lattice = np.array(basis)
    frac = crystal.frac_coords @ crystal.lattice @ np.linalg.inv(lattice)
    return lattice, frac - np.floor(frac)


def _images(lattice: Floats, radius: float) -> Floats:
    """(m, 3) lattice translations that bring every atom within `radius` of every atom of the home cell."""
    heights = 1 / np.linalg.norm(np.linalg.inv(lattice), axis=0)
    spans = [np.arange(-reach, reach + 1) for reach in np.ceil(radius / heights - 0.5).astype(int)]
    return np.stack(np.meshgrid(*spans, indexing="ij"), axis=-1).reshape(-1, 3).astype(np.float64)


def _shells(lattice: Floats, frac: Floats, images: Floats, numbers: Species) -> list[Floats]:
    """For each ordered pair of elements (atoms of the first, NEIGHBOURS) angstrom squared, ascending."""
    sites = [np.flatnonzero(numbers == number) for number in np.unique(numbers)]
    few = max(1, AT_ONCE // (len(frac) * len(images)))
    found = []
    for centres in sites:
        blocks = [centres[start : start + few] for start in range(0, len(centres), few)]
        parts = [_of_block(_squared_distances(lattice, frac, images, block), sites) for block in blocks]
        found += [np.concatenate(one) for one in zip(*parts, strict=True)]
    return found


def _of_block(squared: Floats, sites: Sequence[NDArray[np.intp]]) -> list[Floats]:
    return [_nearest(squared[:, others], NEIGHBOURS) for others in sites]


def _squared_distances(lattice: Floats, frac: Floats, images: Floats, centres: NDArray[np.intp]) -> Floats:
    """(c, n, m) angstrom squared from each centre to each image of each atom; infinite from an atom to itself."""
    apart = frac[None, :, :] - frac[centres, None, :]
    apart -= np.round(apart)
    vectors = (apart @ lattice)[:, :, None, :] + images @ lattice
    squared: Floats = np.einsum("ijmx,ijmx->ijm", vectors, vectors)
    squared[np.arange(len(centres)), centres, len(images) // 2] = np.inf
    return squared


def _nearest(squared: Floats, count: int) -> Floats:
    flat = squared.reshape(len(squared), -1)
    if flat.shape[1] <= count:
        return np.full((len(flat), count), np.inf)
    return np.sort(np.partition(flat, count - 1, axis=1)[:, :count], axis=1)
