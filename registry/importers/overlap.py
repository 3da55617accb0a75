"""Atoms that lie on each other, in cells of any shape."""

from __future__ import annotations

import numpy as np

from registry.crystal import Crystal, Floats

CLOSEST = 0.5
"""Angstrom. Atoms nearer than this overlap: the shortest bond there is, H-H, has 0.74."""

SHORTEST_PERIOD = 1.0
"""Angstrom. No crystal repeats itself sooner, and moyopy's search for symmetry may never end on one that does."""

SLANTED = 4.0
"""Product of the lengths of the lattice vectors over the volume. Above it a sphere reaches into many cells."""

LONG = 100.0
"""Angstrom. The search divides the box around the cell into cubes: too many when a long cell lies across it."""


def overlap(crystal: Crystal) -> tuple[int, int, float] | None:
    """The first two sites too close to each other, and their distance in angstrom.

    A site may overlap its own image, and does so nearer than SHORTEST_PERIOD; two sites do nearer than CLOSEST.
    """
    lattice, frac_coords = crystal.lattice, crystal.frac_coords % 1.0
    lengths = np.linalg.norm(lattice, axis=1)
    if lengths.prod() > SLANTED * crystal.volume or lengths.max() > LONG:
        lattice, frac_coords = _compact(lattice, frac_coords)
        lengths = np.linalg.norm(lattice, axis=1)
    if lengths.min() < SHORTEST_PERIOD:
        return 0, 0, float(lengths.min())
    return _search(np.ascontiguousarray(lattice), np.ascontiguousarray(frac_coords @ lattice))


def _compact(lattice: Floats, frac_coords: Floats) -> tuple[Floats, Floats]:
    """The LLL-reduced lattice, turned so that its first vector lies along x, and wrapped coordinates in it."""
    from pymatgen.core.lattice import Lattice

    reduced: Floats = Lattice(lattice).lll_matrix
    coords = frac_coords @ lattice @ np.linalg.inv(reduced)
    turned: Floats = np.linalg.qr(reduced.T)[1].T
    return turned, coords % 1.0


def _search(lattice: Floats, points: Floats) -> tuple[int, int, float] | None:
    from pymatgen.optimization.neighbors import find_points_in_spheres

    one, other, images, distances = find_points_in_spheres(
        points, points, SHORTEST_PERIOD, np.ones(3, dtype=np.int64), lattice, 1e-8
    )
    close = np.flatnonzero(np.where(one == other, (images != 0).any(axis=1), distances < CLOSEST))
    if not len(close):
        return None
    first = close[np.argmin(distances[close])]
    pair = sorted((int(one[first]), int(other[first])))
    return pair[0], pair[1], float(distances[first])
