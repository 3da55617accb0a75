"""The anion of a compound, by which its errors are told and corrected: what corrections of energies go by."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

ANIONS = frozenset(["H", "B", "C", "N", "O", "F", "Si", "P", "S", "Cl", "As", "Se", "Br", "Sb", "Te", "I"])
ELEMENT, ALLOY = "element", "alloy"
"""What has no anion: one element alone, and metals among themselves."""


def anion_of(elements: Iterable[str]) -> str:
    """The most electronegative element (Pauling) of a compound if it is one of ANIONS, else ELEMENT or ALLOY."""
    known = sorted(set(elements))
    if len(known) < 2:
        return ELEMENT
    strongest = max(known, key=electronegativity)
    return strongest if strongest in ANIONS else ALLOY


@cache
def electronegativity(element: str) -> float:
    """Pauling's; 0 where nobody knows it."""
    import warnings

    from pymatgen.core.periodic_table import Element

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pymatgen warns of noble gases
        value = float(Element(element).X)
    return value if value == value else 0.0
