"""Properties that files tell: stored once, with their own terms; what is nonsense or contradicts is a bad record."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from registry.crystal import Crystal
from registry.identity.public_id import public_id
from registry.imports import ImportReport, import_file
from registry.models import Property, Source, Structure
from registry.terms import SourceTerms
from tests import factories as make

GAP = {"name": "band_gap", "value": 5.0, "unit": "eV", "method": "PBE"}
SHAPE = {"name": "shape", "words": "cube", "unit": "1", "method": "seen", "provenance": {"by": "Ana"}}
THEIRS = {"source": "theirs", "licence": "CC BY-NC 4.0", "citation": "They", "non_commercial": True}


def document(*told: Any, edge: float = 4.0, **facts: Any) -> dict[str, Any]:
    """CsCl, as `lode export --format json` writes it."""
    lattice = {"matrix": [[edge, 0, 0], [0, edge, 0], [0, 0, edge]]}
    places = {"Cs": [0, 0, 0], "Cl": [0.5, 0.5, 0.5]}
    sites = [{"species": [{"element": symbol, "occu": 1}], "abc": place} for symbol, place in places.items()]
    salt = Crystal(np.eye(3) * edge, [55, 17], list(places.values()))
    known = {
        "lode_id": public_id(salt),
        "source": "mine",
        "licence": "CC0-1.0",
        "crystal_properties": list(told),
        **facts,
    }
    return {"lattice": lattice, "sites": sites, "properties": known}


def bring(session: Session, folder: Path, *documents: dict[str, Any]) -> ImportReport:
    path = folder / f"{make.uuid.uuid4()}.json"
    path.write_text(json.dumps(documents))
    return import_file(session, path, None, SourceTerms("user"), lambda _count: None)


def stored(session: Session) -> list[tuple[Any, ...]]:
    columns = (Property.name, Property.value, Property.words, Property.unit, Property.method, Property.provenance)
    query = sa.select(*columns, Source.name, Source.non_commercial).join(Source, Source.id == Property.source_id)
    return [tuple(row) for row in session.execute(query.order_by(Property.id))]


def test_the_same_again_adds_no_row(session: Session, tmp_path: Path):
    for count in (1, 0):
        again = document({**GAP, **THEIRS}, SHAPE, imported_once=count)  # not the same file
        assert bring(session, tmp_path, again).imported == count
    assert stored(session) == [
        ("band_gap", 5.0, None, "eV", "PBE", {}, "theirs", True),
        ("shape", None, "cube", "1", "seen", {"by": "Ana"}, "mine", False),
    ]
    assert session.scalars(sa.select(Source.licence).where(Source.name == "theirs")).all() == ["CC BY-NC 4.0"]


def test_more_is_added_to_what_is_known(session: Session, tmp_path: Path):
    bring(session, tmp_path, document(GAP))
    report = bring(session, tmp_path, document(GAP, {**GAP, "value": 8.5, "method": "GW"}))
    assert (report.duplicates, report.refused) == (1, [])
    assert [row[1] for row in stored(session)] == [5.0, 8.5]


@pytest.mark.parametrize("change", [{"value": 5.1}, {"words": "wide", "value": None}])
def test_another_value_by_the_same_method_is_refused(session: Session, tmp_path: Path, change: dict[str, Any]):
    near, other = {**GAP, "value": 5.0000001}, {**GAP, **change}
    report = bring(session, tmp_path, document(GAP), document(near), document(other))
    assert (report.read, report.imported, report.duplicates) == (3, 1, 1)
    assert [bad.reason for bad in report.refused] == ["another band_gap by PBE (5.0 eV) of this structure is stored"]
    assert [row[1] for row in stored(session)] == [5.0]


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ({**GAP, "value": float("nan")}, "its band_gap is nan eV: give a finite number"),
        ({**GAP, "value": -1}, "its band_gap is -1: 0 to 100 are allowed"),
        ({**GAP, "unit": "meV"}, "its band_gap has the unit 'meV', not 'eV'"),
        ({**GAP, "name": "dimensionality", "unit": "1", "value": 1.5}, "0 to 3 are allowed, whole ones"),
        (
            {**GAP, "name": "dimensionality", "unit": "1", "value": 1e9},
            "its dimensionality is 1e+09: 0 to 3",
        ),
        ({**SHAPE, "unit": ""}, "its property 'shape' lacks a name, a unit or a method"),
        ({**SHAPE, "method": "m" * 251}, "name and method may have 250 characters"),
        ({**SHAPE, "words": "a\0b"}, "holds NUL"),
        ({**SHAPE, "provenance": {"by": "\ud800"}}, "half a character"),
        ({"name": "shape"}, "is missing"),
        ({**GAP, "value": "wide"}, "could not convert string to float"),
        ({**GAP, **THEIRS, "licence": "CC0-1.0"}, "source 'theirs' is stored with other terms"),
        ("band_gap", "doesn't parse as a pymatgen structure"),
    ],
)
def test_nonsense_is_a_bad_record_and_stops_no_other(session: Session, tmp_path: Path, told: Any, reason: str):
    make.source(session, **{"name": "theirs", **{k: v for k, v in THEIRS.items() if k != "source"}})
    report = bring(session, tmp_path, document(told), document(SHAPE, edge=4.5))
    assert (report.read, report.imported, len(report.refused)) == (2, 1, 1)
    assert reason in report.refused[0].reason
    assert report.refused[0].record.endswith(".json:0")
    assert [row[0] for row in stored(session)] == ["shape"]


def test_those_of_a_crystal_are_not_those_of_what_it_relaxed_to(session: Session, tmp_path: Path):
    assert bring(session, tmp_path, document(GAP, relaxed_from="lode-b")).imported == 1
    assert stored(session) == []


def test_they_belong_to_the_very_arrays(session: Session, tmp_path: Path):
    bring(session, tmp_path, document(GAP), document({**GAP, "value": 4.9}, edge=4.01))
    pairs = session.execute(sa.select(Structure.volume, Property.value).join(Property).order_by(Property.id)).all()
    assert [tuple(pair) for pair in pairs] == [(pytest.approx(64.0), 5.0), (pytest.approx(64.481201), 4.9)]
