"""Compositions in the place of crystals, for models that need no structure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from string import ascii_letters

import numpy as np
from numpy.typing import NDArray

from predictors.errors import BadTrainingSet
from predictors.graph import CrystalLike
from predictors.splits import composition_key

MOST_ATOMS = 100_000
"""Of a formula in whole numbers. Beyond it are slips of the keyboard."""


@dataclass(frozen=True, eq=False)
class PlainComposition:
    """A crystal of which only the atoms are known: what a structure model refuses, and a composition model predicts.

    numbers: (n,) atomic numbers of one formula unit
    """

    numbers: NDArray[np.int16]

    @property
    def lattice(self) -> NDArray[np.float64]:
        """(3, 3) NaN: it has none."""
        return np.full((3, 3), np.nan)

    @property
    def frac_coords(self) -> NDArray[np.float64]:
        """(n, 3) NaN: it has none."""
        return np.full((len(self.numbers), 3), np.nan)


def composition_of(formula: str, key: str | None = None) -> PlainComposition:
    """The atoms of a formula, however it is written: "Li2O", "Ca(OH)2", "Li0.5 Co O2". Raise BadTrainingSet.

    key: what `composition_key` says of the formula, where that is known already
    """
    from ase.data import atomic_numbers

    parts = (key or composition_key(formula)).split()
    counts = {part.rstrip("0123456789"): int(part.lstrip(ascii_letters)) for part in parts}
    if unknown := [symbol for symbol in counts if atomic_numbers.get(symbol, 0) < 1]:
        raise BadTrainingSet(f"{formula!r} holds {', '.join(unknown)}: there is no such element")
    if sum(counts.values()) > MOST_ATOMS:
        raise BadTrainingSet(f"{formula!r} has more than {MOST_ATOMS} atoms in whole numbers: round its amounts")
    numbers = [atomic_numbers[symbol] for symbol in counts]
    return PlainComposition(np.repeat(np.array(numbers, dtype=np.int16), list(counts.values())))


def amounts_in(crystal: CrystalLike) -> dict[str, float]:
    """Element -> atoms in the cell."""
    from ase.data import chemical_symbols

    return {chemical_symbols[number]: float(count) for number, count in Counter(crystal.numbers.tolist()).items()}
