"""Wyckoff positions of the space groups as arrays, read from the tables that pymatgen ships.

They are those of ISO-MAG (Stokes and Campbell, iso.byu.edu), whose groups of type 1 are the 230 space groups in the
standard settings of the International Tables: unique axis b, cell choice 1, origin choice 2, hexagonal axes.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from registry.errors import NotFound

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

GROUPS = 230
TRICLINIC, MONOCLINIC, ORTHORHOMBIC, TETRAGONAL, HEXAGONAL, RHOMBOHEDRAL, CUBIC = range(7)
"""Shapes of the conventional cell. Trigonal groups with a primitive lattice have hexagonal cells."""

LAST_OF_SYSTEM = {
    "triclinic": 2,
    "monoclinic": 15,
    "orthorhombic": 74,
    "tetragonal": 142,
    "trigonal": 167,
    "hexagonal": 194,
    "cubic": 230,
}

PRIMITIVE = {
    "P": [[6, 0, 0], [0, 6, 0], [0, 0, 6]],
    "A": [[6, 0, 0], [0, 3, 3], [0, -3, 3]],
    "C": [[3, 3, 0], [-3, 3, 0], [0, 0, 6]],
    "I": [[-3, 3, 3], [3, -3, 3], [3, 3, -3]],
    "F": [[0, 3, 3], [3, 0, 3], [3, 3, 0]],
    "R": [[4, 2, 2], [-2, 2, 2], [-2, -4, 2]],
}
"""Primitive vectors as rows, in sixths of the conventional ones, by the letter of the lattice."""

BYTES_A_SITE = 22
DENOMINATOR = 24
"""All translations are whole multiples of a 24th."""


@dataclass(frozen=True, eq=False)
class SpaceGroup:
    """A space group by its w Wyckoff positions, from `a` on, and the m sites of all of them.

    multiplicities: (w,) sites in the *primitive* cell; freedom: (w,) free parameters
    first: (w + 1,) where the sites of each position begin
    rotations, translations: (m, 3, 3), (m, 3) float64; a site is rotation @ (x, y, z) + translation, from parameters
        along the conventional axes to fractional coordinates of the primitive cell
    solvers: (w, 3, 3) from a shift of a position's first site, along the conventional axes, to that of x, y, z
    primitive: (3, 3) primitive vectors as rows, in conventional ones
    """

    number: int
    symbol: str
    shape: int
    letters: str
    multiplicities: Ints
    freedom: Ints
    first: Ints
    rotations: Floats
    translations: Floats
    solvers: Floats
    primitive: Floats

    def position(self, letter: str) -> int:
        """Raises ValueError for a letter that this group doesn't have."""
        return self.letters.index(letter)


def crystal_system(number: int) -> str:
    """The crystal system of a space group: "trigonal"."""
    return next(system for system, last in LAST_OF_SYSTEM.items() if number <= last)


@lru_cache(maxsize=GROUPS)
def space_group(number: int) -> SpaceGroup:
    """The Wyckoff positions of a space group. Raises NotFound unless it is one of 1 to 230."""
    if not 1 <= number <= GROUPS:
        raise NotFound(f"no space group {number}: they are 1 to {GROUPS}")
    symbol, table = _stored(number)
    positions = _positions(table)[::-1]
    primitive = np.array(PRIMITIVE[symbol[0]])
    to_primitive = np.rint(np.linalg.inv(primitive / 6).T).astype(np.int64)  # whole numbers, exact
    matrices = np.concatenate([matrix for matrix, _ in positions])
    shifts = np.concatenate([shift for _, shift in positions])
    counts = np.array([len(matrix) for matrix, _ in positions])
    return SpaceGroup(
        number=number,
        symbol=symbol,
        shape=_shape(number, symbol),
        letters="abcdefghijklmnopqrstuvwxyzA"[: len(positions)],
        multiplicities=counts,
        freedom=np.array([np.linalg.matrix_rank(matrix[0]) for matrix, _ in positions]),
        first=np.concatenate([[0], np.cumsum(counts)]),
        rotations=(to_primitive @ matrices).astype(np.float64),
        translations=(shifts @ to_primitive.T) / DENOMINATOR,
        solvers=np.array([_solver(matrix[0]) for matrix, _ in positions]),
        primitive=primitive / 6,
    )


def _shape(number: int, symbol: str) -> int:
    if crystal_system(number) == "trigonal":
        return RHOMBOHEDRAL if symbol[0] == "R" else HEXAGONAL
    systems = ("triclinic", "monoclinic", "orthorhombic", "tetragonal", "hexagonal", "", "cubic")
    return systems.index(crystal_system(number))


def _stored(number: int) -> tuple[str, NDArray[np.int8]]:
    """The symbol ("R-3m") and the packed table of a space group."""
    from pymatgen.symmetry.maggroups import MAGSYMM_DATA

    query = "SELECT BNS_label, BNS_Wyckoff FROM space_groups WHERE magtype = 1 AND BNS1 = ?"
    connection = sqlite3.connect(f"file:{MAGSYMM_DATA}?mode=ro", uri=True)
    try:
        symbol, packed = connection.execute(query, (number,)).fetchone()
    finally:
        connection.close()
    return symbol, np.frombuffer(packed, dtype=np.int8)


def _positions(table: NDArray[np.int8]) -> list[tuple[Ints, Ints]]:
    """Of each position, the general one first: (m, 3, 3) matrices and (m, 3) shifts in 24ths, without centrings.

    A site takes 22 bytes: three numerators, their denominator, the columns of the matrix, and those of the moments'.
    """
    found, start = [], 1
    for _ in range(table[0]):
        sites = int(table[start])
        end = start + 2 + sites * BYTES_A_SITE
        rows = table[start + 2 : end].reshape(sites, BYTES_A_SITE).astype(np.int64)
        matrices = rows[:, 4:13].reshape(sites, 3, 3).transpose(0, 2, 1)
        found.append((matrices, rows[:, :3] * DENOMINATOR // rows[:, 3:4]))
        start = end
    return found


def _solver(matrix: Ints) -> Floats:
    """The pseudo-inverse: of a matrix of small whole numbers its elements are multiples of a 60th."""
    return np.rint(np.linalg.pinv(matrix) * 60) / 60
