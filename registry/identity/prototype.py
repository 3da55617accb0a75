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
import re
from collections import Counter
from dataclasses import dataclass
from functools import cache
from typing import Any

from registry.crystal import Crystal
from registry.errors import BadRecord
from registry.identity.composition import SYMBOLS, Composition, written
from registry.identity.normaliser import Naming, namings
from registry.identity.spacegroups import either_hand

SYMPREC = 0.05
"""Angstrom. Above the noise of a relaxation that stops at 0.03 eV/A, below most real distortions."""

Orbit = tuple[int, str]
"""Atomic number and Wyckoff letter of one orbit."""


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
    dataset = _symmetry(crystal, symprec)
    pearson = _aflow_pearson(dataset.pearson_symbol)
    number = either_hand(dataset.number)
    composition = Composition.of(crystal.amounts)
    species, elements = _canonical(_orbits(crystal, dataset), composition.reduced, number)
    letters = "_".join("".join(written(count) + letter for letter, count in one) for one in species)
    return Prototype(
        label=f"{composition.anonymous_formula}_{pearson}_{number}_{letters}",
        elements=elements,
        spacegroup_number=number,
        pearson_symbol=pearson,
        wyckoffs=tuple((el, letter, count) for el, one in zip(elements, species, strict=True) for letter, count in one),
    )


@cache
def _moyopy() -> Any:
    """Silenced: it warns of each supercell, whose orbits come out right all the same."""
    import moyopy

    logging.getLogger("moyo").setLevel(logging.ERROR)
    return moyopy


def _symmetry(crystal: Crystal, symprec: float) -> Any:
    moyo = _moyopy()
    cell = moyo.Cell(crystal.lattice.tolist(), crystal.frac_coords.tolist(), crystal.numbers.tolist())
    try:
        return moyo.MoyoDataset(cell, symprec=symprec)
    except ValueError as error:
        formula = Composition.of(crystal.amounts).reduced_formula
        reason = f"no space group found at symprec {symprec} A ({error}): check for overlapping atoms or a flat cell"
        raise BadRecord(formula, reason) from error


def _orbits(crystal: Crystal, dataset: Any) -> list[Orbit]:
    representatives = sorted(set(dataset.orbits))
    return [(int(crystal.numbers[site]), dataset.wyckoffs[site]) for site in representatives]


def _aflow_pearson(symbol: str) -> str:
    """oC for any one-face-centred orthorhombic cell, and rhombohedral cells counted in the primitive one."""
    match = re.fullmatch(r"([a-z])([A-Z])(\d+)", symbol)
    if match is None:
        raise ValueError(f"not a Pearson symbol: {symbol}")
    family, centring, atoms = match[1], match[2], int(match[3])
    if centring == "R":
        return f"hR{atoms // 3}"
    return f"{family}{'C' if centring in 'ABS' else centring}{atoms}"


Species = tuple[tuple[str, int], ...]
"""One species' Wyckoff letters in alphabetical order, with the number of orbits of each."""


def _canonical(
    orbits: list[Orbit], amounts: dict[int, int], spacegroup: int
) -> tuple[tuple[Species, ...], tuple[str, ...]]:
    """The description with the lowest sum of letters, then the lowest letters, then the alphabetically first elements.

    Sorting the species of equal amount by their letters is the same as trying every permutation of them.
    """
    counts = Counter(orbits)
    letters = frozenset(letter for _, letter in orbits)
    best = min(_described(counts, amounts, naming) for naming in namings(spacegroup, letters))
    return best[1], best[2]


def _described(
    counts: Counter[Orbit], amounts: dict[int, int], naming: Naming
) -> tuple[int, tuple[Species, ...], tuple[str, ...]]:
    species: dict[int, list[tuple[str, int]]] = {number: [] for number in amounts}
    for (number, letter), count in counts.items():
        species[number].append((naming[letter], count))
    rows = sorted((amounts[number], tuple(sorted(one)), SYMBOLS[number]) for number, one in species.items())
    score = sum(_rank(letter) for _, one, _ in rows for letter, _ in one)
    return score, tuple(one for _, one, _ in rows), tuple(symbol for _, _, symbol in rows)


def _rank(letter: str) -> int:
    """a = 1 ... z = 26; A, the 27th position of Pmmm, follows z."""
    return 27 if letter == "A" else ord(letter) - 96
