"""Words and numbers of a filter -> values of the field's type, or what is wrong with them."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from functools import reduce
from math import gcd, isinf
from typing import TYPE_CHECKING

from registry.errors import FilterError, UnsupportedFilter
from registry.identity.composition import ATOMIC_NUMBERS, species_letters, written
from registry.identity.spacegroups import either_hand
from registry.query.fields import Field, Type

if TYPE_CHECKING:
    from lark import Token

    from registry.query.filter import Value

MAX_DIGITS = 18
MAX_AMOUNT = 32_767
MAX_GROUPS = 8
"""Parentheses in each other, as in Ca(Al(OH)4)2."""

EQUALITY = {"=", "!="}
PARTIAL = {"CONTAINS", "STARTS", "ENDS"}


def convert(field: Field, token: Token, operator: str = "=") -> Value:
    """The value that a token stands for. Raises FilterError without a position."""
    if field.type is Type.UNTOLD:
        return str(token)
    if field.type in {Type.INTEGER, Type.FLOAT, Type.NUMBERS}:
        number = _number(field, token)
        named = field.column == "prototype.spacegroup_number" and operator in EQUALITY and number == int(number)
        return either_hand(int(number)) if named else number
    if field.type is Type.BOOLEAN:
        return _boolean(field, token)
    words = _words(field, token)
    return words if operator in PARTIAL else READERS.get(field.type, str)(words)


def storable(words: str) -> bool:
    """Whether PostgreSQL has a text for them: NUL and halves of surrogate pairs it can't hold, or be asked about."""
    return not re.search("[\x00\ud800-\udfff]", words)


def formula_amounts(formula: str) -> dict[str, int]:
    """Element -> atoms of a formula with parentheses, divided by their common divisor. Raises FilterError."""
    amounts = _group(re.findall(r"[A-Z][a-z]?|\d+|[()]|.", formula)[::-1], formula)
    if not amounts or any(not 0 < count <= MAX_AMOUNT for count in amounts.values()):
        raise FilterError(f"'{formula[:40]}' isn't a formula of whole numbers")
    divisor = reduce(gcd, amounts.values())
    return {element: amounts[element] // divisor for element in sorted(amounts)}


def element_symbol(word: str) -> str:
    """The word, if it is an element. Raises FilterError with the nearest one."""
    if word in ATOMIC_NUMBERS:
        return word
    fixed = word.strip().capitalize()
    hint = f": did you mean {fixed}?" if fixed in ATOMIC_NUMBERS else ""
    raise FilterError(f"'{word[:40]}' isn't a chemical element{hint}")


def _number(field: Field, token: Token) -> int | float:
    if token.type not in {"SIGNED_INT", "SIGNED_FLOAT"}:
        raise UnsupportedFilter(f"{field.name} is a number: write it without quotes")
    number = int(token) if token.type == "SIGNED_INT" and len(token) <= MAX_DIGITS else float(token)
    if isinf(number):
        raise UnsupportedFilter("this number is larger than any that is stored")
    return number


def _boolean(field: Field, token: Token) -> bool:
    if token.type not in {"TRUE", "FALSE"}:
        raise UnsupportedFilter(f"{field.name} is TRUE or FALSE, in capitals and without quotes")
    return bool(token.type == "TRUE")


def _words(field: Field, token: Token) -> str:
    if token.type != "ESCAPED_STRING":
        raise UnsupportedFilter(f'{field.name} is text: put the value in double quotes, "{token[:40]}"')
    words = re.sub(r"\\(.)", r"\1", str(token)[1:-1], flags=re.DOTALL)
    if not storable(words):
        raise FilterError("this text holds a character that no database stores")
    return words


def _chemsys(words: str) -> str:
    return "-".join(sorted({element_symbol(word) for word in words.split("-")}))


def _formula(words: str) -> str:
    return "".join(element + written(count) for element, count in formula_amounts(words).items())


def _anonymous(words: str) -> str:
    """Divided by the common divisor, as the amounts of a formula are."""
    if not re.fullmatch(r"([A-Z]([1-9]\d{0,3})?)+", words):
        raise FilterError(f"'{words[:40]}' isn't an anonymous formula like \"AB2\"")
    counts = sorted(int(count or 1) for count in re.findall(r"[A-Z](\d*)", words))
    divisor = gcd(*counts)
    amounts = [count // divisor for count in counts]
    return "".join(letter + written(count) for letter, count in zip(species_letters(len(counts)), amounts, strict=True))


def _timestamp(words: str) -> datetime:
    try:
        moment = datetime.fromisoformat(words)
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise FilterError(f'\'{words[:40]}\' isn\'t a moment: write "2026-01-31" or "2026-01-31T12:00:00Z"') from None


def _group(rest: list[str], formula: str, depth: int = 0) -> dict[str, int]:
    amounts: dict[str, int] = {}
    while rest:
        word = rest.pop()
        if word == ")" and depth:
            return amounts
        inner = _group(rest, formula, depth + 1) if word == "(" and depth < MAX_GROUPS else {element_symbol(word): 1}
        factor = int(rest.pop()[:6]) if rest and rest[-1].isdecimal() else 1
        for element, count in inner.items():
            amounts[element] = amounts.get(element, 0) + factor * count
    if depth:
        raise FilterError(f"'{formula[:40]}' has a parenthesis that isn't closed")
    return amounts


READERS: dict[Type, Callable[[str], Value]] = {
    Type.CHEMSYS: _chemsys,
    Type.FORMULA: _formula,
    Type.ANONYMOUS_FORMULA: _anonymous,
    Type.TIMESTAMP: _timestamp,
    Type.ELEMENTS: element_symbol,
}
