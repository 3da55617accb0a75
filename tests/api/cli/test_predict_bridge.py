"""`lode predict` at a level that is not the model's: over the bridge that the registry keeps, and saying so."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from sqlalchemy.orm import Session

pytest.importorskip("torch", reason="the extra `predictors` isn't installed")

from predictors.bridge import Bridge, fit_bridge
from registry.crystal import Crystal
from registry.database import engine_for
from registry.errors import LevelMismatch, NotFound
from registry.hull.store import place
from tests import factories as make
from tests.conftest import NewDatabase
from tests.workers.models import save_tiny_composition_model, save_tiny_model
from workers.bridge import store_bridge

SALTS = [f"{cation}{a}{anion}{b}" for cation, anion, a, b in product(["Li", "Na", "K"], ["O", "Cl"], (1, 2, 3), (1, 5))]
FORMULAS = [*SALTS, *(f"{cation}{a}Cl7" for cation, a in product(["Li", "Na", "K"], (1, 2, 4))), "LiF", "NaF"]
PAIR = [[0, 0, 0], [0.5, 0.5, 0.5]]
HALITE = Crystal(np.eye(3) * 4.0, [11, 17], PAIR)
CRYSTALS = {
    "NaCl": HALITE,
    "LiF": HALITE.with_numbers(np.array([3, 9])),
    "MgO": HALITE.with_numbers(np.array([12, 8])),
    "Na": HALITE.with_numbers(np.array([11, 11])),
}


@pytest.fixture(scope="module")
def bridge() -> Bridge:
    noise = np.random.default_rng(0).normal(-0.4, 0.05, len(FORMULAS))
    return fit_bridge(("old", "new"), FORMULAS, np.full(len(FORMULAS), -1.0), -1.0 + noise)


@pytest.fixture(scope="module")
def registry(new_database: NewDatabase, bridge: Bridge) -> Iterator[str]:
    """A level of the model's and one that a bridge leads to, which holds a label; its URL."""
    with new_database() as url:
        engine = engine_for(url)
        with Session(engine) as session, session.begin():
            levels = {
                name: make.level(session, name, references=dict.fromkeys(("Li", "Na", "Cl", "F"), -1.0))
                for name in ("old", "new", "far", "mp2018")
            }
            store_bridge(session, bridge)
            make.calculation(session, make.structure(session, "NaCl", arrays=HALITE), levels["new"], energy=-5.0)
            place(session, levels["new"].id)
        engine.dispose()
        yield url


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_tiny_model(tmp_path_factory.mktemp("models") / "tiny", level="old", confident=True))


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "crystals.json"
    path.write_text(json.dumps([one.to_pymatgen().as_dict() for one in CRYSTALS.values()], default=float))
    return str(path)


def rows(result: Result, code: int) -> dict[str, dict[str, Any]]:
    assert result.exit_code == code, (result.output, result.exception)
    found = json.loads(result.stdout)
    assert len({frozenset(row) for row in found}) == 1
    return {row["formula"]: row for row in found}


def test_energies_and_intervals_come_over_the_bridge(lode: Any, model: str, file: str, bridge: Bridge):
    before = rows(lode("predict", file, "--model", model, "--no-registry", "--json"), 0)
    after = rows(lode("predict", file, "--model", model, "--level", "new", "--json"), 1)
    assert {row["level"] for row in before.values()} == {"old"}
    assert {row["bridge"] for row in before.values()} == {None}
    assert {row["level"] for row in after.values()} == {"new"}
    one, other = before["NaCl"], after["NaCl"]
    told = other["bridge"]
    assert (told["name"], told["from"], told["anion"]) == (bridge.name, "old", "Cl")
    assert told["residual"] == bridge.residuals["anion Cl"]
    assert other["formation_energy_per_atom"] - one["formation_energy_per_atom"] == pytest.approx(told["shift"])
    assert told["shift"] == pytest.approx(bridge.shift({"Na": 1, "Cl": 1}), abs=1e-12)
    widths = [np.diff(row["interval_90"]).item() / 2 for row in (one, other)]
    assert widths[1] == pytest.approx(np.hypot(widths[0], 1.6449 * told["error"]), rel=1e-4)
    assert np.mean(other["interval_90"]) - np.mean(one["interval_90"]) == pytest.approx(told["shift"])
    assert (one["spread"], one["out_of_domain"]) == (pytest.approx(other["spread"]), other["out_of_domain"])


def test_the_place_is_on_the_hull_of_the_level_that_was_asked_for(lode: Any, model: str, file: str):
    found = rows(lode("predict", file, "--model", model, "--level", "new", "--json"), 1)
    assert found["NaCl"]["nearest"][0]["relation"] == "same crystal"
    assert found["NaCl"]["decomposition_energy"] == pytest.approx(found["NaCl"]["formation_energy_per_atom"])
    assert found["LiF"]["e_above_hull"] is not None


def test_what_lies_outside_of_the_fit_is_marked(lode: Any, model: str, file: str, bridge: Bridge):
    found = rows(lode("predict", file, "--model", model, "--level", "new", "--json"), 1)
    (mark,) = [flag for flag in found["LiF"]["flags"] if "bridge" in flag]
    assert mark == bridge.flag({"Li": 1, "F": 1})
    assert mark.endswith(f"outside of its fit, which holds 2 with anion F, {bridge.crystals['F']} of F")
    assert found["LiF"]["bridge"]["error"] >= np.hypot(*(bridge.residuals["held_out"][key] for key in ("mean", "std")))
    assert found["MgO"]["formation_energy_per_atom"] is None
    assert found["MgO"]["flags"][-1] == "the bridge to new was fitted without Mg"
    assert (found["Na"]["bridge"]["shift"], found["Na"]["bridge"]["residual"]) == (0.0, None)
    assert not any("bridge" in flag for name in ("NaCl", "Na") for flag in found[name]["flags"])


def test_the_table_names_the_bridge(lode: Any, model: str, file: str, bridge: Bridge):
    shown = " ".join(lode("predict", file, "--model", model, "--level", "new").stdout.split())
    assert f"eV/atom at level new by bridge {bridge.name} from old;" in shown
    assert f"{bridge.shift({'Na': 1, 'Cl': 1}):+.3f} ±" in shown
    assert "bridge" not in lode("predict", file, "--model", model, "--no-registry").stdout
    listed = json.loads(lode("level", "bridge", "list", "--json").stdout)
    assert [row["name"] for row in listed] == [bridge.name]


@pytest.mark.parametrize("more", [(), ("--unrelaxed",)])
def test_without_a_bridge_the_command_that_fits_one_is_named(lode: Any, model: str, file: str, more: tuple[str, ...]):
    told = lode("predict", file, "--model", model, "--level", "far", *more).exception
    assert isinstance(told, LevelMismatch)
    assert str(told) == (
        "model 'tiny' predicts at level 'old', and no bridge leads from there to 'far': "
        "fit one with `lode level bridge fit --from old --to far`"
    )
    told = lode("predict", file, "--model", model, "--level", "nowhere", *more).exception
    assert isinstance(told, NotFound)
    assert "no level 'nowhere'" in str(told)
    told = lode("predict", file, "--model", model, "--level", "new", "--no-registry", *more).exception
    assert isinstance(told, LevelMismatch)
    assert str(told).endswith("bridges between levels are kept in the registry, leave out --no-registry")


def test_formulas_go_over_it_too(lode: Any, tmp_path: Path, bridge: Bridge):
    folder = str(save_tiny_composition_model(tmp_path / "formulas", level="old"))
    asked = ("predict", "--formula", "NaCl", "--formula", "Na3O5", "--model", folder)
    before, after = rows(lode(*asked, "--json"), 0), rows(lode(*asked, "--level", "new", "--json"), 0)
    for formula, anion in (("NaCl", "Cl"), ("Na3O5", "O")):
        told = after[formula]["bridge"]
        assert (told["name"], told["anion"], after[formula]["level"]) == (bridge.name, anion, "new")
        energies = [found[formula]["formation_energy_per_atom"] for found in (before, after)]
        assert energies[1] - energies[0] == pytest.approx(told["shift"])
    assert f"by bridge {bridge.name} from old" in " ".join(lode(*asked, "--level", "new").stdout.split())
    refused = lode(*asked, "--level", "far").exception
    assert "lode level bridge fit --from old --to far" in str(refused)
