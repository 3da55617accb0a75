"""The same filter never gives two answers: what is counted is what the pages hold, in every order."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select
from sqlalchemy.orm import Session

from registry.crystal import Crystal
from registry.database import engine_for
from registry.models import Structure
from registry.query.fields import FIELDS
from registry.query.filter import Filter
from registry.query.materials import Count, ask, count, search
from tests import factories as make
from tests.registry.query.filters import about

MANY = 300
BORN = datetime(2026, 1, 1, tzinfo=UTC)
FORMULAS = ("NaCl", "KCl", "Na2O", "Li2O", "LiFeO2", "NaFeO2", "Fe", "Li3FeO3Cl")
LABELS = ("AB_cF8_225_a_b", "AB_cP2_221_a_b", "AB2_cF12_225_a_c", None, None)
SORTS = [sign + one.name for one in FIELDS.values() if one.sorts for sign in ("", "-")]


@pytest.fixture(scope="module")
def registry(new_database: Any) -> Iterator[Session]:
    """Several hundred materials; whatever can be ordered by has ties, and nulls where it may have them."""
    with new_database() as url:
        engine = engine_for(url, "pytest")
        with Session(engine) as session:
            _fill(session)
            session.commit()
            yield session
        engine.dispose()


def _fill(session: Session) -> None:
    level = make.level(session)
    model = make.model(session, level)
    turn = make.campaign_round(session, make.campaign(session, level))
    for name in ("a", "b", "c"):
        make.source(session, name, licence=f"licence {name}")
    rows: list[Structure] = []
    for number in range(MANY):
        row = _material(session, number)
        _relate(session, number, row, rows)
        if number % 3:
            _placed(session, number, row, level)
        if number % 4 == 0:
            spread = 0.01 * (number % 16) if number % 8 else None
            make.prediction(session, row, model, -1.0 - 0.1 * (number % 5), spread=spread)
        if number % 5 == 0:
            energy = 0.02 * (number % 25) if number % 2 else None
            make.selection(session, row, turn, model, rank=number, predicted_decomposition_energy=energy)
        rows.append(row)


def _material(session: Session, number: int) -> Structure:
    line = make.crystal(FORMULAS[number % 8])
    arrays = Crystal(np.eye(3) * (30 + number % 2), line.numbers, line.frac_coords + np.array([0, 0, number / MANY]))
    return make.structure(
        session,
        FORMULAS[number % 8],
        arrays=arrays,
        label=LABELS[number % 5],
        origin="imported" if number % 3 else "generated",
        source_name="abc"[number % 3],
        external_ids={"mp": f"mp-{number % 40}"} if number % 2 else None,
        created_at=BORN + timedelta(microseconds=number % 9),
    )


def _placed(session: Session, number: int, row: Structure, level: Any) -> None:
    """A place, and for some another one before it."""
    label = make.calculation(session, row, level, label=LABELS[number % 4])
    energies = dict.fromkeys(
        ("decomposition_energy", "phase_separation_energy"), None if number % 7 == 0 else -0.1 * (number % 5)
    )
    now = BORN + timedelta(days=10)
    make.hull_state(session, label, 0.01 * (number % 5), valid_from=now, **energies)
    if number % 2:
        make.hull_state(session, label, 0.5, valid_from=BORN, valid_to=now)


def _relate(session: Session, number: int, row: Structure, earlier: list[Structure]) -> None:
    if number % 6 == 0:
        make.property_of(session, row, "band_gap", float(number % 4), "PBE")
    if number % 6 == 1:
        make.property_of(session, row, "dimensionality", number % 4, "Cheon 2017", unit="1")
    if number % 10 == 2:
        make.duplicate(session, row, earlier[number % 5 - 2])
    if number % 10 == 3:
        make.lineage(session, row, earlier[number // 20])
    if number % 10 == 4:
        family = make.models.Family
        label = f"family {number % 3}"
        wanted = select(family).where(family.label == label, family.composition_id == row.composition_id)
        found = session.scalar(wanted)
        if found:
            make.added(session, make.models.FamilyMember(structure_id=row.id, family_id=found.id))
        else:
            make.family_member(session, row, label)


@pytest.fixture(scope="module")
def rows(registry: Session) -> dict[str, dict[str, Any]]:
    """Everything, by id, with the row's number as "age"."""
    ages = dict(registry.execute(select(Structure.public_id, Structure.id)).tuples().all())
    return {row["id"]: {**row, "age": ages[row["id"]]} for row in search(registry, limit=1_000).data}


def test_the_registry_is_as_hard_as_it_should_be(rows: dict[str, dict[str, Any]]) -> None:
    assert len(rows) == MANY
    for field in (one for one in FIELDS.values() if one.sorts):
        values = [row[field.name] for row in rows.values()]
        known = [value for value in values if value is not None]
        assert (len(known) < MANY) == field.nullable, field.name
        assert len(set(known)) > 1 or field.name == "level"
        assert len(set(known)) < len(known) / 2 or field.name == "id"


@st.composite
def filters(draw: st.DrawFn, rows: dict[str, dict[str, Any]]) -> Filter:
    known = {name: [row[name] for row in rows.values() if row[name] is not None] for name in FIELDS}
    known["external_ids"] = [list(one.values()) for one in known["external_ids"]]
    known["discovered_at"] = [datetime.fromisoformat(one) for one in known["discovered_at"]]
    moments = st.sampled_from([BORN - timedelta(days=1), BORN, BORN + timedelta(days=10)])
    return Filter(draw(st.none() | about(known)), draw(st.none() | moments))


@pytest.mark.parametrize("sort", SORTS)
@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), limit=st.sampled_from([17, 60, 299, 300, 301]))
def test_count_and_pages_agree(
    registry: Session, rows: dict[str, dict[str, Any]], sort: str, data: st.DataObject, limit: int
) -> None:
    asked = data.draw(filters(rows))
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
