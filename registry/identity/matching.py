"""Pairs of crystals that pymatgen's StructureMatcher would refuse, found a hundred times faster.

The matcher (default tolerances) accepts two primitive cells of equal volume when
  - some basis of the first lattice has the lengths of the second's Niggli cell within a factor of 1.2, and its angles
    within 5 degrees;
  - in the mean of both lattices, after one translation, each site lies within 0.3 (V/n)^(1/3) of a site of its species,
    all sites different.
The translation puts the mean of the displacements at zero. Move it so that it brings *one* site onto its partner: every
displacement then stays below 0.6 (V/n)^(1/3). So where for no basis and no partner of one site all sites find one of
their species that near, the matcher would have refused. What is left undecided is the matcher's business. Every
tolerance is widened by SLACK, far above the rounding of either program.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from registry.compiled import entry_point, inner
from registry.crystal import Crystal, Floats

if TYPE_CHECKING:
    from pymatgen.core.structure import Structure

Ints = NDArray[np.int64]

LENGTH, ANGLE, SITE = 0.2, 5.0, 0.3
"""The matcher's defaults: ltol, angle_tol (degrees), stol."""

SLACK = 1e-6
FACTOR = 1 + LENGTH + SLACK


class Cell(NamedTuple):
    """lattice: (3, 3) angstrom; frac_coords: (n, 3), the rarest species first; ends: (k,) where each species ends."""

    lattice: Floats
    frac_coords: Floats
    ends: Ints


def cell_of(structure: Structure) -> Cell:
    return _cell(structure.lattice.matrix, np.array([site.specie.Z for site in structure]), structure.frac_coords)


def niggli_cell(crystal: Crystal) -> Cell:
    """That of pymatgen's Niggli-reduced structure, three times faster than by way of the structure."""
    from pymatgen.core.lattice import Lattice

    lattice = Lattice(crystal.lattice)
    niggli = lattice.get_niggli_reduced_lattice()
    positions = lattice.get_cartesian_coords(crystal.frac_coords)
    return _cell(niggli.matrix, crystal.numbers, niggli.get_fractional_coords(positions) % 1)


def _cell(lattice: Floats, numbers: NDArray[Any], frac_coords: Floats) -> Cell:
    present, amounts = np.unique(numbers, return_counts=True)
    rank = dict(zip(present[np.lexsort((present, amounts))].tolist(), range(len(present)), strict=True))
    ranks = np.array([rank[number] for number in numbers.tolist()])
    order = np.argsort(ranks, kind="stable")
    ends = np.cumsum(np.sort(amounts)).astype(np.int64)
    return Cell(lattice.copy(), np.ascontiguousarray(frac_coords[order]), ends)


def surely_primitive(cell: Cell) -> bool:
    """True only if pymatgen's slow `get_primitive_structure` returns the cell as it is.

    It looks for cells smaller by a divisor of the amounts, among the vectors that bring each site within 2 x 0.25 A
    (along each axis) of one of its species. Where there is no such vector, a row of a smaller cell would have to lie
    within 0.25 A of a vector of this one: impossible if all of these are longer than 0.25 A times that divisor.
    """
    divisor = int(np.gcd.reduce(np.diff(cell.ends, prepend=0)))
    lengths = np.linalg.norm(cell.lattice, axis=1)
    if divisor == 1:
        return True
    return bool(lengths.min() > 0.26 * divisor and not _repeats(cell.frac_coords, cell.ends, 0.51 / lengths))


def may_match(one: Cell, other: Cell) -> bool:
    """False only if the matcher refuses the pair, taken in this order and as it is, without further reduction.

    Both cells hold the same number of each species.
    """
    return bool(_may_match(one.lattice, one.frac_coords, other.lattice, other.frac_coords, one.ends))


@entry_point
def _repeats(coords: Floats, ends: Ints, tolerance: Floats) -> bool:
    """Whether a difference of two sites of a rarest species brings every site near one of its species.

    Of several equally rare ones pymatgen takes the first by its name, so that any of them may be the one.
    """
    start = 0
    for end in ends:
        if end - start == ends[0]:
            for site in range(start + 1, end):
                if _maps(coords, ends, coords[site] - coords[start], tolerance):
                    return True
        start = end
    return False


@inner
def _maps(coords: Floats, ends: Ints, shift: Floats, tolerance: Floats) -> bool:
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
    for axis in range(3):
        apart = one[axis] - other[axis] - shift[axis]
        if abs(apart - np.rint(apart)) > tolerance[axis]:
            return False
    return True


@inner
def _dot(metric: Floats, one: Floats, other: Floats) -> float:
    total = 0.0
    for i in range(3):
        for j in range(3):
            total += metric[i, j] * one[i] * other[j]
    return total


@inner
def _determinant(matrix: Floats) -> float:
    a, b, c = matrix
    return float(
        a[0] * (b[1] * c[2] - b[2] * c[1]) - a[1] * (b[0] * c[2] - b[2] * c[0]) + a[2] * (b[0] * c[1] - b[1] * c[0])
    )


@inner
def _inverse(matrix: Floats) -> Floats:
    """By cofactors."""
    inverse = np.empty((3, 3))
    determinant = _determinant(matrix)
    for i in range(3):
        for j in range(3):
            k, m, p, q = (i + 1) % 3, (i + 2) % 3, (j + 1) % 3, (j + 2) % 3
            inverse[j, i] = (matrix[k, p] * matrix[m, q] - matrix[k, q] * matrix[m, p]) / determinant
    return inverse


@inner
def _metric(lattice: Floats, scale: float) -> Floats:
    metric = np.empty((3, 3))
    for i in range(3):
        for j in range(3):
            metric[i, j] = scale * (lattice[i] * lattice[j]).sum()
    return metric


@inner
def _lengths(metric: Floats) -> Floats:
    return np.array([np.sqrt(metric[0, 0]), np.sqrt(metric[1, 1]), np.sqrt(metric[2, 2])])


@inner
def _angle(product: float, lengths: float) -> float:
    """Degrees between two vectors, from their scalar product and the product of their lengths."""
    return float(np.degrees(np.arccos(min(1.0, max(-1.0, product / lengths)))))


@inner
def _angles(metric: Floats) -> Floats:
    """Alpha, beta, gamma in degrees."""
    a, b, c = _lengths(metric)
    return np.array([_angle(metric[1, 2], b * c), _angle(metric[0, 2], a * c), _angle(metric[0, 1], a * b)])


@inner
def _close(product: float, lengths: float, angle: float) -> bool:
    return abs(_angle(product, lengths) - angle) <= ANGLE + SLACK


@inner
def _points(metric: Floats, farthest: float) -> tuple[Floats, Floats]:
    """(m, 3) whole-number lattice vectors up to a length, but for zero; and their lengths."""
    spans = np.floor(farthest * _lengths(_inverse(metric))).astype(np.int64)
    found = np.empty(((2 * spans[0] + 1) * (2 * spans[1] + 1) * (2 * spans[2] + 1), 3))
    lengths = np.empty(len(found))
    count = 0
    for i in range(-spans[0], spans[0] + 1):
        for j in range(-spans[1], spans[1] + 1):
            for k in range(-spans[2], spans[2] + 1):
                found[count, 0], found[count, 1], found[count, 2] = i, j, k
                lengths[count] = np.sqrt(_dot(metric, found[count], found[count]))
                count += 0 < lengths[count] <= farthest
    return found[:count], lengths[:count]


@inner
def _of_length(lengths: Floats, goal: float) -> Ints:
    return np.flatnonzero((lengths < goal * FACTOR) & (lengths > goal / FACTOR))


@inner
def _rebased(frac_coords: Floats, basis: Floats) -> Floats:
    """Coordinates in a basis whose rows are given in the old one."""
    inverse = _inverse(basis)
    coords = np.zeros_like(frac_coords)
    for site in range(len(coords)):
        for i in range(3):
            for j in range(3):
                coords[site, j] += frac_coords[site, i] * inverse[i, j]
    return coords


@inner
def _mean(metric: Floats, basis: Floats, goals: Floats, angles: Floats) -> Floats:
    """The metric of the lattice with the mean lengths and angles of a basis and the goal."""
    mean = np.empty((3, 3))
    for i in range(3):
        for j in range(3):
            one, other = np.sqrt(_dot(metric, basis[i], basis[i])), np.sqrt(_dot(metric, basis[j], basis[j]))
            mean[i, j] = (one + goals[i]) * (other + goals[j]) / 4
            if i != j:
                angle = (_angle(_dot(metric, basis[i], basis[j]), one * other) + angles[3 - i - j]) / 2
                mean[i, j] *= np.cos(np.radians(angle))
    return mean


@inner
def _sites_fit(ones: Floats, others: Floats, ends: Ints, metric: Floats) -> bool:
    """Whether some translation that brings the first site onto one of its species fits all."""
    radius = SITE * (np.sqrt(_determinant(metric)) / len(ones)) ** (1 / 3) * (1 + SLACK)
    reach = 2 * radius * _lengths(_inverse(metric))
    ways = np.empty_like(others)
    for partner in range(ends[0]):
        if _shifted_fit(ones, others, ends, ones[partner] - others[0], metric, radius, reach, ways):
            return True
    return False


@inner
def _shifted_fit(
    ones: Floats, others: Floats, ends: Ints, shift: Floats, metric: Floats, radius: float, reach: Floats, ways: Floats
) -> bool:
    """Whether each of `others`, shifted, has one of `ones` of its species within two radii.

    Where each has only one, all must lie within one radius of their mean displacement. `ways` takes the displacements.
    """
    unique = True
    start = 0
    for end in ends:
        for site in range(start, end):
            count = 0
            for partner in range(start, end):
                if _in_box(ones[partner], others[site], shift, reach):
                    count += _images(ones[partner] - others[site] - shift, metric, radius, reach, ways[site])
            if count == 0:
                return False
            unique = unique and count == 1
        start = end
    return not unique or _within(ways, metric, radius)


@inner
def _in_box(one: Floats, other: Floats, shift: Floats, reach: Floats) -> bool:
    """Whether an image lies in the box around the sphere; reach: (3,) its fractional half-widths."""
    for axis in (2, 1, 0):  # the longest tells most
        apart = one[axis] - other[axis] - shift[axis]
        if abs(apart - np.rint(apart)) > reach[axis]:
            return False
    return True


@inner
def _images(apart: Floats, metric: Floats, radius: float, reach: Floats, way: Floats) -> int:
    """How many images of a fractional difference lie within two radii; `way` takes the last of them."""
    low, high = np.ceil(-reach - apart), np.floor(reach - apart)
    count = 0
    image = np.empty(3)
    for i in range(low[0], high[0] + 1):
        for j in range(low[1], high[1] + 1):
            for k in range(low[2], high[2] + 1):
                image[0], image[1], image[2] = apart[0] + i, apart[1] + j, apart[2] + k
                if _dot(metric, image, image) <= 4 * radius * radius:
                    way[:] = image
                    count += 1
    return count


@inner
def _within(displacements: Floats, metric: Floats, radius: float) -> bool:
    mean = displacements.sum(axis=0) / len(displacements)
    for displacement in displacements:
        if _dot(metric, displacement - mean, displacement - mean) > radius * radius:
            return False
    return True


@entry_point
def translations(lattice: Floats, coords: Floats, ends: Ints, reach: float) -> Ints:
    """The near translations of a crystal, the identity first.

    lattice: reduced; coords, ends: as in Cell; reach: angstrom, between an atom's image and one of its species
    Return (k, n): the site onto which each translation brings each site, all different.
    """
    metric = _metric(lattice, 1.0)
    images = np.empty((ends[0], len(coords)), np.int64)
    count = 0
    for site in range(ends[0]):
        count += _translates(coords, ends, coords[site] - coords[0], metric, reach, images[count])
    return images[:count]


@inner
def _translates(coords: Floats, ends: Ints, shift: Floats, metric: Floats, reach: float, images: Ints) -> bool:
    taken = np.zeros(len(coords), np.bool_)
    start = 0
    for end in ends:
        for site in range(start, end):
            nearest, closest = -1, reach * reach
            for other in range(start, end):
                apart = coords[other] - coords[site] - shift
                apart -= np.rint(apart)
                squared = _dot(metric, apart, apart)
                if squared <= closest:
                    nearest, closest = other, squared
            if nearest < 0 or taken[nearest]:
                return False
            taken[nearest] = True
            images[site] = nearest
        start = end
    return True


@entry_point
def _may_match(lattice: Floats, ones: Floats, other_lattice: Floats, others: Floats, ends: Ints) -> bool:
    scale = abs(_determinant(other_lattice) / _determinant(lattice)) ** (1 / 3)
    metric, target = _metric(lattice, scale), _metric(other_lattice, 1 / scale)
    goals, angles = _lengths(target), _angles(target)
    points, lengths = _points(metric, goals.max() * FACTOR)
    basis = np.empty((3, 3))
    for first in _of_length(lengths, goals[0]):
        basis[0] = points[first]
        for second in _of_length(lengths, goals[1]):
            basis[1] = points[second]
            if not _close(_dot(metric, basis[0], basis[1]), lengths[first] * lengths[second], angles[2]):
                continue
            for third in _of_length(lengths, goals[2]):
                basis[2] = points[third]
                if (
                    _close(_dot(metric, basis[0], basis[2]), lengths[first] * lengths[third], angles[1])
                    and _close(_dot(metric, basis[1], basis[2]), lengths[second] * lengths[third], angles[0])
                    and abs(abs(_determinant(basis)) - 1) < 0.25
                    and _sites_fit(_rebased(ones, basis), others, ends, _mean(metric, basis, goals, angles))
                ):
                    return True
    return False
