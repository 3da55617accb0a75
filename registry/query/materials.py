"""Questions to the system of record: pages of materials, the hull of a chemical system, where a crystal came from."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, func, select
from sqlalchemy.orm import Session

from registry.errors import FilterError, NotFound
from registry.models import Calculation, Composition, HullState, Level, Structure
from registry.query import sql
from registry.query.columns import COLUMNS, RELAXED, within
from registry.query.conditions import LARGEST, SMALLEST, conjuncts
from registry.query.fields import FIELDS, Field, Type, named
from registry.query.filter import Comparison, Filter, parse, write
from registry.query.relations import RELATIONS
from registry.query.values import element_symbol, storable

DEFAULT_SORT = "e_above_hull"
MAX_LIMIT = 1_000
COUNT_CAP = 1_000
"""Of pages: counting so many costs about as much as finding a page."""

PLACED = {"hull_state.e_above_hull", "hull_state.formation_energy_per_atom", "hull_state.is_stable"}
"""What every place on the hull has."""

LARGEST_ID = 2**63 - 1

Row = dict[str, Any]


@dataclass(frozen=True)
class Count:
    """How many materials match: `exact`, or `capped` where there are at least `value`."""

    value: int
    kind: str


@dataclass(frozen=True)
class Page:
    """One page of materials; `next` is the cursor of the page after it, None on the last one."""

    data: list[Row]
    count: Count | None
    next: str | None


@dataclass(frozen=True)
class Question:
    """A filter, the level that its energies belong to (None: no level has a hull yet), and an order."""

    filter: Filter
    level: str | None
    level_id: int | None
    sort: Field
    descending: bool

    @property
    def bound(self) -> Row:
        """The parameters that every statement of registry/query/sql.py takes."""
        moment = {"as_of": self.filter.as_of} if self.filter.as_of else {}
        return {"level_id": self.level_id, **moment}

    @property
    def past(self) -> bool:
        return self.filter.as_of is not None


@dataclass(frozen=True)
class Slice:
    """Ids of the structures on a page, the cursor after each, and whether more follow."""

    ids: list[int]
    cursors: list[str]
    more: bool


def search(
    session: Session,
    filter: str | Filter = "",  # noqa: A002 (the word that users know it by)
    level: str | None = None,
    sort: str = DEFAULT_SORT,
    limit: int = 50,
    cursor: str | None = None,
    fields: Sequence[str] | None = None,
    count_up_to: int = 0,
) -> Page:
    """One page of the materials that a filter finds.

    level: where the energies come from; None takes the level that the filter names, else the only one with a hull
    sort: a field, or "-field" for the largest first; materials without the value come last, ties go by age
    fields: names of registry/query/fields.py, all of them when None
    count_up_to: count what matches, too, up to so many: a statement of its own, which can take longer than the page
    Energies are in eV/atom. `external_ids` is scheme -> name, or a list where one scheme gave several names.
    Raises FilterError (a wrong filter, field, order or cursor) and NotFound (no such level).
    """
    question = ask(session, filter, level, sort)
    found = find(session, question, limit, cursor)
    data = describe(session, found.ids, question, fields)
    return Page(
        data,
        count(session, question, count_up_to) if count_up_to else None,
        found.cursors[-1] if found.more else None,
    )


def ask(session: Session, filter: str | Filter, level: str | None, sort: str = DEFAULT_SORT) -> Question:  # noqa: A002
    """Understand a question. Raises FilterError, NotFound."""
    asked = parse(filter) if isinstance(filter, str) else replace(filter, as_of=_in_utc(filter.as_of))
    field = named(sort.removeprefix("-"))
    if not field.sorts:
        raise FilterError(f"{field.name} is a {field.type}: results can't be ordered by it")
    name, level_id = the_level(session, level or _level_named_in(asked))
    return Question(asked, name, level_id, field, sort.startswith("-"))


def find(session: Session, question: Question, limit: int, cursor: str | None = None) -> Slice:
    """The ids of one page: those with a sort value in order, then those without."""
    if not 0 < limit <= MAX_LIMIT:
        raise FilterError(f"a page holds 1 to {MAX_LIMIT} materials, not {limit}")
    known, after = _position(question, cursor) if cursor else (True, None)
    rows = [*_rows(session, question, known, after, limit + 1)] if known else []
    if len(rows) <= limit and question.sort.nullable and not _always_known(question):
        rows += _rows(session, question, False, None if known else after, limit + 1 - len(rows))
    page = rows[:limit]
    mark = _fingerprint(question)
    return Slice([row[0] for row in page], [_cursor(mark, row[1], row[0]) for row in page], len(rows) > limit)


def describe(
    session: Session, ids: Sequence[int], question: Question, fields: Sequence[str] | None = None
) -> list[Row]:
    """The fields of structures, in the order of `ids`."""
    names = [named(name).name for name in fields] if fields else list(FIELDS)
    statement = sql.described(tuple(names), question.past)
    rows = session.connection().execute(statement, {**question.bound, "ids": list(ids)}).tuples()
    described = {row[0]: _as_data(dict(zip(names, row[1:], strict=True))) for row in rows}
    return [described[one] for one in ids]


def count(session: Session, question: Question, cap: int = COUNT_CAP) -> Count:
    """How many materials match; counting stops at `cap`."""
    found = sql.counted(question.filter).limit(cap + 1).subquery()
    value = int(session.execute(select(func.count()).select_from(found), question.bound).scalar_one())
    return Count(min(value, cap), "exact" if value <= cap else "capped")


def the_level(session: Session, name: str | None) -> tuple[str | None, int | None]:
    """Name and id of a level; without a name, of the only level that has a hull. Raises NotFound, FilterError."""
    if name is not None:
        found = session.scalar(select(Level.id).where(Level.name == name)) if storable(name) else None
        if found is None:
            raise NotFound(f"there is no level '{name[:80]}': known are {', '.join(_levels(session)) or 'none yet'}")
        return name, found
    placed = select(HullState.id).where(HullState.level_id == Level.id).exists()
    rows = session.execute(select(Level.name, Level.id).where(placed).order_by(Level.name)).all()
    if len(rows) > 1:
        raise FilterError(f"say which level the energies belong to: {', '.join(row[0] for row in rows)}")
    return (rows[0][0], rows[0][1]) if rows else (None, None)


def hull_entries(
    session: Session,
    chemsys: str,
    level: str | None = None,
    as_of: datetime | None = None,
    first: int | None = None,
) -> Row:
    """Every entry within a chemical system and its subsystems, with its place on the hull.

    as_of: the hull as it was then (None: as it is); UTC where it names no time zone
    first: at most so many entries, those nearest the hull (None: all of them, by chemical system)
    Energies in eV/atom; decomposition amounts are shares of the atoms.
    "references": the elements of the system that the level itself puts at zero, whether a crystal of them is labelled
    or not. Raises FilterError for a chemsys that isn't one, NotFound for an unknown level.
    """
    elements = sorted({element_symbol(word) for word in chemsys.split("-")})
    name, level_id = the_level(session, level)
    moment = _in_utc(as_of)
    bound = {"level_id": level_id, **({"as_of": moment} if moment else {})}
    rows = session.execute(_entries(elements, moment is not None, first), bound).mappings()
    return {
        "level": name,
        "chemsys": "-".join(elements),
        "as_of": moment.isoformat() if moment else None,
        "references": sorted(set(elements) & _references(session, level_id)),
        "entries": [_as_data(dict(row)) for row in rows],
    }


def _references(session: Session, level_id: int | None) -> set[str]:
    return set() if level_id is None else set(session.get_one(Level, level_id).references)


def structure_id(session: Session, public_id: str) -> int:
    """The row of a structure. Raises NotFound."""
    wanted = select(Structure.id).where(Structure.public_id == public_id)
    found = session.scalar(wanted) if storable(public_id) else None
    if found is None:
        raise NotFound(f"there is no structure '{public_id[:80]}'")
    return found


def _always_known(question: Question) -> bool:
    """Whether every material that the filter finds has a sort value."""
    return question.sort.column in PLACED and sql.asks_for_the_hull(question.filter.root)


def _rows(
    session: Session, question: Question, known: bool, after: tuple[Any, int] | None, limit: int
) -> Sequence[Any]:
    stretch = sql.Stretch(question.sort, question.descending, known, after, limit)
    return session.connection().execute(sql.page_of(question.filter, stretch), question.bound).all()


def _level_named_in(asked: Filter) -> str | None:
    for node in conjuncts(asked.root):
        if isinstance(node, Comparison) and (node.field, node.operator) == ("level", "="):
            return str(node.value)
    return None


def _levels(session: Session) -> list[str]:
    return list(session.scalars(select(Level.name).order_by(Level.name)))


def _as_data(row: Row) -> Row:
    """As they are shown; changed in place."""
    for name in row.keys() & SHOWN.keys():
        row[name] = SHOWN[name](row[name])
    return row


def _moment_shown(moment: datetime | None) -> str | None:
    return moment.astimezone(UTC).isoformat() if moment else None


def _words_shown(words: list[str] | None) -> list[str]:
    return words or []


def _names_shown(pairs: Sequence[Sequence[str]] | None) -> dict[str, str | list[str]]:
    return _by_scheme(pairs or [])


def _in_utc(moment: datetime | None) -> datetime | None:
    """The same moment in UTC, which is also what one without a time zone means."""
    if moment is None:
        return None
    try:
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except OverflowError:
        raise FilterError(f"{moment.isoformat()} lies outside of the calendar in UTC") from None


def _by_scheme(pairs: Sequence[Sequence[str]]) -> dict[str, str | list[str]]:
    names: dict[str, list[str]] = {}
    for scheme, value in pairs:
        names.setdefault(scheme, []).append(value)
    return {scheme: values[0] if len(values) == 1 else values for scheme, values in names.items()}


def _cursor(mark: str, value: Any, structure_id: int) -> str:
    shown = value.isoformat() if isinstance(value, datetime) else value
    packed = json.dumps([mark, shown, structure_id], separators=(",", ":"))
    return base64.urlsafe_b64encode(packed.encode()).decode().rstrip("=")


def _position(question: Question, cursor: str) -> tuple[bool, tuple[Any, int]]:
    try:
        fingerprint, value, last = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        after = (_sort_value(question.sort, value), int(last))
        if abs(after[1]) > LARGEST_ID or not _fits(after[0]):
            raise ValueError("no column holds such a value")
    except (ValueError, TypeError, OverflowError, RecursionError):
        raise FilterError("this cursor is damaged: start again without it") from None
    if fingerprint != _fingerprint(question):
        raise FilterError("this cursor belongs to another filter, level or order: start again without it")
    return value is not None, after


def _sort_value(field: Field, value: Any) -> Any:
    if value is None:
        return None
    readers: dict[Type, Callable[[Any], Any]] = {
        Type.TIMESTAMP: lambda words: _in_utc(datetime.fromisoformat(words)),
        Type.FLOAT: float,
        Type.INTEGER: int,
        Type.BOOLEAN: bool,
    }
    return readers.get(field.type, str)(value)


def _fits(value: Any) -> bool:
    """Whether a column can be compared with it: the integers that are sorted by are small ones."""
    if isinstance(value, str):
        return storable(value)
    return not isinstance(value, int) or SMALLEST <= value <= LARGEST


def _fingerprint(question: Question) -> str:
    content = [write(question.filter), question.level, question.sort.name, question.descending]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:12]


ENTRY: tuple[ColumnElement[Any], ...] = (
    Structure.public_id.label("id"),
    Calculation.id.label("calculation_id"),
    Structure.origin.expression,
    RELATIONS["external_id.value"].shown.label("external_ids"),
    Composition.reduced_formula.expression,
    Structure.chemsys.expression,
    COLUMNS["prototype.label"].label("prototype"),
    COLUMNS["prototype.spacegroup_number"].label("spacegroup_number"),
    HullState.formation_energy_per_atom.expression,
    HullState.e_above_hull.expression,
    HullState.decomposition_energy.expression,
    HullState.phase_separation_energy.expression,
    HullState.is_stable.expression,
    HullState.decomposition.expression,
)


def _entries(elements: list[str], past: bool, first: int | None) -> Select[Any]:
    placed = (
        select(*ENTRY)
        .select_from(Structure)
        .join(Composition, Composition.id == Structure.composition_id)
        .join(HullState, sql.placed(past))
        .join(Calculation, Calculation.id == HullState.calculation_id)
        .where(Structure.origin != RELAXED, within(elements))
    )
    order = (HullState.e_above_hull, Composition.reduced_formula, Structure.public_id)
    entries = sql.with_prototypes(placed)
    return entries.order_by(Structure.chemsys, *order) if first is None else entries.order_by(*order).limit(first)


SHOWN: dict[str, Callable[[Any], Any]] = {
    **{one.name: _words_shown for one in FIELDS.values() if one.type is Type.WORDS},
    **{one.name: _moment_shown for one in FIELDS.values() if one.type is Type.TIMESTAMP},
    "external_ids": _names_shown,
}
"""How fields are shown that aren't shown as they are."""
