"""Which elements of a compound may share one site at random.

Anions (N, O, F; S, Se, Te; Cl, Br, I, each among themselves) and cations whose crystal radii (Shannon, Acta Cryst. A32,
751, 1976; octahedral, high spin) differ by at most 15 % of the larger: Hume-Rothery's rule, as Goldschmidt's for ions.
Cations need charges that balance the formula and differ by at most 2: farther apart they always order (Anderson et al.,
Prog. Solid State Chem. 22, 197, 1993). Without N, O, F, Cl: also elements of one group whose metallic radii differ by
at most 15 %. Without any anion: any two metals or metalloids whose metallic radii do, and whose electronegativities
differ by at most 0.7.
So Li mixes with Fe3+ and Ti3+, as in the disordered rock salts LiFeO2 and LiTiO2, and not with Co3+ (17 %), as in
LiCoO2.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, lru_cache
from itertools import combinations, product
from math import isnan, nan
from typing import Any, Literal

from registry.identity.composition import ATOMIC_NUMBERS, SYMBOLS

ALIKE = 0.15
"""Largest difference of two radii, of the larger."""

CHARGES_APART = 2

NEGATIVITIES_APART = 0.7
"""Pauling's. Cu and Au, which mix in all proportions, are 0.64 apart."""

MOST_ASSIGNMENTS = 20_000
"""Of charges to the elements of one formula; beyond, every charge is taken for possible."""

ANIONS = ({"N": -3, "O": -2, "F": -1}, {"S": -2, "Se": -2, "Te": -2}, {"Cl": -1, "Br": -1, "I": -1})
CHARGES: dict[str, int] = {symbol: charge for family in ANIONS for symbol, charge in family.items()}
IONIC = frozenset({"N", "O", "F", "Cl"})
"""With one of these the radii of ions count, not those of atoms."""

NO_METALS = frozenset({"H", "He", "C", "Ne", "Ar", "Kr", "Xe", "At", "Rn"}) | frozenset(CHARGES)

Rule = Literal["anions", "ionic radii", "same group", "metallic radii"]
Pair = frozenset[int]


@lru_cache(maxsize=1 << 12)
def mixing_pairs(amounts: tuple[tuple[int, int], ...]) -> Mapping[Pair, Rule]:
    """The pairs of elements (atomic numbers) that may mix in a compound of (atomic number, atoms), and by what rule."""
    symbols = {SYMBOLS[number]: count for number, count in amounts}
    found: dict[Pair, Rule] = {}
    for one, other in combinations(symbols, 2):
        if rule := _rule(one, other, symbols):
            found[frozenset((ATOMIC_NUMBERS[one], ATOMIC_NUMBERS[other]))] = rule
    return found


def _rule(one: str, other: str, amounts: Mapping[str, int]) -> Rule | None:
    if one in CHARGES and other in CHARGES:
        together = any(one in family and other in family for family in ANIONS)
        return (
            "anions"
            if together and _alike(_crystal_radius(one, CHARGES[one]), _crystal_radius(other, CHARGES[other]))
            else None
        )
    if one in NO_METALS or other in NO_METALS:
        return None
    if not any(symbol in CHARGES for symbol in amounts):
        apart = abs(_electronegativity(one) - _electronegativity(other))
        alike = _alike(_metallic_radius(one), _metallic_radius(other))
        return "metallic radii" if alike and apart <= NEGATIVITIES_APART else None
    if _ions_mix(one, other, tuple(sorted(amounts.items()))):
        return "ionic radii"
    alike = _group(one) == _group(other) and _alike(_metallic_radius(one), _metallic_radius(other))
    return "same group" if alike and not IONIC & amounts.keys() else None


def _alike(one: float, other: float) -> bool:
    return abs(one - other) <= ALIKE * max(one, other)


def _ions_mix(one: str, other: str, amounts: tuple[tuple[str, int], ...]) -> bool:
    charges = _charges(amounts)
    return any(
        abs(p - q) <= CHARGES_APART and _alike(_cations(one)[p], _cations(other)[q])
        for p, q in product(charges.get(one, ()), charges.get(other, ()))
    )


@lru_cache(maxsize=1 << 12)
def _charges(amounts: tuple[tuple[str, int], ...]) -> dict[str, set[int]]:
    """For each cation the charges with which the formula can be neutral; all where it never is (mixed valences)."""
    cations = [(symbol, count) for symbol, count in amounts if symbol not in NO_METALS]
    negative = sum(CHARGES.get(symbol, 0) * count for symbol, count in amounts)
    every = {symbol: set(_cations(symbol)) for symbol, _ in cations}
    size = 1
    for states in every.values():
        size *= len(states)
    found: dict[str, set[int]] = {symbol: set() for symbol in every}
    for assigned in product(*every.values()) if size <= MOST_ASSIGNMENTS else ():
        if negative + sum(q * count for q, (_, count) in zip(assigned, cations, strict=True)) == 0:
            for q, (symbol, _) in zip(assigned, cations, strict=True):
                found[symbol].add(q)
    return found if all(found.values()) else every


@cache
def _cations(symbol: str) -> dict[int, float]:
    """Charge -> crystal radius in angstrom, for the usual positive charges."""
    from pymatgen.core import Element

    element = Element(symbol)
    usual = set(element.icsd_oxidation_states) | set(element.common_oxidation_states)
    radii = {q: _crystal_radius(symbol, q) for q in sorted(usual) if q > 0}
    return {q: radius for q, radius in radii.items() if not isnan(radius)}


@cache
def _crystal_radius(symbol: str, charge: int) -> float:
    """Angstrom, octahedral and high spin where these are known, nan where nothing is."""
    by_coordination = _data(symbol, "Shannon radii", {}).get(str(charge), {})
    for coordination in ("VI", "VIII", "VII", "V", "IV", "IX", "XII", "IVSQ"):
        spins = by_coordination.get(coordination, {})
        for spin in ("High Spin", "", "Low Spin"):
            if spin in spins:
                return float(spins[spin]["crystal_radius"])
    return nan


@cache
def _metallic_radius(symbol: str) -> float:
    """Angstrom; the atomic radius where no metal is known, nan where nothing is."""
    return float(_data(symbol, "Metallic radius", _data(symbol, "Atomic radius", nan)))


@cache
def _electronegativity(symbol: str) -> float:
    """Pauling's, nan where it is unknown."""
    return float(_data(symbol, "X", nan))


def _data(symbol: str, name: str, default: Any) -> Any:
    """A property of pymatgen's table, which writes "no data" for some that are missing."""
    from pymatgen.core import Element

    value = Element(symbol).data.get(name, default)
    return default if isinstance(value, str) else value


@cache
def _group(symbol: str) -> int:
    from pymatgen.core import Element

    return int(Element(symbol).group)
