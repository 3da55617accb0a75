"""The same filter never gives two answers: what is counted is what the pages hold, in every order."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.orm import Session

from registry.query.fields import FIELDS
from registry.query.filter import Filter
from registry.query.materials import Count, ask, count, search
from tests.registry.query.filters import about_rows
from tests.registry.query.mixed import MANY, MOMENTS

SORTS = [sign + one.name for one in FIELDS.values() if one.sorts for sign in ("", "-")]


def test_the_registry_is_as_hard_as_it_should_be(rows: dict[str, dict[str, Any]]) -> None:
    assert len(rows) == MANY
    for field in (one for one in FIELDS.values() if one.sorts):
        values = [row[field.name] for row in rows.values()]
        known = [value for value in values if value is not None]
        assert (len(known) < MANY) == field.nullable, field.name
        assert len(set(known)) > 1 or field.name == "level"
        assert len(set(known)) < len(known) / 2 or field.name == "id"


@pytest.mark.parametrize("sort", SORTS)
@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), limit=st.sampled_from([17, 60, 299, 300, 301]))
def test_count_and_pages_agree(
    registry: Session, rows: dict[str, dict[str, Any]], sort: str, data: st.DataObject, limit: int
) -> None:
    asked = data.draw(about_rows(rows, MOMENTS))
    pages = list(_pages(registry, asked, sort, limit))
    found = [row for page in pages for row in page]
    ids = [row["id"] for row in found]
    assert len(set(ids)) == len(ids)
    assert all(len(page) == limit for page in pages[:-1])
    assert pages[-1] or len(pages) == 1
    assert count(registry, ask(registry, asked, "test-level")) == Count(len(ids), "exact")
    assert set(ids) == {row["id"] for row in search(registry, asked, "test-level", "id", limit=1_000).data}
    if asked.as_of is None:
        _in_order([rows[one] for one in ids], sort)


def _pages(session: Session, asked: Filter, sort: str, limit: int) -> Iterator[list[dict[str, Any]]]:
    cursor = None
    while True:
        page = search(session, asked, "test-level", sort, limit, cursor, fields=["id"])
        yield page.data
        cursor = page.next
        if cursor is None:
            return


def _in_order(found: list[dict[str, Any]], sort: str) -> None:
    """By value, then by age, both backwards where asked; those without a value at the end, the oldest first."""
    name, backwards = sort.removeprefix("-"), sort.startswith("-")
    runs = [(value, [row["age"] for row in run]) for value, run in groupby(found, lambda row: row[name])]
    values = [value for value, _ in runs if value is not None]
    assert values == sorted(set(values), reverse=backwards)
    assert [value for value, _ in runs] == values + [None] * (len(runs) - len(values))
    for value, ages in runs:
        assert ages == sorted(ages, reverse=backwards and value is not None)
