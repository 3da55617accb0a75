"""Which rows leave, on whose terms, and with which arrays and energies."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, BinaryIO

import pytest
from sqlalchemy import event
from sqlalchemy.orm import Session

from registry.errors import FilterError, LodeError, NotFound
from registry.exporters import materials
from registry.exporters.materials import ExportReport, Wanted, export
from tests import factories as make

Documents = list[dict[str, Any]]


def exported(
    session: Session, filter_: str = "", format_: str = "json", **wanted: Any
) -> tuple[Documents, ExportReport]:
    """The documents that were written, and the report."""
    sink = io.BytesIO()

    @contextmanager
    def target() -> Iterator[BinaryIO]:
        yield sink

    report = export(session, Wanted(format_, filter_, **wanted), target(), lambda _done, _total: None)
    documents = json.loads(sink.getvalue())
    assert len(documents) == report.exported
    return documents, report


def told(session: Session, filter_: str = "", **wanted: Any) -> list[dict[str, Any]]:
    return [document["properties"] for document in exported(session, filter_, **wanted)[0]]


def formulas(session: Session, filter_: str = "", **wanted: Any) -> list[str]:
    return [one["reduced_formula"] for one in told(session, filter_, **wanted)]


def test_everything_imported_and_generated_in_the_order_of_its_coming(session: Session):
    for formula, origin in (("KCl", "imported"), ("NaCl", "generated"), ("LiCl", "relaxed"), ("CsCl", "imported")):
        make.structure(session, formula, origin=origin)
    assert formulas(session) == ["KCl", "NaCl", "CsCl"]


def test_an_empty_registry(session: Session):
    assert exported(session) == ([], ExportReport(0))


def test_the_filter_of_queries(session: Session):
    for formula, energy in (("KCl", 0.0), ("NaCl", 0.2), ("K2O", None)):
        make.material(session, formula, energy)
    assert formulas(session, 'elements HAS "K"') == ["KCl", "K2O"]
    assert formulas(session, "e_above_hull < 0.1") == ["KCl"]
    assert formulas(session, 'level = "test-level"') == ["KCl", "NaCl"]
    with pytest.raises(FilterError, match="did you mean e_above_hull"):
        exported(session, "e_above_hul < 0.1")


def test_what_a_row_says(session: Session):
    make.source(session, "COD", licence="CC0-1.0", citation="Somebody (2020)")
    attributes = {"name": "halite", "tags": ["salt", 5]}
    ids = {"mp": "mp-22862", "cod": "1000041"}
    row = make.structure(session, "NaCl", source_name="COD", external_ids=ids, attributes=attributes)
    (found,) = told(session)
    assert found == {
        "lode_id": row.public_id,
        "external_ids": ids,
        "reduced_formula": "NaCl",
        "source": "COD",
        "licence": "CC0-1.0",
        "citation": "Somebody (2020)",
        "metadata": attributes,
    }


def test_several_names_of_one_scheme(session: Session):
    row = make.structure(session, external_ids={"icsd": "7", "mp": "mp-1"})
    make.added(session, make.models.ExternalId(structure_id=row.id, scheme="icsd", value="8"))
    assert told(session)[0]["external_ids"] == {"icsd": ["7", "8"], "mp": "mp-1"}


def test_energies_come_along_where_a_level_is_asked(session: Session):
    at = make.level(session, "PBE")
    row = make.structure(session, "NaCl")
    settings = {"run_type": "GGA", "hubbards": {"Fe": 5.3}, "nothing": None}
    label = make.calculation(session, row, at, energy=-7.0, correction=-0.5, final=row, settings=settings)
    make.hull_state(session, label, 0.1)
    make.structure(session, "KCl")
    assert "energy" not in told(session)[0]
    with_energy, without = told(session, level="PBE")
    assert {name: with_energy[name] for name in ENERGY} == {
        "level": "PBE",
        "energy": -7.0,
        "energy_of": row.public_id,
        "correction": -0.5,
        "formation_energy_per_atom": -0.9,
        "e_above_hull": 0.1,
        "parameters": {"run_type": "GGA", "hubbards": {"Fe": 5.3}},
    }
    assert not set(ENERGY) & set(without)


ENERGY = (
    "level", "energy", "energy_of", "correction", "formation_energy_per_atom", "e_above_hull", "parameters",
)  # fmt: skip


def test_energies_of_one_level_only(session: Session):
    row = make.structure(session, "NaCl")
    for name, energy in (("PBE", -7.0), ("SCAN", -9.0)):
        make.hull_state(session, make.calculation(session, row, make.level(session, name), energy=energy))
    assert [one["energy"] for one in told(session, level="SCAN")] == [-9.0]
    assert [one["energy"] for one in told(session, 'level = "PBE"')] == [-7.0]
    assert "energy" not in told(session, 'elements HAS "Na"')[0]
    with pytest.raises(FilterError, match="say which level"):
        exported(session, "is_stable = TRUE")
    with pytest.raises(NotFound, match="no level 'B3LYP': known are PBE, SCAN"):
        exported(session, level="B3LYP")


def test_the_relaxed_structures(session: Session):
    at = make.level(session, "PBE")
    moved, kept, unlabelled = (make.structure(session, formula) for formula in ("NaCl", "KCl", "CsCl"))
    final = make.structure(session, "NaCl", origin="relaxed", source_name="other")
    make.calculation(session, moved, at, final=final)
    make.calculation(session, kept, at, final=kept)
    documents, _ = exported(session, level="PBE", relaxed=True)
    said = [one["properties"] for one in documents]
    assert [one["lode_id"] for one in said] == [final.public_id, kept.public_id]
    assert [one.get("relaxed_from") for one in said] == [moved.public_id, None]
    assert [one["energy_of"] for one in said] == [final.public_id, kept.public_id]
    assert said[0]["source"] == "test"
    assert [x for row in documents[0]["lattice"]["matrix"] for x in row] == final.lattice
    before = told(session, level="PBE")
    assert [one["lode_id"] for one in before] == [moved.public_id, kept.public_id, unlabelled.public_id]
    assert before[0]["energy_of"] == final.public_id


def test_entries_are_what_may_stand_on_a_hull(session: Session):
    at = make.level(session, "PBE")
    good, bad, _unlabelled = (make.structure(session, formula) for formula in ("NaCl", "KCl", "CsCl"))
    label = make.calculation(session, good, at, energy=-7.0, correction=-0.5)
    make.calculation(session, bad, at, correction=None, off_hull="no reference")
    (entry,), _ = exported(session, format_="entries", level="PBE")
    assert (entry["energy"], entry["correction"]) == (-7.0, -0.5)
    assert entry["entry_id"] == session.get_one(make.models.Structure, label.final_structure_id).public_id
    assert (entry["data"]["lode_id"], entry["data"]["relaxed_from"]) == (entry["entry_id"], good.public_id)
    off = next(one for one in told(session, level="PBE") if one["reduced_formula"] == "KCl")
    assert (off["off_hull"], "correction" in off) == ("no reference", False)


@pytest.mark.parametrize("wanted", [{"format_": "entries"}, {"relaxed": True}])
def test_final_structures_need_a_level(session: Session, wanted: dict[str, Any]):
    make.structure(session)
    with pytest.raises(FilterError, match="say with --level"):
        exported(session, **wanted)


def test_the_hull_as_it_was(session: Session):
    at, now = make.level(session, "PBE"), datetime.now(UTC)
    label = make.calculation(session, make.structure(session), at)
    make.hull_state(session, label, 0.0, valid_from=now - timedelta(days=9), valid_to=now)
    make.hull_state(session, label, 0.3, valid_from=now)
    moment = now - timedelta(days=1)
    (then,) = told(session, f'e_above_hull < 9 AS OF "{moment.isoformat()}"')
    assert (then["e_above_hull"], datetime.fromisoformat(then["as_of"])) == (0.0, moment)
    (today,) = told(session, "e_above_hull < 9")
    assert (today["e_above_hull"], "as_of" in today) == (0.3, False)


def test_non_commercial_rows_leave_only_when_asked_by_name(session: Session):
    make.source(session, "GNoME", non_commercial=True)
    make.source(session, "Atlas", non_commercial=True)
    for formula, name in (("NaCl", "GNoME"), ("KCl", "GNoME"), ("CsCl", "Atlas"), ("LiCl", "COD")):
        make.structure(session, formula, source_name=name)
    assert exported(session)[1] == ExportReport(1, {"Atlas": 1, "GNoME": 2})
    asked = exported(session, non_commercial=frozenset({"GNoME"}))[1]
    assert asked == ExportReport(3, {"Atlas": 1})
    assert exported(session, 'elements HAS "K"')[1] == ExportReport(0, {"GNoME": 1})
    assert exported(session, non_commercial=frozenset({"GNoME", "Atlas", "COD"}))[1] == ExportReport(4)
    with pytest.raises(NotFound, match="no source 'Gnome'; non-commercial ones: Atlas, GNoME"):
        exported(session, non_commercial=frozenset({"Gnome"}))


def test_the_relaxed_form_of_a_non_commercial_crystal_stays_too(session: Session):
    make.source(session, "GNoME", non_commercial=True)
    row = make.structure(session, "NaCl", source_name="GNoME")
    make.calculation(session, row, make.level(session, "PBE"))
    for wanted in ({"relaxed": True}, {"format_": "entries"}):
        assert exported(session, level="PBE", **wanted)[1] == ExportReport(0, {"GNoME": 1})


def test_a_non_commercial_energy_keeps_a_free_crystal_here_only_where_energies_leave(session: Session):
    theirs = make.source(session, "GNoME", non_commercial=True)
    row = make.structure(session, "NaCl")
    make.calculation(session, row, make.level(session, "PBE"), source_id=theirs.id)
    assert exported(session)[1] == ExportReport(1)
    assert exported(session, level="PBE")[1] == ExportReport(0, {"GNoME": 1})
    assert exported(session, level="PBE", non_commercial=frozenset({"GNoME"}))[1] == ExportReport(1)


def test_an_energy_of_another_source_tells_its_terms(session: Session):
    theirs = make.source(session, "GNoME", licence="CC BY-NC 4.0", citation="Merchant", non_commercial=True)
    at = make.level(session, "PBE")
    for formula, source_id in (("NaCl", theirs.id), ("KCl", make.source(session).id)):
        make.calculation(session, make.structure(session, formula), at, source_id=source_id)
    other, same = told(session, level="PBE", non_commercial=frozenset({"GNoME"}))
    assert {name: other[name] for name in other if name.startswith("energy_") and name != "energy_of"} == {
        "energy_source": "GNoME",
        "energy_licence": "CC BY-NC 4.0",
        "energy_citation": "Merchant",
        "energy_non_commercial": True,
    }
    assert (other["source"], other["licence"], "non_commercial" in other) == ("test", "CC0-1.0", False)
    assert not {name for name in same if name.startswith("energy_")} - {"energy_of"}


def test_properties_come_along_in_the_order_of_their_coming(session: Session):
    row = make.structure(session, "NaCl")
    theirs = make.source(session, "Atlas", licence="CC-BY-4.0", citation="Somebody")
    make.property_of(session, row, "band_gap", 8.5, "GW", provenance={"code": "yambo"})
    make.property_of(session, row, "band_gap", 5.0, "PBE", source_id=theirs.id)
    make.property_of(session, row, "colour", None, "seen", unit="1", words="white")
    assert told(session)[0]["crystal_properties"] == [
        {"name": "band_gap", "value": 8.5, "unit": "eV", "method": "GW", "provenance": {"code": "yambo"}},
        {
            "name": "band_gap",
            "value": 5.0,
            "unit": "eV",
            "method": "PBE",
            "source": "Atlas",
            "licence": "CC-BY-4.0",
            "citation": "Somebody",
        },
        {"name": "colour", "words": "white", "unit": "1", "method": "seen"},
    ]


def test_a_non_commercial_property_stays_and_its_crystal_leaves(session: Session):
    theirs = make.source(session, "GNoME", non_commercial=True)
    for formula in ("NaCl", "KCl"):
        row = make.structure(session, formula)
        make.property_of(session, row, "band_gap", 5.0, "PBE", source_id=theirs.id)
        make.property_of(session, row, "band_gap", 8.5, "GW")
    documents, report = exported(session)
    assert report == ExportReport(2, {}, {"GNoME": 2})
    assert [one["method"] for one in documents[0]["properties"]["crystal_properties"]] == ["GW"]
    documents, report = exported(session, non_commercial=frozenset({"GNoME"}))
    assert report == ExportReport(2)
    assert [one["source"] for one in documents[0]["properties"]["crystal_properties"] if "source" in one] == ["GNoME"]


def test_a_wrong_question_opens_no_file(session: Session):
    @contextmanager
    def never() -> Iterator[BinaryIO]:
        pytest.fail("opened")
        yield io.BytesIO()

    for wanted in (
        Wanted("json", "colour = 1"),
        Wanted("json", level="gone"),
        Wanted("json", non_commercial=frozenset("x")),
    ):
        with pytest.raises(LodeError):
            export(session, wanted, never(), lambda _done, _total: None)


def test_rows_come_in_batches_from_a_cursor_on_the_server(session: Session, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(materials, "BATCH", 2)
    for _ in range(5):
        make.structure(session)
    statements: list[str] = []
    event.listen(
        session.get_bind(), "before_cursor_execute", lambda _c, cursor, *_rest: statements.append(type(cursor).__name__)
    )
    steps: list[tuple[int, int]] = []
    export(session, Wanted("json"), _void(), lambda done, total: steps.append((done, total)))
    assert statements[-1] == "ServerCursor"
    assert steps == [(2, 5), (4, 5), (5, 5)]


@contextmanager
def _void() -> Iterator[BinaryIO]:
    yield io.BytesIO()
