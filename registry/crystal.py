"""The crystal as three arrays: the form in which every room passes structures on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from pymatgen.core import Structure

Floats = NDArray[np.float64]
Species = NDArray[np.int16]


@dataclass(frozen=True, eq=False)
class Crystal:
    """A fully ordered periodic structure.

    lattice: (3, 3) float64, lattice vectors as rows, in angstrom
    numbers: (n,) int16, atomic numbers
    frac_coords: (n, 3) float64, fractional coordinates (any real value; compared modulo 1)
    """

    lattice: Floats
    numbers: Species
    frac_coords: Floats

    def __post_init__(self) -> None:
        object.__setattr__(self, "lattice", np.array(self.lattice, dtype=np.float64).reshape(3, 3))
        object.__setattr__(self, "numbers", np.array(self.numbers, dtype=np.int16).reshape(-1))
        object.__setattr__(self, "frac_coords", np.array(self.frac_coords, dtype=np.float64).reshape(-1, 3))
        if len(self.numbers) != len(self.frac_coords) or len(self.numbers) == 0:
            raise ValueError(f"{len(self.numbers)} species for {len(self.frac_coords)} coordinates")

    @cached_property
    def volume(self) -> float:
        """Cell volume in cubic angstrom."""
        return float(abs(np.linalg.det(self.lattice)))

    @property
    def nsites(self) -> int:
        return len(self.numbers)

    @cached_property
    def amounts(self) -> dict[int, int]:
        """Atomic number -> atoms in the cell."""
        numbers, counts = np.unique(self.numbers, return_counts=True)
        return dict(zip(numbers.tolist(), counts.tolist(), strict=True))

    def scaled(self, volume: float) -> Self:
        """The same crystal isotropically strained to `volume` (cubic angstrom)."""
        factor = (volume / self.volume) ** (1 / 3)
        return type(self)(self.lattice * factor, self.numbers, self.frac_coords)

    def with_numbers(self, numbers: Species) -> Self:
        """The same sites holding other elements."""
        return type(self)(self.lattice, numbers, self.frac_coords)

    @classmethod
    def from_pymatgen(cls, structure: Structure) -> Self:
        """Raise ValueError if a site is partially occupied or holds no real element."""
        if not structure.is_ordered:
            raise ValueError("partially occupied sites: only fully ordered crystals can be stored")
        numbers = np.array([site.specie.Z for site in structure], dtype=np.int16)
        return cls(structure.lattice.matrix, numbers, structure.frac_coords)

    def to_pymatgen(self) -> Structure:
        from pymatgen.core import Structure

        return Structure(self.lattice, self.numbers.tolist(), self.frac_coords)
