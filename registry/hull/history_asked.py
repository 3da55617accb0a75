"""What somebody asks the history of: a formula in any spelling, a crystal by an id, or a chemical system."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from typing import Any

from registry.errors import FilterError
from registry.identity.composition import ATOMIC_NUMBERS, Composition
from registry.query.columns import subsystems
from registry.query.values import element_symbol, formula_amounts, storable

MOST_ELEMENTS = 8
"""Of a chemical system: 255 subsystems."""

MOST_READINGS = 50
SUBSCRIPTS = str.maketrans("₀₁₂₃₄₅₆₇₈₉[]{}", "0123456789()()")


class Kind(StrEnum):
    """What the words name."""

    FORMULA = "formula"
    NAME = "id"
    SYSTEM = "chemsys"


@dataclass(frozen=True)
class Asked:
    """shown: as the registry writes it; chemsys: empty for an id; bound: the parameter of the statement."""

    kind: Kind
    shown: str
    chemsys: str
    bound: dict[str, Any]


def read(words: str) -> Asked:
    """Understand the words. Raises FilterError."""
    word = words.strip()
    if not word or not storable(word):
        raise FilterError("give a formula (LiFePO4), an id (lode-...) or a chemical system (Li-Fe-O)")
    if word[0].isdecimal() or ("-" in word and re.search(r"\d|_|lode-", word)):
        return Asked(Kind.NAME, word, "", {"name": word})
    return _system(word) if "-" in word else _formula(word)


def _system(word: str) -> Asked:
    elements = sorted({element_symbol(one) for one in word.split("-")})
    if len(elements) > MOST_ELEMENTS:
        raise FilterError(f"a history is told of at most {MOST_ELEMENTS} elements at once, not {len(elements)}")
    chemsys = "-".join(elements)
    return Asked(Kind.SYSTEM, chemsys, chemsys, {"systems": subsystems(elements)})


def _formula(word: str) -> Asked:
    composition = _composition(re.sub(r"\s", "", word).translate(SUBSCRIPTS))
    formula = composition.reduced_formula
    return Asked(Kind.FORMULA, formula, composition.chemsys, {"formula": formula})


def _composition(formula: str) -> Composition:
    return Composition.of({ATOMIC_NUMBERS[one]: count for one, count in formula_amounts(formula).items()})


def readings(words: str) -> list[str]:
    """Reduced formulas that these letters spell with other capitals: LiFePO4 for lifepo4 and for LiFePo4."""
    pieces = re.findall(r"[A-Za-z]+|\d+|.", re.sub(r"\s", "", words).translate(SUBSCRIPTS))
    spelled = ["".join(parts) for parts in islice(_spelled(pieces), MOST_READINGS)]
    found = set()
    for formula in spelled:
        try:
            found.add(_composition(formula).reduced_formula)
        except FilterError:
            continue
    return sorted(found)


def _spelled(pieces: list[str]) -> Iterator[list[str]]:
    if not pieces:
        yield []
        return
    heads = _symbols(pieces[0]) if pieces[0].isalpha() else iter([pieces[0]])
    for head in heads:
        for rest in _spelled(pieces[1:]):
            yield [head, *rest]


def _symbols(letters: str) -> Iterator[str]:
    """Every way to cut letters into element symbols."""
    if not letters:
        yield ""
        return
    for size in (2, 1):
        symbol = letters[:size].capitalize()
        if len(symbol) == size and symbol in ATOMIC_NUMBERS:
            yield from (symbol + rest for rest in _symbols(letters[size:]))


def nearest(formula: str, others: Iterable[str], most: int = 5) -> list[str]:
    """The formulas whose atomic fractions are nearest."""
    here = _fractions(formula)

    def distance(other: str) -> float:
        there = _fractions(other)
        return sum(abs(here.get(one, 0.0) - there.get(one, 0.0)) for one in here.keys() | there.keys())

    return sorted(others, key=lambda other: (distance(other), other))[:most]


def _fractions(formula: str) -> dict[int, float]:
    amounts = dict(_composition(formula).amounts)
    return {number: count / sum(amounts.values()) for number, count in amounts.items()}
