"""What a document is said to cost, without a database."""

from __future__ import annotations

from typing import Any

import pytest
from graphql import get_introspection_query, parse, validate

from api.graphql.limits import _defaults, _Scale, too_much
from api.graphql.schema import schema


def cost(query: str, **variables: Any) -> int:
    document = parse(query)
    known = schema().graphql_schema
    assert not validate(known, document)
    (operation,) = [one for one in document.definitions if one.kind == "operation_definition"]
    scale = _Scale(known, document, {**_defaults(operation), **variables})
    return scale.weigh(operation.selection_set, known.query_type)[0]


def refused(query: str, **variables: Any) -> str | None:
    error = too_much(schema().graphql_schema, parse(query), variables)
    return error.message if error else None


@pytest.mark.parametrize(
    ("query", "values"),
    [
        ("{ work { kind waiting } }", 1 + 5 * 2),
        ("{ materials { nodes { id } } }", 1 + 1 + 50),
        ("{ materials(first: 7) { nodes { id chemsys } level } }", 1 + 1 + 7 * 2 + 1),
        ("{ materials(first: 7) { edges { node { id } cursor } } }", 1 + 1 + 7 * 3),
        ("{ materials(first: 7) { nodes { children { operation } } } }", 1 + 1 + 7 * (1 + 20)),
        ("{ materials(first: 7) { nodes { children(first: 3) { operation } } } }", 1 + 1 + 7 * (1 + 3)),
        ("{ materials(first: 7) { nodes { elements } } }", 1 + 1 + 7 * (1 + 5)),
        ("{ materials(first: 7) { nodes { structure { fracCoords } } } }", 1 + 1 + 7 * (1 + 1 + 25)),
        ('{ hull(chemsys: "K") { entries { id } } }', 1 + 1 + 1000),
        ('{ hull(chemsys: "K", first: 9) { entries { decomposition { amount } } } }', 1 + 1 + 9 * (1 + 5)),
        ("{ campaigns(first: 2) { rounds { funnel { rule } } } }", 1 + 2 * (1 + 20 * (1 + 50))),
        ("{ materials(first: 7) { ...a } } fragment a on MaterialConnection { nodes { id } }", 1 + 1 + 7),
    ],
)
def test_a_list_costs_what_it_may_hold(query: str, values: int) -> None:
    assert cost(query) == values


def test_the_reviewed_query_is_what_it_costs() -> None:
    """Such a one was rated 4,687; its answer took 11 seconds and 38 MB."""
    query = "id chemsys"
    for way in ("children", "parents", "children"):
        query = f"{way} {{ material {{ {query} }} }}"
    whole = 'query { material(id: "a") { %s } }'
    assert cost(whole % query) == 2 + 20 * (2 + 20 * (2 + 20 * (1 + 2)))
    assert "the answer could hold" in str(refused(whole % f"parents {{ material {{ {query} }} }}"))


PAGES = "{ materials(first: $n) { nodes { id chemsys } } }"


@pytest.mark.parametrize(
    ("declared", "given", "page"),
    [
        ("$n: Int", {}, 50),
        ("$n: Int", {"n": None}, 50),
        ("$n: Int", {"n": 8}, 8),
        ("$n: Int = 1000", {}, 1000),
        ("$n: Int = 1000", {"n": 8}, 8),
        ("$n: Int = 1000", {"n": None}, 50),
        ("$n: Int = null", {}, 50),
        ("$n: Int", {"n": 1000.0}, 5000),
        ("$n: Int", {"n": "1000"}, 5000),
        ("$n: Int", {"n": -3}, 1),
    ],
)
def test_variables_count_as_what_they_become(declared: str, given: dict[str, Any], page: int) -> None:
    spread = f"query({declared}) {{ ...a }} fragment a on Query {PAGES}"
    assert cost(f"query({declared}) {PAGES}", **given) == cost(spread, **given) == 1 + 1 + page * 2


def test_null_is_the_default_page() -> None:
    assert cost(PAGES.replace("$n", "null")) == cost("{ materials { nodes { id chemsys } } }")


def test_each_operation_has_its_own_variables() -> None:
    small = "query small($n: Int = 2) { ...a }"
    large = "query large($n: Int = 1000) { ...a }"
    nodes = "fragment a on Query { materials(first: $n) { nodes { calculations { id level task state } } } }"
    assert refused(f"{small} {nodes}") is None
    assert "81,002 values" in str(refused(f"{small} {large} {nodes}"))


def test_a_default_is_no_way_around_the_limit() -> None:
    inner = "{ materials(first: $n) { nodes { calculations { id level task state } } } }"
    assert refused(f"query($n: Int) {inner}") is None
    assert "the answer could hold" in str(refused(f"query($n: Int = 1000) {inner}"))


def test_the_schema_may_be_asked_for_once() -> None:
    assert refused(get_introspection_query()) is None
    many = " ".join(f"a{number}: __schema {{ types {{ fields {{ args {{ name }} }} }} }}" for number in range(500))
    assert "the answer could hold" in str(refused(f"{{ {many} }}"))
