"""Filters that Hypothesis makes: any tree in the form that `parse` gives."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from hypothesis import strategies as st

from registry.identity.composition import SYMBOLS
from registry.query.fields import FIELDS, Field, Type
from registry.query.filter import Comparison, Filter, Has, Known, Length, Node, Not, both, either

ELEMENTS = st.sampled_from(SYMBOLS[1:])
ORDER = ["=", "!=", "<", "<=", ">", ">="]
WITHIN = ["CONTAINS", "STARTS", "ENDS"]
WORDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=12)
MOMENTS = st.datetimes(datetime(1, 1, 2), datetime(9999, 1, 1), timezones=st.just(UTC))
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
INTEGERS = st.integers(-(10**17), 10**17)
CHEMSYS = st.sets(ELEMENTS, min_size=1, max_size=5).map(lambda one: "-".join(sorted(one)))


def names(*kinds: Type) -> st.SearchStrategy[str]:
    return st.sampled_from([one.name for one in FIELDS.values() if one.type in kinds])


COMPARISONS = st.one_of(
    st.builds(Comparison, names(Type.FLOAT), st.sampled_from(ORDER), FLOATS | INTEGERS),
    st.builds(Comparison, names(Type.INTEGER), st.sampled_from(ORDER), INTEGERS | FLOATS),
    st.builds(Comparison, names(Type.TEXT), st.sampled_from(ORDER + WITHIN), WORDS),
    st.builds(Comparison, names(Type.BOOLEAN), st.sampled_from(["=", "!="]), st.booleans()),
    st.builds(Comparison, names(Type.TIMESTAMP), st.sampled_from(ORDER), MOMENTS),
    st.builds(Comparison, names(Type.CHEMSYS), st.sampled_from(["=", "!="]), CHEMSYS),
    st.builds(Comparison, names(Type.FORMULA), st.sampled_from(["=", "!="]), st.sampled_from(["ClNa", "FeLiO2", "Fe"])),
    st.builds(Comparison, names(Type.FORMULA), st.sampled_from(WITHIN), WORDS),
)
LEAVES: st.SearchStrategy[Node] = st.one_of(
    COMPARISONS,
    st.builds(
        Has,
        st.just("elements"),
        st.sampled_from(["ALL", "ANY", "ONLY"]),
        st.lists(ELEMENTS, min_size=1, max_size=10).map(tuple),
    ),
    st.builds(
        Has,
        st.just("external_ids"),
        st.sampled_from(["ALL", "ANY"]),
        st.lists(WORDS, min_size=1, max_size=3).map(tuple),
    ),
    st.builds(Length, st.just("elements"), st.sampled_from(ORDER), st.integers(-9, 99)),
    st.builds(Known, st.sampled_from(sorted(FIELDS)), st.booleans()),
)


def _grown(inner: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
    several = st.lists(inner, min_size=2, max_size=4)
    return st.one_of(
        st.builds(Not, inner), several.map(lambda parts: both(*parts)), several.map(lambda parts: either(*parts))
    )


NODES = st.recursive(LEAVES, _grown, max_leaves=8)
FILTERS = st.builds(Filter, NODES | st.none(), MOMENTS | st.none())


def about(known: dict[str, list[Any]]) -> st.SearchStrategy[Node]:
    """Filters that find something in a registry where fields have these values, null among them."""
    leaves = st.one_of(*(_comparison(FIELDS[name], values) for name, values in known.items()))
    return st.recursive(leaves | st.builds(Known, st.sampled_from(sorted(known)), st.booleans()), _grown, max_leaves=5)


def _comparison(field: Field, values: list[Any]) -> st.SearchStrategy[Node]:
    if field.type is Type.WORDS:
        words = st.sampled_from(sorted({word for one in values for word in one} or {"nobody"}))
        lists = st.lists(words, min_size=1, max_size=2).map(tuple)
        return st.builds(Has, st.just(field.name), st.sampled_from(["ALL", "ANY"]), lists)
    if field.type is Type.ELEMENTS:
        return _of_elements(field, st.sampled_from(values).map(tuple))
    operators = sorted(field.operators & set(ORDER))
    whole = st.builds(Comparison, st.just(field.name), st.sampled_from(operators), st.sampled_from(values))
    return whole | _of_a_part(field, values) if set(WITHIN) <= field.operators else whole


def _of_elements(field: Field, lists: st.SearchStrategy[tuple[str, ...]]) -> st.SearchStrategy[Node]:
    listed = st.builds(Has, st.just(field.name), st.sampled_from(["ALL", "ANY", "ONLY"]), lists)
    return listed | st.builds(Length, st.just(field.name), st.sampled_from(ORDER), st.integers(0, 5))


def _of_a_part(field: Field, values: list[str]) -> st.SearchStrategy[Node]:
    """Of the first or last letters, none among them; or of wildcards of other languages."""
    size = st.integers(0, 3)
    parts = st.builds(lambda value, left, right: value[left : len(value) - right], st.sampled_from(values), size, size)
    return st.builds(Comparison, st.just(field.name), st.sampled_from(WITHIN), parts | st.sampled_from(["%", "_", "."]))


@st.composite
def about_rows(draw: st.DrawFn, rows: dict[str, dict[str, Any]], moments: Sequence[datetime]) -> Filter:
    """Filters about values that described materials have, now or as of one of the moments."""
    known = {name: [row[name] for row in rows.values() if row[name] is not None] for name in FIELDS}
    known["external_ids"] = [list(one.values()) for one in known["external_ids"]]
    known["discovered_at"] = [datetime.fromisoformat(one) for one in known["discovered_at"]]
    return Filter(draw(st.none() | about(known)), draw(st.none() | st.sampled_from(moments)))
