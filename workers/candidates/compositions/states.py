"""Oxidation states that elements have in compounds, from the ICSD as SMACT counts it."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from math import log
from typing import Self

import numpy as np
from numpy.typing import NDArray

from registry.errors import SettingsError
from registry.identity.composition import ATOMIC_NUMBERS
from workers.candidates.compositions.search import ANION, ANY, CATION

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

RARE = 0.001
LARGEST_CHARGE = 9
UNREPORTED = 1
"""How often a state that the table doesn't know counts as reported: a 0 of metals, or one that a user gives."""


@lru_cache(maxsize=1)
def reported_states() -> dict[str, dict[int, int]]:
    """Symbol -> oxidation state -> compounds of the ICSD (2024) that have it; 0 and what is reported less than three
    times left out. Data of SMACT 4.0.2 (Davies et al., J. Open Source Softw. 4, 1361 (2019); MIT licence)."""
    table = json.loads((files(__package__) / "oxidation_states.json").read_text())
    return {symbol: {int(state): count for state, count in row.items()} for symbol, row in table.items()}


def common_states(symbols: Iterable[str], rare: float = RARE, zero_for_metals: bool = True) -> dict[str, list[int]]:
    """Symbol -> its states in ascending order, those left out that make up less than the share `rare` of its reports.

    An element without any report, as most noble gases, has no state, unless it is a metal and has 0.
    """
    from pymatgen.core import Element

    found = {}
    for symbol in symbols:
        reports = reported_states().get(symbol, {})
        least = rare * sum(reports.values())
        states = {state for state, count in reports.items() if count >= least}
        if zero_for_metals and Element(symbol).is_metal:
            states.add(0)
        found[symbol] = sorted(states)
    return found


@dataclass(frozen=True, eq=False)
class StateTable:
    """Elements with their states as arrays, in ascending order of atomic number.

    numbers: (e,) int64
    states: (e, s) int64, ascending, padded; costs: (e, s), the negative logarithm of each state's share of the reports
    sides: (e, 3, 6) int64, see `sums`
    electronegativities: (e,) Pauling's, nan where unknown
    without_states: symbols that were asked for but have no state: in no composition
    """

    numbers: Ints
    states: Ints
    costs: Floats
    sides: Ints
    electronegativities: Floats
    without_states: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def largest_charge(self) -> int:
        return int(np.abs(self.states).max(initial=0))

    @classmethod
    def of(cls, states: Mapping[str, Sequence[int]]) -> Self:
        """From symbol -> states in any order. Raise SettingsError for what is no element or no oxidation state."""
        rows = {ATOMIC_NUMBERS[_element(symbol)]: (symbol, sorted(set(row))) for symbol, row in states.items()}
        for symbol, row in rows.values():
            if row and max(-row[0], row[-1]) > LARGEST_CHARGE:
                raise SettingsError(f"{symbol} {row}: oxidation states lie between -9 and +9")
        with_states = sorted((number, *named) for number, named in rows.items() if named[1])
        width = max((len(row) for _, _, row in with_states), default=1)
        symbols = [symbol for _, symbol, _ in with_states]
        padded = [row + [row[-1]] * (width - len(row)) for _, _, row in with_states]
        return cls(
            np.array([number for number, _, _ in with_states], dtype=np.int64),
            np.array(padded, dtype=np.int64).reshape(-1, width),
            np.array([_costs(named[1], row) for named, row in zip(with_states, padded, strict=True)]).reshape(
                -1, width
            ),
            np.array([_sides(row) for _, _, row in with_states], dtype=np.int64).reshape(-1, 3, 6),
            np.array([_electronegativity(symbol) for symbol in symbols]),
            tuple(symbol for _, (symbol, row) in sorted(rows.items()) if not row),
        )


def _element(symbol: str) -> str:
    if symbol not in ATOMIC_NUMBERS:
        raise SettingsError(f"not an element: {symbol}")
    return symbol


def _costs(symbol: str, states: Sequence[int]) -> list[float]:
    reports = reported_states().get(symbol, {})
    total = sum(reports.values()) + UNREPORTED
    return [-log(reports.get(state, UNREPORTED) / total) for state in states]


def _sides(states: Sequence[int]) -> list[list[int]]:
    sides = [[0] * 6] * 3
    positive = next((place for place, state in enumerate(states) if state >= 0), len(states))
    negative = next((place for place, state in enumerate(states) if state > 0), len(states))
    reach = states[0], states[-1]
    crosses_zero = positive == negative and reach[0] < 0 < reach[1]
    sides[ANY] = [0, len(states), *reach, 0, 0]
    sides[CATION] = [positive, len(states), *_range(max(reach[0], 0), reach[1]), int(crosses_zero), 0]
    sides[ANION] = [0, negative, *_range(reach[0], min(reach[1], 0)), 0, int(crosses_zero)]
    return sides


def _range(low: int, high: int) -> tuple[int, int]:
    return (low, high) if low < high else (0, 0)


def _electronegativity(symbol: str) -> float:
    from pymatgen.core import Element

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return float(Element(symbol).X)
