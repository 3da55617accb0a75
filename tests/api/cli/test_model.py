"""lode model and lode level bridge: from entries of a registry to a model that is checked and judged."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from click.testing import Result
from sqlalchemy import select, update
from sqlalchemy.orm import Session

pytest.importorskip("torch", reason="the extra `predictors` isn't installed")

from registry.database import engine_for
from registry.hull.store import place
from registry.models import HullState, Level
from tests import factories as make
from tests.conftest import NewDatabase

ELEMENTS = ("Li", "Na", "K", "Mg", "O", "Cl", "Br")
FORMULAS = [f"{cation}{a}{anion}{b}" for cation, anion, a, b in product(ELEMENTS[:4], ELEMENTS[4:], (1, 2), (1, 3))]
TRAIN = ("--members", "1", "--epochs", "1", "--width", "8", "--steps", "1")


@pytest.fixture(scope="module")
def registry(new_database: NewDatabase) -> Iterator[str]:
    """Two levels that hold the same crystals; its URL."""
    with new_database() as url:
        engine = engine_for(url)
        with Session(engine) as session, session.begin():
            levels = [make.level(session, name, references=dict.fromkeys(ELEMENTS, -1.0)) for name in ("pbe", "r2scan")]
            for number, formula in enumerate(FORMULAS):
                row = make.structure(session, formula)
                for level, deeper in zip(levels, (0.0, 0.3), strict=True):
                    energy = -(1.5 + deeper + 0.01 * number) * row.nsites
                    make.calculation(session, row, level, energy=energy, label="AB_cF8_225_a_b")
            for level in levels:
                place(session, level.id)
        engine.dispose()
        yield url


def read(result: Result) -> Any:
    assert result.exit_code == 0, (result.output, result.exception)
    return json.loads(result.stdout)


def test_from_a_query_to_a_model_that_can_be_checked(lode: Any, registry: str):
    asked = ("model", "dataset", "--level", "pbe", "--filter", "nelements=2", "--out")
    written = read(lode(*asked, "t.parquet", "--json"))
    assert written["rows"] == len(FORMULAS)
    assert lode("model", "dataset", "--level", "pbe", "--out", "u.parquet").stdout.startswith(
        f"{len(FORMULAS)} entries"
    )
    result = lode("model", "train", "t.parquet", "--name", "tiny", "--level", "pbe", *TRAIN)
    assert result.exit_code == 0, (result.output, result.exception)
    assert {"tiny"} == {row["name"] for row in read(lode("model", "list", "--json"))}
    checked = read(lode("model", "check", "tiny", "--json"))
    assert (checked["same"], checked["parts"][0]["sha256"]) == (True, written["sha256"])
    assert checked["parts"][0]["query"] == written["query"]
    assert "t.parquet: the same" in lode("model", "check", "tiny").output

    judged = read(lode("model", "evaluate", "tiny", "t.parquet", "--json"))
    assert (judged["model"], judged["level"], judged["flags"]) == ("tiny", "pbe", [])
    assert set(judged["split"]) == {"train", "validation", "test"}
    assert sum(group["n"] for group in judged["split"].values()) == len(FORMULAS)
    assert set(judged["nelements"]) == {"2"}
    assert set(judged["anion"]) <= {"O", "Cl", "Br"}
    shown = lode("model", "evaluate", "tiny", "t.parquet", "--split", "chemsys")
    assert "the model learnt by a split by formula: what is called test here" in shown.output
    assert "mae" in shown.output

    with one_energy_changed(registry, "pbe"):
        differs = lode("model", "check", "tiny")
    assert (differs.exit_code, "other values in target" in differs.output) == (1, True)


def test_a_model_of_formulas_goes_the_same_way(lode: Any, tmp_path: Path):
    pd.DataFrame({"formula": FORMULAS, "target": -1.5}).to_parquet(tmp_path / "f.parquet")
    asked = ("model", "train", "f.parquet", "--name", "g", "--level", "pbe", *TRAIN)
    refused = lode(*asked).exception
    assert str(refused) == "f.parquet lacks the columns lattice, numbers, frac_coords"
    done = lode(*asked, "--kind", "composition", "--half")
    assert done.exit_code == 0, (done.output, done.exception)
    (row,) = [row for row in read(lode("model", "list", "--json")) if row["name"] == "g"]
    assert (row["predicts"], row["promoted"], "test_single_mae" in row["metrics"]) == ("formulas", False, True)
    assert lode("model", "promote", "g").exit_code == 0
    (said,) = read(lode("predict", "--formula", "LiCl", "--level", "pbe", "--json"))
    assert (said["model"], said["level"]) == ("g", "pbe")
    assert said["interval_90"][0] <= said["formation_energy_per_atom"] <= said["interval_90"][1]
    assert read(lode("predict", "--formula", "LiCl", "--model", "g", "--json")) == [said]
    judged = read(lode("model", "evaluate", "g", "f.parquet", "--json"))
    assert sum(group["n"] for group in judged["split"].values()) == len(FORMULAS)
    checked = lode("model", "check", "g").output
    assert f"f.parquet: {len(FORMULAS)} rows of a file, not of a query" in checked


@contextmanager
def one_energy_changed(url: str, level: str) -> Iterator[None]:
    """By hand, behind the registry's back."""
    engine = engine_for(url)
    with Session(engine) as session:
        at = select(HullState.id, HullState.formation_energy_per_atom).join(Level, Level.id == HullState.level_id)
        victim, energy = session.execute(at.where(Level.name == level)).tuples().first() or (0, 0.0)
    change = update(HullState).where(HullState.id == victim)
    with engine.begin() as connection:
        connection.execute(change.values(formation_energy_per_atom=energy + 0.1))
    yield
    with engine.begin() as connection:
        connection.execute(change.values(formation_energy_per_atom=energy))
    engine.dispose()


def test_a_model_is_judged_at_another_level_over_a_bridge(lode: Any, tmp_path: Path):
    fitted = read(lode("level", "bridge", "fit", "--from", "pbe", "--to", "r2scan", "--out", "b.json", "--json"))
    assert fitted["residuals"]["raw"]["mean"] == pytest.approx(-0.3, abs=0.02)
    assert abs(fitted["residuals"]["held_out"]["mean"]) < 0.05
    assert [row["from"] for row in read(lode("level", "bridge", "list", "--json"))] == ["pbe"]
    assert "held out" in lode("level", "bridge", "list").output
    assert read(lode("level", "bridge", "show", "pbe", "r2scan", "--json")) == fitted
    assert "Br as anion" in lode("level", "bridge", "show", "pbe", "r2scan").output
    for level in ("pbe", "r2scan"):
        assert lode("model", "dataset", "--level", level, "--out", f"{level}.parquet").exit_code == 0
    trained = lode("model", "train", "pbe.parquet", "--name", "m", "--level", "pbe", "--no-registry", *TRAIN)
    assert trained.exit_code == 0, (trained.output, trained.exception)
    refused = lode("model", "evaluate", "runs/m/model", "r2scan.parquet")
    assert "of level 'r2scan', the model's energies of 'pbe': name a --bridge" in str(refused.exception)
    judged = read(lode("model", "evaluate", "runs/m/model", "r2scan.parquet", "--bridge", "b.json", "--json"))
    assert (judged["level"], judged["flags"][0].startswith("bridged from pbe to r2scan")) == ("r2scan", True)


def test_a_bridge_from_a_file(lode: Any, tmp_path: Path):
    table = pd.DataFrame({"formula": [*FORMULAS, "NaCl·H2O", "Na"], "old": -1.0, "new": -1.2})
    table.to_parquet(tmp_path / "e.parquet")
    fit = ("level", "bridge", "fit", "e.parquet", "--from", "a", "--to", "b", "--no-registry", "--out", "b.json")
    result = lode(*fit, "--columns", "old", "new")
    assert result.exit_code == 0, (result.output, result.exception)
    assert "left out: 'NaCl·H2O' isn't a chemical formula" in result.stderr
    assert json.loads((tmp_path / "b.json").read_text())["rows"] == len(FORMULAS)
    assert "lacks columns" in str(lode(*fit, "--columns", "old", "newer").exception)
    assert lode(*fit).exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("train", "none.parquet", "--name", "m", "--no-registry"), "no training table at none.parquet"),
        (("train", "words.txt", "--name", "m", "--no-registry"), "words.txt isn't a parquet table"),
        (("train", "t.parquet", "--name", "m", "--level", "nowhere"), "no level 'nowhere'"),
        (("train", "t.parquet", "--name", "7net-0", "--level", "pbe"), "the name '7net-0' is taken"),
        (
            ("train", "t.parquet", "--name", "m", "--level", "r2scan", "--no-registry"),
            "holds targets of level pbe, not r2scan",
        ),
        (("train", "t.parquet", "--name", "m", "--level", "pbe", "--epochs", "0"), "epochs = 0"),
        (("train", "t.parquet", "--name", "m", "--level", "pbe", "--kind", "dense"), "no kind 'dense'"),
        (("train", "t.parquet", "--name", "m", "--level", "pbe", "--learning-rate", "nan"), "finite number"),
        (("train", "t.parquet", "--name", "m", "--level", "pbe", "--config", "words.txt"), "ends in .toml or .json"),
        (("train", "t.parquet", "--name", "m", "--level", "pbe", "--exclude", "none"), "none can't be read"),
        (("check", "nobody"), "no model 'nobody'"),
        (("evaluate", "nobody", "t.parquet"), "no model 'nobody'"),
        (("dataset", "--level", "nowhere", "--out", "u.parquet"), "nowhere"),
        (("dataset", "--level", "pbe", "--filter", "nelements=9", "--out", "u.parquet"), "no entry to learn from"),
        (("dataset", "--level", "pbe", "--filter", "nelements<", "--out", "u.parquet"), "nelements"),
    ],
)
def test_bad_input_is_told_in_a_line(lode: Any, tmp_path: Path, arguments: tuple[str, ...], reason: str):
    assert lode("model", "dataset", "--level", "pbe", "--out", "t.parquet").exit_code == 0
    (tmp_path / "words.txt").write_text("words")
    result = lode("model", *arguments)
    assert result.exit_code == 1
    assert reason in str(result.exception)
    assert "filter" in str(result.exception) or "\n" not in str(result.exception) or "nelements<" in arguments
    assert not (tmp_path / "u.parquet").exists()
