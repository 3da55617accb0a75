"""`lode hull history` and `lode hull plot` as people call them: tables, JSON, files, and one line for each mistake."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from sqlalchemy.orm import Session

from api.cli.main import cli, main
from registry.database import engine_for
from registry.hull.store import place
from tests import factories as make
from tests.conftest import NewDatabase

REFERENCES = {"Na": 0.0, "Cl": 0.0, "K": 0.0, "Br": 0.0}


@pytest.fixture(scope="module")
def registry(new_database: NewDatabase) -> Iterator[str]:
    """NaCl3, then NaCl, which displaces it; candidates; its URL."""
    with new_database() as url:
        engine = engine_for(url)
        with Session(engine) as session, session.begin():
            level = make.level(session, "salts", references=REFERENCES)
            model = make.model(session, level)
            for formula, energy in (("NaCl3", -0.2), ("NaCl", -1.0), ("KCl", -1.1)):
                row = make.structure(session, formula, external_ids={"mp": f"mp-{formula}"})
                make.calculation(session, row, level, energy=energy * row.nsites)
                place(session, level.id)
            for formula, energy in (("Na2Cl", -0.7), ("Na3Cl2", -0.78), ("NaKCl2", -1.08), ("KBr", -0.9)):
                make.prediction(session, make.structure(session, formula, origin="generated"), model, energy)
        engine.dispose()
        yield url


@pytest.fixture(autouse=True)
def here(registry: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LODE_DATABASE_URL", registry)
    monkeypatch.setenv("LODE_HOME", str(tmp_path / "home"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")


def lode(*arguments: str) -> Result:
    result = CliRunner().invoke(cli, ["hull", *arguments])
    assert result.exit_code == 0, (result.output, result.exception)
    return result


def error_of(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    monkeypatch.setattr(sys, "argv", ["lode", "hull", *arguments])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line


def test_a_history_as_json() -> None:
    found = json.loads(lode("history", "Cl3Na", "--json").stdout)
    assert (found["asked"], found["kind"], found["level"], found["as_of"]) == ("NaCl3", "formula", "salts", None)
    (entry,) = found["entries"]
    assert [one["change"] for one in entry["changes"]] == ["entered", "left"]
    (fall,) = entry["displaced_by"]
    assert (fall["reduced_formula"], fall["fell_by"]) == ("NaCl", pytest.approx(0.3))
    assert fall["at"] == entry["changes"][1]["at"] == entry["states"][1]["valid_from"]
    assert fall["at"].endswith("+00:00")


def test_a_history_as_a_table() -> None:
    shown = lode("history", "mp-NaCl3").stdout
    assert "left" in shown
    assert "by NaCl lode-" in shown
    assert "1 entries, 2 changes" in shown


def test_of_a_system_only_the_turns_are_listed() -> None:
    shown = lode("history", "Na-Cl").stdout
    assert "displaces NaCl3 lode-" in shown
    assert "2 entries, 3 changes" in shown


def test_a_history_as_of_a_moment() -> None:
    fell = json.loads(lode("history", "NaCl3", "--json").stdout)["entries"][0]["changes"][1]["at"]
    before = json.loads(lode("history", "Na-Cl", "--as-of", fell, "--json").stdout)
    assert [len(entry["changes"]) for entry in before["entries"]] == [2, 1]
    assert before["as_of"] == fell


def test_a_history_is_drawn() -> None:
    shown = json.loads(lode("history", "Na-K-Cl", "--plot", "made/past.html", "--json").stdout)
    assert len(shown["entries"]) == 3
    assert Path("made/past.png").read_bytes().startswith(b"\x89PNG")
    html = Path("made/past.html").read_text()
    assert "by NaCl" in html
    assert 'src="http' not in html
    assert sorted(path.name for path in Path("made").iterdir()) == ["past.html", "past.png"]


def test_a_hull_is_drawn_with_its_candidates() -> None:
    lode("plot", "Na-Cl", "--out", "with")
    lode("plot", "Na-Cl", "--no-candidates", "--out", "without.v2")
    assert "candidate" in Path("with.html").read_text()
    assert "candidate" not in Path("without.v2.html").read_text()
    assert Path("without.v2.png").read_bytes() != Path("with.png").read_bytes()


@pytest.mark.parametrize("chemsys", ["K-Cl", "Na-K-Cl", "Na-K-Cl-Br"])
def test_two_three_and_four_elements(chemsys: str) -> None:
    html, png = lode("plot", chemsys).stdout.split()
    assert Path(png).read_bytes().startswith(b"\x89PNG")
    assert "Plotly.newPlot" in Path(html).read_text()


def test_a_system_of_candidates_alone_is_drawn() -> None:
    lode("plot", "K-Br", "--out", "guesses")
    assert "KBr" in Path("guesses.html").read_text()


def test_a_hull_of_the_past_is_drawn_without_candidates() -> None:
    fell = json.loads(lode("history", "NaCl3", "--json").stdout)["entries"][0]["states"][0]["valid_from"]
    lode("plot", "Na-Cl", "--as-of", fell, "--out", "then")
    html = Path("then.html").read_text()
    assert "as of 20" in html
    assert "candidate" not in html


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["plot", "Na"], "lode: a hull of 1 element can't be drawn: choose two, three or four"),
        (["plot", "Na-Na"], "lode: a hull of 1 element can't be drawn: choose two, three or four"),
        (["plot", "Na-Cl-K-Br-I"], "lode: a hull of 5 elements can't be drawn: choose two, three or four"),
        (["plot", "Na-Xx"], "lode: 'Xx' isn't a chemical element"),
        (["plot", ""], "lode: '' isn't a chemical element"),
        (["plot", "Li-I"], "lode: nothing within I-Li is on the hull of level salts: label crystals of it first"),
        (["plot", "Na-I"], "lode: nothing within I-Na is on the hull of level salts: label crystals of it first"),
        (["plot", "Na-Cl-I"], "lode: no stable entry of I: label these elements at this level first"),
        (["plot", "Na-Cl", "--level", "nowhere"], "lode: there is no level 'nowhere': known are salts"),
        (["plot", "Na-Cl", "--as-of", "soon"], "lode: --as-of soon: "),
        (["plot", "Na-Cl", "--as-of", "2020-01-01"], "lode: nothing within Cl-Na is on the hull of level salts as of"),
        (["plot", "Na-Cl", "--out", "a-file/hull"], "lode: can't write a-file/hull.html: "),
        (["plot", "Na-Cl", "--out", "a-folder"], "lode: can't write a-folder.png: there is a folder of that name"),
        (["plot", "Na-Cl", "--out", "/proc/hull"], "lode: can't write /proc/hull.html: "),
        (["history", "NaCl2"], "lode: no NaCl2 in this registry; placed at level salts are NaCl3, NaCl"),
        (["history", "Na2Cl"], "lode: no Na2Cl has been placed on the hull at level salts: none has a label there"),
        (["history", "nacl"], "lode: 'n' isn't a chemical element; did you mean NaCl?"),
        (["history", "Na-Xx"], "lode: 'Xx' isn't a chemical element"),
        (["history", "lode-nowhere"], "lode: nothing is called 'lode-nowhere': give a formula"),
        (["history", "NaCl", "--level", "nowhere"], "lode: there is no level 'nowhere': known are salts"),
        (["history", "NaCl", "--as-of", "soon"], "lode: --as-of soon: "),
        (["history", "NaCl", "--plot", "a-file/past"], "lode: can't write a-file/past.html: "),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_line_and_writes_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    Path("a-file").write_text("mine")
    Path("a-folder.png").mkdir()
    assert error_of(monkeypatch, capsys, *arguments).startswith(said)
    assert sorted(path.name for path in Path().rglob("*")) == ["a-file", "a-folder.png"]
    assert Path("a-file").read_text() == "mine"
