"""lode search, as scripts see it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from sqlalchemy.orm import Session

from api.cli.main import cli
from registry.database import engine_for
from registry.errors import LodeError
from registry.hull.level_rows import ensure_level
from registry.identity.public_id import public_id
from registry.importers.files import read_file
from registry.importers.record import ImportedRecord
from tests.conftest import NewDatabase
from tests.workers.standin import standin_engine, standin_level
from workers.candidates.random_search import RandomSearch, Settings
from workers.label import LabelDaemon
from workers.loop import Loop
from workers.place import PlaceDaemon


@pytest.fixture(scope="module")
def registry(new_database: NewDatabase) -> Iterator[str]:
    """A database with the stand-in's level; its URL."""
    with new_database() as url:
        engine = engine_for(url)
        with Session(engine) as session, session.begin():
            ensure_level(session, standin_level())
        engine.dispose()
        yield url


def read(result: Result, code: int = 0) -> Any:
    assert result.exit_code == code, (result.output, result.exception)
    return json.loads(result.stdout)


def test_from_formulas_to_labels(lode: Any, registry: str):
    added = read(lode("search", "add", "NaCl", "Na2Cl2", "-n", "12", "--max-atoms", "4", "--json"))
    assert [row["outcome"] for row in added["data"]] == ["added", "known"]
    assert added["data"][0] == {"reduced_formula": "NaCl", "seed": 0, "wanted": 12, "outcome": "added"}
    assert "1 extended" in lode("search", "add", "NaCl", "-n", "14", "--max-atoms", "4").stdout
    (row,) = read(lode("search", "list", "--json"))["data"]
    assert (row["wanted"], row["stored"], row["finished_at"]) == (14, 0, None)
    assert lode("worker", "run", "search", "--drain").exit_code == 0
    engine = engine_for(registry)
    Loop(engine, [LabelDaemon(standin_engine), PlaceDaemon()], drain=True).run()
    engine.dispose()
    (row,) = read(lode("search", "list", "--level", "7net-0", "--json"))["data"]
    assert (row["stored"], row["completed"] + row["failed"]) == (14, 14)
    assert row["completed"] >= 10
    assert row["formation_energy_per_atom"] == row["lowest_formation_energy_per_atom"] < 0
    assert row["counts"]["made"] == 14
    assert "NaCl" in lode("search", "list").stdout
    way = lode("lineage", row["public_id"]).stdout
    assert "random_search seed 0, index" in way
    assert "likeliest way: NaCl" in way  # nobody knows how likely a random structure is


def test_formulas_from_the_standard_input(lode: Any):
    lines = "KCl 0.03 more words\n\n# a comment\nnonsense\nMg17Al12\nEs2O3\nLi\xff\nKBr\n"
    words = ("search", "add", "-", "-n", "1", "--max-atoms", "8", "--json")
    found = read(CliRunner().invoke(cli, words, input=lines), 1)
    assert [row["reduced_formula"] for row in found["data"]] == ["KCl", "KBr"]
    reasons = {bad["record"]: bad["reason"] for bad in found["refused"]}
    assert "isn't a chemical element" in reasons["nonsense"]
    assert "a formula unit has 29 atoms, more than 8" in reasons["Mg17Al12"]
    assert "no radius is known for Es" in reasons["Es2O3"]
    assert len(reasons) == 4


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("add", "NaCl", "-n", "0"), "0 structures: ask for 1 to"),
        (("add", "NaCl", "--seed", "-1"), "seed -1: choose one from 0"),
        (("add", "NaCl", "--level", "nowhere"), "no level 'nowhere'"),
        (("structures", "NaCl", "-o", "a.extxyz", "-n", "0"), "0 structures"),
        (("structures", "Na1.5Cl", "-o", "a.extxyz"), "isn't a"),
        (("structures", "NaCl", "-o", "missing/a.extxyz"), "can't be written"),
        (("structures", "Mg17Al12", "-o", "a.extxyz", "--max-atoms", "28"), "29 atoms, more than 28"),
        (("add", "NaCl", "--max-atoms", "100000", "--max-units", "100000"), "at most 200"),
        (("list", "--level", "nowhere"), "no level 'nowhere'"),
    ],
    ids=" ".join,
)
def test_what_can_not_be_done_is_said(lode: Any, words: tuple[str, ...], said: str):
    result = lode("search", *words)
    assert result.exit_code == 1
    assert isinstance(result.exception, LodeError)
    assert said in str(result.exception)


def test_another_use_of_a_seed_is_refused(lode: Any):
    read(lode("search", "add", "LiF", "-n", "2", "--json"))
    found = read(lode("search", "add", "LiF", "-n", "2", "--max-atoms", "6", "--json"), 1)
    assert "choose another --seed" in found["refused"][0]["reason"]
    said = lode("search", "add", "LiF", "-n", "2", "--max-atoms", "6").stderr
    assert said.startswith("lode: LiF: seed 0 is that of")


def test_structures_into_a_file(lode: Any, tmp_path: Path):
    told = read(lode("search", "structures", "Al2O3", "-o", "a.extxyz", "-n", "5", "--seed", "3", "--json"))
    assert (told["written"], told["counts"]["made"]) == (5, 5)
    records = [item for item in read_file(tmp_path / "a.extxyz") if isinstance(item, ImportedRecord)]
    names = [public_id(one.crystal) for one in RandomSearch({13: 2, 8: 3}, Settings()).structures(5, 3)]
    assert [public_id(record.crystal) for record in records] == names


def test_structures_to_the_standard_output(lode: Any):
    result = lode("search", "structures", "NaCl", "-o", "-", "-n", "2")
    assert result.exit_code == 0
    assert result.stdout.count("Lattice=") == 2
    assert lode("search", "structures", "NaCl", "-o", "-", "--json").exit_code == 2
