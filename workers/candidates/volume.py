"""A first volume for a crystal that nobody has made yet, from its parent's volume and from atomic volumes.

The prediction is the geometric mean of three estimates: the parent's volume times the ratio of summed atomic volumes,
the same times the cubed ratio of summed bond radii, and the sum of atomic volumes alone. On 875 pairs of isotypic
compounds of the Materials Project it misses the other compound's volume by 8 % on average (median 5 %); DLS bond
lengths (pymatgen's DLSVolumePredictor) miss by 18 % (13 %), the parent's own volume by 31 % (22 %). The blend was
chosen on these pairs and the fit has seen their compounds, so 8 % is the good end.

Atomic volumes are our fit (atomic_volumes.json). Bond radii are those of the DLS scheme of Chu et al., Comput. Mater.
Sci. 146, 184 (2018): radius + slope * (standard deviation of the electronegativity over the sites).
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from registry.crystal import Crystal

Floats = NDArray[np.float64]

FALLBACK_RADIUS = 1.5  # angstrom, for an element without any radius
PACKING = 2.16  # atomic volume per volume of the bond sphere, median of 1,640 compounds: for elements outside the fit


def predicted_volume(crystal: Crystal, parent: Crystal) -> float:
    """Volume (cubic angstrom) of `crystal`, which holds other elements on the sites of `parent`."""
    summed, of_parent = atomic_volumes(crystal).sum(), atomic_volumes(parent).sum()
    longer = bond_radii(crystal).sum() / bond_radii(parent).sum()
    by_atoms = parent.volume * summed / of_parent
    by_bonds = parent.volume * longer**3
    return float(np.cbrt(by_atoms * by_bonds * summed))


def atomic_volumes(crystal: Crystal) -> Floats:
    """(n,) float64, cubic angstrom: the mean volume that each site's element takes up in compounds."""
    return np.array([_atomic_volume(z) for z in crystal.numbers.tolist()])


def bond_radii(crystal: Crystal) -> Floats:
    """(n,) float64, angstrom: the bond radius of each site in this chemistry."""
    radius, slope, pauling = np.array([_radius_slope_pauling(z) for z in crystal.numbers.tolist()]).T
    spread = np.sqrt(max(pauling @ pauling / len(pauling) - pauling.mean() ** 2, 0.0))
    return np.asarray(radius + slope * spread, dtype=np.float64)


def without_data(crystal: Crystal) -> set[int]:
    """Elements (atomic numbers) whose volume is guessed from a radius because the fit hasn't seen them."""
    return {z for z in crystal.amounts if z not in _fitted_volumes()}


@lru_cache(maxsize=128)
def _atomic_volume(number: int) -> float:
    fitted = _fitted_volumes().get(number)
    if fitted is not None:
        return fitted
    return PACKING * 4 / 3 * np.pi * _radius_slope_pauling(number)[0] ** 3


@lru_cache(maxsize=1)
def _fitted_volumes() -> dict[int, float]:
    from pymatgen.core import Element

    table = json.loads(Path(__file__).with_name("atomic_volumes.json").read_text())
    return {Element(symbol).Z: volume for symbol, volume in table["volumes"].items()}


@lru_cache(maxsize=128)
def _radius_slope_pauling(number: int) -> tuple[float, float, float]:
    from pymatgen.core import Element
    from pymatgen.core.structure_prediction.volume_predictor import bond_params

    element = Element.from_Z(number)
    pauling = float(np.nan_to_num(element.X, nan=2.0))
    known = bond_params.get(element.symbol)
    if known is not None:
        return float(known["r"]), float(known["k"]), pauling
    return float(element.atomic_radius or FALLBACK_RADIUS), 0.0, pauling
