"""A checkpoint of sevenn becomes the engine of a level."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from registry.errors import LabelFailure, SettingsError
from registry.hull.levels import level_of, load_level, read_level
from registry.states import ErrorClass
from tests.workers.test_label import SALT
from workers.engines.base import engine_of

pytestmark = pytest.mark.skipif(importlib.util.find_spec("sevenn") is None, reason="sevenn isn't installed")


@pytest.fixture
def registry() -> str:
    """Nothing here asks it."""
    return "postgresql://nobody@localhost/nothing"


@pytest.fixture(scope="module")
def checkpoint() -> str:
    """The one in the wheel: a training would take hours."""
    from sevenn._const import SEVENNET_0_11Jul2024

    return str(SEVENNET_0_11Jul2024)


def test_a_checkpoint_becomes_a_level_with_its_energies(lode: Any, checkpoint: str, tmp_path: Path):
    folder = tmp_path / "ours"
    done = lode("potential", "store", checkpoint, str(folder), "--corrections", "MP2020")
    assert "lode level add" in done.output
    level = read_level(folder / "level.json")
    assert (level.name, level.engine, level.correction_scheme) == ("ours", "sevennet", "MP2020")
    ours, known = engine_of(level).static(SALT), engine_of(load_level("7net-0")).static(SALT)
    assert ours.energy == pytest.approx(known.energy, abs=1e-5)
    other = replace(level, settings={**level.settings, "sha256": "0" * 64})
    with pytest.raises(LabelFailure, match="another model") as failure:
        engine_of(other)
    assert failure.value.error_class == ErrorClass.MISSING_ENGINE


def test_what_is_no_checkpoint_is_told(lode: Any, tmp_path: Path):
    file = tmp_path / "notes.pth"
    file.write_text("nothing")
    done = lode("potential", "store", str(file), str(tmp_path / "ours"))
    assert isinstance(done.exception, SettingsError)
    assert "is no checkpoint of sevenn" in str(done.exception)
    assert not (tmp_path / "ours").exists()


@pytest.mark.parametrize(
    "table",
    [
        {"engine": "chgnet-r2scan"},
        {"engine": "gpaw"},
        {"engine": "vasp", "settings": {"workflow": "r2scan"}},
        {"engine": "vasp", "settings": {"incar": {"metagga": "R2SCAN"}}},
    ],
)
def test_no_level_has_corrections_of_pbe_on_another_functional(table: dict[str, object]):
    named = {"name": "ours", "functional": "PBE", "correction_scheme": "MP2020", **table}
    with pytest.raises(SettingsError, match="MP2020"):
        level_of(named)
    assert level_of({**named, "correction_scheme": "none"}).name == "ours"


def test_a_folder_that_holds_something_is_left_alone(lode: Any, checkpoint: str, tmp_path: Path):
    (tmp_path / "ours").mkdir()
    (tmp_path / "ours" / "notes").write_text("mine")
    done = lode("potential", "store", checkpoint, str(tmp_path / "ours"))
    assert "not empty" in str(done.exception)
    assert [path.name for path in (tmp_path / "ours").iterdir()] == ["notes"]


def test_a_level_of_a_potential_says_which():
    with pytest.raises(SettingsError, match="model, sha256"):
        level_of({"name": "ours", "engine": "sevennet", "functional": "PBE", "settings": {}})


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"task": "dance"}, "relax or static"),
        ({"prerelax": "nonsense"}, "names one of"),
        ({"prerelax": "mp2018"}, "names one of"),
        ({"max_steps": 0}, "max_steps"),
        ({"max_steps": 50.0}, "max_steps"),
        ({"force_tolerance": "small"}, "force_tolerance"),
        ({"force_tolerance": float("nan")}, "force_tolerance"),
    ],
)
def test_settings_that_no_engine_reads_are_refused_with_the_level(settings: dict[str, object], said: str):
    with pytest.raises(SettingsError, match=said):
        level_of({"name": "ours", "engine": "7net-0", "functional": "PBE", "settings": settings})
