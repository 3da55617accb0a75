"""Hostile filters against a real registry: refused or answered at once, and never a part of the SQL."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import orjson
import pytest
import sqlalchemy as sa
from sqlalchemy import Engine, event
from sqlalchemy.orm import Session

from api.graphql.endpoint import Asked, answer
from registry.database import engine_for
from registry.errors import LodeError
from registry.query import materials, sql
from registry.query.filter import parse
from registry.query.lineage import lineage
from registry.query.materials import Count, search
from tests import factories as make
from tests.registry.query.hostile import HARMLESS, REFUSED, TEXTS, quoted

GRAPHQL = "query($filter: String!) { materials(filter: $filter) { nodes { id } count { value } } }"
TRIES = 3
PATIENCE = "30s"
"""With PostgreSQL, on a machine that others use, too. Hundreds of subqueries to be joined take it minutes."""


@pytest.fixture(scope="module")
def shared(new_database: Any) -> Iterator[Engine]:
    with new_database() as url:
        engine = engine_for(url, "pytest")
        with Session(engine) as session:
            make.material(session, "NaCl", 0.0, label="AB_cF8_225_a_b", external_ids={"mp": "mp-22862"})
            session.commit()
        yield engine
        engine.dispose()


def fastest(work: Callable[[], object]) -> float:
    """CPU seconds of this process and all its threads in the best try: nothing refused gets to PostgreSQL."""
    seconds = []
    for _ in range(TRIES):
        began = time.process_time()
        work()
        seconds.append(time.process_time() - began)
    return min(seconds)


def refused(engine: Engine, text: str) -> str:
    with Session(engine) as session, pytest.raises(LodeError) as caught:
        search(session, text)
    return str(caught.value)


def graphql(engine: Engine, query: str, **variables: str) -> dict[str, Any]:
    answered = asyncio.run(answer(engine, Asked(query, variables, None)))
    orjson.dumps(answered)
    return answered


@pytest.mark.parametrize("text", REFUSED.values(), ids=REFUSED)
def test_a_search_refuses_at_once(shared: Engine, text: str) -> None:
    assert fastest(lambda: refused(shared, text)) < 0.1


@pytest.mark.parametrize("text", REFUSED.values(), ids=REFUSED)
def test_graphql_refuses_at_once(shared: Engine, text: str) -> None:
    (error,) = graphql(shared, GRAPHQL, filter=text)["errors"]
    assert error["extensions"]["code"] == "FilterError"
    assert len(error["message"]) < 1_000
    assert fastest(lambda: graphql(shared, GRAPHQL, filter=text)) < 0.1


@pytest.mark.parametrize("text", HARMLESS.values(), ids=HARMLESS)
def test_what_fits_is_answered(shared: Engine, text: str) -> None:
    with Session(shared) as session:
        session.execute(sa.text(f"SET LOCAL statement_timeout = '{PATIENCE}'"))
        began = time.process_time()
        assert search(session, text, count_up_to=1_000).count == Count(0, "exact")
        assert time.process_time() - began < 2


@pytest.mark.parametrize("quantifier", ["ANY", "ALL"])
def test_many_words_are_one_subquery(quantifier: str) -> None:
    words = [",".join(f'"{number}"' for number in range(count)) for count in (2, 900)]
    few, many = (
        str(sql.matching(parse(text), set(), sa.literal(1)))
        for text in (f"duplicates HAS {quantifier} {one}" for one in words)
    )
    assert few.count("SELECT") == many.count("SELECT")


@pytest.mark.parametrize("words", TEXTS)
def test_text_never_reaches_the_sql(shared: Engine, words: str) -> None:
    """Every statement of a search for it is one that a search for another text sends, too."""
    texts = ("source = ", "source CONTAINS ", "prototype STARTS ", "external_ids HAS ", "parent HAS ", "level != ")
    for asked in texts:
        hostile, plain = (sent(shared, asked + quoted(one)) for one in (words, "plain"))
        assert hostile == plain
    with Session(shared) as session:
        assert len(search(session).data) == 1


def sent(engine: Engine, text: str) -> list[str]:
    statements: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        statements.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    try:
        with Session(engine) as session:
            assert search(session, text, "test-level", count_up_to=1_000).count == Count(int("!=" in text), "exact")
    finally:
        event.remove(engine, "before_cursor_execute", note)
    assert len(statements) >= 3
    return statements


NAMES = ("a\x00b", "\ud800", "x" * 1_000_000, "'; DROP TABLE structure; --", "")


@pytest.mark.parametrize("words", NAMES, ids=range(len(NAMES)))
def test_names_that_no_database_stores(shared: Engine, words: str) -> None:
    with Session(shared) as session:
        wrong: list[Callable[[], object]] = [
            lambda: search(session, level=words or "x"),
            lambda: search(session, sort=words),
            lambda: search(session, fields=[words]),
            lambda: search(session, cursor=words or "x"),
            lambda: materials.hull_entries(session, words),
            lambda: materials.hull_entries(session, "Li", words),
            lambda: lineage(session, words),
        ]
        for call in wrong:
            with pytest.raises(LodeError) as caught:
                call()
            assert len(str(caught.value)) < 1_000


@pytest.mark.parametrize("words", NAMES[:-1], ids=range(len(NAMES) - 1))
@pytest.mark.parametrize(
    "query",
    [
        "query($a: String!) { materials(level: $a) { level } }",
        "query($a: String!) { materials(sort: $a) { level } }",
        "query($a: String!) { materials(after: $a) { level } }",
        "query($a: ID!) { material(id: $a) { id } }",
        "query($a: String!) { hull(chemsys: $a) { level } }",
        'query($a: String!) { hull(chemsys: "Li", level: $a) { level } }',
    ],
)
def test_names_that_graphql_is_asked_for(shared: Engine, query: str, words: str) -> None:
    (error,) = graphql(shared, query, a=words)["errors"]
    assert error["extensions"]["code"] in {"FilterError", "NotFound"}


@pytest.mark.parametrize(
    ("sort", "value", "last"),
    [
        ("id", "a\x00b", 1),
        ("id", "\ud800", 1),
        ("id", "x", 10**30),
        ("id", "x", -(10**30)),
        ("id", "x", 1e308),
        ("nsites", 10**30, 1),
        ("nsites", -(10**5), 1),
        ("nsites", 1e308, 1),
        ("nsites", {}, 1),
        ("e_above_hull", [], 1),
        ("discovered_at", "0001-01-01T00:00:00+14:00", 1),
        ("discovered_at", 5, 1),
    ],
)
def test_forged_cursors(shared: Engine, sort: str, value: object, last: object) -> None:
    with Session(shared) as session:
        question = materials.ask(session, "", None, sort)
        forged = json.dumps([materials._fingerprint(question), value, last]).encode()
        with pytest.raises(LodeError, match=r"cursor is damaged|outside of the calendar"):
            search(session, sort=sort, cursor=base64.urlsafe_b64encode(forged).decode())
