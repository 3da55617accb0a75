"""lode level, and hulls of levels that hold nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from sqlalchemy.orm import Session

from registry.database import engine_for
from registry.errors import HullError, LevelMismatch, NotFound
from registry.hull.level_rows import ensure_level
from registry.hull.levels import load_level
from tests import factories as make
from tests.conftest import NewDatabase
from tests.registry.hull.test_reference_sets import sodium_oxides, told

VASP = {
    "name": "vasp-pbe",
    "engine": "vasp",
    "functional": "PBE/PBE+U",
    "correction_scheme": "MP2020",
    "settings": {"input_set": "MPRelaxSet"},
}


@pytest.fixture(scope="module")
def registry(new_database: NewDatabase) -> Iterator[str]:
    """A database with a shipped level and an empty one; its URL."""
    with new_database() as url:
        engine = engine_for(url)
        with Session(engine) as session, session.begin():
            ensure_level(session, load_level("7net-0"))
            make.level(session, "empty", engine="imported")
        engine.dispose()
        yield url


def read(result: Result) -> Any:
    assert result.exit_code == 0, (result.output, result.exception)
    return json.loads(result.stdout)


def test_a_level_with_its_gases(lode: Any):
    found = read(lode("level", "show", "7net-0", "--json"))
    assert (found["functional"], found["correction_scheme"], found["kind"]) == ("PBE/PBE+U", "MP2020", "potential")
    assert {"force_tolerance", "max_steps"} <= set(found["settings"])
    oxygen = next(one for one in found["references"] if one["element"] == "O")
    assert (oxygen["from"], oxygen["gas"]) == ("table", "O2")
    shown = lode("level", "show", "7net-0")
    assert shown.exit_code == 0
    assert "functional: PBE/PBE+U" in shown.output
    assert "from elsewhere" in shown.output
    assert {"7net-0", "empty"} <= {one["name"] for one in read(lode("level", "list", "--json"))}
    assert "7net-0" in lode("level", "list").output


def test_from_imported_entries_to_a_reference_set(lode: Any, tmp_path: Path):
    rows = [*sodium_oxides(), told("Fe O", -15.0, edge=4.2, run_type="GGA", hubbards={})]
    (tmp_path / "mp.json").write_text(json.dumps(rows))
    (tmp_path / "vasp.json").write_text(json.dumps(VASP))
    reason = "MaterialsProject2020Compatibility refuses it: Invalid U value of 0.0 on Fe, expected 5.3"
    assert read(lode("import", "mp.json", "--level", "mp", "--json"))["off_hull"] == {reason: 1}
    assert f"1 kept off the hull: {reason}" in lode("level", "show", "mp").output
    off = read(lode("level", "show", "mp", "--off-hull", "--json"))
    assert [(one["reduced_formula"], one["reason"]) for one in off] == [("FeO", reason)]
    assert "FeO" in lode("level", "show", "mp", "--off-hull").output
    assert lode("level", "add", "vasp.json").output == "level vasp-pbe: added\n"
    said = lode("level", "add-reference-set", "vasp-pbe", "--from", "mp")
    assert said.exit_code == 0, said.exception
    assert "4 entries agree: functional PBE/PBE+U; pseudopotentials Na_pv, O; U none; corrections MP2020" in said.output
    assert "4 entries of mp stored or renewed at vasp-pbe" in said.output
    assert read(lode("level", "add-reference-set", "vasp-pbe", "--from", "mp", "--json"))["stored"] == 0
    assert "4 entries, 4 states changed" in lode("hull", "rebuild", "--level", "vasp-pbe").output
    found = read(lode("level", "show", "vasp-pbe", "--json"))
    assert (found["entries"], found["from_reference_sets"], found["placed"]) == (4, 4, 4)
    assert found["reference_sets"][0]["compared"]["entries"] == 4
    assert "reference set mp: 4 entries agree" in lode("level", "show", "vasp-pbe").output


def test_mistakes(lode: Any, tmp_path: Path):
    assert isinstance(lode("level", "show", "nowhere").exception, NotFound)
    refused = lode("level", "add-reference-set", "7net-0", "--from", "empty").exception
    assert isinstance(refused, LevelMismatch)
    assert "only relabelled by that potential" in str(refused)
    (tmp_path / "some.json").write_text(json.dumps([told("Na", -1.3)]))
    said = lode("import", "some.json", "--level", "7net-0")
    assert said.exit_code == 1
    assert "foreign crystals enter it only relabelled by that potential" in said.output


def test_a_level_without_entries_has_an_empty_hull(lode: Any):
    found = read(lode("hull", "show", "Na-Cl", "--level", "empty", "--json"))
    assert (found["level"], found["entries"], found["references"]) == ("empty", [], [])
    assert lode("hull", "show", "Na-Cl", "--level", "empty").exit_code == 0
    assert lode("hull", "rebuild", "--level", "empty").output == "0 entries, 0 states changed, 0 displacements\n"
    refused = lode("hull", "plot", "Na-Cl", "--level", "empty").exception
    assert isinstance(refused, HullError)
    assert "nothing within Cl-Na is on the hull of level empty" in str(refused)


def test_a_level_of_references_alone_has_nothing_to_draw(lode: Any, tmp_path: Path):
    assert lode("hull", "rebuild", "--level", "7net-0").output == "0 entries, 0 states changed, 0 displacements\n"
    assert read(lode("hull", "show", "Na-Cl", "--level", "7net-0", "--json"))["references"] == ["Cl", "Na"]
    drawn = lode("hull", "plot", "Na-Cl", "--level", "7net-0", "--out", "corners")
    assert "nothing within Cl-Na is on the hull of level 7net-0" in str(drawn.exception)
    assert list(tmp_path.glob("corners*")) == []
