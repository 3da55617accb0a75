"""lode compositions: what scripts read, what people are told, and what ends a stream."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from sqlalchemy.orm import Session

from api.cli.main import cli
from registry.database import engine_for
from tests import factories as make
from tests.api.cli.test_main import error_of
from tests.conftest import NewDatabase

ENDLESS = ["compositions", "--elements", "all", "--max-elements", "4", "--limit", "1000000000"]


def compositions(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["compositions", *arguments])


def lines(result: Result) -> list[Any]:
    assert result.exit_code == 0, (result.output, result.exception)
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.fixture(scope="module")
def registry(new_database: NewDatabase) -> Iterator[str]:
    """A database with three compositions; its URL."""
    with new_database() as url:
        engine = engine_for(url)
        with Session(engine) as session, session.begin():
            for formula in ("Li2O", "Li2O2", "NaCl"):
                make.composition(session, formula)
        engine.dispose()
        yield url


def test_lines_for_people_begin_with_the_formula():
    done = compositions("--elements", "Fe,O", "--max-atoms", "8", "--max-amount", "5", "--between", "1")
    told = dict(line.split("\t") for line in done.stdout.splitlines())
    assert told["Fe2O3"] == "O -2, Fe +3"
    assert told["Fe3O4"] == "O -2, Fe +8/3 between +2 and +3"
    assert len(told) == len(done.stdout.splitlines())
    assert f"{len(told)} compositions; 17 of 17 looked at" in done.stderr


def test_json_lines_end_with_the_counts():
    *rows, last = lines(compositions("--elements", "He,Na,Cl", "--between", "0", "--json"))
    assert rows == [
        {
            "formula": "NaCl",
            "between": 0,
            "balance": [
                {"element": "Na", "low": 1, "high": 1, "mean": 1.0},
                {"element": "Cl", "low": -1, "high": -1, "mean": -1.0},
            ],
        }
    ]
    assert last["counts"] == {
        "looked_at": 113, "strict": 1, "one_between": 0, "two_between": 0, "refused": 112, "dropped": {},
        "written": 1, "space": 113, "ended": "complete", "refused_lines": 0, "without_states": ["He"],
    }  # fmt: skip


def test_formulas_tell_how_they_balance():
    found = lines(compositions("Li15Si4", "Ca(OH)2", "ArO", "--json"))
    assert [row["between"] for row in found] == [1, 0, None]
    assert found[0]["balance"][1] == {"element": "Si", "low": -4, "high": -3, "mean": -3.75}
    assert compositions("Fe3O4", "--states", "Fe=3", "--ionic").stdout == "Fe3O4\tno balance\n"
    assert compositions("Fe3O4", "--states", "Fe=2,3").stdout == "Fe3O4\tO -2, Fe +8/3 between +2 and +3\n"


def test_one_bad_formula_does_not_stop_the_others():
    done = compositions("NaCl", "Xx2", "KBr")
    assert (done.exit_code, len(done.stdout.splitlines())) == (1, 2)
    assert "lode: 'Xx' isn't a chemical element" in done.stderr


def test_novel_leaves_out_what_the_registry_holds(registry: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("LODE_DATABASE_URL", registry)
    monkeypatch.setenv("LODE_HOME", str(tmp_path))
    asked = ["--elements", "Li,O,Na,Cl", "--between", "0", "--max-elements", "2", "--max-amount", "4", "--json"]
    everything = [row["formula"] for row in lines(compositions(*asked))[:-1]]
    *novel, last = lines(compositions(*asked, "--novel"))
    left = [row["formula"] for row in novel]
    assert set(everything) - set(left) == {"Li2O", "Li2O2", "NaCl"}
    assert last["counts"]["dropped"] == {"known": 3}


def test_files_of_known_formulas_lose_no_line(tmp_path: Path):
    known = tmp_path / "known.csv"
    known.write_text("formula,energy\n# measured\nNa2O,1.0\n\nNaCl 2\n\x00\xff\n")
    done = compositions(
        "--elements", "Na,Cl,O", "--ionic", "--between", "0", "--max-elements", "2", "--known", str(known)
    )
    assert done.exit_code == 0
    assert not {"NaCl", "Na2O"} & {line.split()[0] for line in done.stdout.splitlines()}
    assert "lode: known.csv:1: " in done.stderr
    assert "2 of these known" in done.stderr


def test_limit_and_count():
    done = compositions("--elements", "Li,Fe,O", "--limit", "7")
    assert len(done.stdout.splitlines()) == 7
    assert "stopped at the limit" in done.stderr
    assert compositions("--elements", "Li,Fe,O", "--count").stdout == ""


def test_required_elements():
    *rows, _ = lines(compositions("--elements", "Na,Cl", "--require", "O", "--max-amount", "3", "--json"))
    assert rows
    assert all("O" in [one["element"] for one in row["balance"]] for row in rows)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--elements", "Li,Zz"], "not an element: Zz"),
        (["--elements", "He,Ne"], "of 0 with oxidation states; no oxidation states of He, Ne"),
        (["--elements", "Li,O", "--require", "He"], "no oxidation state is known of He: give one with --states"),
        (["--elements", "Li", "--min-elements", "2"], "no composition of 2 to 3 elements"),
        (["--elements", "Li,Na", "--ionic"], "nothing balances"),
        (["--elements", "Li,O", "--max-amount", "0"], "within 1 to 255"),
        (["--elements", "Li,O", "--max-elements", "7"], "within 1 to 6"),
        (["--elements", "all", "--max-elements", "6"], "compositions would be looked at, more than 10,000,000,000"),
        (["--elements", "Li,O", "--states", "Li=one"], "--states Li=one: write Fe=2,3"),
        (["--elements", "Fe,O", "--states", "Fe=2", "--states", "Fe=3"], "Fe has states already"),
        (["NaCl", "--states", "junk"], "--states junk: write Fe=2,3"),
        (["NaCl", "--states", "Zz=1"], "Zz isn't among the elements"),
        (["--elements", "Li,O", "--states", "Fe=2"], "Fe isn't among the elements"),
        (["--elements", "Li,O", "--states", "Li=12"], "oxidation states lie between -9 and +9"),
        (["--elements", "Li,O", "--known", "gone.txt"], "gone.txt: No such file"),
        (["H300O"], "more than 255 atoms of an element"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_each_mistake_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
):
    code, error = error_of(monkeypatch, capsys, "compositions", *arguments)
    assert code == 1
    assert said in error.splitlines()[-1]


def test_neither_elements_nor_formulas_is_a_wrong_call():
    assert compositions().exit_code == 2
    assert compositions("NaCl", "--elements", "Na").exit_code == 2


@pytest.mark.parametrize(
    "arguments",
    [("NaCl", "--novel"), ("NaCl", "--limit", "3"), ("NaCl", "--count"), ("--elements", "Na,Cl", "--rare", "nan")],
    ids=" ".join,
)
def test_what_would_do_nothing_is_a_wrong_call(arguments: tuple[str, ...]):
    assert compositions(*arguments).exit_code == 2


def test_an_interrupt_tells_how_far_it_came(tmp_path: Path):
    with started(tmp_path) as lode:
        lode.send_signal(signal.SIGINT)
        out, error = lode.communicate(timeout=60)
    assert lode.returncode == 1
    assert error.decode().strip().endswith("; interrupted")
    assert out.endswith(b"\n")
    assert all(b"\t" in line for line in out.splitlines()[1:])  # readline has taken a part of the first


def test_a_reader_that_has_enough_ends_the_stream(tmp_path: Path):
    with started(tmp_path) as lode:
        assert lode.stdout is not None
        assert lode.stderr is not None
        lode.stdout.close()
        assert lode.wait(timeout=60) == 1
        assert b"Traceback" not in lode.stderr.read()


@contextlib.contextmanager
def started(home: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A stream that would take hours, whose first line has been read."""
    command = [sys.executable, "-m", "api.cli.main", *ENDLESS]
    environment = os.environ | {"LODE_HOME": str(home)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as lode:
        try:
            assert lode.stdout is not None
            assert lode.stdout.readline().startswith(b"LiH\t")
            yield lode
        finally:
            lode.kill()
