"""What pymatgen's StructureMatcher says of a pair of crystals, found a hundred times faster where it is certain.

The matcher (default tolerances) accepts two primitive cells of equal volume when
  - some basis of the first lattice has the lengths of the second's Niggli cell within a factor of 1.2, and its angles
    within 5 degrees;
  - in the mean of both lattices, after one translation, each site lies within 0.3 (V/n)^(1/3) of a site of its species,
    all sites different.
The translation puts the mean of the displacements at zero. The matcher finds it by laying one site of the rarest
species onto each of its species in turn: every displacement then stays below 0.6 (V/n)^(1/3), or it refuses. Who is
whose partner it decides by least squares: where the nearest are all different, they are the partners, since no term can
be smaller. So its steps can be followed, and either answer be given without it; what hangs on rounding (SLACK, far
above that of either program), on ties, or on two sites that want one partner is left to it.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np

from registry.compiled import entry_point, inner
from registry.crystal import Floats
from registry.identity.niggli import lll_reduced, scalar_product, triple_product
from registry.identity.reduction import Cell, Ints, inverse_of

LENGTH, ANGLE, SITE = 0.2, 5.0, 0.3
"""The matcher's defaults: ltol, angle_tol (degrees), stol."""

SLACK = 1e-6
FACTOR = 1 + LENGTH + SLACK
REFUSED, ACCEPTED, OPEN = 0, 1, 2


class Verdict(IntEnum):
    """What the matcher says, as far as it is certain."""

    REFUSED = REFUSED
    ACCEPTED = ACCEPTED
    OPEN = OPEN


def verdict(one: Cell, other: Cell) -> Verdict:
    """What the matcher says of two reduced cells of equal amounts, in this order.

    OPEN only where its answer hangs on the rounding of a number, or on which of two sites is whose partner.
    """
    return Verdict(_verdict(one.lattice, one.frac_coords, other.lattice, other.frac_coords, other.ends, other.origin))


@inner
def _dot(metric: Floats, one: Floats, other: Floats) -> float:
    total = 0.0
    for i in range(3):
        for j in range(3):
            total += metric[i, j] * one[i] * other[j]
    return total


@inner
def _metric(lattice: Floats, scale: float) -> Floats:
    metric = np.empty((3, 3))
    for i in range(3):
        for j in range(3):
            metric[i, j] = scale * scalar_product(lattice[i], lattice[j])
    return metric


@inner
def _lengths(metric: Floats) -> Floats:
    lengths = np.empty(3)
    for i in range(3):
        lengths[i] = np.sqrt(metric[i, i])
    return lengths


@inner
def _angle(product: float, lengths: float) -> float:
    """Degrees between two vectors, from their scalar product and the product of their lengths."""
    return float(np.degrees(np.arccos(min(1.0, max(-1.0, product / lengths)))))


@inner
def _angles(metric: Floats) -> Floats:
    """Alpha, beta, gamma in degrees."""
    angles = np.empty(3)
    for i in range(3):
        j, k = (i + 1) % 3, (i + 2) % 3
        angles[i] = _angle(metric[j, k], np.sqrt(metric[j, j] * metric[k, k]))
    return angles


@inner
def _close(product: float, lengths: float, angle: float) -> bool:
    return abs(_angle(product, lengths) - angle) <= ANGLE + SLACK


@inner
def _points(metric: Floats, farthest: float) -> tuple[Floats, Floats]:
    """(m, 3) whole-number lattice vectors up to a length, but for zero; and their lengths."""
    heights = _lengths(inverse_of(metric))
    spans = int(farthest * heights[0]), int(farthest * heights[1]), int(farthest * heights[2])
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
    inverse = inverse_of(basis)
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
def _of_sites(ones: Floats, others: Floats, ends: Ints, origin: int, metric: Floats) -> int:
    """The verdict on one basis, the best of those translations that bring the origin onto one of its species."""
    radius = SITE * (np.sqrt(triple_product(metric)) / len(ones)) ** (1 / 3)
    reach = _lengths(inverse_of(metric))
    ways, shift = np.empty_like(others), np.empty(3)
    first, last = _block(ends, origin)
    best = REFUSED
    for axis in range(3):
        reach[axis] *= 2 * radius * (1 + SLACK)
    for partner in range(first, last):
        for axis in range(3):
            shift[axis] = ones[partner, axis] - others[origin, axis]
        found = _of_shift(ones, others, ends, shift, metric, radius, reach, ways)
        if found == ACCEPTED:
            return ACCEPTED
        best = max(best, found)
    return best


@inner
def _block(ends: Ints, site: int) -> tuple[int, int]:
    """Where the species of a site starts and ends."""
    start = 0
    for end in ends:
        if site < end:
            return start, end
        start = end
    return start, start


@inner
def _of_shift(
    ones: Floats, others: Floats, ends: Ints, shift: Floats, metric: Floats, radius: float, reach: Floats, ways: Floats
) -> int:
    """The verdict on one translation: `ways` takes the displacement of each of `others` to the nearest of `ones`.

    Where all the nearest are different, they are what the matcher's assignment of least squares takes.
    """
    taken, apart = np.zeros(len(ones), np.bool_), np.empty(3)
    doubt = False
    start = 0
    for end in ends:
        for site in range(start, end):
            nearest, closest, second = -1, np.inf, np.inf
            for partner in range(start, end):
                if _in_box(ones[partner], others[site], shift, reach):
                    for axis in range(3):
                        apart[axis] = ones[partner, axis] - others[site, axis] - shift[axis]
                    near, next_near = _nearest_image(apart, metric, reach, closest, ways[site])
                    second = min(second, next_near, max(near, closest))
                    if near < closest:
                        nearest, closest = partner, near
            if closest > 4 * (radius * (1 + SLACK)) ** 2:
                return REFUSED
            doubt = doubt or taken[nearest] or closest > 4 * (radius * (1 - SLACK)) ** 2
            doubt = doubt or second - closest < SLACK * radius * radius
            taken[nearest] = True
        start = end
    if doubt or _farthest(ways, metric, False) > _spacing(metric) ** 2:
        return OPEN
    return _within(ways, metric, radius)


@inner
def _in_box(one: Floats, other: Floats, shift: Floats, reach: Floats) -> bool:
    """Whether an image lies in the box around the sphere; reach: (3,) its fractional half-widths."""
    for axis in (2, 1, 0):  # the longest tells most
        apart = one[axis] - other[axis] - shift[axis]
        if abs(apart - np.rint(apart)) > reach[axis]:
            return False
    return True


@inner
def _nearest_image(apart: Floats, metric: Floats, reach: Floats, closest: float, way: Floats) -> tuple[float, float]:
    """Squared lengths of the two nearest images of a fractional difference; `way` takes one nearer than `closest`."""
    first, second = np.inf, np.inf
    image = np.empty(3)
    for i in _images(apart[0], reach[0]):
        for j in _images(apart[1], reach[1]):
            for k in _images(apart[2], reach[2]):
                image[0], image[1], image[2] = apart[0] + i, apart[1] + j, apart[2] + k
                squared = _dot(metric, image, image)
                if squared < first:
                    first, second = squared, first
                    if squared < closest:
                        way[0], way[1], way[2] = image[0], image[1], image[2]
                else:
                    second = min(second, squared)
    return first, second


@inner
def _images(apart: float, reach: float) -> range:
    """The whole numbers that bring a difference within reach."""
    return range(int(np.ceil(-reach - apart)), int(np.floor(reach - apart)) + 1)


@inner
def _farthest(ways: Floats, metric: Floats, centred: bool) -> float:
    """The largest squared length, where told of the differences from the mean."""
    middle, apart = np.zeros(3), np.empty(3)
    if centred:
        for way in ways:
            for axis in range(3):
                middle[axis] += way[axis] / len(ways)
    farthest = 0.0
    for way in ways:
        for axis in range(3):
            apart[axis] = way[axis] - middle[axis]
        farthest = max(farthest, _dot(metric, apart, apart))
    return farthest


@inner
def _within(ways: Floats, metric: Floats, radius: float) -> int:
    farthest = np.sqrt(_farthest(ways, metric, True))
    if farthest < radius * (1 - SLACK):
        return ACCEPTED
    return REFUSED if farthest > radius * (1 + SLACK) else OPEN


@inner
def _spacing(metric: Floats) -> float:
    """The least distance of lattice planes along the axes of the reduced (LLL) basis.

    The matcher looks at 27 images in that basis: the nearest is among them if it lies nearer than this.
    """
    reduced = lll_reduced(_lattice_of(metric))
    heights = _lengths(inverse_of(_metric(reduced, 1.0)))
    return float(0.99 / max(heights[0], heights[1], heights[2]))


@inner
def _lattice_of(metric: Floats) -> Floats:
    """A lattice with this metric (Cholesky)."""
    lattice = np.zeros((3, 3))
    for i in range(3):
        for j in range(i + 1):
            rest = metric[i, j] - scalar_product(lattice[i], lattice[j])
            lattice[i, j] = np.sqrt(max(rest, 0.0)) if i == j else rest / lattice[j, j]
    return lattice


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
def _verdict(lattice: Floats, ones: Floats, other_lattice: Floats, others: Floats, ends: Ints, origin: int) -> int:
    scale = abs(triple_product(other_lattice) / triple_product(lattice)) ** (1 / 3)
    metric, target = _metric(lattice, scale), _metric(other_lattice, 1 / scale)
    goals, angles = _lengths(target), _angles(target)
    points, lengths = _points(metric, max(goals[0], goals[1], goals[2]) * FACTOR)
    basis = np.empty((3, 3))
    best = REFUSED
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
                    and abs(abs(triple_product(basis)) - 1) < 0.25
                ):
                    mean = _mean(metric, basis, goals, angles)
                    found = _of_sites(_rebased(ones, basis), others, ends, origin, mean)
                    if found == ACCEPTED and _surely_close(metric, basis, goals, angles):
                        return ACCEPTED
                    best = max(best, OPEN if found == ACCEPTED else found)
    return best


@inner
def _surely_close(metric: Floats, basis: Floats, goals: Floats, angles: Floats) -> bool:
    """Whether the lengths and angles of a basis lie within the tolerances by more than the slack."""
    for i in range(3):
        j, k = (i + 1) % 3, (i + 2) % 3
        length = np.sqrt(_dot(metric, basis[i], basis[i]))
        lengths = np.sqrt(_dot(metric, basis[j], basis[j]) * _dot(metric, basis[k], basis[k]))
        if abs(_angle(_dot(metric, basis[j], basis[k]), lengths) - angles[i]) > ANGLE - SLACK:
            return False
        if length / goals[i] > 1 + LENGTH - SLACK or length / goals[i] < 1 / (1 + LENGTH - SLACK):
            return False
    return True
