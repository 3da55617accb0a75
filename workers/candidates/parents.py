"""What has to be known of a crystal before candidates are made from it."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace

import numpy as np

from registry.crystal import Crystal
from workers.candidates.filters import Pairs, neighbour_pairs
from workers.candidates.funnel import Funnel
from workers.candidates.oxidation import Charges, Ion, OxidationStates, oxidation_states
from workers.candidates.settings import Settings
from workers.candidates.symmetry import Ints, NoSymmetry, Symmetry, primitive, standardised
from workers.candidates.table import substitution_table

IONIC = ("bond_valence", "composition")
"""Methods that find charges."""


@dataclass(frozen=True)
class Parent:
    """A known crystal; `key` is the caller's and comes back untouched."""

    key: Hashable
    crystal: Crystal


@dataclass(frozen=True, eq=False)
class Described:
    """A parent's standardised primitive cell, its oxidation states and its neighbouring sites.

    symmetry: of the cell and its charges, where partial substitution asks for it and it was found.
    """

    crystal: Crystal
    states: OxidationStates
    pairs: Pairs
    symmetry: Symmetry | None

    @property
    def is_ionic(self) -> bool:
        return self.states.method in IONIC

    @property
    def has_antitype(self) -> bool:
        """An anti-type differs from the type only if cations and anions are not equally many."""
        return self.is_ionic and 2 * int((self.states.charges > 0).sum()) != self.crystal.nsites

    def sites(self) -> dict[Ion, Ints]:
        """The sites of each ion, in the order of their first ones."""
        ions = self.states.of_sites(self.crystal)
        return {ion: np.array([i for i, other in enumerate(ions) if other == ion]) for ion in dict.fromkeys(ions)}


Describe = Callable[[Crystal, Settings], Described | str]


def describe(crystal: Crystal, settings: Settings) -> Described | str:
    """What candidates are made from, or why none are. Never raises: libraries fail in many ways over odd crystals."""
    try:
        return _described(crystal, settings)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as fault:  # noqa: BLE001  (a panic of moyopy's Rust is no Exception)
        return f"failed: {type(fault).__name__}"


def prepared(parent: Parent, settings: Settings, funnel: Funnel, how: Describe) -> Described | None:
    """The same, counted."""
    found = how(parent.crystal, settings)
    funnel.parent(found if isinstance(found, str) else f"used: {found.states.method}")
    if isinstance(found, str):
        return None
    if found.symmetry is None and found.is_ionic and settings.partial:
        funnel.reject("no symmetry for partial substitution")
    return found


def _described(crystal: Crystal, settings: Settings) -> Described | str:
    if crystal.nsites > settings.largest_cell:
        return "too_large"
    try:
        cell, symmetry = _standardised(crystal, settings.symprec)
    except NoSymmetry:
        return "no_symmetry"
    if reason := _too_complex(cell, settings):
        return reason
    states = oxidation_states(cell, substitution_table().index.keys())
    if states.method == "none":
        return "no_oxidation_states"
    if states.method == "metallic" and not settings.alloys:
        return "metallic"
    if symmetry is not None:
        wanted = settings.partial and states.method in IONIC
        symmetry = _keeping(symmetry, states.charges) if wanted else None
    return Described(cell, states, neighbour_pairs(cell), symmetry)


def _keeping(symmetry: Symmetry, charges: Charges) -> Symmetry:
    """With the operations that carry each ion onto an equal one: ordered charges of one element lower the symmetry."""
    kept = symmetry.permutations[(charges[symmetry.permutations] == charges).all(axis=1)]
    return replace(symmetry, permutations=kept, orbits=kept.min(axis=0))


def _too_complex(crystal: Crystal, settings: Settings) -> str | None:
    if crystal.nsites > settings.max_sites:
        return "too_large"
    return "too_many_elements" if len(crystal.amounts) > settings.max_elements else None


def _standardised(crystal: Crystal, symprec: float) -> tuple[Crystal, Symmetry | None]:
    """The primitive cell and, where the operations found map its sites onto each other, what they do to them."""
    try:
        found = standardised(crystal, symprec)
    except NoSymmetry:
        return primitive(crystal, symprec), None
    return found.crystal, found
