"""Oxidation states of a parent crystal, with the method that found them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from registry.crystal import Crystal

Method = Literal["bond_valence", "composition", "neutral", "metallic", "none"]
Charges = NDArray[np.int8]


class Ion(NamedTuple):
    """An element in an oxidation state; charge 0 is an atom of an element or an alloy."""

    number: int
    charge: int

    def __str__(self) -> str:
        sign = "+" if self.charge > 0 else "-"
        return self.symbol + (f"{abs(self.charge)}{sign}" if self.charge else "")

    @property
    def symbol(self) -> str:
        return symbol(self.number)


@lru_cache(maxsize=128)
def symbol(number: int) -> str:
    """The symbol of an atomic number; pymatgen's look-up takes longer than all else of a candidate."""
    from pymatgen.core import Element

    return str(Element.from_Z(number).symbol)


@dataclass(frozen=True)
class OxidationStates:
    """charges: (n,) int8, one per site of the crystal; all zero unless `method` found states.

    method: "bond_valence" and "composition" found ionic states; "neutral" is an element; "metallic" a compound
    of metals alone; "none" means that no balanced states are known.
    """

    charges: Charges
    method: Method

    def ions(self, crystal: Crystal) -> tuple[Ion, ...]:
        """The distinct ions, in the order of their first site."""
        return tuple(dict.fromkeys(self.of_sites(crystal)))

    def of_sites(self, crystal: Crystal) -> list[Ion]:
        return [Ion(z, q) for z, q in zip(crystal.numbers.tolist(), self.charges.tolist(), strict=True)]


def oxidation_states(crystal: Crystal, known: Collection[Ion] | None = None, max_sites: int = 40) -> OxidationStates:
    """Find states by bond valences (pymatgen's BVAnalyzer), else from the composition, else none.

    known: when given, an assignment that holds an ion outside of it is passed over for the next method.
    max_sites: larger cells skip the bond valence analysis, whose time grows with the permutations of its sites.
    """
    if len(crystal.amounts) == 1:
        return OxidationStates(np.zeros(crystal.nsites, np.int8), "neutral")
    methods: list[tuple[Method, Callable[[Crystal], Charges | None]]] = [("composition", _from_composition)]
    if crystal.nsites <= max_sites:
        methods.insert(0, ("bond_valence", _from_bond_valences))
    for method, find in methods:
        charges = find(crystal)
        if charges is None:
            continue
        states = OxidationStates(charges, method)
        if known is None or set(states.ions(crystal)) <= set(known):
            return states
    return OxidationStates(np.zeros(crystal.nsites, np.int8), "metallic" if _all_metals(crystal) else "none")


def _from_bond_valences(crystal: Crystal) -> Charges | None:
    from pymatgen.core.bond_valence import BVAnalyzer

    make: Callable[..., Any] = BVAnalyzer
    analyser = make(max_permutations=20_000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            valences = analyser.get_valences(crystal.to_pymatgen())
        except (ArithmeticError, LookupError, TypeError, ValueError):
            return None
    charges = np.array(valences, dtype=np.int8)
    return charges if charges.sum() == 0 and charges.any() else None


def _from_composition(crystal: Crystal) -> Charges | None:
    from pymatgen.core import Composition, Element

    if len(crystal.amounts) > 6:
        return None
    composition = Composition({Element.from_Z(z): n for z, n in crystal.amounts.items()}).reduced_composition
    guesses = composition.oxi_state_guesses()
    if not guesses or any(state != int(state) for state in guesses[0].values()):
        return None
    state_of = {Element(symbol).Z: int(state) for symbol, state in guesses[0].items()}
    return np.array([state_of[z] for z in crystal.numbers.tolist()], dtype=np.int8)


def _all_metals(crystal: Crystal) -> bool:
    from pymatgen.core import Element

    return all(Element.from_Z(z).is_metal for z in crystal.amounts)
