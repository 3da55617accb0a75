"""A filter in OPTIMADE's names -> the same question in the registry's, which the one compiler answers. Pure.

What is the same for all crystals here is decided at once, and what nobody here knows never holds: negations are
moved down to the comparisons, where "unknown" can be told from "false".
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

from api.optimade import formulas
from api.optimade.properties import OWN, PREFIX, STANDARD, TYPE, VOCABULARY
from registry.identity.composition import ATOMIC_NUMBERS
from registry.query.filter import And, Comparison, Filter, Has, Known, Length, Node, Not, Or, both, either, parse

Leaf = Comparison | Has | Length | Known
Meaning = Node | bool | None
"""Of a comparison: another one; true, false or unknown for all crystals."""

COMPARED: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "CONTAINS": lambda held, words: words in held,
    "STARTS": lambda held, words: held.startswith(words),
    "ENDS": lambda held, words: held.endswith(words),
}
SIZES: dict[str, int | str] = {
    "elements": "nelements",
    "elements_ratios": "nelements",
    "species": "nelements",
    "species_at_sites": "nsites",
    "cartesian_site_positions": "nsites",
    "lattice_vectors": 3,
    "dimension_types": 3,
    "structure_features": 0,
}
"""How many items a list of the standard holds: a number, or that of a field of ours."""

SAME_FOR_ALL: dict[str, str | int] = {"type": TYPE, "nperiodic_dimensions": 3}
NAMES = {
    "id": "id",
    "immutable_id": "id",
    "last_modified": "discovered_at",
    "nelements": "nelements",
    "nsites": "nsites",
    "chemical_formula_descriptive": "formula_as_written",
}


@dataclass(frozen=True)
class Understood:
    """A filter in our names; None: no crystal can fulfil it. `notes` are warnings for whoever asked."""

    filter: Filter | None
    notes: tuple[str, ...] = ()


def understand(text: str) -> Understood:
    """Raises FilterError, with a caret under the wrong word; UnsupportedFilter where nothing is wrong but the wish."""
    asked = parse(text, VOCABULARY)
    if asked.root is None:
        return Understood(asked)
    holds = where(asked.root, wanted=True)
    notes = tuple(dict.fromkeys(note for leaf in leaves(asked.root) for note in _notes(leaf)))
    if holds is False:
        return Understood(None, notes)
    return Understood(replace(asked, root=None if holds is True else holds), notes)


def where(node: Node, *, wanted: bool) -> Node | bool:
    """A tree of ours that holds exactly where the node is true (or, if not wanted, where it is false)."""
    match node:
        case Not(operand):
            return where(operand, wanted=not wanted)
        case And(operands):
            return _joined([where(one, wanted=wanted) for one in operands], every=wanted)
        case Or(operands):
            return _joined([where(one, wanted=wanted) for one in operands], every=not wanted)
    meaning = _meaning(node)
    if meaning is None or isinstance(meaning, bool):
        return meaning is wanted
    return meaning if wanted else Not(meaning)


def _joined(parts: list[Node | bool], *, every: bool) -> Node | bool:
    if (not every) in parts:
        return not every
    nodes = [one for one in parts if not isinstance(one, bool)]
    if not nodes:
        return every
    return both(*nodes) if every else either(*nodes)


def leaves(node: Node) -> Iterator[Leaf]:
    """The comparisons of a tree."""
    match node:
        case Not(operand):
            yield from leaves(operand)
        case And(operands) | Or(operands):
            for one in operands:
                yield from leaves(one)
        case _:
            yield node


def _meaning(leaf: Leaf) -> Meaning:
    if leaf.field in OWN:
        return replace(leaf, field=leaf.field.removeprefix(PREFIX))
    if isinstance(leaf, Known):
        return leaf.known == (leaf.field in STANDARD)
    if leaf.field not in STANDARD:
        return None
    if isinstance(leaf, Length):
        return _length(SIZES[leaf.field], leaf)
    return _has(leaf) if isinstance(leaf, Has) else _comparison(leaf)


def _length(size: int | str, leaf: Length) -> Meaning:
    if isinstance(size, str):
        return Comparison(size, leaf.operator, leaf.value)
    return COMPARED[leaf.operator](size, leaf.value)


def _has(leaf: Has) -> Meaning:
    """Words that are no elements are held by no list."""
    if leaf.field == "structure_features":
        return False
    if leaf.field == "elements_ratios":
        return replace(leaf, field="shares")
    symbols = tuple(one for one in leaf.values if one in ATOMIC_NUMBERS)
    if not symbols or (leaf.quantifier == "ALL" and len(symbols) < len(leaf.values)):
        return False
    return Has("elements", leaf.quantifier, symbols)


def _comparison(leaf: Comparison) -> Meaning:
    if leaf.field in NAMES:
        return replace(leaf, field=NAMES[leaf.field])
    if leaf.field in SAME_FOR_ALL:
        return COMPARED[leaf.operator](SAME_FOR_ALL[leaf.field], leaf.value)
    return FORMULAS[leaf.field](leaf)


def _reduced(leaf: Comparison) -> Meaning:
    if leaf.operator not in ("=", "!="):
        return Comparison("formula_by_alphabet", leaf.operator, leaf.value)
    found = formulas.spells_by_alphabet(str(leaf.value))
    return replace(leaf, field="reduced_formula") if found else leaf.operator == "!="


def _anonymous(leaf: Comparison) -> Meaning:
    if leaf.operator not in ("=", "!="):
        return Comparison("formula_by_amount", leaf.operator, leaf.value)
    ours = formulas.from_amounts(str(leaf.value))
    return Comparison("anonymous_formula", leaf.operator, ours) if ours else leaf.operator == "!="


def _hill(leaf: Comparison) -> Meaning:
    if not formulas.spells_hill(str(leaf.value)):
        return leaf.operator == "!="
    return Comparison("reduced_formula", leaf.operator, formulas.by_alphabet(str(leaf.value)))


FORMULAS: dict[str, Callable[[Comparison], Meaning]] = {
    "chemical_formula_reduced": _reduced,
    "chemical_formula_anonymous": _anonymous,
    "chemical_formula_hill": _hill,
}


def _notes(leaf: Leaf) -> Iterator[str]:
    if leaf.field not in STANDARD and leaf.field not in OWN:
        yield f"{leaf.field[:80]} is known of no crystal here"
    elif isinstance(leaf, Has) and leaf.field in ("elements", "species_at_sites"):
        yield from (f"'{word[:40]}' isn't a chemical element" for word in leaf.values if word not in ATOMIC_NUMBERS)
    elif isinstance(leaf, Comparison) and leaf.field in FORMULAS and isinstance(_comparison(leaf), bool):
        yield f"{leaf.field} is written in another way than '{str(leaf.value)[:80]}': {EXAMPLES[leaf.field]}"


EXAMPLES = {
    "chemical_formula_reduced": "in alphabetical order, FeLiO4P",
    "chemical_formula_anonymous": "the largest amount first, A4BCD",
    "chemical_formula_hill": "in Hill's order, FeLiO4P",
}


def every(*parts: Node | None) -> Node | None:
    """All of them that there are."""
    given = [one for one in parts if one is not None]
    return reduce(both, given) if given else None
