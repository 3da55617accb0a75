"""Of which disordered crystals an ordered one may be an approximant.

Ordered arrangements of the same elements on the same sites of one parent lattice are not separate materials where the
elements mix at random when the material is made (Cheetham & Seshadri, Chem. Mater. 36, 3490, 2024; Leeman et al., PRX
Energy 3, 011002, 2024). They form a family: the disordered parent, and all its orderings at one composition.

Rule. Elements that may mix (`mixing`) are taken for one species: each pair, three at once, two pairs and so on. The
merged crystal is freed of what the ordering has shifted and strained (`idealise`: tetragonal CuAu is face-centred cubic
again) and taken to its primitive cell; its structure type, found within LOOSE, is the parent's. The crystal belongs to
the family if each merged element shares an orbit of this parent with another. Where they sit on different orbits, like
Mn and Fe of a normal spinel, it has no family.

The label is the parent's: structure type, then its species, the mixed ones in parentheses with their shares:
"AB_cF8_225_a_b:(Fe0.5Li0.5)-O". So it holds the composition, and not the cell, the origin, the volume or the hand of
the ordering. Vacancies that mix with atoms are not seen; the shares are those of the whole crystal, whatever they are
on one orbit.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, islice
from typing import Any

import numpy as np

from registry.crystal import Crystal
from registry.errors import BadRecord
from registry.identity.composition import SYMBOLS, Composition
from registry.identity.idealise import repeating, unstrained
from registry.identity.mixing import Pair, Rule, mixing_pairs
from registry.identity.prototype import SHORTEST_PERIOD, SYMPREC, described, nearest_alike, symmetry_of

LOOSE = 0.08
"""Cube roots of the volume per atom, about 0.18 A: by how much the sites of a parent may miss its symmetry."""

MOST_MERGERS = 20
"""Ways to merge elements that are tried for one crystal; those that merge most come first."""

Classes = tuple[tuple[int, ...], ...]
"""Elements (atomic numbers) that become one species, for each such species."""


@dataclass(frozen=True)
class Family:
    """A disordered parent.

    label: its structure type and species, "A_cF4_225_a:(Au0.5Cu0.5)"; equal for all members of the family
    mixed: the symbols that share sites, for each mixed species
    spacegroup_number: the parent's (of an enantiomorphic pair the lower)
    rule: why the elements may mix, for each mixed species: "ionic radii", "anions", "same group", "metallic radii"
    """

    label: str
    mixed: tuple[tuple[str, ...], ...]
    spacegroup_number: int
    rule: str


def families_of(crystal: Crystal) -> list[Family]:
    """The families that a crystal belongs to, the parent of the smallest primitive cell and highest symmetry first.

    Empty where no two elements may mix, where they sit on different orbits, and where no symmetry can be found.
    """
    pairs = mixing_pairs(tuple(Composition.of(crystal.amounts).reduced.items()))
    primitive = _primitive(crystal, SYMPREC) if pairs else None
    if primitive is None:
        return []
    found: dict[Family, tuple[int, int, str]] = {}
    for classes in islice(_mergers(sorted(crystal.amounts), pairs), MOST_MERGERS):
        parent = _parent(primitive.crystal, classes)
        if parent is not None and _share_orbits(primitive.crystal, parent, classes):
            family = _family(primitive.crystal, parent, classes, pairs)
            found[family] = (len(parent.numbers), -family.spacegroup_number, family.label)
    return sorted(found, key=found.__getitem__)


def _mergers(elements: Sequence[int], pairs: Mapping[Pair, Rule]) -> Iterator[Classes]:
    """Every way to merge elements of which each two may mix; those with the fewest species left come first."""
    ways = list(_partitions(list(elements), pairs))
    merged = [tuple(one for one in way if len(one) > 1) for way in sorted(ways, key=lambda way: (len(way), way))]
    return (classes for classes in merged if classes)


def _partitions(elements: list[int], pairs: Mapping[Pair, Rule]) -> Iterator[Classes]:
    if not elements:
        yield ()
        return
    first, rest = elements[0], elements[1:]
    partners = [other for other in rest if frozenset((first, other)) in pairs]
    for size in range(len(partners) + 1):
        for chosen in combinations(partners, size):
            if all(frozenset(two) in pairs for two in combinations(chosen, 2)):
                left = [other for other in rest if other not in chosen]
                yield from (((first, *chosen), *others) for others in _partitions(left, pairs))


@dataclass(frozen=True)
class _Primitive:
    """crystal: a primitive cell; sites: (n,) the site in it of each atom of the cell before."""

    crystal: Crystal
    sites: list[int]


def _primitive(crystal: Crystal, symprec: float) -> _Primitive | None:
    """None if no symmetry can be found; symprec in angstrom."""
    try:
        dataset = symmetry_of(crystal, symprec)
    except BadRecord:
        return None
    cell = dataset.prim_std_cell
    return _Primitive(Crystal(cell.basis, cell.numbers, cell.positions), dataset.mapping_std_prim)


@dataclass(frozen=True)
class _Parent:
    """numbers: (m,) merged species of its primitive cell; dataset: its symmetry; sites: (n,) where each atom went."""

    numbers: list[int]
    dataset: Any
    sites: list[int]


def _parent(crystal: Crystal, classes: Classes) -> _Parent | None:
    """The merged crystal, primitive and without the strain of the ordering; None if no symmetry can be found."""
    merged = {number: one[0] for one in classes for number in one}
    numbers = np.array([merged.get(number, number) for number in crystal.numbers.tolist()])
    whole = repeating(crystal.with_numbers(numbers))
    symprec = _tolerance(whole)
    primitive = _primitive(whole, symprec)
    if primitive is None:
        return None
    one = primitive.crystal
    try:
        dataset = symmetry_of(Crystal(unstrained(one.lattice), one.numbers, one.frac_coords), symprec)
    except BadRecord:
        return None
    return _Parent(one.numbers.tolist(), dataset, primitive.sites)


def _tolerance(crystal: Crystal) -> float:
    """LOOSE in angstrom; less where equal atoms, which may be one period apart, lie nearer than moyopy bears."""
    loose = LOOSE * (crystal.volume / crystal.nsites) ** (1 / 3)
    return float(min(loose, nearest_alike(crystal, within=SHORTEST_PERIOD * loose) / SHORTEST_PERIOD))


def _share_orbits(crystal: Crystal, parent: _Parent, classes: Classes) -> bool:
    """Whether each element of a class is on some orbit together with another."""
    orbits = parent.dataset.orbits
    occupants: dict[int, set[int]] = defaultdict(set)
    for number, site in zip(crystal.numbers.tolist(), parent.sites, strict=True):
        occupants[orbits[site]].add(number)
    mixed = set().union(*(one for one in occupants.values() if len(one) > 1))
    return all(number in mixed for one in classes for number in one)


def _family(crystal: Crystal, parent: _Parent, classes: Classes, pairs: Mapping[Pair, Rule]) -> Family:
    names = dict(enumerate(SYMBOLS)) | {one[0]: _mixture(one, crystal.amounts) for one in classes}
    prototype = described(parent.numbers, parent.dataset, names)
    mixed = sorted(tuple(sorted(SYMBOLS[number] for number in one)) for one in classes)
    rules = {pairs[frozenset(two)] for one in classes for two in combinations(one, 2)}
    return Family(prototype.protostructure, tuple(mixed), prototype.spacegroup_number, ", ".join(sorted(rules)))


def _mixture(elements: tuple[int, ...], amounts: Mapping[int, int]) -> str:
    total = sum(amounts[number] for number in elements)
    shares = sorted((SYMBOLS[number], amounts[number] / total) for number in elements)
    return "(" + "".join(f"{symbol}{share:.4g}" for symbol, share in shares) + ")"
