"""Which crystals to learn from, to stop by, and to be judged on: the MD5 of the reduced formula, as in the paper."""

from __future__ import annotations

import hashlib
import re
from enum import StrEnum
from fractions import Fraction
from math import gcd, lcm

from predictors.errors import BadTrainingSet

TOKEN = re.compile(r"([A-Z][a-z]?)(\d+(?:\.\d+)?)?|\(|\)(\d+(?:\.\d+)?)?|\s+")


class Split(StrEnum):
    """The three parts of a data set."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


def md5_bucket(reduced_formula: str) -> int:
    """0 to 99, from the MD5 of the formula as it is written."""
    return int(hashlib.md5(reduced_formula.encode(), usedforsecurity=False).hexdigest(), 16) % 100


def split_of(reduced_formula: str) -> Split:
    """train below 80, validation 80 to 84, test from 85."""
    bucket = md5_bucket(reduced_formula)
    if bucket < 80:
        return Split.TRAIN
    return Split.VALIDATION if bucket < 85 else Split.TEST


def composition_key(formula: str) -> str:
    """The same text for every way of writing a composition: "NaCl", "ClNa", "Na2 Cl2" -> "Cl1 Na1".

    Raise BadTrainingSet if the text isn't a formula.
    """
    amounts = _amounts(formula)
    scale = lcm(*(amount.denominator for amount in amounts.values()))
    counts = {symbol: int(amount * scale) for symbol, amount in amounts.items()}
    shared = gcd(*counts.values())
    return " ".join(f"{symbol}{counts[symbol] // shared}" for symbol in sorted(counts))


def _amounts(formula: str) -> dict[str, Fraction]:
    """Element -> amount, brackets multiplied out."""
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
            for symbol, amount in amounts.pop().items():
                amounts[-1][symbol] = amounts[-1].get(symbol, Fraction(0)) + amount * Fraction(token[3] or 1)
        elif token[1]:
            amounts[-1][token[1]] = amounts[-1].get(token[1], Fraction(0)) + Fraction(token[2] or 1)
    if len(amounts) != 1 or not any(amounts[0].values()):
        raise BadTrainingSet(f"{formula!r} isn't a chemical formula")
    return amounts[0]
