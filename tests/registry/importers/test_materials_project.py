"""The real client of the Materials Project against a recording of its service (`recorded_mp` says what that is)."""

from __future__ import annotations

import gzip
import json
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import CliRunner
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from api.cli.importing import import_
from registry.errors import BadRecord, MissingExtra, ProviderError, SettingsError
from registry.hull.store import place
from registry.importers import ImportedRecord
from registry.importers.materials_project import CITATION, read_thermo
from registry.importers.providers import Delivery, Query, open_provider
from registry.models import Calculation, ExternalId, HullState, Level, Source
from registry.properties import CrystalProperty
from tests.registry.importers.recorded_mp import KEY, document, recorded
from tests.registry.importers.scripted_server import Answer, scripted, told

needs_client = pytest.mark.skipif(find_spec("mp_api") is None, reason="mp-api isn't installed: extra mp")


@pytest.fixture(scope="module")
def exported(lode_test_data: Path) -> list[dict[str, Any]]:
    with gzip.open(lode_test_data / "hulls" / "mp2024_Li-Fe-P-O.json.gz") as file:
        entries: list[dict[str, Any]] = json.load(file)
    return [one for one in entries if set(one["composition"]) <= {"Li", "Fe", "O"}]


@pytest.fixture(autouse=True)
def _own_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MP_API_KEY", KEY)


def ask(monkeypatch: pytest.MonkeyPatch, url: str, chemsys: str = "Li-O", **asked: Any) -> Delivery:
    monkeypatch.setenv("MP_API_ENDPOINT", url)
    return open_provider(Query("mp", chemsys=chemsys, **asked))


@needs_client
def test_entries_of_a_chemical_system_and_all_within(monkeypatch: pytest.MonkeyPatch, exported: list[dict[str, Any]]):
    with recorded([document(one) for one in exported]) as (url, asked):
        found = ask(monkeypatch, url)
    assert (found.source, found.licence, found.citation) == ("Materials Project", "CC-BY-4.0", CITATION)
    assert {query.get("thermo_types") for query in asked} == {"GGA_GGA+U", None}
    expected = {one["entry_id"]: one for one in exported if set(one["composition"]) <= {"Li", "O"}}
    items = list(found.items)
    assert len(items) == len(expected) > 40
    for item in items:
        assert isinstance(item, ImportedRecord)
        written = expected[item.external_ids["entry"]]
        assert item.external_ids["mp"] == written["entry_id"].removesuffix("-GGA")
        assert item.energy is not None
        assert item.energy.total == written["energy"]
        assert item.energy.correction == pytest.approx(written["correction"], abs=1e-9)
        assert item.energy.run_type == written["run_type"]
        assert item.metadata["mp_database_version"] == "2024.11.14"


@needs_client
def test_band_gaps_come_from_the_summaries(monkeypatch: pytest.MonkeyPatch, exported: list[dict[str, Any]]):
    gaps = dict(zip(("mp-1960", "mp-135", "mp-12957", "mp-841"), (2.5, 0.0, None, "wide"), strict=True))
    chosen = [one for one in exported if one["entry_id"].rpartition("-GGA")[0] in gaps]
    documents = [document(one, band_gap=gaps[one["entry_id"].rpartition("-GGA")[0]]) for one in chosen]
    with recorded(documents) as (url, _):
        items = list(ask(monkeypatch, url).items)
    told = {item.external_ids["mp"]: item.properties for item in items if isinstance(item, ImportedRecord)}
    version = {"mp_database_version": "2024.11.14"}
    assert told["mp-1960"] == [
        CrystalProperty("band_gap", 2.5, "eV", "Materials Project", {**version, "is_gap_direct": True})
    ]
    assert told["mp-135"] == [CrystalProperty("band_gap", 0.0, "eV", "Materials Project", version)]
    assert told["mp-12957"] == []
    assert [item.reason for item in items if isinstance(item, BadRecord)] == ["its band_gap is no number, but 'wide'"]


@needs_client
def test_what_forbids_commercial_use_comes_only_where_all_is_taken_so(
    monkeypatch: pytest.MonkeyPatch, exported: list[dict[str, Any]]
):
    documents = [document(one, "BY-NC" if one["entry_id"] == "mp-135-GGA" else "BY-C") for one in exported]
    with recorded(documents) as (url, _):
        usual, all_of_it = ask(monkeypatch, url, "Li"), ask(monkeypatch, url, "Li", non_commercial=True)
    (bad,) = [item for item in usual.items if isinstance(item, BadRecord)]
    assert bad.record == "mp:mp-135"
    assert "CC BY-NC" in bad.reason
    assert not [item for item in all_of_it.items if isinstance(item, BadRecord)]
    assert (all_of_it.licence, all_of_it.non_commercial) == ("CC-BY-NC-4.0", True)


@needs_client
def test_their_hull_comes_out_again_and_twice_is_once(
    monkeypatch: pytest.MonkeyPatch, engine: Engine, database_url: str, tmp_path: Path, exported: list[dict[str, Any]]
):
    monkeypatch.setenv("LODE_DATABASE_URL", database_url)
    monkeypatch.setenv("LODE_HOME", str(tmp_path))
    call = ["--provider", "mp", "--chemsys", "Li-Fe-O", "--level", "mp-2024", "--json"]
    with recorded([document(one) for one in exported]) as (url, _):
        monkeypatch.setenv("MP_API_ENDPOINT", url)
        first, second = (json.loads(CliRunner().invoke(import_, call).stdout) for _ in range(2))
    assert first["read"] == second["read"] == len(exported)
    assert second["imported"] == 0
    with Session(engine) as session, session.begin():
        assert session.scalars(sa.select(Source.licence)).all() == ["CC-BY-4.0"]
        place(session, session.scalars(sa.select(Level.id).where(Level.name == "mp-2024")).one())
        rows = session.execute(
            sa.select(ExternalId.value, HullState.e_above_hull)
            .join(Calculation, Calculation.initial_structure_id == ExternalId.structure_id)
            .join(HullState, HullState.calculation_id == Calculation.id)
            .where(ExternalId.scheme == "entry")
        ).all()
    expected = {one["entry_id"]: one["e_above_hull"] for one in exported}
    assert len(rows) > 250
    assert max(abs(height - expected[identity]) for identity, height in rows) < 1e-6


@pytest.mark.parametrize(
    "broken", [None, [], {}, {"material_id": "mp-1"}, {"material_id": "mp-1", "entries": {}}, {"entries": {"GGA": {}}}]
)
def test_documents_that_are_none(broken: Any):
    (bad,) = read_thermo(broken, "2024", False, {})
    assert isinstance(bad, BadRecord)
    assert bad.reason == "a document without material_id and entries"


def test_an_entry_without_a_structure_spoils_no_other():
    structure = {"lattice": [[3, 0, 0], [0, 3, 0], [0, 0, 3]], "species": ["Li"], "abc": [[0, 0, 0]]}
    entries = {
        "GGA": {"energy": -1.0},
        "GGA+U": {"energy": -2.0, "structure": structure, "entry_id": "mp-aaaaaab-GGA+U"},
    }
    bad, item = read_thermo({"material_id": "mp-aaaaaab", "entries": entries}, "2024", False, {})
    assert isinstance(bad, BadRecord)
    assert (bad.record, bad.reason) == ("mp:mp-aaaaaab:GGA", "holds no structure (no lattice and sites)")
    assert isinstance(item, ImportedRecord)
    assert item.external_ids == {"entry": "mp-aaaaaab-GGA+U", "mp": "mp-aaaaaab"}


@pytest.mark.parametrize(
    ("summary", "reason"),
    [
        ({"band_gap": 10**400}, "int too large to convert to float"),
        ({"band_gap": True}, "its band_gap is no number, but True"),
        ({"band_gap": [1.0]}, "its band_gap is no number, but [1.0]"),
    ],
)
def test_a_band_gap_that_is_none(summary: dict[str, Any], reason: str):
    structure = {"lattice": [[3, 0, 0], [0, 3, 0], [0, 0, 3]], "species": ["Li"], "abc": [[0, 0, 0]]}
    entries = {"GGA": {"energy": -2.0, "structure": structure}}
    (bad,) = read_thermo({"material_id": "mp-1", "entries": entries}, "2024", False, {"mp-1": summary})
    assert isinstance(bad, BadRecord)
    assert (bad.record, bad.reason) == ("mp:mp-1:GGA", reason)


@needs_client
@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Answer(b"<html>"), "the answer isn't JSON"),
        (told({"detail": "closed"}, 403), "HTTP 403"),
        (told({"nothing": 1}), "the Materials Project: "),
    ],
)
def test_services_that_are_none(monkeypatch: pytest.MonkeyPatch, answer: Answer, reason: str):
    with scripted(lambda _path, _before: answer) as url, pytest.raises(ProviderError) as caught:
        ask(monkeypatch, url)
    assert reason in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@needs_client
def test_a_wrong_key_and_a_system_without_entries(monkeypatch: pytest.MonkeyPatch):
    with recorded([]) as (url, _), pytest.raises(ProviderError, match="has no entries of Li-O"):
        ask(monkeypatch, url)
    with recorded([], key="another") as (url, _), pytest.raises(ProviderError, match=r"403.*Invalid authentication"):
        ask(monkeypatch, url)


@needs_client
@pytest.mark.parametrize(("key", "reason"), [("", "wants a key"), ("short", "has 32 characters, this one hasn't")])
def test_where_the_key_goes(monkeypatch: pytest.MonkeyPatch, key: str, reason: str):
    monkeypatch.setenv("MP_API_KEY", key)
    monkeypatch.setattr("pymatgen.core.SETTINGS", {})
    with pytest.raises(SettingsError, match=reason) as caught:
        open_provider(Query("mp", chemsys="Li-O"))
    assert "environment variable MP_API_KEY" in str(caught.value)


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "mp_api.client", None)
    with pytest.raises(MissingExtra, match=r"mp-api isn't installed: pip install 'motherlode\[mp\]'"):
        open_provider(Query("mp", chemsys="Li-O"))


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        (Query("mp"), "--provider mp needs --chemsys with 1 to 9 elements"),
        (Query("mp", chemsys="H-He-Li-Be-B-C-N-O-F-Ne"), "--provider mp needs --chemsys with 1 to 9 elements"),
        (Query("mp", chemsys="Li-Xx"), "--chemsys Li-Xx: 'Xx' is no element"),
        (Query("mp", chemsys="LiFeO"), "'LiFeO' is no element; write it as Li-Fe-O"),
        (Query("mp", chemsys="Li--O"), "'' is no element"),
        (Query("mp", chemsys="Li-O", filter="nsites=2"), "--provider mp takes no URL, --filter or --energy"),
        (Query("mp:https://x", chemsys="Li-O"), "--provider mp takes no URL"),
    ],
)
def test_questions_that_it_can_not_be_asked(query: Query, reason: str):
    with pytest.raises(SettingsError) as caught:
        open_provider(query)
    assert reason in str(caught.value)
