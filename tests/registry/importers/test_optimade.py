"""Structures of the OPTIMADE reference server, and entries that are no crystals."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from api.cli.importing import import_
from registry.errors import BadRecord, FilterError, SettingsError
from registry.importers import ImportedRecord, Item
from registry.importers.optimade import Server, read_entry
from registry.importers.providers import Query, open_provider
from registry.models import Calculation, ExternalId, Property, Source, Structure
from registry.properties import CrystalProperty
from tests.registry.importers.optimade_server import FIELDS, disordered, entry, salt, serving

HERE = Server("http://somewhere/v1", "Somewhere", "some", ("CC-BY-4.0",), "")


@pytest.fixture(scope="module")
def reference_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """20 ordered crystals and a disordered one, in pages of six."""
    if not (find_spec("fastapi") and find_spec("mongomock")):
        pytest.skip("the reference server isn't installed: pip install 'optimade[server]'")
    notes = {"note": "calculated", "path": ["no", "plain", "value"]}
    entries = [
        entry(f"salt/{index}", salt(index), energy=-7.0 - index, band_gap=0.5 * index, **notes) for index in range(20)
    ]
    entries.insert(5, disordered("mixed"))
    with serving(tmp_path_factory.mktemp("optimade"), entries, provider_fields=FIELDS, page_limit=6) as url:
        yield url


def items(url: str, **asked: Any) -> list[Item]:
    return list(open_provider(Query(f"optimade:{url}", **asked)).items)


def good(found: list[Item]) -> list[ImportedRecord]:
    return [item for item in found if isinstance(item, ImportedRecord)]


def test_every_structure_of_every_page(reference_server: str):
    found = items(reference_server)
    assert [item.record.split(":")[-1] for item in found[4:7]] == ["salt/4", "mixed", "salt/5"]
    assert [item.external_ids for item in good(found)] == [{"exmpl": f"salt/{index}"} for index in range(20)]
    for index, item in enumerate(good(found)):
        assert item.source == "Example provider"
        np.testing.assert_allclose(item.crystal.lattice, salt(index).lattice.matrix)
        np.testing.assert_allclose(item.crystal.frac_coords, salt(index).frac_coords, atol=1e-12)
        assert item.crystal.numbers.tolist() == list(salt(index).atomic_numbers)
        assert item.metadata == {
            "immutable_id": f"immutable-salt/{index}",
            "last_modified": "2026-01-02T03:04:05Z",
            "_exmpl_energy": -7.0 - index,
            "_exmpl_band_gap": 0.5 * index,
            "_exmpl_note": "calculated",
        }
        assert item.properties == [CrystalProperty("band_gap", 0.5 * index, "eV", "_exmpl_band_gap")]


def test_a_disordered_structure_is_a_bad_record(reference_server: str):
    (bad,) = [item for item in items(reference_server) if isinstance(item, BadRecord)]
    assert bad.record == f"{reference_server.removeprefix('http://')}:mixed"
    assert bad.reason == "partial occupancy: site 0 holds K:0.5, Na:0.5; order it first"


@pytest.mark.parametrize("ending", ["/", "/v1", "/v1/", "/v1.2", "/v1/structures"])
def test_the_versioned_url_is_as_good_as_the_base(reference_server: str, ending: str):
    assert len(items(reference_server + ending, filter='chemical_formula_reduced="FLi"')) == 2


def test_a_filter_with_signs_that_mean_something_in_urls(reference_server: str):
    found = items(reference_server, filter='elements HAS "Cs" AND NOT id="a&b#c+d%20"')
    assert [item.external_ids["exmpl"] for item in good(found)] == [f"salt/{index}" for index in range(16, 20)]
    (none,) = items(reference_server, filter='elements HAS "U"')
    assert isinstance(none, BadRecord)
    assert none.reason == "has no such structures"


def test_energies_of_a_named_field(reference_server: str):
    found = good(items(reference_server, energy="_exmpl_energy", energies=True))
    assert [item.energy.total for item in found if item.energy] == [-7.0 - index for index in range(20)]
    assert found[0].metadata["_exmpl_note"] == "calculated"
    with pytest.raises(SettingsError, match="has no field _exmpl_e; it has _exmpl_band_gap, _exmpl_energy, _e"):
        items(reference_server, energy="_exmpl_e", energies=True)


def test_what_the_server_refuses_is_told_in_its_words(reference_server: str):
    (bad,) = items(reference_server, filter="_exmpl_nothing.deeper = 1 AND nsites HAS ALL 3,4")
    assert isinstance(bad, BadRecord)
    assert "HTTP 5" in bad.reason or "HTTP 4" in bad.reason


@pytest.fixture
def registry(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LODE_DATABASE_URL", database_url)
    monkeypatch.setenv("LODE_HOME", str(tmp_path / "home"))


def call(*arguments: str) -> Result:
    return CliRunner().invoke(import_, [*arguments, "--json"])


def test_the_same_import_twice_doubles_nothing(registry: None, engine: Engine, reference_server: str):
    asked = ("--provider", f"optimade:{reference_server}", "--level", "exmpl", "--energy", "_exmpl_energy")
    first, second = call(*asked), call(*asked)
    assert first.exit_code == second.exit_code == 1
    counts = [{k: v for k, v in json.loads(done.stdout).items() if k != "refused"} for done in (first, second)]
    assert counts == [
        {"read": 21, "imported": 20, "duplicates": 0},
        {"read": 21, "imported": 0, "duplicates": 20},
    ]
    with Session(engine) as session:
        counted = (Structure, Calculation, Property)
        assert [session.scalar(sa.select(sa.func.count()).select_from(t)) for t in counted] == [20, 20, 20]
        source = session.scalars(sa.select(Source)).one()
        assert (source.name, source.licence) == ("Example provider", "unknown")
        assert source.citation == "Example provider, https://example.com/"
        assert session.scalar(sa.select(sa.func.count()).where(ExternalId.scheme == "exmpl")) == 20


def test_a_limit_and_terms_of_our_own(registry: None, engine: Engine, reference_server: str):
    terms = ("--source", "mine", "--licence", "CC0-1.0", "--citation", "Me (2026)")
    done = call("--provider", f"optimade:{reference_server}", "--limit", "3", *terms)
    assert (done.exit_code, json.loads(done.stdout)["imported"]) == (0, 3)
    with Session(engine) as session:
        source = session.scalars(sa.select(Source)).one()
    assert (source.name, source.licence, source.citation) == ("mine", "CC0-1.0", "Me (2026)")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"lattice_vectors": None}, "lacks lattice_vectors"),
        ({"species_at_sites": [], "cartesian_site_positions": None}, "lacks cartesian_site_positions, species_at_s"),
        ({"dimension_types": [1, 1, 0]}, "not periodic in three directions"),
        ({"dimension_types": None, "nperiodic_dimensions": 2}, "not periodic in three directions"),
        ({"nsites": 3}, "missing sites: nsites is 3, with 2 species and 2 positions"),
        ({"cartesian_site_positions": [[0, 0, 0]]}, "missing sites: nsites is 2, with 2 species and 1 positions"),
        ({"cartesian_site_positions": [[0, 0, 0], [None, 1, 1]]}, "float() argument must be"),
        ({"cartesian_site_positions": [[0, 0, 0], ["a", 1, 1]]}, "cartesian_site_positions.1.0: "),
        ({"cartesian_site_positions": [[0, 0, 0], [1, 1]]}, "cartesian_site_positions.1: List should have at least 3"),
        ({"cartesian_site_positions": [[0, 0, 0], [1, 1, float("nan")]]}, "coordinates or lattice aren't finite"),
        ({"cartesian_site_positions": [[0, 0, 0], [0, 0, 0.1]]}, "overlapping atoms"),
        ({"cartesian_site_positions": "none"}, "cartesian_site_positions: Input should be a valid list"),
        ({"lattice_vectors": [[1, 0, 0], [2, 0, 0], [0, 0, 1]]}, "Singular matrix"),
        ({"lattice_vectors": [[3, 0, 0], [0, 3, 0]]}, "lattice_vectors: List should have at least 3 items"),
        ({"species": None, "species_at_sites": ["Li", "Q9"]}, ""),
        ({"species_at_sites": ["Li", "Fl"]}, "a site holds 'Fl', which `species` doesn't describe"),
        ({"species": [{"name": "Li"}, {"name": "F"}]}, "species.0.chemical_symbols: Field required"),
        ({"structure_features": ["implicit_atoms"]}, "atoms without a site (implicit_atoms)"),
        ({"structure_features": ["site_attachments"]}, "atoms attached to a site"),
        ({"structure_features": ["assemblies"]}, "sites that are occupied together or not at all"),
    ],
)
def test_entries_that_are_no_crystals(changes: dict[str, Any], reason: str):
    bad = read_entry(entry("one", salt(0), **changes), "r:0", HERE)
    assert isinstance(bad, BadRecord), bad
    assert bad.record == "somewhere:one"
    assert bad.reason.startswith(reason)
    assert len(bad.reason.splitlines()) == 1


@pytest.mark.parametrize(
    ("told", "units", "expected"),
    [
        ({"_some_band_gap": 1.5}, {"_some_band_gap": "eV"}, [(1.5, "_some_band_gap")]),
        ({"_some_bandgap": 0}, {"_some_bandgap": "eV"}, [(0.0, "_some_bandgap")]),
        ({"_some_band_gap": None}, {"_some_band_gap": "eV"}, []),
        ({"_some_band_gap": 1.5}, {}, []),
        ({"_some_band_gap": 1.5}, {"_some_band_gap": "hartree"}, []),
        ({"_other_band_gap": 1.5, "band_gap": 2.5}, {"_other_band_gap": "eV", "band_gap": "eV"}, []),
    ],
)
def test_a_band_gap_is_one_where_its_unit_is_documented(
    told: dict[str, Any], units: dict[str, str], expected: list[tuple[float, str]]
):
    item = read_entry(entry("one", salt(0), **told), "r:0", HERE, units=units)
    assert isinstance(item, ImportedRecord)
    assert [(one.value, one.method) for one in item.properties] == expected


def test_a_band_gap_that_is_no_number():
    bad = read_entry(entry("one", salt(0), _some_band_gap="wide"), "r:0", HERE, units={"_some_band_gap": "eV"})
    assert isinstance(bad, BadRecord)
    assert bad.reason == "_some_band_gap is no number, but 'wide'"


@pytest.mark.parametrize("parts", [["Li", "vacancy"], ["vacancy"], ["X"]])
def test_sites_that_hold_no_whole_element(parts: list[str]):
    held = {"name": "Li", "chemical_symbols": parts, "concentration": [1 / len(parts)] * len(parts)}
    fluorine = {"name": "F", "chemical_symbols": ["F"], "concentration": [1.0]}
    bad = read_entry(entry("one", salt(0), species=[held, fluorine]), "r:0", HERE)
    assert isinstance(bad, BadRecord)
    assert bad.reason.startswith(("partial occupancy: site 0", "unknown element X (site 0)"))


@pytest.mark.parametrize("broken", [None, 7, "text", [], {}, {"id": None}, {"id": ["a"]}, {"id": ""}])
def test_entries_that_are_none(broken: Any):
    bad = read_entry(broken, "r:0", HERE)
    assert isinstance(bad, BadRecord)
    assert (bad.record, bad.reason) == ("r:0", "an entry without an id")


def test_names_of_species_are_no_symbols():
    labels = [{"name": f"{symbol}-1", "chemical_symbols": [symbol], "concentration": [1.0]} for symbol in ("Li", "F")]
    item = read_entry(entry("one", salt(0), species=labels, species_at_sites=["Li-1", "F-1"]), "r:0", HERE)
    assert isinstance(item, ImportedRecord)
    assert item.crystal.numbers.tolist() == [3, 9]


def test_an_id_that_no_database_holds():
    bad = read_entry(entry("o\0ne", salt(0)), "r:0", HERE)
    assert isinstance(bad, BadRecord)
    assert "holds NUL" in bad.reason


@pytest.mark.parametrize(
    ("provider", "asked", "reason"),
    [
        ("optimade", {}, "'' isn't the base URL of a server"),
        ("optimade:", {}, "'' isn't the base URL of a server"),
        ("optimade:odbx.science", {}, "'odbx.science' isn't the base URL of a server"),
        ("optimade:ftp://odbx.science", {}, "isn't the base URL"),
        ("optimade:https://", {}, "isn't the base URL"),
        ("optimade:http://[::1", {}, "isn't the base URL"),
        ("optimade:https://me:secret@odbx.science", {}, "isn't the base URL"),
        ("optimade:https://odbx.science/v1/structures?filter=nsites=2", {}, "isn't the base URL"),
        ("oqmd", {}, "unknown provider 'oqmd'"),
        ("optimade:http://127.0.0.1:9", {"chemsys": "Li-O"}, "--chemsys is for --provider mp"),
        ("optimade:http://127.0.0.1:9", {"energies": True}, "OPTIMADE defines no energy"),
        ("optimade:http://127.0.0.1:9", {"energy": "_x_energy"}, "OPTIMADE defines no energy"),
    ],
)
def test_questions_that_no_server_is_asked(provider: str, asked: dict[str, Any], reason: str):
    with pytest.raises(SettingsError) as caught:
        open_provider(Query(provider, **asked))
    assert reason in str(caught.value)


def test_a_filter_that_is_none_is_refused_before_the_server_is_asked():
    with pytest.raises(FilterError, match="OPTIMADE can't read the filter 'elements LIKE Li'"):
        open_provider(Query("optimade:http://127.0.0.1:9", filter="elements LIKE Li"))


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["a.cif", "--provider", "optimade:http://x"], "--provider goes alone"),
        (["--prototypes", "--provider", "mp"], "--provider goes alone"),
        (["--provider", "mp", "--mp-shifts", "--level", "x"], "--provider goes alone"),
        (["a.cif", "--filter", "nsites=2"], "--filter, --chemsys, --energy and --limit are questions to a --provider"),
        (["--limit", "2"], "--filter, --chemsys, --energy and --limit are questions to a --provider"),
        ([], "nothing to import: name FILES, a --provider, or --prototypes"),
    ],
)
def test_options_that_contradict_each_other(arguments: list[str], reason: str):
    done = CliRunner().invoke(import_, arguments)
    assert isinstance(done.exception, SettingsError)
    assert str(done.exception).startswith(reason)
