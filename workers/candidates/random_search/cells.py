"""Random cells of a given volume, by crystal system. Kernels; no library function rounds differently elsewhere here.

Bounds on the shape, of the conventional cell: no edge is longer than LONGEST times another; the angles that are free
lie between 60 and 120 degrees, and triclinic cells fill at least LEAST_FILLED of the box of their edges. Rhombohedral
lattices, on hexagonal axes, have c/a up to STEEPEST: that of a cubic one is 2.4 already.
"""

from __future__ import annotations

import numpy as np

from registry.compiled import inner
from workers.candidates.random_search.stream import State, uniform
from workers.candidates.random_search.wyckoff import (
    CUBIC,
    HEXAGONAL,
    MONOCLINIC,
    RHOMBOHEDRAL,
    TETRAGONAL,
    TRICLINIC,
    Floats,
)

LONGEST = 3.0
STEEPEST = 6.0
LEAST_FILLED = 0.5


@inner
def draw_cell(shape: int, primitive: Floats, volume: float, state: State, lattice: Floats) -> None:
    """Fill `lattice` (3, 3), rows in angstrom: the primitive cell, of that volume, of a random conventional one."""
    conventional = np.zeros((3, 3))
    _edges_and_angles(shape, state, conventional)
    for row in range(3):
        for axis in range(3):
            lattice[row, axis] = (
                primitive[row, 0] * conventional[0, axis]
                + primitive[row, 1] * conventional[1, axis]
                + primitive[row, 2] * conventional[2, axis]
            )
    scale = cube_root(volume / abs(determinant(lattice)))
    for row in range(3):
        for axis in range(3):
            lattice[row, axis] *= scale


@inner
def _edges_and_angles(shape: int, state: State, lattice: Floats) -> None:
    a = 1.0 + (LONGEST - 1.0) * uniform(state)
    b = 1.0 + (LONGEST - 1.0) * uniform(state)
    c = 1.0 + (LONGEST - 1.0) * uniform(state)
    cosines = np.zeros(3)
    if shape in (TETRAGONAL, HEXAGONAL, CUBIC):
        b = a
    if shape == CUBIC:
        c = a
    if shape == RHOMBOHEDRAL:
        a = b = 1.0
        c = 1.0 + (STEEPEST - 1.0) * uniform(state)
    if shape in (HEXAGONAL, RHOMBOHEDRAL):
        cosines[2] = -0.5
    if shape == MONOCLINIC:
        cosines[1] = uniform(state) - 0.5
    if shape == TRICLINIC:
        _free_angles(state, cosines)
    sine = np.sqrt(1.0 - cosines[2] * cosines[2])
    lattice[0, 0] = a
    lattice[1, 0], lattice[1, 1] = b * cosines[2], b * sine
    lattice[2, 0], lattice[2, 1] = c * cosines[1], c * (cosines[0] - cosines[1] * cosines[2]) / sine
    lattice[2, 2] = c * np.sqrt(_filled(cosines)) / sine


@inner
def _free_angles(state: State, cosines: Floats) -> None:
    filled = 0.0
    while filled < LEAST_FILLED * LEAST_FILLED:
        for axis in range(3):
            cosines[axis] = uniform(state) - 0.5
        filled = _filled(cosines)


@inner
def _filled(cosines: Floats) -> float:
    """The square of the volume of a cell with edges of length one."""
    squares = cosines[0] * cosines[0] + cosines[1] * cosines[1] + cosines[2] * cosines[2]
    filled: float = 1.0 - squares + 2.0 * cosines[0] * cosines[1] * cosines[2]
    return filled


@inner
def determinant(m: Floats) -> float:
    volume: float = (
        m[0, 0] * (m[1, 1] * m[2, 2] - m[1, 2] * m[2, 1])
        - m[0, 1] * (m[1, 0] * m[2, 2] - m[1, 2] * m[2, 0])
        + m[0, 2] * (m[1, 0] * m[2, 1] - m[1, 1] * m[2, 0])
    )
    return volume


@inner
def invert(m: Floats, out: Floats) -> None:
    """Fill `out` (3, 3) with the inverse of `m`."""
    volume = determinant(m)
    for i in range(3):
        for j in range(3):
            a, b, c, d = (j + 1) % 3, (j + 2) % 3, (i + 1) % 3, (i + 2) % 3
            out[i, j] = (m[a, c] * m[b, d] - m[a, d] * m[b, c]) / volume


@inner
def cube_root(value: float) -> float:
    """By Newton's method from above: the libraries of two machines may differ in the last bit."""
    root = max(value, 1.0)
    while True:
        smaller = (2.0 * root + value / (root * root)) / 3.0
        if smaller >= root:
            return root
        root = smaller
