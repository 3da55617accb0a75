"""Subsets of up to 64 points under a permutation group: how many classes there are, and one subset of each.

A subset is a mask, bit i standing for point i. Counting is the lemma of Cauchy and Frobenius (Burnside): the mean over
the group of how many subsets an operation leaves as they are. Listing is the orderly generation of Read (Annals of
Discrete Mathematics 2, 107, 1978) and Faradzev: a subset is canonical if none of its images is a higher number. A
canonical subset without its lowest point is canonical, so that all of them are met by adding lower and lower points to
canonical ones, and what isn't canonical is dropped with all that would grow from it. Nothing is stored but the images
along one branch.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from registry.compiled import entry_point, inner

Ints = NDArray[np.int64]
Masks = NDArray[np.uint64]
Counts = NDArray[np.float64]
Permutations = NDArray[np.int64]

MOST_POINTS = 64


@entry_point
def restricted(permutations: Permutations, sites: Ints) -> Permutations:
    """(h, m) int64: the distinct ways in which operations on n sites permute m of them, named 0 to m - 1.

    Empty, (0, m), if an operation carries one of the sites out of the set.
    """
    place = np.full(permutations.shape[1], -1, dtype=np.int64)
    for i in range(len(sites)):
        place[sites[i]] = i
    acting = np.empty((len(permutations), len(sites)), dtype=np.int64)
    distinct = 0
    for g in range(len(permutations)):
        for i in range(len(sites)):
            acting[distinct, i] = place[permutations[g, sites[i]]]
            if acting[distinct, i] < 0:
                return acting[:0]
        distinct += not _is_among(acting[distinct], acting[:distinct])
    return acting[:distinct]


@inner
def _is_among(row: Ints, rows: Ints) -> bool:
    for other in rows:
        i = 0
        while i < len(row) and row[i] == other[i]:
            i += 1
        if i == len(row):
            return True
    return False


@entry_point
def class_counts(permutations: Permutations) -> Counts:
    """(m + 1,) float64: classes of subsets by size. Exact as far as float64 holds whole numbers."""
    order, points = permutations.shape
    total = np.zeros(points + 1)
    for g in range(order):
        fixed = np.zeros(points + 1)
        fixed[0] = 1.0
        seen = np.zeros(points, dtype=np.bool_)
        reach = 0
        for start in range(points):
            length, point = 0, start
            while not seen[point]:
                seen[point] = True
                length += 1
                point = permutations[g, point]
            reach += length
            if length:
                for size in range(reach, length - 1, -1):
                    fixed[size] += fixed[size - length]
        total += fixed
    mean: Counts = total / order
    return mean


@entry_point
def list_classes(permutations: Permutations, sites: Ints, room: int, whole: bool) -> tuple[Masks, Ints, Counts]:
    """One subset of each class of some of n sites, under operations on all of them.

    sites: (m,), at most 64; bit i of a mask stands for sites[i].
    room: classes of k points and of m - k are listed together, from k = 1 on, as long as no more than this come out.
    whole: all sites too, beside that.
    Return (k,) masks, the lowest number of each class, by ascending size; (k,) sizes; and (m + 1,) how many classes
    each size has, listed or not. No counts if an operation carries a site out of the set, or if the permutations are
    no group: then their orbits are not as many as the lemma says.
    """
    acting = restricted(permutations, sites)
    points = len(sites)
    if len(acting) == 0:
        return np.zeros(0, dtype=np.uint64), np.zeros(0, dtype=np.int64), np.zeros(0)
    counts = class_counts(acting)
    depth = _depth(counts, room)
    starts = np.zeros(points + 2, dtype=np.int64)
    for size in range(points + 1):
        listed = 0 < min(size, points - size) <= depth or (whole and size == points)
        starts[size + 1] = starts[size] + (np.int64(np.rint(counts[size])) if listed else 0)
    masks, ends = _lowest_of_classes(acting, starts, depth, whole)
    if len(ends) == 0:
        counts = counts[:0]
    sizes = np.empty(len(masks), dtype=np.int64)
    for size in range(len(ends)):
        sizes[starts[size] : ends[size]] = size
    return masks, sizes, counts


@inner
def _depth(counts: Counts, room: int) -> int:
    """How many of the smallest sizes have, with the sizes of their complements, at most `room` classes in all."""
    points = len(counts) - 1
    depth, listed = 0, 0.0
    while 2 * (depth + 1) <= points:
        listed += counts[depth + 1] if 2 * (depth + 1) == points else 2 * counts[depth + 1]
        if listed > room:
            break
        depth += 1
    return depth


@inner
def _lowest_of_classes(permutations: Permutations, starts: Ints, depth: int, whole: bool) -> tuple[Masks, Ints]:
    """The masks, those of each size from its start on, and where those of each size end; nothing if there are more or
    less of a size than foreseen.
    """
    points = permutations.shape[1]
    bits, every = _images_of_points(permutations)
    masks = np.zeros(starts[-1], dtype=np.uint64)
    ends = starts[:-1].copy()
    if whole:
        masks[-1] = every
        ends[points] += 1
    images = np.zeros((depth + 1, len(permutations)), dtype=np.uint64)
    chosen = np.zeros(depth + 1, dtype=np.uint64)
    latest = np.full(depth + 1, points, dtype=np.int64)
    size = 0
    while size >= 0:
        latest[size] -= 1
        x = latest[size]
        if x < 0 or size == depth:
            size -= 1
            continue
        grown = chosen[size] | _bit(x)
        lowest = _grow(images[size], bits[x], grown, every, images[size + 1])
        if lowest > grown:
            continue
        size += 1
        chosen[size], latest[size] = grown, x
        if ends[size] == starts[size + 1]:
            return masks[:0], ends[:0]
        masks[ends[size]] = lowest
        ends[size] += 1
        if 2 * size != points:  # the complement of the highest number of a class is the lowest of the complements
            masks[ends[points - size]] = every ^ grown
            ends[points - size] += 1
    return (masks, ends) if np.array_equal(ends, starts[1:]) else (masks[:0], ends[:0])


@inner
def _images_of_points(permutations: Permutations) -> tuple[Masks, np.uint64]:
    """(m, h) bits of the images of each point, and all m bits."""
    order, points = permutations.shape
    bits = np.empty((points, order), dtype=np.uint64)
    every = np.uint64(0)
    for x in range(points):
        every |= _bit(x)
        for g in range(order):
            bits[x, g] = _bit(permutations[g, x])
    return bits, every


@inner
def _bit(point: int) -> np.uint64:
    bit: np.uint64 = np.uint64(1) << np.uint64(point)
    return bit


@inner
def _grow(images: Masks, bits: Masks, grown: np.uint64, every: np.uint64, larger: Masks) -> np.uint64:
    """The images of a subset with one more point go to `larger`; their lowest number, or one above `grown` as soon as
    `grown` isn't the highest."""
    lowest = every
    for g in range(len(images)):
        image: np.uint64 = images[g] | bits[g]
        if image > grown:
            return image
        larger[g] = image
        lowest = min(lowest, image)
    return lowest


@entry_point
def lowest_images(permutations: Permutations, masks: Masks) -> Masks:
    """(k,) uint64: the lowest number among the images of each mask."""
    found = np.empty_like(masks)
    for k in range(len(masks)):
        for g in range(len(permutations)):
            image = np.uint64(0)
            for x in range(permutations.shape[1]):
                if masks[k] & _bit(x):
                    image |= _bit(permutations[g, x])
            found[k] = image if g == 0 else min(found[k], image)
    return found


@entry_point
def decorated(
    bases: NDArray[np.int16], sites: Ints, points: Ints, masks: Masks, replacements: NDArray[np.int16]
) -> NDArray[np.int16]:
    """(k, r, n) int16: rows of `bases` (r, n) with each replacement on the sites whose point is in the mask."""
    rows = np.empty((len(masks), len(bases), bases.shape[1]), dtype=np.int16)
    for k in range(len(masks)):
        for r in range(len(bases)):
            for site in range(bases.shape[1]):
                rows[k, r, site] = bases[r, site]
        for i in range(len(sites)):
            if masks[k] & _bit(points[i]):
                for r in range(len(bases)):
                    rows[k, r, sites[i]] = replacements[r]
    return rows
