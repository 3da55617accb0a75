"""lode hull ranges | open, and the reaction energies of lode hull show, on a registry of lithium and iron oxides."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from sqlalchemy.orm import Session

from api.cli.main import cli, main
from registry.crystal import Crystal
from registry.database import engine_for
from registry.hull.store import place
from registry.identity.composition import ATOMIC_NUMBERS
from registry.models import Level
from registry.query.values import formula_amounts
from tests import factories as make
from tests.conftest import NewDatabase

PAGE = Path(__file__).parents[3] / "docs" / "chemical-potentials.md"
REFERENCES = {"Li": -1.9, "Fe": -8.3, "O": -4.9}
FORMATION = {"Li2O": -2.0, "Li2O2": -1.65, "LiO8": -0.1, "Fe2O3": -1.7, "LiFeO2": -1.9}
"""eV/atom: round numbers near those of PBE."""


@pytest.fixture(scope="module")
def registry(new_database: NewDatabase) -> Iterator[str]:
    with new_database() as url:
        engine = engine_for(url)
        with Session(engine) as session, session.begin():
            level = make.level(session, "fixed", references=REFERENCES)
            for formula, energy in FORMATION.items():
                add(session, level, formula, energy)
            place(session, level.id)
        engine.dispose()
        yield url


def add(session: Session, level: Level, formula: str, formation_energy: float) -> None:
    """The same crystal, and so the same id, in every run."""
    amounts = formula_amounts(formula)
    numbers = [ATOMIC_NUMBERS[one] for one, count in amounts.items() for _ in range(count)]
    coords = np.outer(np.arange(len(numbers)), [1 / len(numbers), 0, 0])
    row = make.structure(session, formula, arrays=Crystal(np.eye(3) * 3.0 * len(numbers), np.array(numbers), coords))
    elements = sum(REFERENCES[element] * count for element, count in amounts.items())
    make.calculation(session, row, level, energy=elements + formation_energy * len(numbers))


@pytest.fixture
def lode(registry: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("LODE_DATABASE_URL", registry)
    monkeypatch.setenv("LODE_HOME", str(tmp_path / "home"))

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(cli, list(arguments))

    return run


def read(result: Result) -> Any:
    assert result.exit_code == 0, (result.output, result.exception)
    return json.loads(result.stdout)


def test_ranges_of_a_system(lode: Any) -> None:
    found = read(lode("hull", "ranges", "O-Li", "--json"))
    assert (found["level"], found["chemsys"]) == ("fixed", "Li-O")
    phases = {phase["reduced_formula"]: phase for phase in found["phases"]}
    assert list(phases) == ["Li2O", "Li2O2", "Li", "O"]
    assert phases["Li"]["id"] is None
    assert phases["Li2O"]["id"].startswith("lode-")
    # 2 Li + O = 3 * -2.0 and 2 Li + 2 O = 4 * -1.65 meet at O = -0.6
    assert phases["Li2O"]["minimum"] == pytest.approx({"Li": -2.7, "O": -6.0})
    assert phases["Li2O"]["maximum"] == pytest.approx({"Li": 0.0, "O": -0.6})
    assert [one["O"] for one in phases["Li2O2"]["vertices"]] == pytest.approx([0.0, -0.6])
    assert phases["O"]["minimum"]["Li"] is None


def test_ranges_of_one_phase(lode: Any) -> None:
    (phase,) = read(lode("hull", "ranges", "Li-Fe-O", "--phase", "O2LiFe", "--json"))["phases"]
    assert phase["reduced_formula"] == "LiFeO2"
    assert len(phase["vertices"]) > 3
    for vertex in phase["vertices"]:
        assert vertex["Li"] + vertex["Fe"] + 2 * vertex["O"] == pytest.approx(4 * -1.9)
    shown = lode("hull", "ranges", "Li-Fe-O", "--phase", "LiFeO2")
    assert "LiFeO2" in shown.stdout
    assert "Fe2O3" not in shown.stdout


def test_a_system_open_to_oxygen(lode: Any) -> None:
    found = read(lode("hull", "open", "Li-Fe-O", "--element", "O=-2.0", "--json"))
    assert found["open"] == {"O": -2.0}
    assert found["reservoir_forms"] == []
    entries = {entry["reduced_formula"]: entry for entry in found["entries"]}
    assert {name for name, entry in entries.items() if entry["is_stable"]} == {"Li2O", "Fe2O3", "LiFeO2"}
    assert entries["Fe"]["taken_up"] == pytest.approx({"O": 1.5})
    assert entries["Li2O2"]["taken_up"] == pytest.approx({"O": -0.5})
    assert [share["reduced_formula"] for share in entries["Li2O2"]["decomposition"]] == ["Li2O"]
    assert entries["Li2O2"]["e_above_hull"] == pytest.approx((-4 * 1.65 + 4) / 2 - (-6 + 2) / 2)
    assert found["entries"] == sorted(found["entries"], key=lambda entry: entry["e_above_hull"])


def test_a_system_open_to_two_elements(lode: Any) -> None:
    found = read(lode("hull", "open", "Li-Fe-O", "--element", "O=-2", "--element", "Li=-3.5", "--json"))
    assert {entry["reduced_formula"] for entry in found["entries"]} == {"Fe", "Fe2O3", "LiFeO2"}
    assert sum(entry["is_stable"] for entry in found["entries"]) == 1


def test_a_reservoir_out_of_equilibrium_is_told(lode: Any) -> None:
    done = lode("hull", "open", "Li-Fe-O", "--element", "O=0.5", "--json")
    assert json.loads(done.stdout)["reservoir_forms"] == ["O"]
    assert done.stderr == "lode: the reservoir isn't in equilibrium: O forms from it alone\n"


def test_show_has_equilibrium_reaction_energies(lode: Any) -> None:
    rows = {row["reduced_formula"]: row for row in read(lode("hull", "show", "Li-Fe-O", "--json"))["entries"]}
    assert rows["LiO8"]["equilibrium_reaction_energy"] is None
    assert rows["Li2O2"]["equilibrium_reaction_energy"] == pytest.approx(-1.65 + 2.0 * 3 / 4)  # Li2O and oxygen
    assert rows["Li2O2"]["phase_separation_energy"] == pytest.approx(rows["Li2O2"]["equilibrium_reaction_energy"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("ranges Li-Xx", "'Xx' isn't a chemical element"),
        ("ranges Li-Na-O", "no reference energy for Na"),
        ("ranges Li-O --level nowhere", "no level 'nowhere'"),
        ("ranges Li-O --phase LiO2", "nothing of formula LiO2 has a place on the hull of Li-O"),
        ("ranges Li-O --phase LiFeO2", "nothing of formula LiFeO2"),
        ("ranges Li-O --phase LiO8", "LiO8 isn't stable at any chemical potentials: its lowest entry lies 0."),
        ("ranges Li-O --phase lithia", "isn't a chemical element"),
        ("open Li-O --element O", "--element O: write an element and a number"),
        ("open Li-O --element O=much", "--element O=much: write an element and a number"),
        ("open Li-O --element O=nan", "O=nan: a potential is a number"),
        ("open Li-O --element o=-1", "'o' isn't a chemical element: did you mean O?"),
        ("open Li-O --element O=-1 --element O=-2", "O has a chemical potential already"),
        ("open Li-O --element Fe=-1", "Fe can't be open: it isn't of Li-O"),
        ("open Li-O --element O=-1 --element Li=-1", "all of Li-O is open"),
        ("open Li-Na-O --element O=-1", "no reference energy for Na"),
    ],
)
def test_a_mistake_is_one_line(
    lode: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: str, said: str
) -> None:
    monkeypatch.setattr(sys, "argv", ["lode", "hull", *arguments.split()])
    with pytest.raises(SystemExit) as end:
        main()
    error = capsys.readouterr().err.strip()
    assert end.value.code == 1
    assert error.startswith("lode: ")
    assert said in error
    assert len(error.splitlines()) == 1


def test_open_without_an_element_is_a_wrong_call(lode: Any) -> None:
    assert lode("hull", "open", "Li-O").exit_code == 2


def test_the_page_shows_what_is_printed(lode: Any) -> None:
    examples = re.findall(r"```\n\$ lode ([^\n]+)\n(.+?)```", PAGE.read_text(), re.DOTALL)
    assert len(examples) == 2
    for command, output in examples:
        printed = lode(*command.split()).stdout
        assert [line.rstrip() for line in printed.strip().splitlines()] == output.rstrip().splitlines()
