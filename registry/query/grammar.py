"""The reader of filters: OPTIMADE's grammar, our fields' types, and complaints that point at the word."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from functools import cache
from importlib import resources

from lark import Lark, Token, Tree
from lark.exceptions import UnexpectedInput, UnexpectedToken

from registry.errors import FilterError, UnsupportedFilter
from registry.query.fields import FIELDS, Field, Vocabulary, suggestion
from registry.query.filter import (
    Comparison,
    Filter,
    Has,
    Known,
    Length,
    Node,
    Not,
    Value,
    both,
    either,
    wrong,
)
from registry.query.values import convert

Branch = Tree[Token]

CHANGES = {
    # an optional moment closes the filter, and two expressions in a row are a mistake
    "filter: expression*": 'filter: [expression] [as_of]\nas_of: "AS" "OF" string',
    # keep the word: an unnamed token would be dropped from the tree
    'bool: ( "TRUE" | "FALSE" )': 'bool: TRUE | FALSE\nTRUE: "TRUE"\nFALSE: "FALSE"',
    # the original backtracks exponentially over tabs
    'ESCAPED_STRING : "\\"" _STRING_ESC_INNER "\\""': r'ESCAPED_STRING : /"(?:[^"\\]|\\.)*"/s',
    "_STRING_INNER: /(.|[\\t\\f\\r\\n])*?/": "",
    "_STRING_ESC_INNER: _STRING_INNER /(?<!\\\\)(\\\\\\\\)*?/": "",
}
"""What we read otherwise than the grammar file of the `optimade` package."""

FLIPPED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "=": "=", "!=": "!="}
KEYWORDS = (
    "AND", "OR", "NOT", "HAS", "ALL", "ANY", "ONLY", "IS", "KNOWN", "UNKNOWN", "CONTAINS", "STARTS", "ENDS", "WITH",
    "LENGTH", "TRUE", "FALSE", "AS", "OF",
)  # fmt: skip
SYMBOLS = {"==": "=", "<>": "!=", "=<": "<=", "=>": ">=", "&": "AND", "&&": "AND", "|": "OR", "||": "OR", "!": "NOT"}
NAMES = {
    "IDENTIFIER": "a field", "ESCAPED_STRING": 'text in "double quotes"', "SIGNED_INT": "a number",
    "SIGNED_FLOAT": "a number", "OPERATOR": "one of = != < <= > >=", "LPAR": "(", "RPAR": ")", "COMMA": "a comma",
    "$END": "the end", "_AND": "AND", "_OR": "OR", "TRUE": "TRUE or FALSE", "FALSE": "TRUE or FALSE",
}  # fmt: skip
UNSUPPORTED = {"COLON", "DOT"}


@cache
def parser() -> Lark:
    grammar = (resources.files("optimade") / "grammar" / "v1.2.0.lark").read_text()
    for old, new in CHANGES.items():
        assert old in grammar, f"the grammar of optimade changed: {old!r} is gone"
        grammar = grammar.replace(old, new)
    return Lark(grammar, start="filter", parser="lalr", maybe_placeholders=False)


def read(text: str, vocabulary: Vocabulary) -> Filter:
    """The typed tree of a filter. Raises FilterError."""
    try:
        tree = parser().parse(text)
    except UnexpectedInput as error:
        raise _syntax_error(text, error, vocabulary) from None
    return _Reader(text, vocabulary).filter(tree)


class _Reader:
    """Turns lark's tree into ours; holds the text for the complaints."""

    def __init__(self, text: str, vocabulary: Vocabulary) -> None:
        self.text, self.vocabulary = text, vocabulary

    def filter(self, tree: Branch) -> Filter:
        root, as_of = None, None
        for part in _branches(tree):
            if part.data == "as_of":
                as_of = self._moment(part)
            else:
                root = self._expression(part)
        return Filter(root, as_of)

    def _moment(self, tree: Branch) -> datetime:
        value = self._value(FIELDS["discovered_at"], _branches(tree)[-1])
        assert isinstance(value, datetime)
        return value

    def _expression(self, tree: Branch) -> Node:
        return either(*(both(*map(self._phrase, _branches(clause))) for clause in _branches(tree)))

    def _phrase(self, tree: Branch) -> Node:
        inner = _branches(tree)[0]
        node = self._expression(inner) if inner.data == "expression" else self._comparison(_branches(inner)[0])
        return Not(node) if isinstance(tree.children[0], Token) and tree.children[0].type == "NOT" else node

    def _comparison(self, tree: Branch) -> Node:
        if tree.data == "constant_first_comparison":
            return self._constant_first(tree)
        name, *rest = _branches(tree)
        rules: dict[str, Callable[[Field, Branch], Node]] = {
            "value_op_rhs": self._compared,
            "fuzzy_string_op_rhs": self._compared,
            "known_op_rhs": self._known,
            "set_op_rhs": self._has,
            "length_op_rhs": self._length,
        }
        if rest[0].data not in rules:
            told = "lists can't be zipped here: use HAS on one field at a time"
            raise self._wrong(rest[0], told, UnsupportedFilter)
        return rules[rest[0].data](self._field(name), rest[0])

    def _constant_first(self, tree: Branch) -> Node:
        constant, right = _branches(tree)
        operator = _tokens(tree)[0]
        if right.data != "non_string_value" or _branches(right)[0].data != "property":
            told = "a value stands on both sides: name a field on one of them"
            raise self._wrong(right, told, UnsupportedFilter)
        field = self._field(_branches(right)[0])
        flipped = self._allowed(field, FLIPPED[operator], operator)
        return Comparison(field.name, flipped, self._value(field, _branches(constant)[0], flipped))

    def _field(self, tree: Branch) -> Field:
        name = ".".join(_tokens(tree))
        if (field := self.vocabulary.find(name)) is None:
            raise self._wrong(tree, f"unknown field '{name[:80]}'{suggestion(name, self.vocabulary.names)}")
        return field

    def _allowed(self, field: Field, operator: str, token: Token) -> str:
        if operator not in field.operators:
            allowed = ", ".join(sorted(field.operators))
            message = f"{field.name} is a {field.type} and takes {allowed}, IS KNOWN: not {operator}"
            raise wrong(self.text, token.start_pos or 0, len(token), message, UnsupportedFilter)
        return operator

    def _compared(self, field: Field, tree: Branch) -> Node:
        operator = self._allowed(field, str(_tokens(tree)[0]), _tokens(tree)[0])
        return Comparison(field.name, operator, self._value(field, _branches(tree)[0], operator))

    def _known(self, field: Field, tree: Branch) -> Node:
        return Known(field.name, _tokens(tree)[-1] == "KNOWN")

    def _length(self, field: Field, tree: Branch) -> Node:
        first, *rest = _tokens(tree)
        self._allowed(field, "LENGTH", first)
        number = self._value(FIELDS["nelements"], _branches(tree)[0])
        return Length(field.name, str(rest[0]) if rest else "=", int(float(str(number))))

    def _has(self, field: Field, tree: Branch) -> Node:
        first, *words = _tokens(tree)
        quantifier = str(words[0]) if words else ""
        self._allowed(field, f"HAS {quantifier}".strip(), first)
        branch = _branches(tree)[0]
        values = _branches(branch) if branch.data == "value_list" else [branch]
        if any(token.type == "OPERATOR" for token in tree.scan_values(lambda _: True)):
            raise self._wrong(branch, "no operators stand before the values of HAS", UnsupportedFilter)
        return Has(field.name, quantifier or "ALL", tuple(str(self._value(field, one, "HAS")) for one in values))

    def _value(self, field: Field, tree: Branch, operator: str = "=") -> Value:
        inner = _branches(tree)[0] if tree.data == "value" else tree
        token = _first(inner)
        if inner.data == "property":
            name = ".".join(_tokens(inner))
            known = name in self.vocabulary.names
            raise self._wrong(inner, _no_value(name, known), UnsupportedFilter if known else FilterError)
        try:
            return convert(field, token, operator)
        except FilterError as error:
            raise wrong(self.text, token.start_pos or 0, len(token), str(error), type(error)) from None

    def _wrong(self, tree: Branch, message: str, kind: type[FilterError] = FilterError) -> FilterError:
        tokens = list(tree.scan_values(lambda _: True))
        start, end = tokens[0].start_pos or 0, tokens[-1].end_pos or 0
        return wrong(self.text, start, end - start, message, kind)


def _no_value(name: str, known: bool) -> str:
    if name.upper() in {"TRUE", "FALSE"}:
        return f"'{name}' isn't understood here: did you mean {name.upper()}?"
    if known:
        return f"two fields can't be compared: {name} stands where a value should"
    return f'a field can\'t be compared with {name}: text goes in double quotes, "{name}"'


def _branches(tree: Branch) -> list[Branch]:
    return [child for child in tree.children if isinstance(child, Tree)]


def _tokens(tree: Branch) -> list[Token]:
    return [child for child in tree.children if isinstance(child, Token)]


def _first(tree: Branch) -> Token:
    return next(iter(tree.scan_values(lambda _: True)))


def _syntax_error(text: str, error: UnexpectedInput, vocabulary: Vocabulary) -> FilterError:
    at_end = isinstance(error, UnexpectedToken) and error.token.type == "$END"
    start = len(text) if at_end else error.pos_in_stream or 0
    while 0 < start < len(text) and text[start] in "<>=!&|" and text[start - 1] in "<>=!&|":
        start -= 1  # "==" is one slip, not a right and a wrong "="
    found = re.compile(r'\w+|[<>=!&|]+|"(?:[^"\\]|\\.)*"|.', flags=re.DOTALL).match(text, start)
    word = found.group() if found else ""
    return wrong(text, start, len(word), _explained(word, _expected(error), vocabulary))


def _expected(error: UnexpectedInput) -> set[str]:
    if isinstance(error, UnexpectedToken):
        return {str(one) for one in error.accepts or error.expected}
    return {str(one) for one in getattr(error, "allowed", None) or ()}


def _explained(word: str, expected: set[str], vocabulary: Vocabulary) -> str:
    shown = f"'{word[:40]}' isn't understood here" if word else "the filter ends too early"
    if word.upper() in KEYWORDS and word not in KEYWORDS:
        return f"{shown}: did you mean {word.upper()}?"
    if word in SYMBOLS:
        return f"{shown}: did you mean {SYMBOLS[word]}?"
    if word == "'":
        return f'{shown}: text goes in "double quotes"'
    if word == '"':
        return "this text has no closing quote"
    if word == ",":
        return f"{shown}: only HAS ALL, HAS ANY and HAS ONLY take several values"
    if "IDENTIFIER" in expected and word[:1].isalpha() and word not in KEYWORDS:
        at_start_of_comparison = "LPAR" in expected
        hint = (
            suggestion(word, vocabulary.names)
            if at_start_of_comparison
            else f': text goes in double quotes, "{word[:40]}"'
        )
        return shown + hint
    names = sorted({NAMES.get(one, one) for one in expected - UNSUPPORTED})
    return f"{shown}: expected {' or '.join(names)}" if names else shown
