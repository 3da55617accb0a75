"""`lode predict` by pretrained potentials: with a registry and without, at their own levels."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from sqlalchemy.orm import Session

pytest.importorskip("sevenn", reason="the extra `potentials` isn't installed")
pytest.importorskip("chgnet", reason="the extra `potentials` isn't installed")

from predictors.potentials import named
from registry.crystal import Crystal
from registry.database import engine_for
from registry.errors import LevelMismatch, NotFound
from registry.hull.level_rows import ensure_level
from registry.hull.levels import load_level
from registry.hull.store import place
from tests import factories as make
from tests.api.cli.test_predict_bad_input import check_all, predict_all
from tests.conftest import NewDatabase

FCC = np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]], dtype=float)
PAIR = [[0, 0, 0], [0.5, 0.5, 0.5]]
SALT = Crystal(FCC * 2.845, [11, 17], PAIR)
SYLVITE = Crystal(FCC * 3.18, [19, 17], PAIR)


@pytest.fixture(scope="module")
def registry(new_database: NewDatabase) -> Iterator[str]:
    """A database with the level 7net-0, a label of rock salt in it, and no level chgnet; its URL."""
    with new_database() as url:
        engine = engine_for(url)
        with Session(engine) as session, session.begin():
            level = ensure_level(session, load_level("7net-0"))
            row = make.structure(session, "NaCl", arrays=SALT)
            make.calculation(session, row, make.level(session, "7net-0"), energy=-6.7, correction=-0.61)
            place(session, level)
        engine.dispose()
        yield url


@pytest.fixture
def file(tmp_path: Path) -> str:
    """Halite and sylvite at a volume far from theirs, and polonium, which no potential knows."""
    crystals = [SALT, SYLVITE.scaled(SYLVITE.volume * 1.15), SALT.with_numbers(np.array([84, 17]))]
    path = tmp_path / "crystals.json"
    path.write_text(json.dumps([crystal.to_pymatgen().as_dict() for crystal in crystals], default=float))
    return str(path)


def rows(result: Result) -> list[dict[str, Any]]:
    assert result.exit_code == 1, (result.output, result.exception)  # polonium has no energy
    found: list[dict[str, Any]] = json.loads(result.stdout)
    return found


def test_7net_0_at_its_level_and_on_its_hull(lode: Any, file: str):
    found = rows(lode("predict", file, "--model", "7net-0", "--json"))
    assert {(row["model"], row["level"]) for row in found} == {("7net-0", "7net-0")}
    assert found[0]["formation_energy_per_atom"] == pytest.approx(-2.11, abs=0.1)
    assert found[0]["spread"] is None
    assert found[0]["nearest"][0]["relation"] == "same crystal"
    assert found[1]["e_above_hull"] == 0
    assert found[2]["formation_energy_per_atom"] is None
    assert "Po" in found[2]["flags"][-1]
    alone = rows(lode("predict", file, "--model", "7net-0", "--no-registry", "--json"))
    assert alone[0]["formation_energy_per_atom"] == pytest.approx(found[0]["formation_energy_per_atom"])
    assert alone[0]["e_above_hull"] is None


def test_the_volume_scan_finds_the_volume(lode: Any, file: str):
    stands, scanned = (
        rows(lode("predict", file, "--model", "chgnet", "--no-registry", "--json", *scan))
        for scan in ((), ("--unrelaxed",))
    )
    assert scanned[1]["formation_energy_per_atom"] < stands[1]["formation_energy_per_atom"] - 0.005


def test_a_registry_without_the_level_says_so_and_predicts(lode: Any, file: str):
    told = lode("predict", file, "--model", "chgnet", "--json")
    found = rows(told)
    assert {row["level"] for row in found} == {"chgnet"}
    assert found[0]["formation_energy_per_atom"] == pytest.approx(-2.11, abs=0.1)
    assert found[0]["e_above_hull"] is None
    assert "no level 'chgnet' in this registry (there are: 7net-0): nothing is told of the hull" in told.stderr


def test_a_potential_predicts_at_no_other_level(lode: Any, file: str):
    for more in ((), ("--no-registry",)):
        told = lode("predict", file, "--model", "chgnet", "--level", "7net-0", *more).exception
        assert isinstance(told, LevelMismatch)
        assert "'chgnet' predicts at level 'chgnet'" in str(told)
    told = lode("predict", file, "--model", "mace", "--no-registry").exception
    assert isinstance(told, NotFound)
    assert "7net-0, 7net-l3i5, chgnet, chgnet-r2scan" in str(told)


def test_bad_files_beside_good_ones(tmp_path: Path):
    """Of the odd ones it refuses what it has no edges for."""
    found, said = predict_all(tmp_path, "--model", "7net-0")
    check_all(found, said)
    assert found["lone.extxyz"]["formation_energy_per_atom"] is None


def test_what_a_potential_prints_is_not_between_the_json(file: str):
    command = [sys.executable, "-m", "api.cli.main", "predict", file, "--model", "chgnet", "--no-registry", "--json"]
    found = subprocess.run(command, capture_output=True, text=True)
    assert len(json.loads(found.stdout)) == 3
    said = found.stderr.splitlines()
    assert [line.partition(":")[0] for line in said] == ["lode"]
    assert "Po" in said[0]


def test_a_potential_that_is_not_installed_names_the_extra(lode: Any, file: str, monkeypatch: pytest.MonkeyPatch):
    named.load_potential.cache_clear()
    monkeypatch.setattr("predictors.potentials.sevennet.installed", lambda _package: named.installed("no-such-package"))
    told = str(lode("predict", file, "--model", "7net-0", "--no-registry").exception)
    assert told == "no-such-package isn't installed: pip install 'motherlode[potentials]'"


def test_a_potential_is_registered_with_its_level(lode: Any):
    assert lode("model", "register", "chgnet").exit_code == 0
    assert lode("model", "promote", "chgnet").exit_code == 0
    listed = json.loads(lode("model", "list", "--json").stdout)
    assert [(row["name"], row["level"], row["members"], row["promoted"]) for row in listed] == [
        ("chgnet", "chgnet", 1, True)
    ]
    assert lode("model", "register", "mine").exit_code == 2
