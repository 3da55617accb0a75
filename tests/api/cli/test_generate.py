"""lode generate, lode lineage, and the funnel of a round, as scripts see them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from click.testing import Result
from sqlalchemy.orm import Session

from registry.crystal import Crystal
from registry.database import engine_for
from registry.hull.level_rows import ensure_level
from registry.identity.duplicates import Identity
from registry.ingest import NewStructure, source_id, store
from registry.states import Origin
from registry.terms import OWN
from tests.conftest import NewDatabase
from tests.workers.standin import standin_level

FCC = [[0, 2.8, 2.8], [2.8, 0, 2.8], [2.8, 2.8, 0]]


@pytest.fixture(scope="module")
def registry(new_database: NewDatabase) -> Iterator[str]:
    """NaCl and MgO as rock salt."""
    with new_database() as url:
        engine = engine_for(url)
        with Session(engine) as session, session.begin():
            ensure_level(session, standin_level())
            for numbers in ([11, 17], [12, 8]):
                crystal = Crystal(FCC, numbers, [[0, 0, 0], [0.5, 0.5, 0.5]])
                store(session, [NewStructure(Identity(crystal), Origin.IMPORTED, source_id(session, OWN))])
        engine.dispose()
        yield url


def read(result: Result) -> Any:
    assert result.exit_code == 0, (result.output, result.exception)
    return json.loads(result.stdout)


def test_counts_are_printed_and_kept_with_the_round(lode: Any):
    found = read(lode("generate", "--family", "Na,K,Cl", "--campaign", "counted", "--json"))
    assert found["new"] == 1
    assert found["known"] == 2  # NaCl from MgO, and KCl again
    assert found["parents"] == {"used: bond_valence": 2}
    assert found["rejected"] == {"already known": 2}
    assert found["flagged"] == {}
    report = read(lode("campaign", "report", "counted", "--json"))
    assert report["round"] == found["round"]
    assert report["funnel"]["generate: kept"] == found["kept"]
    assert report["funnel"]["generate: rejected"] == found["rejected"]
    assert "What became of parents and candidates" in lode("campaign", "report", "counted").output


def test_options_reach_the_round(lode: Any):
    parents = ("--parents", 'reduced_formula="NaCl"')
    found = read(lode("generate", "--family", "Li,Cl,Br", *parents, "--most-replaced", "1", "--paper", "--json"))
    assert sum(found["parents"].values()) == 1
    found = read(lode("generate", "--family", "K,Rb,Br,I", "--operation", "substitution", "--limit", "1", "--json"))
    assert found["new"] == 1
    assert found["rejected"]["limit"] > 0
    assert "new candidates" in lode("generate", "--family", "K,Rb,Br,I").output
    parts = [read(lode("generate", "--family", "Na,Cl,Mg,O", "--part", part, "--json")) for part in ("1/2", "2/2")]
    assert [sum(one["parents"].values()) for one in parts] == [1, 1]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--family", "Na,Xx"), "not an element: Xx"),
        (("--family", "Na,Cl", "--parents", "elephants=3"), "elephants"),
        (("--family", "Na,Cl", "--parents", 'elements HAS "Xe"'), "no crystal passes the filter of parents"),
        (("--family", "Na,Cl", "--level", "nowhere"), "nowhere"),
        (("--family", "Na,Cl", "--fused"), "no model is promoted"),
    ],
)
def test_what_can_not_be_done_is_said_in_one_line(lode: Any, options: tuple[str, ...], said: str):
    result = lode("generate", *options)
    assert result.exit_code == 1
    assert said in str(result.exception) + result.output


@pytest.mark.parametrize(
    "option",
    [
        ("--threshold", "0"),
        ("--threshold", "2"),
        ("--threshold", "nan"),
        ("--limit", "0"),
        ("--operation", "x"),
        ("--part", "3/2"),
        ("--fused", "--within", "nan"),
    ],
    ids=" ".join,
)
def test_numbers_out_of_range_are_wrong_calls(lode: Any, option: tuple[str, ...]):
    assert lode("generate", "--family", "Na,Cl", *option).exit_code == 2


@pytest.mark.parametrize(
    "options",
    [
        ("--within", "0.1"),
        ("--margin", "0.1"),
        ("--likeliest", "3", "--threshold", "0.1"),
        ("--likeliest", "3", "--paper"),
        ("--likeliest", "3", "--alloys"),
        ("--likeliest", "3", "--part", "1/2"),
        ("--likeliest", "3", "--operation", "partial"),
    ],
    ids=" ".join,
)
def test_options_that_would_do_nothing_are_wrong_calls(lode: Any, options: tuple[str, ...]):
    assert lode("generate", "--family", "Na,Cl", *options).exit_code == 2


@pytest.mark.parametrize("name", ["", "a\nb", "x" * 201, "\udcff"], ids=["empty", "line", "long", "bytes"])
def test_names_that_no_campaign_can_have(lode: Any, name: str):
    refused = lode("generate", "--family", "Na,Cl", "--campaign", name)
    assert refused.exit_code == 1
    assert "a campaign's name is" in str(refused.exception)


def test_a_lineage_tells_what_the_likeliest_replaced(lode: Any, registry: str):
    read(lode("generate", "--family", "Na,Cl,Mg,O", "--likeliest", "40", "--campaign", "ranked", "--json"))
    engine = engine_for(registry)
    with engine.connect() as connection:
        query = (
            "SELECT public_id, arguments->'replaced'->0 FROM structure JOIN lineage ON child_id = structure.id"
            " WHERE origin = 'generated' AND arguments ? 'replaced' LIMIT 1"
        )
        name, (old, new) = connection.exec_driver_sql(query).one()
    engine.dispose()
    assert f"{old} -> {new}" in lode("lineage", name).output


def test_a_lineage_is_drawn_and_told(lode: Any, registry: str):
    read(lode("generate", "--family", "K,Cl", "--json"))
    engine = engine_for(registry)
    with engine.connect() as connection:
        query = (
            "SELECT public_id FROM structure JOIN composition ON composition.id = composition_id"
            " WHERE origin = 'generated' AND reduced_formula = 'KCl'"
        )
        name = connection.exec_driver_sql(query).scalar_one()
    engine.dispose()
    found = read(lode("lineage", name, "--json"))
    assert found["reduced_formula"] == "KCl"
    assert {step["parent_formula"] for step in found["steps"]} == {"NaCl", "MgO"}
    assert found["likeliest"]["probability"] == max(step["probability"] for step in found["steps"])
    drawn = lode("lineage", name).output
    assert "ionic_substitution Na1+ -> K1+" in drawn
    assert "likeliest way" in drawn
    assert lode("lineage", "lode-nothing").exit_code == 1
