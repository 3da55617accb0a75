"""lode validate r2scan, from labels at two levels to the report, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from click.testing import Result
from sqlalchemy import text
from sqlalchemy.orm import Session

from registry.database import engine_for
from registry.errors import FilterError, HullError, LodeError, NotFound, SettingsError
from tests import factories as make
from tests.conftest import NewDatabase
from tests.workers.test_validate_levels import Crystals, label, level

PBE = {"NaCl": -2.0, "NaCl2": -1.6, "Na2Cl": -1.3, "KCl": -2.0}
R2SCAN = {"NaCl": -2.0, "NaCl2": -1.2, "Na2Cl": -1.5}


@pytest.fixture(scope="module")
def registry(new_database: NewDatabase) -> Iterator[str]:
    """A database with two levels that disagree on NaCl2 and Na2Cl; its URL."""
    with new_database() as url:
        engine = engine_for(url)
        with Session(engine) as session, session.begin():
            crystals: Crystals = {}
            label(session, crystals, level(session, "pbe"), PBE)
            label(session, crystals, level(session, "r2", functional="r2SCAN"), R2SCAN)
            make.level(session, "theirs", engine="imported")
        yield url
        engine.dispose()


def read(result: Result) -> Any:
    assert result.exit_code == 0, (result.output, result.exception)
    return json.loads(result.stdout)


def test_the_report(lode: Any):
    found = read(lode("validate", "r2scan", "--json"))
    assert (found["level"], found["against"], found["hulls"], found["round"]) == ("pbe", "r2", "common", None)
    (tally,) = [one for one in found["tallies"] if (one["elements"], one["start"]) == ("2-3", "on_hull")]
    assert (tally["stable"], tally["unlabelled"], tally["compared"]) == (3, 1, 2)
    assert tally["kept"]["negative_phase_separation_energy"]["share"] == 0.5
    low, high = tally["kept"]["on_hull"]["interval"]
    assert 0.0 < low < 0.5 < high < 1.0
    assert [one["reduced_formula"] for one in found["leavers"]] == ["NaCl2"]
    assert {one["reduced_formula"] for one in found["leavers"][0]["decomposition"]} == {"NaCl", "Cl"}
    assert [one["reduced_formula"] for one in found["entrants"]] == ["Na2Cl"]
    assert (
        read(lode("validate", "r2scan", "--level", "r2", "--against", "pbe", "--json"))["leavers"][0]["id"]
        == (found["entrants"][0]["id"])
    )


def test_tables(lode: Any):
    said = lode("validate", "r2scan")
    assert said.exit_code == 0, said.exception
    assert "stable at pbe, held against r2 on hulls of the common entries" in said.stdout
    assert "1 of 2, 0.500 (0.095 to 0.905)" in said.stdout
    assert "4 entries at pbe, 3 at r2, 3 at both" in said.stdout
    own = lode("validate", "r2scan", "--own-hulls", "--chemsys", "Na-Cl").stdout
    assert "each level's own entries" in own
    leavers, entrants = (lode("validate", "r2scan", "--list", which).stdout for which in ("leavers", "entrants"))
    assert "on the hull of pbe alone" in leavers
    assert "0.67 NaCl + 0.33 Cl" in leavers or "0.33 Cl + 0.67 NaCl" in leavers
    assert "on the hull of r2 alone" in entrants
    assert "stable" in entrants


def test_labels_are_asked_for(lode: Any, registry: str):
    asked = ("validate", "r2scan", "--select", "--within", "0")
    assert (
        "3 stable crystals, 0 competitors, 0 crystals of elements: 2 labelled, 0 asked for before, 1 asked for now"
        in (lode(*asked).stdout)
    )
    assert read(lode(*asked, "--json"))["waiting"] == 1
    with engine_for(registry).connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM unlabelled")) == 1
    assert read(lode("validate", "r2scan", "--json"))["round"] is not None
    with engine_for(registry).connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM validation WHERE name = 'r2scan'")) == 1
    shipped = lode(*asked, "--level", "pbe", "--against", "gpaw-r2scan")
    assert "3 asked for now" in shipped.stdout
    assert "no crystal of Cl is known, which the level takes its reference from" in shipped.stderr


@pytest.mark.parametrize(
    ("arguments", "error", "reason"),
    [
        (("--level", "pbe", "--against", "pbe"), SettingsError, "can't be held against itself"),
        (("--level", "nowhere"), NotFound, "no level 'nowhere'"),
        (("--level", "pbe", "--against", "theirs"), HullError, "level 'theirs' has no hull"),
        (("--level", "pbe", "--against", "r2", "--chemsys", "K-Cl"), HullError, "'r2' has no hull within K-Cl"),
        (("--level", "pbe", "--against", "r2", "--chemsys", "Xx"), FilterError, "Xx"),
        (("--level", "pbe", "--against", "r2", "--filter", "nsites<"), FilterError, "nsites<"),
        (("--select", "--level", "pbe", "--against", "theirs"), LodeError, "imported energies"),
    ],
)
def test_what_can_not_be_compared(lode: Any, arguments: tuple[str, ...], error: type[Exception], reason: str):
    said = lode("validate", "r2scan", *arguments)
    assert isinstance(said.exception, error), said.exception
    assert reason in str(said.exception)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--select", "--own-hulls"), "--own-hulls would do nothing: --select compares nothing"),
        (("--select", "--list", "leavers"), "--list would do nothing"),
        (("--within", "0.1"), "--within would do nothing: without --select"),
        (("--select", "--within", "nan"), "no number to compare with"),
        (("--select", "--within", "-1"), "x>=0"),
        (("--list", "nobody"), "'nobody' is not one of"),
    ],
)
def test_a_wrong_call(lode: Any, arguments: tuple[str, ...], reason: str):
    said = lode("validate", "r2scan", "--level", "pbe", "--against", "r2", *arguments)
    assert said.exit_code == 2
    assert reason in said.stderr


def test_the_textbook_is_asked_as_before(lode: Any):
    said = lode("validate", "textbook", "--formulas")
    assert "LiF" in said.stdout.split()
    assert isinstance(lode("validate", "textbook", "--campaign", "none").exception, NotFound)
