"""The typed tree of a filter -> SELECTs over materials. Values are bound, never written into the text.

A material is a crystal that was imported or proposed, with its place at one level (bound as `level_id`; null: at none).
A page is found by ids first and described afterwards, so that no join of the description runs for rows left behind.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import combinations
from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    DateTime,
    Double,
    Numeric,
    Select,
    SmallInteger,
    and_,
    any_,
    bindparam,
    func,
    literal,
    not_,
    or_,
    select,
    true,
    tuple_,
    union,
)
from sqlalchemy.orm import aliased

from registry.models import (
    Calculation,
    Composition,
    HullState,
    Level,
    Model,
    Prediction,
    Property,
    Prototype,
    Selection,
    Source,
    Structure,
)
from registry.query.fields import FIELDS, Field, Type
from registry.query.filter import And, Comparison, Filter, Has, Known, Length, Node, Not, Or, Value
from registry.query.relations import FAMILY, PROPERTIES, RELATIONS, Relation, with_property
from registry.query.values import formula_amounts

Column = ColumnElement[Any]

KNOWN_TO_THE_HULL = {"composition", "hull_state", "prototype"}
MAX_SUBSETS_OF = 8
SMALLEST, LARGEST = -32_768, 32_767
MAX_SHORTCUTS = 4
"""Of a kind. Each is a join to be put in order: with hundreds of them the planner ran for minutes."""

LEVEL_ID = bindparam("level_id", type_=BigInteger)
AS_OF = bindparam("as_of", type_=DateTime(timezone=True))

Final = aliased(Structure, name="final_structure")
FinalPrototype = aliased(Prototype, name="final_prototype")

Guess = (
    select(Prediction.formation_energy_per_atom, Prediction.spread)
    .join(Model, and_(Model.id == Prediction.model_id, Model.promoted))
    .where(Prediction.structure_id == Structure.id, Model.level_id == LEVEL_ID)
    .order_by(Prediction.stage)  # 'ensemble' comes before 'single'
    .limit(1)
    .correlate(Structure)
    .lateral("prediction_of_level")
)
Choice = (
    select(Selection.predicted_decomposition_energy)
    .where(
        Selection.structure_id == Structure.id,
        Selection.level_id == LEVEL_ID,
        Selection.predicted_decomposition_energy.is_not(None),
    )
    .order_by(Selection.purpose, Selection.id.desc())  # 'label' comes before 'refine'
    .limit(1)
    .correlate(Structure)
    .lateral("selection_of_level")
)

COLUMNS: dict[str, Column] = {
    "structure.public_id": Structure.public_id.expression,
    "structure.nsites": Structure.nsites.expression,
    "structure.volume": Structure.volume.expression,
    "structure.origin": Structure.origin.expression,
    "structure.created_at": Structure.created_at.expression,
    "composition.elements": Composition.elements.expression,
    "composition.nelements": Composition.nelements.expression,
    "composition.chemsys": Composition.chemsys.expression,
    "composition.reduced_formula": Composition.reduced_formula.expression,
    "composition.anonymous_formula": Composition.anonymous_formula.expression,
    "prototype.label": func.coalesce(FinalPrototype.label, Prototype.label),
    "prototype.spacegroup_number": func.coalesce(FinalPrototype.spacegroup_number, Prototype.spacegroup_number),
    "source.name": Source.name.expression,
    "source.licence": Source.licence.expression,
    **{name: relation.shown for name, relation in RELATIONS.items()},
    **PROPERTIES,
    "family.label": FAMILY,
    "level.name": Level.name.expression,
    "hull_state.formation_energy_per_atom": HullState.formation_energy_per_atom.expression,
    "hull_state.e_above_hull": HullState.e_above_hull.expression,
    "hull_state.decomposition_energy": HullState.decomposition_energy.expression,
    "hull_state.phase_separation_energy": HullState.phase_separation_energy.expression,
    "hull_state.is_stable": HullState.is_stable.expression,
    "prediction.formation_energy_per_atom": Guess.c.formation_energy_per_atom,
    "prediction.spread": Guess.c.spread,
    "selection.predicted_decomposition_energy": Choice.c.predicted_decomposition_energy,
}

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


def column_of(field: Field) -> Column:
    """The expression of a field; valid within `joined` with the field's table."""
    return COLUMNS[field.column]


def matching(asked: Filter, tables: set[str], *selected: Column) -> Select[Any]:
    """SELECT the columns of every material that the filter finds, unordered."""
    statement = joined(select(*selected), tables | tables_of(asked.root), past=asked.as_of is not None)
    statement = statement.where(Structure.origin != "relaxed", *_shortcuts(asked.root))
    return statement if asked.root is None else statement.where(condition(asked.root))


def page_of(asked: Filter, sort: Field, descending: bool, known: bool, after: tuple[Any, int] | None) -> Select[Any]:
    """One page of (structure id, sort value), by keyset: the materials with a sort value, or those without."""
    column = column_of(sort)
    of_the_hull = known and sort.table == "hull_state"
    key, statement = keyed(asked, {sort.table}, of_the_hull, column.label("sort_value"))
    if not known:
        statement = statement.where(column.is_(None)).order_by(key)
        return statement.where(key > after[1]) if after else statement
    if sort.nullable:
        statement = statement.where(column.is_not(None))
    if after:
        here, there = (
            tuple_(column, key),
            tuple_(literal(after[0], column.type), literal(after[1], BigInteger)),
        )
        statement = statement.where(here < there if descending else here > there)
    order = (column.desc(), key.desc()) if descending else (column, key)
    return statement.order_by(*order)


def keyed(asked: Filter, tables: set[str], of_the_hull: bool, *selected: Column) -> tuple[Column, Select[Any]]:
    """The column of structure ids, and SELECT it and others of every material that the filter finds, unordered.

    of_the_hull: those without a place on the hull aren't wanted. Where hull_state knows all that is asked, structure
    isn't read then: two lookups less for every row.
    """
    tables = tables | tables_of(asked.root)
    if asked.as_of is None and tables <= KNOWN_TO_THE_HULL and (of_the_hull or asks_for_the_hull(asked.root)):
        return HullState.structure_id.expression, _on_the_hull(asked, tables, selected)
    return Structure.id.expression, matching(asked, tables, Structure.id.expression, *selected)


def asks_for_the_hull(root: Node | None) -> bool:
    """Whether what has no place on the hull can't fulfil the filter."""
    needed = (one for one in conjuncts(root) if isinstance(one, Comparison) or (isinstance(one, Known) and one.known))
    return any(FIELDS[one.field].table == "hull_state" for one in needed)


def _on_the_hull(asked: Filter, tables: set[str], selected: Sequence[Column]) -> Select[Any]:
    columns: list[Column] = [HullState.structure_id.expression, *selected]
    statement: Select[Any] = select(*columns)
    statement = statement.where(HullState.level_id == LEVEL_ID, HullState.valid_to.is_(None))
    if "composition" in tables:
        statement = statement.join(Composition, Composition.id == HullState.composition_id)
    if "prototype" in tables:  # the relaxed crystal's where it has one: both names of the column stand for it
        for kind in (Prototype, FinalPrototype):
            statement = statement.outerjoin(kind, kind.id == HullState.prototype_id)
    types = [HullState.prototype_id.in_(_types(one)) for one in _said_types(asked.root)]
    statement = statement.where(*types)
    return statement if asked.root is None else statement.where(condition(asked.root))


@lru_cache(maxsize=64)
def described(names: tuple[str, ...], past: bool) -> Select[Any]:
    """SELECT the named fields of the structures bound as `ids` (an array), with their ids, unordered.

    Remembered, and one text whatever their number: planning it takes longer than running it.
    """
    fields = [FIELDS[name] for name in names]
    columns = [Structure.id.label("structure_id"), *(column_of(one).label(one.name) for one in fields)]
    statement = joined(select(*columns), {one.table for one in fields}, past)
    return statement.where(Structure.id == any_(bindparam("ids", type_=ARRAY(BigInteger))))


def joined(statement: Select[Any], tables: set[str], past: bool) -> Select[Any]:
    """FROM structure and the tables asked for; hull states as they stand, or as of the moment bound as `as_of`.

    Nothing is joined for nothing: past eight joins the planner stops looking for their best order.
    """
    statement = statement.select_from(Structure)
    if "composition" in tables:
        statement = statement.join(Composition, Composition.id == Structure.composition_id)
    if "source" in tables:
        statement = statement.join(Source, Source.id == Structure.source_id)
    if tables & {"calculation", "level", "prototype"}:
        statement = statement.outerjoin(Calculation, _labelled())
    if "level" in tables:
        statement = statement.outerjoin(Level, Level.id == Calculation.level_id)
    if "hull_state" in tables:
        statement = statement.outerjoin(HullState, placed(past))
    if "prototype" in tables:
        statement = with_prototypes(statement)
    if "prediction" in tables:
        statement = statement.outerjoin(Guess, true())
    return statement.outerjoin(Choice, true()) if "selection" in tables else statement


def with_prototypes(statement: Select[Any]) -> Select[Any]:
    """Join the structure types before and after the relaxation."""
    return (
        statement.outerjoin(Prototype, Prototype.id == Structure.prototype_id)
        .outerjoin(Final, Final.id == Calculation.final_structure_id)
        .outerjoin(FinalPrototype, FinalPrototype.id == Final.prototype_id)
    )


def placed(past: bool) -> Column:
    """That a hull state belongs to the calculation, now or as of the bound moment."""
    then = and_(HullState.valid_from <= AS_OF, or_(HullState.valid_to.is_(None), HullState.valid_to > AS_OF))
    return and_(
        HullState.structure_id == Structure.id,
        HullState.level_id == LEVEL_ID,
        then if past else HullState.valid_to.is_(None),
    )


def external_ids() -> Column:
    """[[scheme, name], ...] of the structure, null where it has none."""
    return RELATIONS["external_id.value"].shown


def _labelled() -> Column:
    return and_(
        Calculation.initial_structure_id == Structure.id,
        Calculation.level_id == LEVEL_ID,
        Calculation.state == "converged",
    )


def condition(node: Node) -> Column:
    """WHERE of a tree."""
    match node:
        case And(operands):
            return and_(*map(condition, operands))
        case Or(operands):
            return or_(*map(condition, operands))
        case Not(operand):
            return not_(condition(operand))
        case Known(name, known):
            return _known(FIELDS[name], known)
        case Length(_, comparison, value):
            return _comparison(FIELDS["nelements"], comparison, value)
        case Has(name, quantifier, values):
            words = list(dict.fromkeys(values))
            relation = RELATIONS.get(FIELDS[name].column)
            return _related(relation, quantifier, words) if relation else _elements(quantifier, words)
        case Comparison(name, comparison, value):
            return _comparison(FIELDS[name], comparison, value)


def tables_of(node: Node | None) -> set[str]:
    """Which tables the fields of a tree lie in."""
    match node:
        case None:
            return set()
        case And(operands) | Or(operands):
            return set().union(*map(tables_of, operands))
        case Not(operand):
            return tables_of(operand)
        case _:
            return {FIELDS[node.field].table}


def conjuncts(node: Node | None) -> tuple[Node, ...]:
    """What must hold whatever else does."""
    if node is None:
        return ()
    return node.operands if isinstance(node, And) else (node,)


def subsystems(elements: list[str]) -> list[str]:
    """Every chemical system within these elements, the whole one included."""
    ordered = sorted(set(elements))
    sizes = range(1, len(ordered) + 1)
    return ["-".join(part) for size in sizes for part in combinations(ordered, size)]


def within(elements: list[str]) -> Column:
    """That a composition holds no element but these: by its chemical system where the list is short."""
    if len(elements) <= MAX_SUBSETS_OF:
        return Composition.chemsys.in_(subsystems(elements))
    held: Column = Composition.elements.contained_by(elements)
    return held


def _comparison(field: Field, comparison: str, value: Value) -> Column:
    if field.type is Type.FORMULA and comparison in {"=", "!="}:
        amounts = formula_amounts(str(value))
        same = and_(Composition.chemsys == "-".join(amounts), Composition.amounts == list(amounts.values()))
        return same if comparison == "=" else not_(same)
    compared: Column = COMPARED[comparison](column_of(field), _bound(field, value))
    return compared


def _bound(field: Field, value: Value) -> Column:
    if field.type is Type.INTEGER:  # beyond smallint the comparison widens instead of failing
        return literal(value, _integer_type(value))
    return literal(value, Double) if field.type is Type.FLOAT else literal(value)


def _integer_type(value: Value) -> SmallInteger | Numeric[Any] | Double[Any]:
    if isinstance(value, int):
        return SmallInteger() if SMALLEST <= value <= LARGEST else Numeric()
    return Double()


def _known(field: Field, known: bool) -> Column:
    if field.column in RELATIONS:
        named = RELATIONS[field.column].known
        return named if known else not_(named)
    column = column_of(field)
    return column.is_not(None) if known else column.is_(None)


def _elements(quantifier: str, elements: list[str]) -> Column:
    if quantifier == "ONLY":
        return within(elements)
    of = Composition.elements
    held: Column = of.overlap(elements) if quantifier == "ANY" else of.contains(elements)
    return held


def _related(relation: Relation, quantifier: str, values: list[str]) -> Column:
    return Structure.id.in_(relation.of_any(values) if quantifier == "ANY" else relation.of_all(values))


def _shortcuts(root: Node | None) -> list[Column]:
    """What also follows from the filter, said so that an index can answer it."""
    properties = [one for one in _said(root) if FIELDS[one.field].table == "property"]
    return [*map(_of_type, _said_types(root)), *map(_of_property, properties[:MAX_SHORTCUTS])]


def _said(root: Node | None) -> list[Comparison]:
    return list(dict.fromkeys(one for one in conjuncts(root) if isinstance(one, Comparison)))


def _said_types(root: Node | None) -> list[Comparison]:
    types = [one for one in _said(root) if FIELDS[one.field].table == "prototype" and one.operator == "="]
    return types[:MAX_SHORTCUTS]


def _of_property(node: Comparison) -> Column:
    """What stands in an index of property; that it is the latest value is checked afterwards."""
    holds = COMPARED[node.operator](Property.value, literal(node.value, Double))
    return Structure.id.in_(with_property(node.field, holds))


def _types(node: Comparison) -> Select[Any]:
    """Ids of the structure types that the comparison wants."""
    inner = Prototype.__table__.alias("wanted_prototype")
    name = FIELDS[node.field].column.removeprefix("prototype.")
    return select(inner.c.id).where(inner.c[name] == _bound(FIELDS[node.field], node.value))


def _of_type(node: Comparison) -> Column:
    types = _types(node)
    crystal, relaxed = aliased(Structure), aliased(Structure)
    before = select(crystal.id).where(crystal.prototype_id.in_(types))
    after = (
        select(Calculation.initial_structure_id)
        .join(relaxed, relaxed.id == Calculation.final_structure_id)
        .where(relaxed.prototype_id.in_(types))
    )
    return Structure.id.in_(union(before, after))
