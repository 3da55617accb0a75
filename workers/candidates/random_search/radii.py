"""How large a composition is, and how close its atoms may come.

Volumes are sums of the atomic volumes of volume.py; radii are the covalent ones of Cordero et al., Dalton Trans. 2832
(2008), as ASE has them. All results are rounded, so that no library's last bit decides where an atom goes.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from registry.crystal import Crystal, Floats, Species
from registry.identity.composition import SYMBOLS
from workers.candidates.volume import atomic_volumes

DIGITS = 4
LAST = 96
"""Curium: what ASE has for heavier elements is a stand-in."""


def without_radius(numbers: Iterable[int]) -> list[str]:
    """The symbols of those elements that have no covalent radius."""
    return [SYMBOLS[one] for one in numbers if one > LAST]


def estimated_volume(numbers: Species) -> float:
    """Cubic angstrom that the (n,) atoms are expected to take up."""
    atoms = Crystal(np.eye(3), numbers, np.zeros((len(numbers), 3)))
    return round(float(atomic_volumes(atoms).sum()), DIGITS)


def separations(numbers: Species, share: float) -> Floats:
    """(k, k) angstrom: `share` of the summed radii of each two of the k elements, in ascending order."""
    from ase.data import covalent_radii

    radii = covalent_radii[np.unique(numbers)]
    return np.asarray(np.round(share * (radii[:, None] + radii[None, :]), DIGITS), dtype=np.float64)
