"""Which crystals to learn from, to stop by, and to be judged on. Every way is a function of the table alone.

formula    the MD5 of the `formula` column as it stands, as in the paper: no composition is in two parts
chemsys    the MD5 of the chemical system: none is in two parts
prototype  the MD5 of the `prototype` column: no structure type is in two parts
time       `created_at`: learn from the oldest 80 %, be judged on the newest 15 %; no moment is in two parts
given      the `split` column: train, validation (or val) or test; what is in two parts is the table's own matter
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from fractions import Fraction
from math import gcd, lcm
from typing import Any

import numpy as np
from numpy.typing import NDArray

from predictors.errors import BadTrainingSet

TOKEN = re.compile(r"([A-Z][a-z]?)(\d+(?:\.\d+)?)?|\(|\)(\d+(?:\.\d+)?)?|\s+")
VALIDATION_FROM, TEST_FROM = 80, 85
"""Of a hundred."""


class Split(StrEnum):
    """The three parts of a data set."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


PARTS: dict[str, Split] = {**{split.value: split for split in Split}, "val": Split.VALIDATION}
"""By the words that tables have for them."""


@dataclass(frozen=True)
class Way:
    """A way to split a table. column: what it reads; assign: that column's values -> the part of each row."""

    column: str
    assign: Callable[[Sequence[Any]], list[Split]]


def column_of(way: str) -> str:
    """What a way to split reads. Raise BadTrainingSet for an unknown one."""
    if way not in WAYS:
        raise BadTrainingSet(f"there is no split {way!r}: choose {', '.join(WAYS)}")
    return WAYS[way].column


def split_table(way: str, columns: Mapping[str, Sequence[Any]]) -> list[Split]:
    """The part of each row. Raise BadTrainingSet for an unknown way, and for a column or values that aren't there."""
    column = column_of(way)
    if column not in columns:
        raise BadTrainingSet(f"the split by {way} needs a column {column!r}, which the table lacks")
    values = columns[column]
    if missing := sum(value is None or value != value for value in values):
        raise BadTrainingSet(f"the split by {way}: {missing} rows have no {column}: leave them out or split otherwise")
    return WAYS[way].assign(values)


def md5_bucket(text: str, buckets: int = 100) -> int:
    """0 to 99, or to one below `buckets`, from the MD5 of the text as it is written."""
    return int(hashlib.md5(text.encode(), usedforsecurity=False).hexdigest(), 16) % buckets


def split_of(reduced_formula: str) -> Split:
    """train below 80, validation 80 to 84, test from 85."""
    bucket = md5_bucket(reduced_formula)
    if bucket < VALIDATION_FROM:
        return Split.TRAIN
    return Split.VALIDATION if bucket < TEST_FROM else Split.TEST


def by_formula(formulas: Sequence[str]) -> list[Split]:
    """By the formula as it is written. Raise BadTrainingSet where one composition is written in two parts' ways."""
    parts = [split_of(formula) for formula in formulas]
    spelt: dict[str, tuple[str, Split]] = {}
    for formula, part in dict(zip(formulas, parts, strict=True)).items():
        other, its_part = spelt.setdefault(composition_key(formula), (formula, part))
        if its_part != part:
            raise BadTrainingSet(
                f"{other} and {formula} are one composition, but would be in two parts: write all formulas in one way"
            )
    return parts


def by_chemical_system(formulas: Sequence[str]) -> list[Split]:
    """By the elements of the formula, in the order of the alphabet."""
    return [split_of("-".join(sorted(amounts_of(formula)))) for formula in formulas]


def by_prototype(prototypes: Sequence[str]) -> list[Split]:
    """By the label of the structure type as it is written."""
    return [split_of(str(prototype)) for prototype in prototypes]


def by_time(moments: Sequence[Any]) -> list[Split]:
    """The oldest 80 % to learn from, the next 5 % to stop by. Raise BadTrainingSet for what is no ISO 8601 date."""
    times = [_moment(value) for value in moments]
    if not times:
        return []
    ordered = sorted(times)
    validation, test = (ordered[len(ordered) * bound // 100] for bound in (VALIDATION_FROM, TEST_FROM))
    parts = list(Split)
    return [parts[(time >= validation) + (time >= test)] for time in times]


def as_given(parts: Sequence[str]) -> list[Split]:
    """As each row says. Raise BadTrainingSet for other words."""
    if other := sorted({str(part) for part in parts} - PARTS.keys()):
        raise BadTrainingSet(f"the column split says {', '.join(PARTS)}, not {', '.join(other)}")
    return [PARTS[part] for part in parts]


def _moment(value: Any) -> datetime:
    """UTC where it names no time zone."""
    try:
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    except ValueError as error:
        raise BadTrainingSet(f"created_at: {str(value)[:40]!r} is no date: write 2026-01-31T12:00:00") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


WAYS: dict[str, Way] = {
    "formula": Way("formula", by_formula),
    "chemsys": Way("formula", by_chemical_system),
    "prototype": Way("prototype", by_prototype),
    "time": Way("created_at", by_time),
    "given": Way("split", as_given),
}


def composition_key(formula: str) -> str:
    """The same text for every way of writing a composition: "NaCl", "ClNa", "Na2 Cl2" -> "Cl1 Na1".

    Raise BadTrainingSet if the text isn't a formula.
    """
    amounts = amounts_of(formula)
    scale = lcm(*(amount.denominator for amount in amounts.values()))
    counts = {symbol: int(amount * scale) for symbol, amount in amounts.items()}
    shared = gcd(*counts.values())
    return " ".join(f"{symbol}{counts[symbol] // shared}" for symbol in sorted(counts))


def key_of(numbers: NDArray[np.integer]) -> str:
    """What `composition_key` makes of the formula of these atoms (n,)."""
    from ase.data import chemical_symbols

    elements, counts = np.unique(numbers, return_counts=True)
    counts //= np.gcd.reduce(counts)
    return " ".join(sorted(f"{chemical_symbols[z]}{n}" for z, n in zip(elements, counts, strict=True)))


def amounts_of(formula: str) -> dict[str, Fraction]:
    """Element -> amount, brackets multiplied out, none of them 0. Raise BadTrainingSet if the text isn't a formula."""
    position = 0
    amounts: list[dict[str, Fraction]] = [{}]
    while position < len(formula):
        token = TOKEN.match(formula, position)
        if token is None:
            raise BadTrainingSet(f"{formula!r} isn't a chemical formula")
        position = token.end()
        text = token.group()
        if text == "(":
            amounts.append({})
        elif text.startswith(")"):
            if len(amounts) < 2:
                raise BadTrainingSet(f"{formula!r} closes a bracket that was never opened")
            _add(amounts[-2], amounts.pop().items(), Fraction(token[3] or 1))
        elif token[1]:
            _add(amounts[-1], [(token[1], Fraction(token[2] or 1))])
    if len(amounts) != 1 or not any(amounts[0].values()):
        raise BadTrainingSet(f"{formula!r} isn't a chemical formula")
    return {symbol: amount for symbol, amount in amounts[0].items() if amount}


def _add(to: dict[str, Fraction], amounts: Iterable[tuple[str, Fraction]], times: Fraction = Fraction(1)) -> None:
    for symbol, amount in amounts:
        to[symbol] = to.get(symbol, Fraction(0)) + amount * times
