"""What an ordering has shifted and strained, put back: near translations and near symmetries of the lattice are made
exact."""

from __future__ import annotations

from functools import cache
from itertools import product

import numpy as np
from numpy.typing import NDArray

from registry.crystal import Crystal, Floats
from registry.identity.fingerprint import compact

Ints = NDArray[np.int64]

SHIFT = 0.15
"""Cube roots of the volume per atom, about 0.3 A: how far an ordering moves apart what its parent repeats."""

STRAIN, TILT = 0.06, 0.18
"""By how much an ordering changes lengths (relative) and cosines of angles of its parent's primitive cell.

Of L1_0 CuAu, whose c/a is 0.93: 0.04 and 0.15.
"""


def repeating(crystal: Crystal) -> Crystal:
    """The crystal with each atom at the mean of where its near translations put it, so that they become exact.

    The translations are those that bring each atom within SHIFT of one of its species; less where these form no group.
    Sites keep their order; the lattice is the Minkowski-reduced one.
    """
    order, ends = _by_species(crystal)
    lattice, frac_coords = compact(crystal)
    coords = frac_coords[order]
    reach = SHIFT * (crystal.volume / crystal.nsites) ** (1 / 3)
    while len((steps := _translations(lattice, coords, ends, reach))[0]) > 1:
        images, moves = steps
        rational = np.round(moves * len(moves)) / len(moves)  # in a group of k, multiples of 1/k
        if _is_translation_group(rational):
            shifted = coords[images] - coords - rational[:, None]
            mean = coords + (shifted - np.round(shifted)).mean(axis=0)
            return Crystal(lattice, crystal.numbers, mean[np.argsort(order)])
        reach *= 0.8
    return crystal


def _translations(lattice: Floats, coords: Floats, ends: Ints, reach: float) -> tuple[Ints, Floats]:
    """(k, n) the site near which each translation brings each site; (k, 3) the translations, means over all sites."""
    from registry.identity.matching import translations

    images = translations(lattice, coords, ends, 2 * reach)
    moves = coords[images] - coords
    first = moves[:, :1].copy()
    moves -= first
    moves -= np.round(moves)
    mean = moves.mean(axis=1, keepdims=True)
    near = np.linalg.norm((moves - mean) @ lattice, axis=2).max(axis=1) <= reach
    return images[near], (first + mean)[near, 0]


def _by_species(crystal: Crystal) -> tuple[Ints, Ints]:
    """The order of sites by species, the rarest first; and where each species ends."""
    amounts = np.array([crystal.amounts[number] for number in crystal.numbers.tolist()])
    order = np.lexsort((crystal.numbers, amounts))
    numbers = crystal.numbers[order]
    return order, np.append(np.flatnonzero(np.diff(numbers)) + 1, len(numbers))


def _is_translation_group(steps: Floats) -> bool:
    """Whether k different translations, multiples of 1/k, form a group modulo those of the cell."""
    size = len(steps)
    whole = np.rint(steps * size).astype(np.int64) % size
    sums = (whole[:, None] + whole[None, :]) % size
    key = np.array([size * size, size, 1])
    known = np.unique(whole @ key)
    return len(known) == size and bool(np.isin(sums @ key, known).all())


def unstrained(lattice: Floats) -> Floats:
    """The lattice (rows, angstrom) averaged over the symmetry that it has within STRAIN, in the same setting."""
    import moyopy

    basis = np.array(moyopy.niggli_reduce(lattice.tolist())[0])
    metric = basis @ basis.T
    maps = _near_symmetries(metric)
    mean = np.einsum("kia,ab,kjb->ij", maps, metric, maps) / len(maps)
    averaged: Floats = lattice @ np.linalg.inv(basis) @ np.linalg.cholesky(mean)
    return averaged


def _near_symmetries(metric: Floats) -> Ints:
    """(k, 3, 3) whole-number maps of a reduced basis onto one of nearly the same lengths and angles: a group."""
    scale = 1.0
    while True:
        maps = _maps(metric, scale)
        if _is_group(maps):
            return maps
        scale *= 0.8


def _maps(metric: Floats, scale: float) -> Ints:
    """Bases of lattice vectors whose lengths and angles are within the tolerances, times `scale`, of the metric's."""
    steps = _steps()
    products = steps @ metric @ steps.T
    lengths, goals = np.sqrt(np.diag(products)), np.sqrt(np.diag(metric))
    near = [np.flatnonzero(np.abs(lengths / goal - 1) <= scale * STRAIN) for goal in goals]
    i, j, k = (axis.ravel() for axis in np.meshgrid(*near, indexing="ij"))
    fits = np.ones(len(i), dtype=bool)
    for one, other, a, b in ((i, j, 0, 1), (i, k, 0, 2), (j, k, 1, 2)):
        cosines = products[one, other] / (lengths[one] * lengths[other])
        fits &= np.abs(cosines - metric[a, b] / (goals[a] * goals[b])) <= scale * TILT
    bases = np.stack([steps[i[fits]], steps[j[fits]], steps[k[fits]]], axis=1)
    regular: Ints = bases[np.abs(np.abs(np.linalg.det(bases)) - 1) < 0.5]
    return regular


@cache
def _steps() -> Ints:
    """(26, 3) lattice vectors to the neighbouring cells: what a symmetry maps a reduced basis onto."""
    return np.array([step for step in product((-1, 0, 1), repeat=3) if any(step)])


def _is_group(maps: NDArray[np.int64]) -> bool:
    known = {one.tobytes() for one in maps}
    return all(two.tobytes() in known for one in maps for two in one @ maps)
