"""What a crystal is made of, in the formulas that materials databases sort by."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import gcd
from string import ascii_uppercase
from typing import Self

SYMBOLS: tuple[str, ...] = (
    "X", "H", "He", "Li", "Be", "B", "C", "N", "O", "F", "Ne", "Na", "Mg", "Al", "Si", "P", "S", "Cl", "Ar", "K",
    "Ca", "Sc", "Ti", "V", "Cr", "Mn", "Fe", "Co", "Ni", "Cu", "Zn", "Ga", "Ge", "As", "Se", "Br", "Kr", "Rb", "Sr",
    "Y", "Zr", "Nb", "Mo", "Tc", "Ru", "Rh", "Pd", "Ag", "Cd", "In", "Sn", "Sb", "Te", "I", "Xe", "Cs", "Ba", "La",
    "Ce", "Pr", "Nd", "Pm", "Sm", "Eu", "Gd", "Tb", "Dy", "Ho", "Er", "Tm", "Yb", "Lu", "Hf", "Ta", "W", "Re", "Os",
    "Ir", "Pt", "Au", "Hg", "Tl", "Pb", "Bi", "Po", "At", "Rn", "Fr", "Ra", "Ac", "Th", "Pa", "U", "Np", "Pu", "Am",
    "Cm", "Bk", "Cf", "Es", "Fm", "Md", "No", "Lr", "Rf", "Db", "Sg", "Bh", "Hs", "Mt", "Ds", "Rg", "Cn", "Nh", "Fl",
    "Mc", "Lv", "Ts", "Og",
)  # fmt: skip
"""Element symbols by atomic number; index 0 is no element."""

ATOMIC_NUMBERS: dict[str, int] = {symbol: number for number, symbol in enumerate(SYMBOLS) if number}
LIGHT = 60
"""The heaviest element that `element_bits` counts among the light ones; bigint has room for 63."""


@dataclass(frozen=True)
class Composition:
    """Whole numbers of atoms per element; (atomic number, count) pairs in ascending order of atomic number."""

    amounts: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, amounts: Mapping[int, int]) -> Self:
        """From atomic number -> atoms. Raise ValueError for no atoms, a count below one or an unknown element."""
        if not amounts:
            raise ValueError("a composition needs at least one atom")
        for number, count in amounts.items():
            if not 0 < number < len(SYMBOLS):
                raise ValueError(f"{number} is not the atomic number of an element")
            if count < 1 or count != int(count):
                raise ValueError(f"{count} atoms of {SYMBOLS[number]}: counts are whole numbers above zero")
        return cls(tuple(sorted((int(number), int(count)) for number, count in amounts.items())))

    @cached_property
    def reduced(self) -> dict[int, int]:
        """Atomic number -> atoms in the smallest formula unit of whole atoms (O2 becomes O)."""
        divisor = gcd(*(count for _, count in self.amounts))
        return {number: count // divisor for number, count in self.amounts}

    @property
    def natoms(self) -> int:
        return sum(count for _, count in self.amounts)

    @property
    def elements(self) -> tuple[str, ...]:
        """Symbols in alphabetical order."""
        return tuple(sorted(SYMBOLS[number] for number, _ in self.amounts))

    @property
    def nelements(self) -> int:
        return len(self.amounts)

    @property
    def chemsys(self) -> str:
        """The chemical system: "Fe-Li-O"."""
        return "-".join(self.elements)

    @property
    def reduced_formula(self) -> str:
        """Equal to pymatgen's `Composition.reduced_formula` ("Li2O", "O2", "Li3Fe2(PO4)3")."""
        return _reduced_formula(tuple(self.reduced.items()))

    @property
    def alphabetical_formula(self) -> str:
        """The reduced amounts in the order of the symbols, as training tables and their splits write it: "FeLiO2"."""
        counts = sorted((SYMBOLS[number], count) for number, count in self.reduced.items())
        return "".join(symbol + written(count) for symbol, count in counts)

    @property
    def anonymous_formula(self) -> str:
        """Amounts alone, ascending: "AB2" for Li2O, CaF2 and TiO2; equal to pymatgen's `anonymized_formula`."""
        return anonymous_formula(sorted(self.reduced.values()))


def element_bits(elements: Iterable[str]) -> tuple[int, int]:
    """A set of elements as two numbers: bit Z - 1 of the first for Z up to 60, bit Z - 61 of the second above."""
    bits = sum(1 << (ATOMIC_NUMBERS[element] - 1) for element in set(elements))
    return bits & ((1 << LIGHT) - 1), bits >> LIGHT


def anonymous_formula(amounts: Sequence[int]) -> str:
    """From ascending amounts without a common divisor."""
    return "".join(
        letter + written(count) for letter, count in zip(species_letters(len(amounts)), amounts, strict=True)
    )


def species_letters(count: int) -> list[str]:
    """A, B, ... Z, then A1, B1, ... for the few crystals of more than 26 elements."""
    return [ascii_uppercase[i % 26] + str(i // 26 or "") for i in range(count)]


def written(count: int) -> str:
    """A count as formulas and prototype labels write it: nothing for one."""
    return "" if count == 1 else str(count)


@lru_cache(maxsize=1 << 13)
def _reduced_formula(amounts: tuple[tuple[int, int], ...]) -> str:
    from pymatgen.core.composition import Composition as PymatgenComposition

    formula: str = PymatgenComposition({SYMBOLS[number]: count for number, count in amounts}).reduced_formula
    return formula
