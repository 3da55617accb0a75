"""From a crystal to the arrays that the structure models read.

An edge runs from a neighbour (`src`) to the atom at the centre (`dst`); edges are sorted by their centre.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numba import njit
from numpy.typing import NDArray

from predictors.equivalence import TOLERANCE, merged
from predictors.errors import BadCrystal

HEAVIEST = 118
SMALLEST_VOLUME_PER_ATOM = 1.0  # cubic angstrom; hydrogen at a terapascal is denser, nothing that we predict is
SHORTEST_VECTOR, LONGEST_VECTOR = 0.5, 3000.0  # angstrom
LARGEST_BOX = 1e8  # cubic angstrom; the neighbour list takes memory for every part of the box around the cell
SHORTEST_DISTANCE = 0.4  # angstrom; the molecule of hydrogen has 0.74
SAME = 1e-6  # angstrom; an atom this near is the atom itself
MOST_EDGES = 1 << 62
PERIODIC: NDArray[np.int64] = np.ones(3, dtype=np.int64)
TIE = 0.03
"""Angstrom; neighbours this much farther than the last one kept are kept as well. Where a cap parts a shell of equal
neighbours, energies jump; a shell that rounded coordinates or a small strain have spread is still one."""


class CrystalLike(Protocol):
    """What the predictors need to know of a crystal: three arrays.

    lattice: (3, 3) lattice vectors as rows, angstrom; numbers: (n,) atomic numbers; frac_coords: (n, 3).
    """

    @property
    def lattice(self) -> NDArray[np.float64]: ...
    @property
    def numbers(self) -> NDArray[np.int16]: ...
    @property
    def frac_coords(self) -> NDArray[np.float64]: ...


@dataclass(frozen=True, eq=False)
class Graph:
    """One crystal's neighbour list, by classes of equivalent atoms.

    numbers: (k,) int64 atomic number of each class; atoms: (k,) float32, how many atoms it holds
    src, dst: (e,) int32, the classes of the neighbour and of the centre of each edge, sorted by centre
    distances: (e,) float32, angstrom; counts: (e,) float32, how many neighbours of one centre the edge stands for
    """

    numbers: NDArray[np.int64]
    atoms: NDArray[np.float32]
    src: NDArray[np.int32]
    dst: NDArray[np.int32]
    distances: NDArray[np.float32]
    counts: NDArray[np.float32]

    @property
    def neighbors(self) -> float:
        """How many neighbours an atom has in the mean."""
        return float(self.counts @ self.atoms[self.dst] / self.atoms.sum())


def oddity(graph: Graph) -> str | None:
    """Why a crystal is hardly matter, so that no model can know it: atoms alone, or pressed together."""
    alone, closest = _loneliness(graph.atoms, graph.dst, graph.distances)
    if alone:
        return f"{round(alone)} of {round(float(graph.atoms.sum()))} atoms have no neighbour that the model sees"
    return f"two atoms lie within {closest:.2f} angstrom of each other" if closest < SHORTEST_DISTANCE else None


@njit(cache=True)
def _loneliness(atoms: NDArray[np.float32], dst: NDArray[np.int32], distances: NDArray[np.float32]) -> tuple[Any, Any]:
    """How many atoms have no edge; the shortest edge, angstrom."""
    alone, closest = atoms.copy(), np.float32(np.inf)
    for edge in range(len(dst)):
        alone[dst[edge]] = 0
        closest = min(closest, distances[edge])
    return alone.sum(), closest


def check_numbers(crystal: CrystalLike) -> None:
    """Raise BadCrystal unless there are atoms, all of them of elements that exist."""
    numbers = _array(crystal, "numbers")
    if numbers.size == 0:
        raise BadCrystal("a crystal without atoms")
    if numbers.ndim != 1 or numbers.dtype.kind not in "iu":
        raise BadCrystal(f"atomic numbers must be whole numbers in a row, not {numbers.dtype} {numbers.shape}")
    if numbers.min() < 1 or numbers.max() > HEAVIEST:
        raise BadCrystal(f"atomic numbers must lie between 1 and {HEAVIEST}")


def check_crystal(crystal: CrystalLike) -> None:
    """Raise BadCrystal if no graph can be built: no atoms, NaN, no volume or far too much, or no such element."""
    check_numbers(crystal)
    count, lattice, coords = len(crystal.numbers), _array(crystal, "lattice"), _array(crystal, "frac_coords")
    if coords.shape != (count, 3) or lattice.shape != (3, 3):
        raise BadCrystal(f"{count} atoms with coordinates {coords.shape}, lattice {lattice.shape}")
    if lattice.dtype.kind not in "fiu" or coords.dtype.kind not in "fiu":
        raise BadCrystal(f"lattice and coordinates must be real numbers, not {lattice.dtype} and {coords.dtype}")
    finite, longest, shortest, box, volume = _extent(
        np.ascontiguousarray(lattice, dtype=np.float64), np.ascontiguousarray(coords, dtype=np.float64)
    )
    if not finite:
        raise BadCrystal("the lattice or the coordinates hold NaN or infinity")
    if longest > LONGEST_VECTOR or box > LARGEST_BOX:
        raise BadCrystal(
            f"the cell is too large: vectors of {LONGEST_VECTOR:g} angstrom in a box of {LARGEST_BOX:g} cubic angstrom "
            "are the most"
        )
    if volume / count < SMALLEST_VOLUME_PER_ATOM:
        raise BadCrystal(f"{volume / count:.3g} cubic angstrom per atom: the cell is too small for its atoms")
    if shortest < SHORTEST_VECTOR:
        raise BadCrystal(f"a lattice vector is shorter than {SHORTEST_VECTOR} angstrom")


@njit(cache=True)
def _extent(lattice: NDArray[np.float64], coords: NDArray[np.float64]) -> tuple[Any, Any, Any, Any, Any]:
    """Whether all is finite; the longest component and the shortest length of lattice vectors, angstrom; the volumes
    of the box around the cell and of the cell, cubic angstrom."""
    finite = np.isfinite(lattice).all() and np.isfinite(coords).all()
    longest, shortest, box = 0.0, np.inf, 1.0
    for axis in range(3):
        longest = max(longest, np.abs(lattice[axis]).max())
        shortest = min(shortest, np.sqrt((lattice[axis] ** 2).sum()))
        box *= np.abs(lattice[:, axis]).sum()
    a, b, c = lattice[0], lattice[1], lattice[2]
    volume = abs(
        a[0] * (b[1] * c[2] - b[2] * c[1]) + a[1] * (b[2] * c[0] - b[0] * c[2]) + a[2] * (b[0] * c[1] - b[1] * c[0])
    )
    return finite, longest, shortest, box, volume


def _array(crystal: CrystalLike, name: str) -> NDArray[Any]:
    """What whoever asks from Python brings may be anything."""
    found = getattr(crystal, name, None)
    if not isinstance(found, np.ndarray):
        raise BadCrystal(f"{type(crystal).__name__} is no crystal here: its `{name}` must be an array")
    return found


def check_apart(crystal: CrystalLike) -> None:
    """Raise BadCrystal for two atoms in one place, which `check_crystal` has passed."""
    _ensure_apart(_points_in_spheres(crystal, 1.0)[2], len(crystal.numbers))


def _ensure_apart(distances: NDArray[np.float64], atoms: int) -> None:
    if np.count_nonzero(distances <= SAME) > atoms:  # each finds itself
        raise BadCrystal("two atoms in one place")


def build_graph(
    crystal: CrystalLike, cutoff: float, max_neighbors: int | None = None, tolerance: float | None = TOLERANCE
) -> Graph:
    """The neighbour list of a crystal within `cutoff` (angstrom).

    With `max_neighbors`, each atom keeps its nearest ones, and all that tie with the last of them, so that the
    choice doesn't depend on the order of atoms. An atom without neighbours is a node without edges.
    tolerance: atoms whose surroundings differ by no more (angstrom) become one class; None: each atom its own.
    Raise BadCrystal.
    """
    check_crystal(crystal)
    numbers = np.asarray(crystal.numbers, dtype=np.int64)
    limit = MOST_EDGES if max_neighbors is None else max_neighbors
    points = _points_in_spheres(crystal, cutoff)
    _ensure_apart(points[2], len(numbers))
    src, dst, distances = _neighbors(*points, np.float32(cutoff), limit)
    if tolerance is None:
        ones = np.ones(len(numbers), dtype=np.float32), np.ones(len(dst), dtype=np.float32)
        return Graph(numbers, ones[0], src, dst, distances, ones[1])
    first, atoms, *edges = merged(numbers, src, dst, distances, tolerance)
    return Graph(numbers[first], atoms, *edges)


def _points_in_spheres(crystal: CrystalLike, cutoff: float) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """(e,) neighbour, centre and distance, sorted by centre; each atom is its own neighbour too."""
    from pymatgen.optimization.neighbors import find_points_in_spheres

    lattice = np.ascontiguousarray(crystal.lattice, dtype=np.float64)
    points = np.ascontiguousarray((np.asarray(crystal.frac_coords, dtype=np.float64) % 1.0) @ lattice)
    dst, src, _, distances = find_points_in_spheres(points, points, cutoff, PERIODIC, lattice, 1e-8)
    return src, dst, distances


@njit(cache=True)
def _neighbors(
    src: NDArray[np.int64], dst: NDArray[np.int64], distances: NDArray[np.float64], cutoff: np.float32, limit: int
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]]:
    """Of points sorted by centre: no atom itself, and of those nearer than the cutoff the nearest `limit` with their
    ties. Rounded before it is compared, as `scale_graph` does, or an atom at the very cutoff would come and go."""
    new_src, new_dst = np.empty(len(src), dtype=np.int32), np.empty(len(src), dtype=np.int32)
    kept = np.empty(len(src), dtype=np.float32)
    size, start = 0, 0
    while start < len(dst):
        stop, same = start, 0
        while stop < len(dst) and dst[stop] == dst[start]:
            same += distances[stop] <= SAME
            stop += 1
        last = limit + same - 1
        farthest = np.inf if last >= stop - start else np.partition(distances[start:stop], last)[last] + TIE
        for edge in range(start, stop):
            if SAME < distances[edge] <= farthest and np.float32(distances[edge]) < cutoff:
                new_src[size], new_dst[size], kept[size] = src[edge], dst[edge], distances[edge]
                size += 1
        start = stop
    return new_src[:size], new_dst[:size], kept[:size]


def scale_graph(graph: Graph, factor: float, cutoff: float) -> Graph:
    """The neighbour list after every length grew by `factor`; the list must reach `cutoff / factor`."""
    distances = graph.distances * np.float32(factor)
    keep = distances < cutoff
    edges = graph.src[keep], graph.dst[keep], distances[keep], graph.counts[keep]
    return Graph(graph.numbers, graph.atoms, *edges)
