"""The primitive cell of the Niggli cell, as pymatgen's matcher makes it, compiled.

Each step is that of `Structure.get_reduced_structure` and `Structure.get_primitive_structure` (tolerance 0.25 A), which
look for cells smaller by a divisor of the amounts: rows of integer matrices in Hermite normal form against the vectors
that bring every site near one of its species.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from registry.compiled import entry_point, inner
from registry.crystal import Crystal, Floats
from registry.identity.composition import SYMBOLS
from registry.identity.niggli import niggli_basis, scalar_product, triple_product

Ints = NDArray[np.int64]

TOLERANCE = 0.25  # angstrom
ALPHABETICAL = np.argsort(np.argsort(np.array(SYMBOLS)))
"""Atomic number -> place of the symbol in alphabetical order: so pymatgen sorts the species."""


class Cell(NamedTuple):
    """lattice: (3, 3) angstrom; frac_coords: (n, 3), the rarest species first; ends: (k,) where each species ends.

    origin: index of the site that the matcher lays onto sites of the other crystal
    """

    lattice: Floats
    frac_coords: Floats
    ends: Ints
    origin: int


def reduced_cell(crystal: Crystal) -> Cell | None:
    """None where no Niggli cell is found: pymatgen raises there."""
    order = np.argsort(ALPHABETICAL[crystal.numbers], kind="stable")
    numbers = crystal.numbers[order]
    ends = np.append(np.flatnonzero(numbers[1:] != numbers[:-1]) + 1, len(numbers)).astype(np.int64)
    lattice, coords, steps = _reduce(crystal.lattice, crystal.frac_coords[order], ends)
    if steps == 0:
        return None
    if len(coords) == len(order):
        return _sorted(lattice, coords, ends, order, numbers[ends - 1])
    return _sorted(lattice, coords, ends * len(coords) // len(order), np.arange(len(coords)), numbers[ends - 1])


def _sorted(lattice: Floats, coords: Floats, ends: Ints, places: NDArray[Any], species: NDArray[Any]) -> Cell:
    """places: (n,) where pymatgen has each site; of several rarest species its matcher takes the one that is first."""
    starts = ends - np.diff(ends, prepend=0)
    amounts = ends - starts
    ranked = np.lexsort((species, amounts))
    order = np.concatenate([np.arange(starts[rank], ends[rank]) for rank in ranked])
    rarest = int((amounts == amounts.min()).sum() * amounts.min())
    origin = int(np.argmin(places[order[:rarest]]))
    return Cell(lattice, coords[order], np.cumsum(amounts[ranked]).astype(np.int64), origin)


@entry_point
def _reduce(lattice: Floats, coords: Floats, ends: Ints) -> tuple[Floats, Floats, int]:
    """Lattice, coordinates, and how often a smaller cell was found, plus one; 0 if there is no Niggli lattice."""
    basis, turned = _turned(lattice, coords)
    if triple_product(basis) == 0:
        return basis, turned, 0
    times = 1
    while True:
        matrix = _smaller(basis, turned, ends)
        if matrix[0, 0] == 0:
            break
        turned = _merged(basis, turned, ends, matrix)
        basis = _solved(matrix, basis)
        ends = ends * len(turned) // ends[-1]
        times += 1
    for _ in range(times - 1):
        basis, turned = _turned(basis, turned)
        if triple_product(basis) == 0:
            return basis, turned, 0
    return basis, turned, times


@inner
def _turned(lattice: Floats, coords: Floats) -> tuple[Floats, Floats]:
    """Into the Niggli basis, wrapped."""
    basis = niggli_basis(lattice)
    if triple_product(basis) == 0:
        return basis, coords
    turned = _product(coords, _product(lattice, inverse_of(basis)))
    for site in range(len(turned)):
        for axis in range(3):
            turned[site, axis] -= np.floor(turned[site, axis])
    return basis, turned


@inner
def _product(one: Floats, other: Floats) -> Floats:
    """(n, 3) times (3, 3)."""
    product = np.zeros((len(one), 3))
    for row in range(len(one)):
        for i in range(3):
            for j in range(3):
                product[row, j] += one[row, i] * other[i, j]
    return product


@inner
def inverse_of(matrix: Floats) -> Floats:
    """By cofactors."""
    inverse = np.empty((3, 3))
    for i in range(3):
        for j in range(3):
            k, m, p, q = (i + 1) % 3, (i + 2) % 3, (j + 1) % 3, (j + 2) % 3
            inverse[j, i] = matrix[k, p] * matrix[m, q] - matrix[k, q] * matrix[m, p]
    determinant = matrix[0, 0] * inverse[0, 0] + matrix[0, 1] * inverse[1, 0] + matrix[0, 2] * inverse[2, 0]
    for i in range(3):
        for j in range(3):
            inverse[i, j] /= determinant
    return inverse


@inner
def _solved(matrix: Floats, lattice: Floats) -> Floats:
    return _product(inverse_of(matrix), lattice)


@inner
def _tolerance(lattice: Floats, factor: float) -> Floats:
    """TOLERANCE, times a factor, along each axis in fractions of it."""
    tolerance = np.empty(3)
    for i in range(3):
        tolerance[i] = factor * TOLERANCE / np.sqrt(scalar_product(lattice[i], lattice[i]))
    return tolerance


@inner
def _common_divisor(ends: Ints) -> int:
    divisor = start = 0
    for end in ends:
        one, other = divisor, end - start
        while other:
            one, other = other, one % other
        divisor, start = one, end
    return divisor


@inner
def _translations(coords: Floats, ends: Ints, tolerance: Floats) -> Floats:
    """(m, 3) differences of the rarest species' sites from its first that bring every site near one of its species."""
    first, fewest, start = 0, len(coords) + 1, 0
    for end in ends:
        if end - start < fewest:
            first, fewest = start, end - start
        start = end
    found = np.empty((fewest, 3))
    count = 0
    for site in range(first, first + fewest):
        for axis in range(3):
            found[count, axis] = coords[site, axis] - coords[first, axis]
        count += _brings_all(coords, ends, found[count], tolerance)
    return found[:count]


@inner
def _brings_all(coords: Floats, ends: Ints, shift: Floats, tolerance: Floats) -> bool:
    start = 0
    for end in ends:
        for site in range(start, end):
            met = False
            for other in range(start, end):
                met = met or _near(coords[other], coords[site], shift, tolerance)
            if not met:
                return False
        start = end
    return True


@inner
def _near(one: Floats, other: Floats, shift: Floats, tolerance: Floats) -> bool:
    """Whether two points, the second shifted, lie within the tolerance along each axis, modulo 1."""
    for axis in range(3):
        apart = one[axis] - other[axis] - shift[axis]
        if abs(apart - np.rint(apart)) >= tolerance[axis]:
            return False
    return True


@inner
def _smaller(lattice: Floats, coords: Floats, ends: Ints) -> Floats:
    """The first integer matrix (rows in the basis of the smaller cell) that divides the cell; zeros: there is none."""
    matrix = np.zeros((3, 3))
    divisor = _common_divisor(ends)
    if divisor == 1:
        return matrix
    tolerance = _tolerance(lattice, 1.0)
    vectors = _translations(coords, ends, _tolerance(lattice, 2.0))
    if len(vectors) == 1 and max(tolerance[0], tolerance[1], tolerance[2]) * divisor < 0.99:
        return matrix
    for size in range(2, divisor + 1):
        if divisor % size == 0:
            for candidate in _hermite(size):
                if _rows_met(inverse_of(candidate), vectors, tolerance) and _divides(
                    lattice, coords, ends, candidate, size
                ):
                    chosen: Floats = candidate.copy()
                    return chosen
    return matrix


@inner
def _hermite(size: int) -> Floats:
    """(m, 3, 3) the integer matrices of this determinant in Hermite normal form, in pymatgen's order."""
    count = 0
    for a in range(1, size + 1):
        for e in range(1, size + 1):
            count += a * a * e if size % (a * e) == 0 else 0
    matrices = np.zeros((count, 3, 3))
    count = 0
    for a in range(1, size + 1):
        for e in range(1, size + 1):
            if size % (a * e) == 0:
                for offsets in range(a * a * e):
                    matrix = matrices[count]
                    matrix[0, 0], matrix[0, 1], matrix[0, 2] = a, offsets // e // a, offsets // e % a
                    matrix[1, 1], matrix[1, 2], matrix[2, 2] = e, offsets % e, size // (a * e)
                    count += 1
    return matrices


@inner
def _rows_met(rows: Floats, vectors: Floats, tolerance: Floats) -> bool:
    """Whether each row is near one of the vectors."""
    here = np.zeros(3)
    for row in range(2, -1, -1):
        met = False
        for index in range(len(vectors)):
            met = met or _near(rows[row], vectors[index], here, tolerance)
        if not met:
            return False
    return True


@inner
def _joined(coords: Floats, inside: Floats, one: int, other: int, apart: Floats, near: Floats) -> bool:
    """Whether two sites of a species become one: near in the smaller cell, no neighbours in the larger."""
    here = np.zeros(3)
    if not _near(inside[one], inside[other], here, near):
        return False
    return one == other or not _near(coords[one], coords[other], here, apart)


@inner
def _divides(lattice: Floats, coords: Floats, ends: Ints, matrix: Floats, size: int) -> bool:
    """Whether the sites fall into cliques of `size` that become one site each."""
    inside = _product(coords, matrix)
    apart, near = _tolerance(lattice, 2.0), _tolerance(_solved(matrix, lattice), 1.0)
    members = np.empty(len(coords), np.int64)
    start = 0
    for end in ends:
        for site in range(start, end):
            count = 0
            for other in range(start, end):
                if _joined(coords, inside, site, other, apart, near):
                    members[count] = other
                    count += 1
            if count != size:
                return False
            for one in range(count):
                for other in range(one):
                    if not _joined(coords, inside, members[one], members[other], apart, near):
                        return False
        start = end
    return True


@inner
def _merged(lattice: Floats, coords: Floats, ends: Ints, matrix: Floats) -> Floats:
    """Coordinates in the smaller cell: the mean of each clique."""
    inside = _product(coords, matrix)
    apart, near = _tolerance(lattice, 2.0), _tolerance(_solved(matrix, lattice), 1.0)
    merged = np.empty_like(coords)
    done = np.zeros(len(coords), np.bool_)
    found = start = 0
    for end in ends:
        for site in range(start, end):
            if done[site]:
                continue
            for axis in range(3):
                merged[found, axis] = inside[site, axis] - np.floor(inside[site, axis])
            count = 0
            for other in range(start, end):
                if _joined(coords, inside, site, other, apart, near):
                    done[other] = True
                    count += 1
                    if count > 1:
                        for axis in range(3):
                            offset = inside[other, axis] - merged[found, axis]
                            merged[found, axis] += (offset - np.rint(offset)) / count
            found += 1
        start = end
    return merged[:found].copy()
