"""What SQL finds is what the words of the language mean, told here once more in plain Python over described rows."""

from __future__ import annotations

import operator
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.orm import Session

from registry.models import Structure
from registry.query import sql
from registry.query.fields import FIELDS, Type
from registry.query.filter import And, Comparison, Filter, Has, Known, Length, Node, Not, Or, parse, write
from registry.query.materials import ask, search
from registry.query.values import formula_amounts
from tests.registry.query.filters import about_rows
from tests.registry.query.mixed import MOMENTS

Row = dict[str, Any]
Told = dict[datetime | None, dict[str, Row]]

COMPARED: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
    "CONTAINS": operator.contains, "STARTS": str.startswith, "ENDS": str.endswith,
}  # fmt: skip


def holds(node: Node | None, row: Row) -> bool | None:
    """Whether a row fulfils a filter; None where that can't be known."""
    match node:
        case None:
            return True
        case And(operands):
            return _all([holds(one, row) for one in operands])
        case Or(operands):
            return _not(_all([_not(holds(one, row)) for one in operands]))
        case Not(operand):
            return _not(holds(operand, row))
        case Known(name, known):
            return (row[name] not in (None, [], {})) == known
        case Length(name, comparison, value):
            return COMPARED[comparison](len(row[name]), value)
        case Has(name, quantifier, values):
            return _has(_words(row[name]), quantifier, set(values))
        case Comparison(name, comparison, value):
            return None if row[name] is None else _compared(name, row[name], comparison, value)


def _all(parts: list[bool | None]) -> bool | None:
    if False in parts:
        return False
    return None if None in parts else True


def _not(part: bool | None) -> bool | None:
    return None if part is None else not part


def _words(shown: Any) -> set[str]:
    """`external_ids` are shown by scheme."""
    lists = shown.values() if isinstance(shown, dict) else [shown]
    return {word for one in lists for word in ([one] if isinstance(one, str) else one)}


def _has(held: set[str], quantifier: str, wanted: set[str]) -> bool:
    return {"ALL": wanted <= held, "ANY": bool(wanted & held), "ONLY": held <= wanted}[quantifier]


def _compared(name: str, shown: Any, comparison: str, value: Any) -> bool:
    kind = FIELDS[name].type
    if kind is Type.FORMULA and comparison in ("=", "!="):
        shown, value = formula_amounts(shown), formula_amounts(value)
    if kind is Type.TIMESTAMP:
        shown = datetime.fromisoformat(shown)
    return COMPARED[comparison](shown, value)


@pytest.fixture(scope="module")
def told(registry: Session) -> Told:
    """Every material by its id, as it is described now and as of each moment."""
    moments = (None, *MOMENTS)
    return {one: {row["id"]: row for row in search(registry, Filter(as_of=one), limit=1_000).data} for one in moments}


def found(session: Session, asked: Filter, sort: str) -> set[str]:
    return {row["id"] for row in search(session, asked, "test-level", sort, 1_000, fields=["id"]).data}


def exported(session: Session, asked: Filter) -> set[str]:
    """As exports find them."""
    question = ask(session, asked, "test-level")
    return set(session.scalars(sql.matching(question.filter, set(), Structure.public_id.expression), question.bound))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_finds_what_plain_python_finds(registry: Session, told: Told, data: st.DataObject) -> None:
    asked = data.draw(about_rows(told[None], MOMENTS))
    expected = {name for name, row in told[asked.as_of].items() if holds(asked.root, row)}
    assert found(registry, asked, "e_above_hull") == expected
    assert found(registry, parse(write(asked)), "-volume") == expected
    assert exported(registry, asked) == expected
