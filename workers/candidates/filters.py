"""Rules that a candidate must pass, and flags that it carries. Pure predicates; the funnel counts them.

Charge balance is part of the enumeration (substitution.enumerate_mappings); novelty needs the registry.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from registry.crystal import Crystal
from workers.candidates.volume import bond_radii

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flag = Literal["radioactive", "scarce", "molecular_fragment"]

RADIOACTIVE = frozenset({43, 61, *range(84, 119)}) - {90, 92}  # Th and U are mined and handled
SCARCE = frozenset({44, 45, 46, 75, 76, 77, 78, 79})  # the platinum metals, Re and Au: below 2 ppb of the crust
MOLECULES = {1: 0.74, 7: 1.10, 8: 1.21, 9: 1.41, 17: 1.99, 35: 2.28, 53: 2.67}  # bond of the diatomic gas, angstrom
MOLECULE_STRETCH = 1.15  # a pair within this multiple of the gas's bond is a molecule; a peroxide isn't
REACH = 1.8  # pairs are looked for within this multiple of the cube root of the volume per atom


@dataclass(frozen=True)
class Limits:
    """closest: least distance as a share of the sum of bond radii; volumes in cubic angstrom per atom."""

    closest: float = 0.6
    least_volume: float = 4.0
    largest_volume: float = 120.0


class Pairs(NamedTuple):
    """Neighbouring sites of a crystal: first, second (p,) int64 and their distances (p,) float64 in angstrom.

    An isotropic strain keeps the pairs, so a parent's serve all candidates made from it.
    """

    first: Ints
    second: Ints
    distances: Floats

    def scaled(self, factor: float) -> Pairs:
        return Pairs(self.first, self.second, self.distances * factor)


def broken_rule(crystal: Crystal, pairs: Pairs, limits: Limits) -> Literal["volume", "overlap"] | None:
    """The first rule that the crystal breaks."""
    if not limits.least_volume <= crystal.volume / crystal.nsites <= limits.largest_volume:
        return "volume"
    if closest_approach(crystal, pairs) < limits.closest:
        return "overlap"
    return None


def closest_approach(crystal: Crystal, pairs: Pairs) -> float:
    """The least ratio of a distance between two atoms to the sum of their bond radii."""
    radii = bond_radii(crystal)
    return float((pairs.distances / (radii[pairs.first] + radii[pairs.second])).min())


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
    """All pairs within REACH, periodic images included."""
    from pymatgen.optimization.neighbors import find_points_in_spheres

    cutoff = REACH * (crystal.volume / crystal.nsites) ** (1 / 3)
    lattice, periodic = np.ascontiguousarray(crystal.lattice), np.array([1, 1, 1])
    cart = np.ascontiguousarray(crystal.frac_coords @ lattice)
    apart = np.zeros(0, dtype=bool)
    while not apart.any():
        i, j, images, distances = find_points_in_spheres(cart, cart, r=cutoff, pbc=periodic, lattice=lattice, tol=1e-8)
        apart = (i != j) | images.any(axis=1)
        cutoff *= 1.5
    return Pairs(i[apart], j[apart], distances[apart])


def _holds_molecule(crystal: Crystal, pairs: Pairs) -> bool:
    numbers = crystal.numbers[pairs.first]
    alike = numbers == crystal.numbers[pairs.second]
    return any(
        (pairs.distances[alike & (numbers == number)] < MOLECULE_STRETCH * bond).any()
        for number, bond in MOLECULES.items()
        if number in crystal.amounts
    )
