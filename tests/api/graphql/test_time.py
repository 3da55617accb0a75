"""How long an answer may take, and what a moment without a time zone means."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from api.graphql import desk, endpoint
from api.graphql.endpoint import Asked, answer
from registry.query import materials
from tests import factories as make

FELL = datetime(2026, 1, 1, 12, tzinfo=UTC)


def ask(engine: Engine, query: str, **variables: Any) -> dict[str, Any]:
    return asyncio.run(answer(engine, Asked(query, variables, None)))


@pytest.fixture
def salt(engine: Engine) -> str:
    """A material that was on the hull until noon."""
    with Session(engine) as session:
        row = make.structure(session, "NaCl")
        placed = make.calculation(session, row, make.level(session))
        make.hull_state(session, placed, 0.0, valid_from=FELL - timedelta(days=9), valid_to=FELL)
        make.hull_state(session, placed, 0.2, valid_from=FELL)
        session.commit()
        return row.public_id


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A server whose clock is not in UTC."""
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def sleep(session: Session, *_: object) -> Any:
    return session.execute(text("SELECT pg_sleep(8)")).all()


@pytest.mark.parametrize("place", [(materials, "count"), (desk, "describe")], ids=["a field", "a loader"])
def test_an_answer_out_of_time_ends_with_its_statement(
    engine: Engine, salt: str, monkeypatch: pytest.MonkeyPatch, place: tuple[object, str]
) -> None:
    monkeypatch.setattr(endpoint, "ANSWER_SECONDS", 0.5)
    monkeypatch.setattr(*place, sleep)
    began = time.monotonic()
    found = ask(engine, "query($id: ID!) { materials { count { value } } material(id: $id) { id } }", id=salt)
    assert time.monotonic() - began < 4
    (error,) = found["errors"]
    assert "took longer than 0.5 seconds" in error["message"]
    assert error["extensions"] == {"code": "TooSlow"}
    assert found["data"] is None
    assert engine.pool.checkedout() == 0  # type: ignore[attr-defined]
    monkeypatch.undo()
    assert ask(engine, "{ materials { count { value } } }")["data"]["materials"]["count"] == {"value": 1}


def test_a_statement_out_of_time(engine: Engine, salt: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desk, "STATEMENT_SECONDS", 0.1)
    monkeypatch.setattr(materials, "count", sleep)
    (error,) = ask(engine, "{ materials { count { value } } }")["errors"]
    assert error["message"].startswith("the question took longer than")
    assert error["extensions"] == {"code": "TooSlow"}


@pytest.mark.usefixtures("elsewhere")
@pytest.mark.parametrize("zone", ["", "Z", "+00:00"])
def test_a_moment_without_a_time_zone_is_in_utc(engine: Engine, salt: str, zone: str) -> None:
    query = """query($id: ID!, $at: DateTime) {
      material(id: $id, asOf: $at) { eAboveHull hullState { eAboveHull } }
      hull(chemsys: "Na-Cl", asOf: $at) { asOf entries { eAboveHull } } }"""
    for hour, energy in ((11, 0.0), (13, 0.2)):
        found = ask(engine, query, id=salt, at=f"2026-01-01T{hour}:00:00{zone}")
        assert "errors" not in found
        assert found["data"]["material"] == {"eAboveHull": energy, "hullState": {"eAboveHull": energy}}
        assert found["data"]["hull"] == {"asOf": f"2026-01-01T{hour}:00:00+00:00", "entries": [{"eAboveHull": energy}]}


def test_a_moment_that_utc_does_not_have(engine: Engine, salt: str) -> None:
    found = ask(engine, '{ hull(chemsys: "Na-Cl", asOf: "0001-01-01T00:00:00+09:00") { asOf } }')
    assert "outside of the calendar" in found["errors"][0]["message"]
