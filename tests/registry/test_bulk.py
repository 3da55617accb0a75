"""Binary COPY on a real server: what it stores, whom it refuses, and that two who store the same come to one row."""

from __future__ import annotations

import threading

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from registry import bulk
from registry.models import Composition, Property, Prototype
from tests import factories as make


def types(*labels: str) -> list[dict[str, object]]:
    return [{"label": label, "spacegroup_number": 225, "pearson_symbol": "cF8"} for label in labels]


def test_only_what_is_missing_is_added_in_its_order(session: Session) -> None:
    first = bulk.add_missing(session, Prototype, "label", types("b", "a"))
    second = bulk.add_missing(session, Prototype, "label", types("c", "a"))
    assert (first.new, second.new) == ({"a", "b"}, {"c"})
    assert first.ids["b"] < first.ids["a"] < second.ids["c"]
    assert second.ids["a"] == first.ids["a"]
    assert bulk.add_missing(session, Prototype, "label", []) == bulk.Added({}, frozenset())


def test_arrays_numbers_json_and_defaults(session: Session) -> None:
    of = make.structure(session)
    row = {
        "structure_id": of.id,
        "name": "gap",
        "value": 1.5,
        "unit": "eV",
        "method": "é\\N\t\n",
        "source_id": of.source_id,
    }
    bulk.copy(session, Property, [{**row, "provenance": {"nested": [1, None, "é"]}}])
    found = session.scalars(select(Property)).one()
    assert (found.value, found.method, found.words) == (1.5, row["method"], None)
    assert found.provenance == {"nested": [1, None, "é"]}
    salt = {"reduced_formula": "NaF", "anonymous_formula": "AB", "chemsys": "F-Na", "nelements": 2}
    bulk.copy(session, Composition, [{**salt, "elements": ["F", "Na"], "amounts": [1, 1]}])
    stored = session.scalars(select(Composition).where(Composition.reduced_formula == "NaF")).one()
    assert (stored.elements, stored.amounts) == (["F", "Na"], [1, 1])


def test_a_row_that_breaks_a_constraint_takes_none_in(session: Session) -> None:
    wrong = types("d", "e")
    wrong[1]["spacegroup_number"] = 231
    with pytest.raises(IntegrityError, match="spacegroup_exists"):
        bulk.add_missing(session, Prototype, "label", wrong)
    assert session.scalars(select(Prototype)).all() == []


def test_two_at_once_store_one_row(engine: Engine) -> None:
    """The second waits for the first, finds its row, and takes its id."""
    with Session(engine) as one:
        mine = bulk.add_missing(one, Prototype, "label", types("a"))
        theirs: list[bulk.Added] = []

        def store() -> None:
            with Session(engine) as other, other.begin():
                theirs.append(bulk.add_missing(other, Prototype, "label", types("a", "b")))

        waiting = threading.Thread(target=store)
        waiting.start()
        waiting.join(0.5)
        assert waiting.is_alive()
        one.commit()
        waiting.join()
    assert theirs[0].ids["a"] == mine.ids["a"]
    assert theirs[0].new == {"b"}
