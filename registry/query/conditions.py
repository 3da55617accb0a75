"""The typed tree of a filter -> WHERE, asked from one of the places of registry/query/columns.py."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import (
    ARRAY,
    Double,
    Numeric,
    Select,
    SmallInteger,
    Subquery,
    and_,
    func,
    literal,
    literal_column,
    not_,
    or_,
    select,
    union_all,
)
from sqlalchemy.orm import aliased

from registry.models import Calculation, Composition, HullState, Property, Prototype, Structure
from registry.query.columns import CONVERGED, LEVEL_ID, MAX_SUBSETS_OF, Column, Place, subsystems
from registry.query.fields import COMPARABLE, FIELDS, Field, Type
from registry.query.filter import And, Comparison, Has, Known, Length, Node, Not, Or, Value
from registry.query.relations import RELATIONS, Relation, with_property
from registry.query.values import formula_amounts

SMALLEST, LARGEST = -32_768, 32_767
MAX_SHORTCUTS = 4
"""Of a kind. Each is a join to be put in order: with hundreds of them the planner ran for minutes."""

COMPARED: dict[str, Callable[[Any, Any], Any]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "CONTAINS": lambda column, words: func.strpos(column, words) > 0,
    "STARTS": lambda column, words: func.starts_with(column, words),
    "ENDS": lambda column, words: func.right(column, func.length(words)) == words,
}


def condition(node: Node, place: Place) -> Column:
    """WHERE of a tree; valid within a statement that joins the place's tables for its fields."""
    match node:
        case And(operands):
            return and_(*(condition(one, place) for one in operands))
        case Or(operands):
            return or_(*(condition(one, place) for one in operands))
        case Not(operand):
            return not_(condition(operand, place))
        case Known(name, known):
            return _known(COMPARABLE[name], known, place)
        case Length(_, comparison, value):
            return _comparison(FIELDS["nelements"], comparison, value, place)
        case Has(name, quantifier, values):
            words = list(dict.fromkeys(values))
            if COMPARABLE[name].type is Type.NUMBERS:
                return _holds_numbers(place.column_of(COMPARABLE[name]), quantifier, words)
            relation = RELATIONS.get(FIELDS[name].column)
            return _related(relation, quantifier, words) if relation else place.has_elements(quantifier, words)
        case Comparison(name, comparison, value):
            return _comparison(COMPARABLE[name], comparison, value, place)


def fields_of(node: Node | None) -> list[Field]:
    """The fields that a tree asks about."""
    match node:
        case None:
            return []
        case And(operands) | Or(operands):
            return [field for one in operands for field in fields_of(one)]
        case Not(operand):
            return fields_of(operand)
        case Length():
            return [FIELDS["nelements"]]
        case _:
            return [COMPARABLE[node.field]]


def conjuncts(node: Node | None) -> tuple[Node, ...]:
    """What must hold whatever else does."""
    if node is None:
        return ()
    return node.operands if isinstance(node, And) else (node,)


def without(node: Node | None, conjunct: Node) -> Node | None:
    """What else must hold."""
    rest = tuple(one for one in conjuncts(node) if one is not conjunct)
    return And(rest) if len(rest) > 1 else (rest[0] if rest else None)


def systems_of(node: Node) -> list[str]:
    """The chemical systems that a conjunct names one by one, if it does."""
    match node:
        case Comparison("chemsys", "=", value):
            return [str(value)]
        case Has("elements", "ONLY", values) if len(set(values)) <= MAX_SUBSETS_OF:
            return subsystems(values)
    return []


def said_types(root: Node | None) -> list[Comparison]:
    """The structure types, or space groups, that every material must be of."""
    types = [one for one in _said(root) if COMPARABLE[one.field].table == "prototype" and one.operator == "="]
    return types[:MAX_SHORTCUTS]


def of_types(types: Sequence[Comparison]) -> list[Column]:
    """WHERE of them, of a hull state. A label is one type's: its states lie in order in an index."""
    key = HullState.prototype_id
    return [key == _types(one).scalar_subquery() if one.field == "prototype" else key.in_(_types(one)) for one in types]


def on_the_hull(nodes: Sequence[Node]) -> list[Column]:
    """What a constraint of hull_state says of stable ones, so that the index by e_above_hull answers."""
    stable = Comparison("is_stable", "=", True)
    return [HullState.e_above_hull == literal_column("0", Double)] if stable in nodes else []


def shortcuts(root: Node | None) -> list[Column]:
    """What also follows from the filter, said so that an index of property can answer it. Of structures."""
    said = [one for one in _said(root) if COMPARABLE[one.field].table == "property"]
    return [_of_property(one) for one in said[:MAX_SHORTCUTS]]


def members(root: Node | None) -> Subquery | None:
    """SELECT the ids of the structures of a type that the filter demands, each once, if it does; by indexes.

    Those that are of it as they stand, and of the others those whose relaxed crystal at the level is.
    """
    if not (said := said_types(root)):
        return None
    types, relaxed, initial = _types(said[0]), aliased(Structure), aliased(Structure)
    other = or_(initial.prototype_id.is_(None), initial.prototype_id.not_in(types))
    became = select(Calculation.initial_structure_id).join(relaxed, relaxed.id == Calculation.final_structure_id)
    became = became.join(initial, initial.id == Calculation.initial_structure_id)
    became = became.where(Calculation.level_id == LEVEL_ID, Calculation.state == CONVERGED)
    became = became.where(relaxed.prototype_id.in_(types), other)
    return union_all(select(initial.id).where(initial.prototype_id.in_(types)), became).subquery("member")


def _said(root: Node | None) -> list[Comparison]:
    return list(dict.fromkeys(one for one in conjuncts(root) if isinstance(one, Comparison)))


def _types(node: Comparison) -> Select[Any]:
    """SELECT the ids of the structure types that a comparison wants."""
    inner = Prototype.__table__.alias("wanted_prototype")
    name = FIELDS[node.field].column.removeprefix("prototype.")
    return select(inner.c.id).where(inner.c[name] == _bound(FIELDS[node.field], node.value))


def _of_property(node: Comparison) -> Column:
    """What stands in an index of property; that it is the latest value is checked afterwards."""
    holds = COMPARED[node.operator](Property.value, literal(node.value, Double))
    return Structure.id.in_(with_property(node.field, holds))


def _comparison(field: Field, comparison: str, value: Value, place: Place) -> Column:
    if field.type is Type.FORMULA and comparison in {"=", "!="}:
        amounts = formula_amounts(str(value))
        same = and_(
            place.column_of(FIELDS["chemsys"]) == "-".join(amounts),
            Composition.amounts == literal(list(amounts.values()), ARRAY(SmallInteger)),
        )
        return same if comparison == "=" else not_(same)
    compared: Column = COMPARED[comparison](place.column_of(field), _bound(field, value))
    return compared


def _bound(field: Field, value: Value) -> Column:
    if field.type is Type.INTEGER:  # beyond smallint the comparison widens instead of failing
        return literal(value, _integer_type(value))
    return literal(value, Double) if field.type is Type.FLOAT else literal(value)


def _integer_type(value: Value) -> SmallInteger | Numeric[Any] | Double[Any]:
    if isinstance(value, int):
        return SmallInteger() if SMALLEST <= value <= LARGEST else Numeric()
    return Double()


def _known(field: Field, known: bool, place: Place) -> Column:
    if field.column in RELATIONS:
        named = RELATIONS[field.column].known
        return named if known else not_(named)
    column = place.column_of(field)
    return column.is_not(None) if known else column.is_(None)


def _holds_numbers(held: Column, quantifier: str, words: Sequence[str]) -> Column:
    wanted = literal([float(word) for word in words], ARRAY(Double))
    return held.op("&&" if quantifier == "ANY" else "@>", is_comparison=True)(wanted)


def _related(relation: Relation, quantifier: str, values: list[str]) -> Column:
    return Structure.id.in_(relation.of_any(values) if quantifier == "ANY" else relation.of_all(values))
