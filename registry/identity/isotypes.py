"""How alike two crystals of one structure type are: by the elements that take the same places, then by geometry.

Elements are compared by Pettifor's Mendeleev number (J. Phys. C 19, 285, 1986): a scale on which elements that replace
each other in one structure type stand close together; Na and K one apart, Na and Cl 88.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from registry.crystal import Crystal, Floats
from registry.identity.composition import ATOMIC_NUMBERS
from registry.identity.fingerprint import fingerprint_distance, fingerprint_of
from registry.identity.normaliser import namings
from registry.identity.prototype import Prototype, Species

Ints = NDArray[np.int64]

HEAVIEST = 103
"""Pettifor's scale ends with Lr; what is heavier stands behind all others by its atomic number."""

Order = tuple[str, ...]
"""The elements of a crystal by the places of its structure type."""


@cache
def scale(element: str) -> int:
    """Where an element stands on Pettifor's scale, 1 (He) to 103 (H)."""
    from pymatgen.core import Element

    number = ATOMIC_NUMBERS[element]
    return int(Element(element).mendeleev_no) if number <= HEAVIEST else number


def orders(prototype: Prototype) -> list[Order]:
    """Every way to put a crystal's elements in the order of its label's places; the first is `own_order`.

    More than one where the structure type stays the same when places are swapped: either ion of rock salt may be A.
    """
    places = _places(prototype)
    letters = frozenset(letter for place in places for letter, _ in place)
    renamed = [
        [tuple(sorted((naming[letter], count) for letter, count in place)) for place in places]
        for naming in namings(prototype.spacegroup_number, letters)
    ]
    alike = [_order(prototype.elements, one, places) for one in renamed if Counter(one) == Counter(places)]
    return list(dict.fromkeys([_order(prototype.elements, places, places), *alike]))


def own_order(elements: Sequence[str], prototype: Prototype) -> Order:
    """The elements of a protostructure of the same label, as it names them, by that label's places.

    Species on positions of the same letters can't be told apart by them: these go by Pettifor's scale.
    """
    places = _places(prototype)
    return _order(elements, places, places)


def scaled(of: Sequence[Order]) -> Floats:
    """(n, k) where the elements of n orders of k places stand on Pettifor's scale."""
    return np.array([[scale(element) for element in order] for order in of], dtype=np.float64)


def chemical_distances(ways: Sequence[Order], others: Floats) -> tuple[Floats, Ints]:
    """(n,) how far each of n crystals is: the mean over the places of how far elements stand apart on Pettifor's scale.

    ways: those of `orders`, of which the best counts; others: (n, k) `scaled`; the second (n,) says which way that is
    """
    apart = np.abs(others[:, None, :] - scaled(ways)).mean(axis=2)
    return apart.min(axis=1), apart.argmin(axis=1)


def geometric_distance(one: Crystal, order: Order, other: Crystal, other_order: Order) -> float:
    """The fingerprint distance of two crystals when the elements of the same places are taken for the same."""
    return fingerprint_distance(fingerprint_of(_by_place(one, order)), fingerprint_of(_by_place(other, other_order)))


def _places(prototype: Prototype) -> list[Species]:
    """The positions of each species, in the order of the label."""
    found: dict[str, list[tuple[str, int]]] = {element: [] for element in prototype.elements}
    for element, letter, count in prototype.wyckoffs:
        found[element].append((letter, count))
    return [tuple(sites) for sites in found.values()]


def _order(elements: Sequence[str], at: Sequence[Species], places: Sequence[Species]) -> Order:
    """The elements, which are `at` these positions, in the order of the places."""
    return tuple(
        element
        for place in dict.fromkeys(places)
        for element in sorted((one for one, found in zip(elements, at, strict=True) if found == place), key=scale)
    )


def _by_place(crystal: Crystal, order: Order) -> Crystal:
    places = {ATOMIC_NUMBERS[element]: place for place, element in enumerate(order, start=1)}
    return crystal.with_numbers(np.array([places[number] for number in crystal.numbers.tolist()]))
