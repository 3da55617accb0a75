"""A filter -> SELECTs over materials. Values are bound, never written into the text.

A material is a crystal that was imported or proposed, with its place at one level (bound as `level_id`; null: at none).
A page is found by ids first and described afterwards, so that no join of the description runs for rows left behind.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import ARRAY, BigInteger, Select, Text, and_, any_, bindparam, func, literal, or_, select, true, tuple_

from registry.models import Calculation, Composition, HullState, Level, Prototype, Source, Structure
from registry.query.columns import (
    AS_OF,
    CONVERGED,
    HULL,
    LEVEL_ID,
    RECORD,
    RELAXED,
    Choice,
    Column,
    Final,
    FinalPrototype,
    Guess,
    Place,
)
from registry.query.conditions import (
    condition,
    conjuncts,
    fields_of,
    members,
    of_types,
    on_the_hull,
    said_types,
    shortcuts,
    systems_of,
    without,
)
from registry.query.fields import COMPARABLE, FIELDS, Field
from registry.query.filter import Comparison, Filter, Known, Node


@dataclass(frozen=True)
class Stretch:
    """Part of an order: `limit` materials that have a value of `sort`, or have none, behind (value, structure id)."""

    sort: Field
    descending: bool
    known: bool
    after: tuple[Any, int] | None
    limit: int

    def of(self, statement: Select[Any], place: Place) -> Select[Any]:
        """The same SELECT, of this stretch alone."""
        column, key = place.column_of(self.sort), _key(place)
        if not self.known:
            statement = statement.where(column.is_(None)).order_by(key)
            return (statement.where(key > self.after[1]) if self.after else statement).limit(self.limit)
        if self.sort.nullable:
            statement = statement.where(column.is_not(None))
        if self.after:
            here = tuple_(column, key)
            there = tuple_(literal(self.after[0], column.type), literal(self.after[1], BigInteger))
            statement = statement.where(here < there if self.descending else here > there)
        return statement.order_by(*self.order(column, key)).limit(self.limit)

    def order(self, value: Column, key: Column) -> tuple[Column, Column]:
        return (value.desc(), key.desc()) if self.descending else (value, key)


def page_of(asked: Filter, stretch: Stretch) -> Select[Any]:
    """(structure id, sort value) of the materials that a filter finds."""
    if not _hull_answers(asked, stretch.sort, of_the_hull=stretch.known and stretch.sort.table == "hull_state"):
        value = RECORD.column_of(stretch.sort).label("sort_value")
        return stretch.of(matching(asked, RECORD.tables([stretch.sort]), _key(RECORD), value), RECORD)
    if stretch.sort.column == "hull_state.e_above_hull":
        for node in conjuncts(asked.root):
            if len(systems := systems_of(node)) > 1:
                return _page_of_systems(systems, without(asked.root, node), stretch)
    return stretch.of(_states(asked.root, stretch.sort), HULL)


def counted(asked: Filter) -> Select[Any]:
    """A row for every material that a filter finds."""
    if _hull_answers(asked, None, of_the_hull=False):
        return _states(asked.root, None)
    return matching(asked, set(), literal(1))


def matching(asked: Filter, tables: set[str], *selected: Column) -> Select[Any]:
    """SELECT the columns, which lie in `tables`, of every material that the filter finds, unordered."""
    tables = tables | RECORD.tables(fields_of(asked.root))
    statement = joined(select(*selected), tables, past=asked.as_of is not None)
    if (member := members(asked.root)) is not None:
        statement = statement.join(member, member.c.id == Structure.id)
    statement = statement.where(Structure.origin != RELAXED, *shortcuts(asked.root))
    return statement if asked.root is None else statement.where(condition(asked.root, RECORD))


def asks_for_the_hull(root: Node | None) -> bool:
    """Whether what has no place on the hull can't fulfil the filter."""
    needed = (one for one in conjuncts(root) if isinstance(one, Comparison) or (isinstance(one, Known) and one.known))
    return any(COMPARABLE[one.field].table == "hull_state" for one in needed)


def _key(place: Place) -> Column:
    return HullState.structure_id.expression if place is HULL else Structure.id.expression


def _hull_answers(asked: Filter, sort: Field | None, *, of_the_hull: bool) -> bool:
    """Whether current hull states alone can tell; two lookups less for every row.

    of_the_hull: those without a place on the hull aren't wanted.
    """
    fields = [*fields_of(asked.root), *([sort] if sort else [])]
    known = all(one.column in HULL.own or one.column in HULL.joined for one in fields)
    return known and asked.as_of is None and (of_the_hull or asks_for_the_hull(asked.root))


def _states(root: Node | None, sort: Field | None) -> Select[Any]:
    """SELECT (structure id, sort value) of the current states that a filter finds, unordered."""
    types = said_types(root)
    rest = [one for one in conjuncts(root) if one not in types]
    fields = [field for one in rest for field in fields_of(one)] + ([sort] if sort else [])
    values = [HULL.column_of(sort).label("sort_value")] if sort else []
    statement = _joined_to_states(select(_key(HULL), *values), HULL.tables(fields))
    statement = statement.where(HullState.level_id == LEVEL_ID, HullState.valid_to.is_(None))
    return statement.where(*of_types(types), *on_the_hull(rest), *(condition(one, HULL) for one in rest))


def _joined_to_states(statement: Select[Any], tables: set[str]) -> Select[Any]:
    statement = statement.select_from(HullState)
    if "composition" in tables:
        statement = statement.join(Composition, Composition.id == HullState.composition_id)
    if "prototype" in tables:
        statement = statement.outerjoin(Prototype, Prototype.id == HullState.prototype_id)
    return statement


def _page_of_systems(systems: Sequence[str], rest: Node | None, stretch: Stretch) -> Select[Any]:
    """The first ones of each chemical system, in the order of an index, and of those the first ones."""
    system = select(func.unnest(literal(list(systems), ARRAY(Text))).label("chemsys")).subquery("system")
    of_one = _states(rest, stretch.sort).where(HullState.chemsys == system.c.chemsys)
    found = stretch.of(of_one, HULL).correlate(system).lateral("of_system")
    statement = select(found.c.structure_id, found.c.sort_value).select_from(system).join(found, true())
    return statement.order_by(*stretch.order(found.c.sort_value, found.c.structure_id)).limit(stretch.limit)


@lru_cache(maxsize=64)
def described(names: tuple[str, ...], past: bool) -> Select[Any]:
    """SELECT the named fields of the structures bound as `ids` (an array), with their ids, unordered.

    Remembered, and one text whatever their number: planning it takes longer than running it.
    """
    fields = [FIELDS[name] for name in names]
    columns = [Structure.id.label("structure_id"), *(RECORD.column_of(one).label(one.name) for one in fields)]
    statement = joined(select(*columns), RECORD.tables(fields), past)
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
    """That a hull state belongs to the structure, now or as of the bound moment."""
    then = and_(HullState.valid_from <= AS_OF, or_(HullState.valid_to.is_(None), HullState.valid_to > AS_OF))
    return and_(
        HullState.structure_id == Structure.id,
        HullState.level_id == LEVEL_ID,
        then if past else HullState.valid_to.is_(None),
    )


def _labelled() -> Column:
    return and_(
        Calculation.initial_structure_id == Structure.id,
        Calculation.level_id == LEVEL_ID,
        Calculation.state == CONVERGED,
    )
