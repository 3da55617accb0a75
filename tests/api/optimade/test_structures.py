"""/structures, over a socket: pages, filters, fields, errors, terms, levels."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
import requests
from click.testing import CliRunner
from sqlalchemy import Engine, event, select, text
from sqlalchemy.orm import Session

from api.cli.query import query
from api.optimade import entries, refusals
from api.optimade.properties import OWN, PROPERTIES, STANDARD
from registry.ingest import crystal_of
from registry.models import Structure
from registry.query.fields import FIELDS
from registry.query.materials import search
from tests import factories as make
from tests.api.graphql.test_graphql import ask
from tests.api.optimade.conftest import Api, serving
from tests.registry.query.hostile import HARMLESS, REFUSED, TEXTS, quoted


def expected(engine: Engine, filter_: str, sort: str = "discovered_at") -> list[str]:
    with Session(engine) as session:
        return [row["id"] for row in search(session, filter_, sort=sort, limit=1_000, fields=["id"]).data]


EVERYWHERE = [
    'elements HAS ALL "Li","O"',
    'elements HAS ANY "Na","K" AND nelements=2',
    'elements HAS ONLY "Li","Fe","O"',
    "elements LENGTH 3 AND nsites<=20",
    "nsites>=4 OR NOT nelements=2",
]
TRANSLATED = {
    "_lode_e_above_hull<0.03 AND _lode_is_stable=FALSE": "e_above_hull<0.03 AND is_stable=FALSE",
    'chemical_formula_reduced="FeLiO2"': 'reduced_formula="LiFeO2"',
    'chemical_formula_anonymous="A2BC"': 'anonymous_formula="ABC2"',
    'chemical_formula_anonymous STARTS "A2B"': 'anonymous_formula="ABC2" OR anonymous_formula="AB2"',
    'chemical_formula_reduced>"F" AND chemical_formula_reduced<="FeLiO2"': 'reduced_formula="LiFeO2" OR chemsys="Fe"',
    'chemical_formula_reduced CONTAINS "LiO2"': 'reduced_formula="LiFeO2"',
    'chemical_formula_descriptive ENDS "O2"': 'reduced_formula ENDS "O2"',
    "chemical_formula_hill!=\"ClNa\"": 'reduced_formula!="NaCl"',
    "NOT _lode_e_above_hull<0.03": "NOT e_above_hull<0.03",
    "_lode_band_gap IS KNOWN AND NOT (_lode_band_gap>1 AND _exmpl_x=1)": "band_gap<=1",
    "elements_ratios HAS ALL 0.5,0.25": 'anonymous_formula="ABC2"',
    "elements_ratios HAS ANY 0.3333333333333333, 1": 'anonymous_formula="AB2" OR nelements=1',
    "NOT elements_ratios HAS 0.5 AND elements_ratios LENGTH <= 2": 'nelements<=2 AND NOT anonymous_formula="AB"',
    '_lode_external_ids HAS "mp-3"': 'external_ids HAS "mp-3"',
    '_lode_prototype="AB_cF8_225_a_b"': 'prototype="AB_cF8_225_a_b"',
    '_lode_spacegroup_number=225 AND _lode_level="test-level"': 'spacegroup_number=225 AND level="test-level"',
    'last_modified>"2026-01-01T00:00:00.000004Z"': 'discovered_at>"2026-01-01T00:00:00.000004Z"',
    '_lode_is_stable=TRUE AS OF "2026-01-05"': 'is_stable=TRUE AS OF "2026-01-05"',
}  # fmt: skip


@pytest.mark.parametrize("filter_", EVERYWHERE)
def test_one_filter_finds_the_same_everywhere(api: Api, mixed_engine: Engine, filter_: str, database_of: None) -> None:
    found = set(api.ids(filter_))
    assert found
    graphql = "query ($f: String) { materials(filter: $f, first: 1000) { nodes { id } } }"
    nodes = ask(mixed_engine, graphql, f=filter_)["data"]["materials"]["nodes"]
    assert {one["id"] for one in nodes} == found
    done = CliRunner().invoke(query, [filter_, "--limit", "1000", "--fields", "id", "--json"])
    assert {row["id"] for row in json.loads(done.stdout)["data"]} == found


@pytest.fixture
def database_of(mixed_engine: Engine, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the command line asks."""
    monkeypatch.setenv("LODE_DATABASE_URL", mixed_engine.url.render_as_string(hide_password=False))
    monkeypatch.setenv("LODE_HOME", str(tmp_path))


@pytest.mark.parametrize("filter_", TRANSLATED)
def test_the_standards_names_find_what_ours_do(api: Api, mixed_engine: Engine, filter_: str) -> None:
    assert sorted(api.ids(filter_)) == sorted(expected(mixed_engine, TRANSLATED[filter_]))


@pytest.mark.parametrize("sort", ["", "nsites", "-_lode_e_above_hull", "_lode_band_gap", "id", "-last_modified"])
@pytest.mark.parametrize("limit", [7, 100])
def test_pages_lose_nothing(api: Api, mixed_engine: Engine, sort: str, limit: int) -> None:
    found = api.ids("", page_limit=limit, **({"sort": sort} if sort else {}))
    ours = {"": "discovered_at", "-last_modified": "-discovered_at"}.get(sort, sort.replace("_lode_", ""))
    assert found == expected(mixed_engine, "", ours)
    assert len(set(found)) == 300


def test_pages_end_early_where_they_hold_many_sites(
    api: Api, mixed_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(entries, "MOST_SITES", 50)
    answer = api.get("/v1/structures", page_limit=100)
    assert 1 < len(answer["data"]) < 50
    assert answer["meta"]["more_data_available"]
    assert sum(one["attributes"]["nsites"] for one in answer["data"]) <= 50
    monkeypatch.setattr(entries, "MOST_SITES", 1)  # which no entry has room in
    following = requests.get(answer["links"]["next"], timeout=60).json()
    ids = expected(mixed_engine, "")
    assert [one["id"] for one in [*answer["data"], *following["data"]]] == ids[: len(answer["data"]) + 1]


def test_an_offset_within_a_cap(api: Api, mixed_engine: Engine) -> None:
    ids = expected(mixed_engine, "")
    page = api.get("/v1/structures", page_offset=40, page_limit=10, response_fields="id")
    assert [one["id"] for one in page["data"]] == ids[40:50]
    following = requests.get(page["links"]["next"], timeout=60).json()
    assert [one["id"] for one in following["data"]] == ids[50:60]
    beyond = api.get("/v1/structures", page_offset=400, page_limit=10)
    assert (beyond["data"], beyond["links"]["next"]) == ([], None)
    status, told = api.error("/v1/structures", page_offset=999, page_limit=10)
    assert (status, "links.next" in told) == (400, True)


def test_an_entry_in_full(api: Api, mixed_engine: Engine) -> None:
    with Session(mixed_engine) as session:
        row = search(session, 'reduced_formula="NaFeO2" AND e_above_hull>0 AND external_ids IS KNOWN', limit=1).data[0]
        stored = session.scalars(select(Structure).where(Structure.public_id == row["id"])).one()
        crystal = crystal_of(stored)
    entry = api.get(f"/v1/structures/{row['id']}")["data"]
    told = entry["attributes"]
    assert (entry["id"], entry["type"]) == (row["id"], "structures")
    assert set(told) == PROPERTIES.keys() - {"id", "type"}
    assert told["lattice_vectors"] == crystal.lattice.tolist()
    assert np.allclose(told["cartesian_site_positions"], crystal.frac_coords @ crystal.lattice)
    assert told["_lode_fractional_site_positions"] == crystal.frac_coords.tolist()
    assert (told["elements"], told["elements_ratios"]) == (["Fe", "Na", "O"], [0.25, 0.25, 0.5])
    assert told["chemical_formula_reduced"] == told["chemical_formula_hill"] == "FeNaO2"
    assert (told["chemical_formula_anonymous"], told["chemical_formula_descriptive"]) == ("A2BC", "NaFeO2")
    for name in FIELDS.keys() - {"id", "elements", "nelements", "nsites", "external_ids", "discovered_at"}:
        assert told[f"_lode_{name}"] == row[name], name
    assert told["_lode_external_ids"] == [row["external_ids"]["mp"]]
    assert datetime.fromisoformat(told["last_modified"]) == datetime.fromisoformat(row["discovered_at"])
    assert told["last_modified"].endswith("Z")
    assert told["_lode_citation"] == "none"


def test_fields_that_are_asked_for(api: Api) -> None:
    asked = "nsites,_lode_e_above_hull,space_group_it_number,_exmpl_x"
    page = api.get("/v1/structures", response_fields=asked, page_limit=3)
    assert all(list(one["attributes"]) == asked.split(",") for one in page["data"])
    assert {one["attributes"]["_exmpl_x"] for one in page["data"]} == {None}
    (warning,) = page["meta"]["warnings"]
    assert warning == {"type": "warning", "detail": "_exmpl_x is known of no crystal here"}


def test_a_foreign_field_finds_nothing_and_says_so(api: Api) -> None:
    page = api.get("/v1/structures", filter="_exmpl_band_gap<2 OR nsites=99")
    assert (page["data"], page["meta"]["data_returned"]) == ([], 0)
    assert "_exmpl_band_gap" in page["meta"]["warnings"][0]["detail"]


@pytest.mark.parametrize(
    ("parameters", "status", "told"),
    [
        ({"filter": "nsites=1 AND e_above_hull<1"}, 400, "did you mean _lode_e_above_hull?"),
        ({"filter": "nsites=="}, 400, "did you mean =?"),
        ({"filter": 'nsites="3"'}, 501, "without quotes"),
        ({"filter": "elements_ratios HAS >0.5"}, 501, "not HAS >"),
        ({"filter": 'species HAS "Li"'}, 501, "takes LENGTH"),
        ({"filter": "_lode_nothing=1"}, 400, "unknown field '_lode_nothing'"),
        ({"filter": '_lode_level="pbe" AND nsites=1'}, 400, "there is no level 'pbe'"),
        ({"_lode_level": "pbe"}, 400, "there is no level 'pbe'"),
        ({"page_limit": "501"}, 403, "500 at most"),
        ({"page_limit": "0"}, 400, "a number from 1"),
        ({"page_limit": "-1"}, 400, "a number from 1"),
        ({"page_limit": "ten"}, 400, "a number from 1"),
        ({"page_limit": "9" * 5_000}, 400, "a number from 1"),
        ({"page_number": "2"}, 400, "follow links.next"),
        ({"page_cursor": "x"}, 400, "this cursor is damaged"),
        ({"page_cursor": "x", "page_offset": "3"}, 400, "contradict"),
        ({"sort": "elements"}, 400, "can't sort by 'elements'"),
        ({"sort": "nsites,id"}, 400, "one field"),
        ({"response_fields": "nsite"}, 400, "did you mean nsites?"),
        ({"response_fields": "_lode_nothing"}, 400, "unknown property '_lode_nothing'"),
        ({"response_format": "xml"}, 400, "only json"),
        ({"include": "structures"}, 400, "nothing is related"),
        ({"filters": "nsites=1"}, 400, "did you mean filter?"),
        ({"_lode_x": "1"}, 400, "unknown parameter"),
        ({"api_hint": "v2"}, 200, ""),
    ],
)
def test_errors(api: Api, parameters: dict[str, str], status: int, told: str) -> None:
    if status == 200:  # a version in the URL wins over a hint
        assert api.reply("/v1/structures", **parameters).status_code == 200
        return
    found, detail = api.error("/v1/structures", **parameters)
    assert (found, told in detail) == (status, True), detail


def test_carets_point_at_the_word(api: Api) -> None:
    _, detail = api.error("/v1/structures", filter="nsites=1 AND _lode_e_above<1")
    _, shown, carets = detail.split("\n")
    assert shown[carets.index("^") : carets.rindex("^") + 1] == "_lode_e_above"


def test_where_nothing_is(api: Api) -> None:
    assert api.error("/v1/structures/lode-nothing") == (404, "there is no structure 'lode-nothing'")
    assert api.error("/v1/structures/a/b%00c")[0] == 404
    assert api.error("/v1/references")[0] == api.error("/v1/versions")[0] == api.error("/nowhere")[0] == 404
    assert api.error("/v2/info")[0] == api.error("/v0.9/structures")[0] == api.error("/v1.3/info")[0] == 553
    assert api.error("/info", api_hint="v2")[0] == 553
    assert requests.post(f"{api.base}/v1/structures", timeout=60).json()["errors"][0]["status"] == "405"
    assert requests.get(f"{api.base}/v1/structures?filter=nsites=1&filter=nsites=2", timeout=60).status_code == 400


def test_a_slash_at_the_end_does_no_harm(api: Api) -> None:
    assert api.get("/v1/structures/", page_limit=3)["data"] == api.get("/v1/structures", page_limit=3)["data"]
    assert api.get("/info/")["data"] == api.get("/info")["data"]
    assert requests.get(f"{api.base}/v1/", timeout=60).status_code == 404


def test_other_parameters_of_a_single_entry_are_ignored(api: Api, mixed_engine: Engine) -> None:
    (one, *_) = expected(mixed_engine, "")
    answer = api.get(f"/v1/structures/{one}", nonsense=1, page_limit=0, response_fields="nsites")
    assert list(answer["data"]["attributes"]) == ["nsites"]


def test_says_what_it_is(api: Api) -> None:
    assert requests.get(f"{api.base}/versions", timeout=60).text == "version\n1\n"
    info = api.get("/v1/info")["data"]["attributes"]
    assert {one["url"] for one in info["available_api_versions"]} == {f"{api.base}/v{v}" for v in ("1", "1.2", "1.2.0")}
    told = api.get("/v1.2/info/structures")["data"]["properties"]
    assert set(told) == set(PROPERTIES)
    assert told["_lode_e_above_hull"] == {
        "description": FIELDS["e_above_hull"].description,
        "type": "float",
        "sortable": True,
        "unit": "eV/{atom}",
    }
    assert all(told[name]["sortable"] == FIELDS[name.removeprefix("_lode_")].sorts for name in OWN)
    assert STANDARD.keys() <= told.keys()
    meta = api.get("/structures", filter="nsites=2", page_limit=1)["meta"]
    assert meta["query"]["representation"] == "/structures?filter=nsites%3D2&page_limit=1"


@pytest.mark.parametrize("name", [name for name in REFUSED if name != "1,500 values and a mistake"])  # no element
def test_hostile_filters_are_refused(api: Api, name: str) -> None:
    try:
        filter_ = REFUSED[name]
        reply = api.reply("/v1/structures", filter=filter_.encode("utf-8", "replace").decode())
    except requests.ConnectionError:
        assert len(REFUSED[name]) > 60_000  # more than a URL holds
        return
    assert reply.status_code in (400, 414, 501)


@pytest.mark.parametrize("filter_", [*HARMLESS.values(), *(f"chemical_formula_reduced={quoted(one)}" for one in TEXTS)])
def test_harmless_filters_find_nothing(api: Api, filter_: str) -> None:
    named = "external_ids|duplicates|prototype|band_gap|reduced_formula|anonymous_formula"
    filter_ = re.sub(rf"(?<!_)\b({named})(?= HAS|[=>])", r"_lode_\1", filter_)
    assert api.get("/v1/structures", filter=filter_)["data"] == []


@contextmanager
def counted(engine: Engine) -> Iterator[list[str]]:
    statements: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        statements.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    yield statements
    event.remove(engine, "before_cursor_execute", note)


def test_as_many_statements_for_a_long_page_as_for_a_short_one(api: Api, mixed_engine: Engine) -> None:
    numbers = []
    for limit in (2, 200):
        with counted(mixed_engine) as statements:
            assert len(api.get("/v1/structures", page_limit=limit)["data"]) == limit
        numbers.append(len(statements))
    assert numbers[0] == numbers[1] <= 12


def test_a_question_that_takes_too_long(api: Api, mixed_engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entries, "STATEMENT_SECONDS", 0.1)
    with mixed_engine.begin() as holder:
        holder.execute(text("LOCK TABLE structure IN ACCESS EXCLUSIVE MODE"))
        status, told = api.error("/v1/structures")
    assert (status, "took longer than" in told) == (503, True)
    assert refusals.STATEMENT_SECONDS == 10


def test_a_count_that_takes_too_long_is_left_out(
    api: Api, mixed_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(entries, "MOST_COUNTED", 100)
    meta = api.get("/v1/structures", page_limit=1)["meta"]
    assert "data_returned" not in meta
    assert "data_available" not in meta
    monkeypatch.setattr(entries, "count", lambda session, *_: session.execute(text("SELECT pg_sleep(9)")))
    monkeypatch.setattr(entries, "COUNT_SECONDS", 0.05)
    answer = api.get("/v1/structures", page_limit=1)
    assert len(answer["data"]) == 1
    assert "data_returned" not in answer["meta"]


def test_the_database_is_gone() -> None:
    from registry.database import engine_for

    with serving(engine_for("postgresql://x@127.0.0.1:1/x")) as gone:
        assert gone.error("/v1/structures") == (503, "the database doesn't answer: try again later")


@pytest.fixture
def two_terms(engine: Engine) -> Engine:
    """A free crystal, one that isn't, and a free one whose energy and whose band gap aren't."""
    with Session(engine) as session:
        make.source(session, "closed", licence="CC-BY-NC-4.0", non_commercial=True)
        free = make.material(session, "NaCl", None)
        make.material(session, "KCl", 0.1, source_name="closed")
        energy = make.structure(session, "LiCl")
        closed = make.source(session, "closed")
        make.hull_state(session, make.calculation(session, energy, make.level(session), source_id=closed.id))
        make.property_of(session, free, "band_gap", 5.0, "measured", source_id=closed.id)
        make.property_of(session, free, "dimensionality", 3, "Cheon 2017", unit="1")
        session.commit()
    return engine


def formulas_of(served: Api, **parameters: str | int) -> dict[str, dict[str, Any]]:
    entries_ = served.get("/v1/structures", **parameters)["data"]
    return {one["attributes"]["_lode_reduced_formula"]: one for one in entries_}


def test_what_forbids_commerce_stays(two_terms: Engine) -> None:
    with serving(two_terms) as served:
        found = formulas_of(served)
        assert list(found) == ["NaCl"]
        assert found["NaCl"]["attributes"]["_lode_band_gap"] is None
        assert found["NaCl"]["attributes"]["_lode_dimensionality"] == 3
        assert served.get("/v1/structures")["meta"]["data_available"] == 1
        assert served.ids("_lode_e_above_hull<1") == []
        hidden = expected(two_terms, 'reduced_formula="KCl"')[0]
        assert served.error(f"/v1/structures/{hidden}")[0] == 404
        assert served.get("/v1/info")["data"]["attributes"]["available_licenses_for_entries"] == ["CC0-1.0"]


def test_what_forbids_commerce_is_shown_by_name_and_says_so(two_terms: Engine) -> None:
    with serving(two_terms, frozenset({"closed"})) as served:
        found = formulas_of(served)
        assert set(found) == {"NaCl", "KCl", "LiCl"}
        assert found["NaCl"]["attributes"]["_lode_band_gap"] == 5.0
        closed = found["KCl"]
        assert closed["attributes"]["_lode_licence"] == "CC-BY-NC-4.0"
        assert closed["attributes"]["_lode_non_commercial"] is True
        told = {"_lode_licence": "CC-BY-NC-4.0", "_lode_non_commercial": True}
        short = served.get(f"/v1/structures/{closed['id']}", response_fields="nsites")["data"]
        assert (short["attributes"], short["meta"]) == ({"nsites": 2}, told)
        assert "meta" not in found["NaCl"]
        assert served.get("/v1/info")["data"]["attributes"]["available_licenses_for_entries"] is None


def test_two_levels(engine: Engine) -> None:
    with Session(engine) as session:
        row = make.material(session, "NaCl", 0.1)
        other = make.calculation(session, row, make.level(session, "other"))
        make.hull_state(session, other, 0.2, valid_from=datetime.now(UTC))
        session.commit()
    with serving(engine) as served:
        page = served.get("/v1/structures")
        assert page["data"][0]["attributes"]["_lode_e_above_hull"] is None
        assert page["meta"]["warnings"][0]["detail"] == entries.MANY_LEVELS
        assert "warnings" not in served.get("/v1/structures", response_fields="nsites")["meta"]
        status, told = served.error("/v1/structures", filter="_lode_e_above_hull<1")
        assert (status, "say which level" in told) == (400, True)
        for level, energy in (("test-level", 0.1), ("other", 0.2)):
            named = served.get("/v1/structures", _lode_level=level)["data"][0]["attributes"]
            filtered = served.get("/v1/structures", filter=f'_lode_level="{level}"')["data"][0]["attributes"]
            assert named["_lode_e_above_hull"] == filtered["_lode_e_above_hull"] == energy
            assert named["_lode_level"] == level
