"""The command line as scripts see it: fast help, one-line errors, exit codes, and the JSON of the contract."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from api.cli.main import COMMANDS, cli, main
from registry.database import engine_for
from registry.hull.level_rows import ensure_level
from registry.hull.store import place
from tests import factories as make
from tests.conftest import NewDatabase
from tests.registry.accounts import account
from tests.registry.importers.test_bad_files import CIF
from tests.workers.models import save_tiny_model
from tests.workers.standin import standin_level

HEAVY = ("torch", "pymatgen", "sqlalchemy", "numpy", "pandas", "dgl", "pydantic")


@pytest.fixture(scope="module")
def registry(new_database: NewDatabase) -> Iterator[str]:
    """A database with a placed label; its URL."""
    with new_database() as url:
        engine = engine_for(url)
        fill(engine)
        engine.dispose()
        yield url


def fill(engine: Engine) -> None:
    with Session(engine) as session, session.begin():
        ensure_level(session, standin_level())
        level = make.level(session, standin_level().name)
        for formula, energy in (("NaCl", -5.0), ("KCl", -4.9), ("Na3Cl", -4.1)):
            row = make.structure(session, formula, label="AB_cF8_225_a_b", external_ids={"mp": f"mp-{formula}"})
            make.calculation(session, row, level, energy=energy)
        place(session, level.id)


def read(result: Result, code: int = 0) -> Any:
    assert result.exit_code == code, (result.output, result.exception)
    return json.loads(result.stdout)


def commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))


def test_help_answers_at_once():
    def seconds() -> float:
        """Of CPU: others may be using this machine, too."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "api.cli.main", "--help"], check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(seconds() for _ in range(3)) < 0.5


@pytest.mark.parametrize("arguments", [["--help"], ["query", "--help"], ["campaign", "run", "--help"]])
def test_help_imports_nothing_heavy(arguments: list[str]):
    script = (
        "import sys\nfrom api.cli.main import cli\n"
        f"try: cli.main({arguments!r})\nexcept SystemExit: pass\n"
        f"print('HEAVY:', [name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "HEAVY: []"


def test_every_command_says_what_it_does():
    found = dict(commands(cli))  # type: ignore[arg-type]
    assert len(found) > len(COMMANDS)
    for path, command in found.items():
        assert command.help, path
        shown = CliRunner().invoke(cli, [*path, "--help"])
        assert shown.exit_code == 0, path
        assert "Usage:" in shown.output


def test_the_list_of_commands_names_every_one():
    shown = CliRunner().invoke(cli, ["--help"]).output
    for name in COMMANDS:
        assert f"  {name} " in shown


def error_of(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    monkeypatch.setattr(sys, "argv", ["lode", *arguments])
    with pytest.raises(SystemExit) as end:
        main()
    return int(str(end.value.code)), capsys.readouterr().err.strip()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["query", "elements HAS"], "lode: "),
        (["query", "colour=1"], "colour"),
        (["hull", "show", "Na-Xx"], "Xx"),
        (["hull", "show", "Na-Cl", "--level", "nowhere"], "no level 'nowhere'"),
        (["hull", "show", "Na-Cl", "--as-of", "yesterday"], "--as-of yesterday"),
        (["hull", "rebuild", "--level", "nowhere"], "no level 'nowhere'"),
        (["generate", "--family", "Na,Xx"], "not an element: Xx"),
        (["model", "promote", "absent"], "no model 'absent'"),
        (["generate", "--family", "Na,Cl", "--level", "\udcff"], "an argument isn't text in UTF-8"),
        (["predict", "gone.cif"], "no model is promoted"),
        (["campaign", "report"], "no campaign has run yet"),
        (["import"], "nothing to import"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_mistake_is_one_line_and_exit_code_1(
    lode: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
):
    code, error = error_of(monkeypatch, capsys, *arguments)
    assert code == 1
    complaints = [line for line in error.splitlines() if line.startswith("lode: ")]
    assert said in complaints[-1]
    assert "Traceback" not in error


@pytest.mark.parametrize("arguments", [["query"], ["hull", "show", "Na-Cl"]], ids=" ".join)
def test_a_question_that_takes_too_long_is_one_line(
    lode: Any,
    registry: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
):
    monkeypatch.setenv("LODE_QUERY_SECONDS", "0.2")
    engine = engine_for(registry)
    with engine.begin() as holder:
        holder.execute(text("LOCK TABLE hull_state IN ACCESS EXCLUSIVE MODE"))
        code, error = error_of(monkeypatch, capsys, *arguments)
    engine.dispose()
    assert (code, len(error.splitlines())) == (1, 1)
    assert "LODE_QUERY_SECONDS" in error


@pytest.mark.parametrize(
    "arguments",
    [
        ["import", "a.cif"],
        ["place"],
        ["work", "retry"],
        ["hull", "rebuild"],
        ["generate", "--family", "Na,Cl"],
    ],
    ids=" ".join,
)
def test_what_an_account_may_not_do_is_one_line(
    lode: Any,
    registry: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
):
    (tmp_path / "a.cif").write_text(CIF)
    with account(registry, "IN ROLE lode_reader") as theirs:
        monkeypatch.setenv("LODE_DATABASE_URL", theirs(registry))
        code, error = error_of(monkeypatch, capsys, *arguments)
    assert code == 1
    assert error.splitlines()[-1].startswith("lode: permission denied for table ")
    assert "lode_owner" in error
    assert "Traceback" not in error


def test_a_server_that_goes_is_one_line(
    lode: Any, registry: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    waiting = text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'lode'"
                   " AND datname = current_database() AND wait_event_type = 'Lock'")  # fmt: skip
    engine = engine_for(registry, "pytest")

    def end_it() -> None:
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:  # sees news each time
            deadline = time.monotonic() + 60
            while not connection.execute(waiting).all():
                assert time.monotonic() < deadline
                time.sleep(0.02)

    with engine.begin() as holder, ThreadPoolExecutor() as pool:
        holder.execute(text("LOCK TABLE hull_state IN ACCESS EXCLUSIVE MODE"))
        ended = pool.submit(end_it)
        code, error = error_of(monkeypatch, capsys, "query")
        ended.result(timeout=60)
    engine.dispose()
    assert (code, len(error.splitlines())) == (1, 1)
    assert error.startswith("lode: PostgreSQL says: terminating connection")


def test_a_wrong_filter_has_a_caret_under_the_wrong_word(
    lode: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    _, error = error_of(monkeypatch, capsys, "query", "nelements=2 AND colour=1")
    said, shown, caret = error.splitlines()
    assert "colour" in said
    assert shown.index("colour") == caret.index("^")


def test_no_server_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path):
    monkeypatch.setenv("LODE_DATABASE_URL", "postgresql://nobody@127.0.0.1:9/none")
    monkeypatch.setenv("LODE_HOME", str(tmp_path))
    code, error = error_of(monkeypatch, capsys, "status")
    assert (code, len(error.splitlines())) == (1, 1)


def test_a_wrong_call_is_exit_code_2(lode: Any):
    assert lode("query", "--limit", "0").exit_code == 2
    assert lode("nonsense").exit_code == 2


def test_status_json(lode: Any):
    found = read(lode("status", "--json"))
    assert {"database", "work", "workers", "counts"} <= set(found)
    assert found["database"]["url_kind"] == "external"
    assert {"version", "schema"} <= set(found["database"])
    assert found["work"]["label"] == {"waiting": 0, "running": 0, "dead": 0}
    assert found["counts"]["calculation"] == 3


def test_query_json(lode: Any):
    found = read(lode("query", 'elements HAS "Cl"', "--level", "7net-0", "--json"))
    assert set(found) == {"data", "count", "next"}
    assert found["count"] == {"value": 3, "kind": "exact"}
    assert found["next"] is None
    named = {
        "id", "external_ids", "reduced_formula", "chemsys", "spacegroup_number", "e_above_hull",
        "formation_energy_per_atom",
    }  # fmt: skip
    assert all(named <= set(row) for row in found["data"])
    assert found["data"][0]["id"].startswith("lode-")


def test_query_pages(lode: Any):
    first = read(lode("query", "--limit", "2", "--fields", "reduced_formula", "--json"))
    second = read(lode("query", "--limit", "2", "--fields", "reduced_formula", "--after", first["next"], "--json"))
    formulas = [row["reduced_formula"] for page in (first, second) for row in page["data"]]
    assert sorted(formulas) == ["KCl", "Na3Cl", "NaCl"]


def test_hull_show_json(lode: Any):
    found = read(lode("hull", "show", "Na-Cl", "--level", "7net-0", "--json"))
    assert {"level", "chemsys", "as_of", "entries"} <= set(found)
    assert found["level"] == "7net-0"
    labelled = {row["reduced_formula"]: row for row in found["entries"]}
    assert {"NaCl", "Na3Cl"} <= set(labelled)
    named = {
        "id", "external_ids", "reduced_formula", "formation_energy_per_atom", "e_above_hull",
        "phase_separation_energy", "is_stable", "decomposition",
    }  # fmt: skip
    assert named <= set(labelled["NaCl"])
    for share in labelled["Na3Cl"]["decomposition"]:
        assert {"reduced_formula", "amount"} <= set(share)


def test_a_hull_is_drawn_though_no_crystal_of_its_elements_is_labelled(lode: Any, tmp_path: Path):
    assert read(lode("hull", "show", "Na-Cl", "--level", "7net-0", "--json"))["references"] == ["Cl", "Na"]
    drawn = lode("hull", "plot", "Na-Cl", "--level", "7net-0", "--out", "salt")
    assert drawn.exit_code == 0, drawn.exception
    assert (tmp_path / "salt.png").read_bytes().startswith(b"\x89PNG")
    assert "NaCl" in (tmp_path / "salt.html").read_text()


def test_import_json(lode: Any, tmp_path: Path):
    (tmp_path / "good.cif").write_text(CIF)
    (tmp_path / "bad.cif").write_text(CIF.replace("Cl1 Cl", "Xx1 Xx"))
    found = read(lode("import", "good.cif", "bad.cif", "--json"), code=1)
    assert (found["read"], found["imported"], found["duplicates"]) == (2, 1, 0)
    assert [set(one) for one in found["refused"]] == [{"record", "reason"}]
    assert found["refused"][0]["record"].startswith("bad.cif")


def test_importing_twice_is_one_line_and_no_failure(lode: Any, tmp_path: Path):
    (tmp_path / "twice.cif").write_text(CIF.replace("_a 4", "_a 4.5"))
    assert lode("import", "twice.cif").exit_code == 0
    again = lode("import", "twice.cif")
    assert again.exit_code == 0
    said = [line for line in again.stderr.splitlines() if line.startswith("lode: ")]
    assert len(said) == 1
    assert "twice.cif: imported before" in said[0]


def test_predict_json(lode: Any, tmp_path: Path):
    pytest.importorskip("torch", reason="the extra `predictors` isn't installed")
    folder = save_tiny_model(tmp_path / "tiny")
    (tmp_path / "salt.cif").write_text(CIF.replace("Cs", "Na"))
    found = read(lode("predict", "salt.cif", "--model", str(folder), "--json"))
    named = {
        "index", "formula", "formation_energy_per_atom", "spread", "interval_90", "out_of_domain", "e_above_hull",
        "decomposition", "flags", "model", "level",
    }  # fmt: skip
    assert [set(row) >= named for row in found] == [True]
    assert (found[0]["index"], found[0]["formula"], found[0]["level"]) == (0, "NaCl", "7net-0")
    assert found[0]["decomposition"][0]["reduced_formula"] == "NaCl"
    alone = read(lode("predict", "salt.cif", "--model", str(folder), "--no-registry", "--json"))
    assert alone[0]["formation_energy_per_atom"] == pytest.approx(found[0]["formation_energy_per_atom"])
    assert alone[0]["e_above_hull"] is None


def test_a_model_of_another_level_says_nothing_of_this_hull(lode: Any, tmp_path: Path):
    """Two levels are never mixed, whichever way the model was named."""
    pytest.importorskip("torch", reason="the extra `predictors` isn't installed")
    folder = save_tiny_model(tmp_path / "other", level="r2SCAN")
    (tmp_path / "salt.cif").write_text(CIF.replace("Cs", "Na"))
    refused = lode("predict", "salt.cif", "--model", str(folder), "--json")
    assert "r2SCAN" in str(refused.exception)


def test_a_broken_model_is_one_line(
    lode: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    pytest.importorskip("torch", reason="the extra `predictors` isn't installed")
    (tmp_path / "salt.cif").write_text(CIF.replace("Cs", "Na"))
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "model.json").write_text("{")
    code, error = error_of(monkeypatch, capsys, "predict", "salt.cif", "--model", "broken", "--no-registry")
    assert code == 1
    assert error.splitlines()[-1].startswith("lode: broken holds no readable model")
    assert "Traceback" not in error
