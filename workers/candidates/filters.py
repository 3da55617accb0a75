"""Rules that candidates must pass, many at once, and flags that the survivors carry. Pure; the funnel counts both.

What is asked of ions comes first (proposals.py), what is asked of crystals afterwards (generation.py); whether one is
known, or orders a known disordered one, only the registry can say (workers/known.py).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from registry.crystal import Crystal, Species
from workers.candidates.volume import HEAVIEST, bond_radii_of

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Flag = Literal["radioactive", "scarce", "molecular_fragment"]

RADIOACTIVE = frozenset({43, 61, *range(84, 119)}) - {90, 92}  # Th and U are mined and handled
SCARCE = frozenset({44, 45, 46, 75, 76, 77, 78, 79})  # the platinum metals, Re and Au: below 2 ppb of the crust
MOLECULES = {1: 0.74, 7: 1.10, 8: 1.21, 9: 1.41, 17: 1.99, 35: 2.28, 53: 2.67}  # bond of the diatomic gas, angstrom
MOLECULE_STRETCH = 1.15  # a pair within this multiple of the gas's bond is a molecule; a peroxide isn't
REACH = 1.8  # pairs are looked for within this multiple of the cube root of the volume per atom
AT_ONCE = 1 << 20
"""Distances that are held together, as 8 bytes each."""


@dataclass(frozen=True)
class Limits:
    """closest: least distance as a share of the sum of bond radii; volumes in cubic angstrom per atom."""

    closest: float = 0.6
    least_volume: float = 4.0
    largest_volume: float = 120.0


class Pairs(NamedTuple):
    """Neighbouring sites of a crystal: first, second (p,) int64, and the distances (p,) of their nearest images in
    angstrom.

    An isotropic strain keeps the pairs, so a parent's serve all candidates made from it.
    """

    first: Ints
    second: Ints
    distances: Floats

    def scaled(self, factor: float) -> Pairs:
        return Pairs(self.first, self.second, self.distances * factor)


def elements_held(numbers: Species) -> Ints:
    """(k,) how many elements each of k crystals holds, by the (k, n) atomic numbers of their sites."""
    ordered = np.sort(numbers, axis=1)
    return np.asarray(1 + (np.diff(ordered, axis=1) != 0).sum(axis=1), dtype=np.int64)


def cations_less_electronegative(numbers: Ints, charges: Ints) -> Bools:
    """(r,) bool: every cation's Pauling electronegativity lies below every anion's (the test of SMACT).

    numbers, charges: (r, s) of the ions of r compounds.
    """
    paulings = _columns().paulings[numbers]
    cations = np.fmax.reduce(np.where(charges > 0, paulings, -np.inf), axis=1, initial=-np.inf)
    anions = np.fmin.reduce(np.where(charges < 0, paulings, np.inf), axis=1, initial=np.inf)
    return np.asarray(cations < anions, dtype=bool)


def anion_formers_reduced(numbers: Ints, charges: Ints) -> Bools:
    """(r,) bool: no ion of groups 15 to 17 is a cation (no sulfates, phosphates, chlorates)."""
    groups = _columns().groups[numbers]
    return np.asarray(~((groups >= 15) & (groups <= 17) & (charges > 0)).any(axis=1), dtype=bool)


class _Columns(NamedTuple):
    """By atomic number, (119,): electronegativities, nan where unknown, and groups of the periodic table."""

    paulings: Floats
    groups: Ints


@lru_cache(maxsize=1)
def _columns() -> _Columns:
    from pymatgen.core import Element

    elements = [Element.from_Z(number) for number in range(1, HEAVIEST + 1)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of each element without an electronegativity
        paulings = [float(element.X) for element in elements]
    return _Columns(np.array([np.nan, *paulings]), np.array([0, *(int(element.group) for element in elements)]))


def within_volumes(volumes: Floats, nsites: int, limits: Limits) -> Bools:
    """(k,) bool, for cells of (k,) cubic angstrom."""
    per_atom = volumes / nsites
    return np.asarray((limits.least_volume <= per_atom) & (per_atom <= limits.largest_volume), dtype=bool)


def closest_approaches(numbers: Species, pairs: Pairs, lengths: Floats) -> Floats:
    """(k,) the least ratio of a distance between two atoms to the sum of their bond radii.

    numbers: (k, n) on the sites of one cell, whose pairs are given; lengths: (k,) by what its edges are multiplied.
    """
    found = np.empty(len(numbers))
    step = max(1, AT_ONCE // len(pairs.distances))
    for start in range(0, len(numbers), step):
        radii = bond_radii_of(numbers[start : start + step])
        ratios = pairs.distances / (radii[:, pairs.first] + radii[:, pairs.second])
        found[start : start + step] = ratios.min(axis=1)
    return found * lengths


def broken_rule(crystal: Crystal, pairs: Pairs, limits: Limits) -> Literal["volume", "overlap"] | None:
    """The first rule that a single crystal breaks."""
    if not within_volumes(np.array([crystal.volume]), crystal.nsites, limits)[0]:
        return "volume"
    if closest_approaches(crystal.numbers[None, :], pairs, np.ones(1))[0] < limits.closest:
        return "overlap"
    return None


def flags(crystal: Crystal, pairs: Pairs) -> tuple[Flag, ...]:
    """What a reader should know; none of it rejects."""
    found: list[Flag] = []
    if RADIOACTIVE & crystal.amounts.keys():
        found.append("radioactive")
    if SCARCE & crystal.amounts.keys():
        found.append("scarce")
    if MOLECULES.keys() & crystal.amounts.keys() and _holds_molecule(crystal, pairs):
        found.append("molecular_fragment")
    return tuple(found)


def neighbour_pairs(crystal: Crystal) -> Pairs:
    """Every two sites (or a site and its own image) within REACH, by their nearest images."""
    from pymatgen.optimization.neighbors import find_points_in_spheres

    cutoff = REACH * (crystal.volume / crystal.nsites) ** (1 / 3)
    lattice, periodic = np.ascontiguousarray(crystal.lattice), np.array([1, 1, 1])
    cart = np.ascontiguousarray(crystal.frac_coords @ lattice)
    apart = np.zeros(0, dtype=bool)
    while not apart.any():
        i, j, images, distances = find_points_in_spheres(cart, cart, r=cutoff, pbc=periodic, lattice=lattice, tol=1e-8)
        apart = (i != j) | images.any(axis=1)
        cutoff *= 1.5
    return _nearest(Pairs(i[apart], j[apart], distances[apart]), crystal.nsites)


def _nearest(pairs: Pairs, nsites: int) -> Pairs:
    """One image of each pair, the nearest, and each pair once."""
    low, high = np.minimum(pairs.first, pairs.second), np.maximum(pairs.first, pairs.second)
    order = np.lexsort((pairs.distances, low * nsites + high))
    _, first = np.unique((low * nsites + high)[order], return_index=True)
    kept = order[first]
    return Pairs(low[kept], high[kept], pairs.distances[kept])


def _holds_molecule(crystal: Crystal, pairs: Pairs) -> bool:
    numbers = crystal.numbers[pairs.first]
    alike = numbers == crystal.numbers[pairs.second]
    return any(
        (pairs.distances[alike & (numbers == number)] < MOLECULE_STRETCH * bond).any()
        for number, bond in MOLECULES.items()
        if number in crystal.amounts
    )
