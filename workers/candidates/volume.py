"""A first volume for a crystal that nobody has made yet, from its parent's volume and from atomic volumes.

The prediction is the geometric mean of three estimates: the parent's volume times the ratio of summed atomic volumes,
the same times the cubed ratio of summed bond radii, and the sum of atomic volumes alone. The blend was chosen on
isotypic pairs of the Materials Project; benchmarks/candidates_volume.py says how far it misses on such pairs, beside
pymatgen's DLSVolumePredictor and the parent's own volume, also with atomic volumes that haven't seen the compounds.

Atomic volumes are our fit (atomic_volumes.json). Bond radii are those of the DLS scheme of Chu et al., Comput. Mater.
Sci. 146, 184 (2018): radius + slope * (standard deviation of the electronegativity over the sites).
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from registry.crystal import Crystal, Species

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

FALLBACK_RADIUS = 1.5  # angstrom, for an element without any radius
FALLBACK_PAULING = 2.0
PACKING = 2.16  # atomic volume per volume of the bond sphere, median of 1,640 compounds: for elements outside the fit
HEAVIEST = 118


@dataclass(frozen=True, eq=False)
class Elements:
    """Columns by atomic number, (119,) each; index 0 is no element.

    volumes: cubic angstrom that an atom takes up in compounds.  guessed: whether only its radius says so.
    radii, slopes: angstrom, of the DLS scheme.  paulings: electronegativities.
    """

    volumes: Floats
    guessed: Bools
    radii: Floats
    slopes: Floats
    paulings: Floats

    def with_volumes(self, fitted: Mapping[int, float]) -> Elements:
        """The same radii with atomic volumes (atomic number -> cubic angstrom) of another fit."""
        volumes = PACKING * 4 / 3 * np.pi * self.radii**3
        guessed = np.ones(len(volumes), dtype=bool)
        for number, volume in fitted.items():
            volumes[number], guessed[number] = volume, False
        return replace(self, volumes=volumes, guessed=guessed)


def predicted_volume(crystal: Crystal, parent: Crystal) -> float:
    """Volume (cubic angstrom) of `crystal`, which holds other elements on the sites of `parent`."""
    return float(predicted_volumes(crystal.numbers[None, :], parent)[0])


def predicted_volumes(numbers: Species, parent: Crystal, elements: Elements | None = None) -> Floats:
    """(k,) cubic angstrom: the volume of the parent's cell with the (k, n) atomic numbers on its n sites.

    elements: what is known of the elements; ours unless another fit is tried.
    """
    table = elements or known_elements()
    summed, of_parent = table.volumes[numbers].sum(axis=1), table.volumes[parent.numbers].sum()
    longer = bond_radii_of(numbers, table).sum(axis=1) / bond_radii_of(parent.numbers[None, :], table).sum()
    by_atoms = parent.volume * summed / of_parent
    by_bonds = parent.volume * longer**3
    return np.asarray(np.cbrt(by_atoms * by_bonds * summed), dtype=np.float64)


def atomic_volumes(crystal: Crystal) -> Floats:
    """(n,) float64, cubic angstrom: the mean volume that each site's element takes up in compounds."""
    return np.asarray(known_elements().volumes[crystal.numbers])


def bond_radii(crystal: Crystal) -> Floats:
    """(n,) float64, angstrom: the bond radius of each site in this chemistry."""
    return np.asarray(bond_radii_of(crystal.numbers[None, :])[0])


def bond_radii_of(numbers: Species, elements: Elements | None = None) -> Floats:
    """(k, n) float64, angstrom: the bond radii of k crystals by the (k, n) atomic numbers of their sites."""
    table = elements or known_elements()
    spread = table.paulings[numbers].std(axis=1)
    return np.asarray(table.radii[numbers] + table.slopes[numbers] * spread[:, None], dtype=np.float64)


def without_data(crystal: Crystal) -> set[int]:
    """Elements (atomic numbers) whose volume is guessed from a radius because the fit hasn't seen them."""
    return {z for z in crystal.amounts if known_elements().guessed[z]}


@lru_cache(maxsize=1)
def known_elements() -> Elements:
    """What the fit and the DLS scheme say."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pymatgen's, of each element without an electronegativity
        radii, slopes, paulings = np.array([_radius_slope_pauling(z) for z in range(HEAVIEST + 1)]).T
    blank = np.zeros(HEAVIEST + 1)
    return Elements(blank, blank > 0, radii, slopes, paulings).with_volumes(_fitted_volumes())


def _fitted_volumes() -> dict[int, float]:
    from pymatgen.core import Element

    table = json.loads(Path(__file__).with_name("atomic_volumes.json").read_text())
    return {Element(symbol).Z: volume for symbol, volume in table["volumes"].items()}


def _radius_slope_pauling(number: int) -> tuple[float, float, float]:
    from pymatgen.core import Element
    from pymatgen.core.structure_prediction.volume_predictor import bond_params

    if number == 0:
        return FALLBACK_RADIUS, 0.0, FALLBACK_PAULING
    element = Element.from_Z(number)
    pauling = float(np.nan_to_num(element.X, nan=FALLBACK_PAULING))
    known = bond_params.get(element.symbol)
    if known is not None:
        return float(known["r"]), float(known["k"]), pauling
    return float(element.atomic_radius or FALLBACK_RADIUS), 0.0, pauling
