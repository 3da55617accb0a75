"""import(export(x)) == x on a real registry: arrays, names, terms, metadata, properties and energies."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select
from sqlalchemy.orm import Session

from registry.crystal import Crystal
from registry.exporters.files import destination
from registry.exporters.materials import Wanted, export
from registry.identity.public_id import public_id
from registry.imports import import_file
from registry.ingest import crystal_of
from registry.models import Calculation, ExternalId, Property, Source, Structure
from registry.terms import SourceTerms
from tests import factories as make
from tests.registry.exporters.records import crystals, energies, formula, notes, texts

LEVEL = "theirs"
SUFFIX = {"parquet": "parquet", "extxyz": "extxyz", "json": "json", "entries": "json.gz", "cif": "zip"}

many = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@dataclass(frozen=True, eq=False)
class Held:
    """What a registry holds of one material."""

    crystal: Crystal
    source: str
    names: dict[str, list[str]] = field(default_factory=dict)
    metadata: dict[str, object] = field(default_factory=dict)
    energy: dict[str, object] | None = None
    properties: list[dict[str, object]] = field(default_factory=list)


SOURCES = {
    "free": SourceTerms("free", "CC-BY-4.0", "Somebody (2020)"),
    'Übung, "no"': SourceTerms('Übung, "no"', "it's ours; ask", ""),
    "theirs": SourceTerms("theirs", "CC BY-NC 4.0", "Somebody (2023)", non_commercial=True),
}


def without_nulls(one: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in one.items() if value is not None}


schemes = st.sampled_from(["mp", "icsd", "entry", "odd scheme", "0"])
words = texts.filter(bool)
settings_of = st.just({"run_type": "GGA+U", "hubbards": {"Fe": 5.3}}) | notes.map(
    lambda one: {name: value for name, value in one.items() if value is not None}
)
sources = st.sampled_from(sorted(SOURCES))
shared = {"energy": energies, "settings": settings_of, "source": sources}
placeable = st.fixed_dictionaries({"correction": energies, **shared})
off_hull = st.fixed_dictionaries({"off_hull": words, **shared})
finite = st.floats(allow_nan=False, allow_infinity=False)
told = {"method": words, "source": sources, "provenance": notes}
properties = st.lists(
    st.fixed_dictionaries({"name": st.just("band_gap"), "value": st.floats(0, 20), "unit": st.just("eV"), **told})
    | st.fixed_dictionaries({"name": words, "value": finite, "unit": words, **told})
    | st.fixed_dictionaries({"name": words, "words": texts, "unit": words, **told}),
    max_size=3,
    unique_by=lambda one: (one["name"], one["method"]),
)


def held(format_: str) -> st.SearchStrategy[list[Held]]:
    """Entries are energies that may stand on a hull; metadata without nulls and empty keys, which mean nothing."""
    energy = placeable if format_ == "entries" else st.none() | placeable | off_hull
    names = st.dictionaries(schemes, st.lists(words, min_size=1, max_size=3, unique=True).map(sorted), max_size=2)
    one = st.builds(Held, crystals(), sources, names, notes, energy, properties)
    return st.lists(one, min_size=1, max_size=3, unique_by=lambda one: public_id(one.crystal))


@contextmanager
def undone(session: Session) -> Iterator[Session]:
    """A session of which nothing stays, whatever it commits."""
    connection = session.connection()
    with connection.begin_nested() as savepoint:
        with Session(connection, join_transaction_mode="create_savepoint", expire_on_commit=False) as inner:
            yield inner
        savepoint.rollback()


def fill(session: Session, materials: list[Held]) -> None:
    at = make.level(session, LEVEL, engine="imported", functional="as imported", correction_scheme="as imported")
    for name, terms in SOURCES.items():
        make.source(session, name, **{k: v for k, v in asdict(terms).items() if k != "name"})
    for one in materials:
        row = make.structure(
            session, formula(one.crystal), arrays=one.crystal, source_name=one.source, attributes=one.metadata
        )
        for scheme, names in one.names.items():
            session.add_all(ExternalId(structure_id=row.id, scheme=scheme, value=name) for name in names)
        if one.energy:
            columns = {"correction": None, **one.energy}
            make.calculation(
                session, row, at, final=row, source_id=source_id(session, columns.pop("source")), **columns
            )
        for told in one.properties:
            columns = {name: value for name, value in told.items() if name != "source"}
            source = source_id(session, told["source"])
            make.added(session, Property(structure_id=row.id, source_id=source, **columns))
    session.flush()


def source_id(session: Session, name: object) -> int:
    return session.scalars(select(Source.id).where(Source.name == name)).one()


def carried(session: Session, format_: str, materials: list[Held], folder: Path) -> list[Held]:
    """Export them from one registry and import them into another."""
    path = folder / f"all.{SUFFIX[format_]}"
    wanted = Wanted(format_, level=LEVEL, non_commercial=frozenset({"theirs"}))
    with undone(session) as ours:
        fill(ours, materials)
        export(ours, wanted, destination(path, format_), lambda _done, _total: None)
    with undone(session) as theirs:
        report = import_file(theirs, path, LEVEL, SourceTerms("user"), lambda _count: None)
        assert not report.refused
        return stored(theirs)


def stored(session: Session) -> list[Held]:
    """In the order of their coming, with the terms of the sources checked."""
    found = []
    for source in session.scalars(select(Source)):
        terms = SourceTerms(source.name, source.licence, source.citation, source.non_commercial)
        assert terms == SOURCES[source.name]
    for row in session.scalars(select(Structure).order_by(Structure.id)):
        names: dict[str, list[str]] = {}
        for one in session.scalars(select(ExternalId).where(ExternalId.structure_id == row.id)):
            names.setdefault(one.scheme, []).append(one.value)
        source = session.get_one(Source, row.source_id).name
        sorted_names = {scheme: sorted(values) for scheme, values in names.items()}
        held = (sorted_names, row.attributes, energy_of(session, row), properties_of(session, row))
        found.append(Held(crystal_of(row), source, *held))
    return found


def properties_of(session: Session, row: Structure) -> list[dict[str, object]]:
    """In the order of their coming."""
    columns = ("name", "value", "words", "unit", "method", "provenance")
    found = session.execute(
        select(Property, Source.name)
        .join(Source, Source.id == Property.source_id)
        .where(Property.structure_id == row.id)
        .order_by(Property.id)
    )
    return [without_nulls({name: getattr(one, name) for name in columns} | {"source": source}) for one, source in found]


def energy_of(session: Session, row: Structure) -> dict[str, object] | None:
    label = session.scalar(select(Calculation).where(Calculation.initial_structure_id == row.id))
    if label is None:
        return None
    told = {"correction": label.correction, "off_hull": label.off_hull}
    known = {name: value for name, value in told.items() if value is not None}
    source = session.get_one(Source, label.source_id).name
    return {"energy": label.energy, **known, "settings": label.settings, "source": source}


def bits(properties: list[dict[str, object]]) -> str:
    """Equal only where every bit is, the sign of a zero included."""
    return json.dumps(properties, sort_keys=True)


@pytest.mark.parametrize("format_", SUFFIX)
def test_everything_comes_back(session: Session, tmp_path: Path, format_: str):
    @given(held(format_))
    @many
    def check(materials: list[Held]) -> None:
        found = carried(session, format_, materials, tmp_path)
        for one, expected in zip(found, materials, strict=True):
            assert public_id(one.crystal) == public_id(expected.crystal)
            assert (one.source, one.names, one.metadata) == (expected.source, expected.names, expected.metadata)
            assert one.energy == expected.energy
            assert bits(one.properties) == bits(expected.properties)

    check()


SALT = Crystal(np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]) * 2.8, [11, 17], [[0, 0, 0], [0.5, 0.5, 0.5]])


def exported(session: Session, folder: Path, source: str) -> Path:
    path = folder / "salt.extxyz"
    with undone(session) as ours:
        fill(ours, [Held(SALT, source)])
        wanted = Wanted("extxyz", non_commercial=frozenset({source}))
        export(ours, wanted, destination(path, "extxyz"), lambda _done, _total: None)
    return path


@pytest.mark.parametrize(
    ("given", "option"),
    [
        (SourceTerms("mine"), "--source"),
        (SourceTerms("theirs", "CC0-1.0"), "--licence"),
        (SourceTerms("user", citation="me"), "--citation"),
    ],
)
def test_the_command_cannot_change_the_terms_of_a_file(
    session: Session, tmp_path: Path, given: SourceTerms, option: str
):
    report = import_file(session, exported(session, tmp_path, "theirs"), None, given, lambda _count: None)
    assert (report.read, len(report.refused)) == (1, 1)
    assert option in report.refused[0].reason
    assert session.scalars(select(Structure)).all() == []
    assert session.scalars(select(Source)).all() == []


def test_terms_other_than_those_stored_are_refused_and_none_is_lost(session: Session, tmp_path: Path):
    path = exported(session, tmp_path, "theirs")
    make.source(session, "theirs", licence="CC0-1.0", citation="Somebody (2023)")
    report = import_file(session, path, None, SourceTerms("user"), lambda _count: None)
    assert "stored with other terms" in report.refused[0].reason
