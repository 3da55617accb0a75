"""A served registry, read by our own importer and by the consortium's client."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from optimade.adapters import Structure as Adapter
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from api.cli.importing import import_
from api.optimade import asking
from registry.database import engine_for
from registry.importers.optimade import Server, read_entry
from registry.importers.record import BadRecord, ImportedRecord
from registry.ingest import crystal_of
from registry.models import ExternalId, Source, Structure
from registry.terms import SourceTerms
from tests import factories as make
from tests.api.optimade.conftest import LIBRARY, Api, serving
from tests.registry.importers.optimade_server import entry, salt

STRANGER = Server("http://127.0.0.1/v1", "Somebody", "some", ("CC0-1.0",), "")


def rows(engine: Engine) -> dict[str, list[Any]]:
    """Everything about each crystal that was imported, by its id."""
    names = select(Structure.public_id, ExternalId.scheme, ExternalId.value).join(Structure)
    with Session(engine) as session:
        stored = session.execute(select(Structure, Source).join(Source).where(Structure.origin == "imported")).tuples()
        found: dict[str, list[Any]] = {
            row.public_id: [row.coords, row.lattice, row.species, source.name, source.licence, source.citation]
            for row, source in stored
        }
        for public_id, scheme, value in session.execute(names).tuples():
            found[public_id].append((scheme, value))
    return {name: [*told[:6], *sorted(told[6:])] for name, told in found.items()}


@pytest.fixture
def elsewhere(database_url: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """An empty registry, which the command line takes for its own."""
    monkeypatch.setenv("LODE_DATABASE_URL", database_url)
    monkeypatch.setenv("LODE_HOME", str(tmp_path))
    engine = engine_for(database_url, "pytest")
    yield engine
    engine.dispose()


def imported(base: str, *options: str) -> dict[str, Any]:
    done = CliRunner().invoke(import_, ["--provider", f"optimade:{base}", *options, "--json"])
    counts: dict[str, Any] = json.loads(done.stdout)
    return counts


def test_a_registry_comes_over_as_it_was(library: Api, library_engine: Engine, elsewhere: Engine) -> None:
    here = rows(library_engine)
    done = imported(library.base)
    assert (done["read"], done["refused"]) == (len(here), [])
    assert done["imported"] > 200  # the others are twins of these, stored all the same
    assert rows(elsewhere) == here
    again = imported(f"{library.base}/v1")
    assert (again["imported"], again["duplicates"]) == (0, len(here))


def test_a_part_of_it(library: Api, library_engine: Engine, elsewhere: Engine) -> None:
    done = imported(library.base, "--filter", 'elements HAS ONLY "Si","O" AND chemical_formula_anonymous="A2B"')
    assert 0 < done["read"] == len(rows(elsewhere))
    assert rows(elsewhere).items() <= rows(library_engine).items()


def test_terms_come_along_crystal_by_crystal(engine: Engine, new_database: Any, monkeypatch: Any) -> None:
    with Session(engine) as session:
        make.source(session, "closed", licence="CC-BY-NC-4.0", citation="Them (2020)", non_commercial=True)
        make.structure(session, "NaCl", source_name="closed")
        make.structure(session, "KCl", source_name="open")
        session.commit()
    with new_database() as url, serving(engine, frozenset({"closed"})) as served:
        monkeypatch.setenv("LODE_DATABASE_URL", url)
        assert imported(served.base)["imported"] == 2
        there = engine_for(url, "pytest")
        with Session(there) as session:
            terms = {
                row.name: (row.licence, row.citation, row.non_commercial) for row in session.scalars(select(Source))
            }
        there.dispose()
    assert terms == {"closed": ("CC-BY-NC-4.0", "Them (2020)", True), "open": ("CC0-1.0", "none", False)}


def entries(served: Api) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = served.get("/v1/structures", page_limit=asking.LARGEST_PAGE)["data"]
    return found


def test_a_stranger_reads_the_same_crystals(library: Api, library_engine: Engine) -> None:
    """Who knows nothing of our fields; and pymatgen, through the adapters of optimade."""
    with Session(library_engine) as session:
        stored = {row.public_id: crystal_of(row) for row in session.scalars(select(Structure))}
    for served in entries(library):
        plain = {name: told for name, told in served["attributes"].items() if not name.startswith("_")}
        item = read_entry({**served, "attributes": plain}, "r", STRANGER)
        assert isinstance(item, ImportedRecord)
        ours = stored[served["id"]]
        assert item.external_ids == {"some": served["id"]}
        assert np.array_equal(item.crystal.numbers, ours.numbers)
        assert np.allclose(item.crystal.lattice, ours.lattice, atol=1e-12)
        assert np.allclose(item.crystal.frac_coords, ours.frac_coords, atol=1e-9)
    adapted = Adapter(served).as_pymatgen
    assert np.allclose(adapted.cart_coords, ours.frac_coords @ ours.lattice)


OURS = Server("http://127.0.0.1/v1", "Motherlode", "lode", (), "")


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ([[0.0, 0.0, 0.0]], "are others than cartesian_site_positions"),
        ([[0.1, 0.0, 0.0], [0.5, 0.5, 0.5]], "are others than cartesian_site_positions"),
        ([[0.0, 0.0, None], [0.5, 0.5, 0.5]], "float() argument must be"),
        ([[0.0, 0.0, "nan"], [0.5, 0.5, 0.5]], "are others than cartesian_site_positions"),
        ("none", "Input should be a valid list"),
        ({"a": 1}, "Input should be a valid list"),
    ],
)
def test_positions_that_are_none_of_the_crystals(told: Any, reason: str) -> None:
    bad = read_entry(entry("one", salt(0), _lode_fractional_site_positions=told), "r", OURS)
    assert isinstance(bad, BadRecord)
    assert reason in bad.reason


@pytest.mark.parametrize(
    ("told", "names", "terms"),
    [
        ({}, {}, None),
        ({"_lode_source": 3, "_lode_external_ids_by_scheme": ["mp-1"]}, {}, None),
        ({"_lode_source": "A", "_lode_licence": 3, "_lode_citation": []}, {}, SourceTerms("A")),
        ({"_lode_source": "A", "_lode_non_commercial": "no"}, {}, SourceTerms("A")),
        (
            {"_lode_external_ids_by_scheme": {"mp": "mp-1", "icsd": ["1", "2"], "b": 3, "c": [], "d": [1], "e": ""}},
            {"mp": "mp-1", "icsd": ["1", "2"]},
            None,
        ),
    ],
)
def test_servers_that_only_call_themselves_ours(
    told: dict[str, Any], names: dict[str, Any], terms: SourceTerms | None
) -> None:
    item = read_entry(entry("one", salt(0), **told), "r", OURS)
    assert isinstance(item, ImportedRecord)
    assert (item.external_ids, item.terms) == (names, terms)


def test_the_consortiums_client(library: Api) -> None:
    client = pytest.importorskip("optimade.client", reason="optimade[http_client] isn't installed")
    filter_ = 'elements HAS ALL "Si","O"'
    asked = client.OptimadeClient(base_urls=[library.base], silent=True, max_results_per_provider=0)
    found = asked.get(filter_)["structures"][filter_][library.base]["data"]
    assert [one["id"] for one in found] == library.ids(filter_)
    assert LIBRARY.licence in {one["attributes"]["_lode_licence"] for one in found}
