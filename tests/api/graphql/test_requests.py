"""Documents and variables that a schema doesn't foresee, each told what is wrong with it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from api.graphql.endpoint import Asked, answer
from tests import factories as make


def ask(engine: Engine, query: str, **variables: Any) -> dict[str, Any]:
    return asyncio.run(answer(engine, Asked(query, variables, None)))


@pytest.mark.parametrize(
    "document", ["mutation { x }", "subscription { x }", "query A { levels { name } } mutation B { x }"]
)
def test_only_queries_are_answered(engine: Engine, document: str) -> None:
    (error,) = ask(engine, document)["errors"]
    assert error["message"].endswith("only queries are answered")


@pytest.mark.parametrize(("kind", "value"), [("Int", "5"), ("String", [1]), ("DateTime", 5)])
def test_a_variable_of_another_type_is_told(engine: Engine, kind: str, value: object) -> None:
    takes = {
        "Int": "materials(first: $a)",
        "String": "materials(filter: $a)",
        "DateTime": 'hull(chemsys: "Li", asOf: $a)',
    }
    (error,) = ask(engine, f"query($a: {kind}) {{ {takes[kind]} {{ level }} }}", a=value)["errors"]
    assert error["message"].startswith("Variable '$a' got invalid value")


def test_null_is_the_default(engine: Engine) -> None:
    """Clients send null for what isn't filled in."""
    with Session(engine) as session, session.begin():
        salt = make.material(session, "NaCl").public_id
    query = (
        "query($a: String, $n: Int) { materials(filter: $a, sort: $a, level: $a, after: $a, first: $n) {nodes {id}} }"
    )
    assert ask(engine, query, a=None, n=None) == {"data": {"materials": {"nodes": [{"id": salt}]}}}
