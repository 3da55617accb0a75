"""Structure types: an AFLOW-style label that doesn't depend on origin, cell, or which element is called A.

Label: anonymous formula, Pearson symbol, space group, occupied Wyckoff letters per species, "AB_cF8_225_a_b".
Species go by ascending amount. Of the descriptions that the affine normaliser of the space group makes equivalent
(rock salt with its origin on either ion) the one with the lowest letters is taken, as aviary and matbench-discovery do
(Goodall et al., Science Advances 8, eabn4117, 2022).
Departures from their labels, each because the crystal is the same: AFLOW's Pearson symbols (oC8 for oS8 and oA8, hR2
for hR6); species of equal amount are all permuted; the 11 enantiomorphic pairs of space groups (a crystal and its
mirror image) share the lower number, in the label and in `spacegroup_number`.
"""

from __future__ import annotations

import logging
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from math import gcd
from typing import Any

import numpy as np

from registry.crystal import Crystal
from registry.errors import BadRecord
from registry.identity.composition import SYMBOLS, Composition, anonymous_formula, written
from registry.identity.normaliser import Naming, namings
from registry.identity.spacegroups import either_hand

SYMPREC = 0.05
"""Angstrom. Above the noise of a relaxation that stops at 0.03 eV/A, below most real distortions."""

Species = tuple[tuple[str, int], ...]
"""One species' Wyckoff letters in alphabetical order, with the number of orbits of each."""


SHORTEST_PERIOD = 12.0
"""In units of symprec. On crystals of a shorter period moyopy's search may never end (seen below 10.3)."""


@dataclass(frozen=True)
class Prototype:
    """The structure type of a crystal.

    label: without elements, "ABC_cF12_216_a_b_c"
    elements: symbols in the order of the label's species (A, B, C); chosen canonically among equivalent descriptions
    spacegroup_number: the label's: the lower of an enantiomorphic pair, so 152 for 152 and 154
    pearson_symbol: in AFLOW's form
    wyckoffs: (symbol, letter, orbits of that letter) in the order of the label
    """

    label: str
    elements: tuple[str, ...]
    spacegroup_number: int
    pearson_symbol: str
    wyckoffs: tuple[tuple[str, str, int], ...]

    @property
    def protostructure(self) -> str:
        """The label and which element sits where: "ABC_cF12_216_a_b_c:Li-Mg-As"."""
        return f"{self.label}:{'-'.join(self.elements)}"


def prototype_of(crystal: Crystal, symprec: float = SYMPREC) -> Prototype:
    """Find the structure type; symprec in angstrom. Raise BadRecord if no space group can be found."""
    return described(crystal.numbers.tolist(), symmetry_of(crystal, symprec), SYMBOLS)


def described(numbers: Sequence[int], dataset: Any, names: Sequence[str] | Mapping[int, str]) -> Prototype:
    """The structure type of sites whose moyopy dataset is known.

    numbers: the species of each site, as given to moyopy; names[species] stands for its symbol in the answer
    """
    amounts = Counter(numbers)
    divisor = gcd(*amounts.values())
    present = sorted(amounts, key=names.__getitem__)
    letters = _letters(numbers, dataset)
    rows = tuple((amounts[one] // divisor, letters[one]) for one in present)
    number, pearson = either_hand(dataset.number), _aflow_pearson(dataset.pearson_symbol)
    species, order = _canonical(rows, number)
    elements = tuple(names[present[place]] for place in order)
    return Prototype(
        label=_label(tuple(sorted(count for count, _ in rows)), pearson, number, species),
        elements=elements,
        spacegroup_number=number,
        pearson_symbol=pearson,
        wyckoffs=tuple((el, *site) for el, sites in zip(elements, species, strict=True) for site in sites),
    )


@cache
def _moyopy() -> Any:
    """Silenced: it warns of each supercell, whose orbits come out right all the same."""
    import moyopy

    logging.getLogger("moyo").setLevel(logging.ERROR)
    return moyopy


def symmetry_of(crystal: Crystal, symprec: float = SYMPREC) -> Any:
    """The MoyoDataset of a crystal; symprec in angstrom.

    Raise BadRecord if no space group can be found, or if the lattice has a period below SHORTEST_PERIOD.
    """
    moyo = _moyopy()
    _refuse_short_periods(crystal, symprec)
    cell = moyo.Cell(crystal.lattice.tolist(), crystal.frac_coords.tolist(), crystal.numbers.tolist())
    try:
        return moyo.MoyoDataset(cell, symprec=symprec)
    except ValueError as error:
        raise _no_group(crystal, symprec, str(error)) from error


def _refuse_short_periods(crystal: Crystal, symprec: float) -> None:
    try:
        shortest = min(map(math.hypot, *zip(*_moyopy().minkowski_reduce(crystal.lattice.tolist())[0], strict=True)))
    except ValueError as error:
        raise _no_group(crystal, symprec, str(error)) from error
    if shortest < SHORTEST_PERIOD * symprec:
        raise _no_group(crystal, symprec, f"the lattice repeats itself after {shortest:.2f} A")


def _no_group(crystal: Crystal, symprec: float, why: str) -> BadRecord:
    formula = Composition.of(crystal.amounts).reduced_formula
    reason = f"no space group found at symprec {symprec:.3g} A ({why}): check for overlapping atoms or a flat cell"
    return BadRecord(formula, reason)


def nearest_alike(crystal: Crystal, within: float) -> float:
    """The smallest distance between atoms of one species, images too, in angstrom; at most `within`."""
    from pymatgen.optimization.neighbors import find_points_in_spheres

    points = np.ascontiguousarray(crystal.frac_coords % 1.0 @ crystal.lattice)
    periodic = np.ones(3, dtype=np.int64)
    one, other, images, distances = find_points_in_spheres(points, points, within, periodic, crystal.lattice, 1e-8)
    alike = (crystal.numbers[one] == crystal.numbers[other]) & ((one != other) | images.any(axis=1))
    return float(min(distances[alike], default=within))


def _letters(numbers: Sequence[int], dataset: Any) -> dict[int, Species]:
    """For each species the positions that its orbits occupy."""
    wyckoffs = dataset.wyckoffs
    found: dict[int, list[tuple[str, int]]] = {}
    counts = Counter((numbers[site], wyckoffs[site]) for site in set(dataset.orbits))
    for (species, letter), count in sorted(counts.items()):
        found.setdefault(species, []).append((letter, count))
    return {species: tuple(sites) for species, sites in found.items()}


@lru_cache(maxsize=1 << 10)
def _aflow_pearson(symbol: str) -> str:
    """oC for any one-face-centred orthorhombic cell, and rhombohedral cells counted in the primitive one."""
    match = re.fullmatch(r"([a-z])([A-Z])(\d+)", symbol)
    if match is None:
        raise ValueError(f"not a Pearson symbol: {symbol}")
    family, centring, atoms = match[1], match[2], int(match[3])
    if centring == "R":
        return f"hR{atoms // 3}"
    return f"{family}{'C' if centring in 'ABS' else centring}{atoms}"


@lru_cache(maxsize=1 << 14)
def _label(amounts: tuple[int, ...], pearson: str, spacegroup: int, species: tuple[Species, ...]) -> str:
    letters = "_".join("".join(written(count) + letter for letter, count in one) for one in species)
    return f"{anonymous_formula(amounts)}_{pearson}_{spacegroup}_{letters}"


Row = tuple[int, Species]
"""Atoms of one species in the formula unit, and its positions."""


@lru_cache(maxsize=1 << 14)
def _canonical(rows: tuple[Row, ...], spacegroup: int) -> tuple[tuple[Species, ...], tuple[int, ...]]:
    """The description with the lowest sum of letters, then the lowest letters, then the first species first.

    Return the species' positions, and which of `rows` they belong to. Sorting the species of equal amount by their
    letters is the same as trying every permutation of them. Elements are known by their place only, so that crystals of
    one structure type share the work.
    """
    letters = frozenset(letter for _, one in rows for letter, _ in one)
    _, species, order = min(_renamed(rows, naming) for naming in namings(spacegroup, letters))
    return species, order


def _renamed(rows: tuple[Row, ...], naming: Naming) -> tuple[int, tuple[Species, ...], tuple[int, ...]]:
    named = [
        (amount, tuple(sorted((naming[letter], count) for letter, count in one)), place)
        for place, (amount, one) in enumerate(rows)
    ]
    named.sort()
    score = sum(_rank(letter) for _, one, _ in named for letter, _ in one)
    return score, tuple(one for _, one, _ in named), tuple(place for _, _, place in named)


def _rank(letter: str) -> int:
    """a = 1 ... z = 26; A, the 27th position of Pmmm, follows z."""
    return 27 if letter == "A" else ord(letter) - 96
