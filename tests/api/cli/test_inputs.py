"""What people type and bring: wrong servers, odd files, other terms. Each mistake is one line that says what to do."""

from __future__ import annotations

import gc
import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from api.cli import serve as serving
from api.cli.main import cli
from api.cli.output import print_table
from api.cli.query import query
from registry.errors import FilterError, NotFound, SettingsError
from registry.hull.store import place
from registry.query.materials import MAX_LIMIT
from tests import factories as make
from tests.api.cli.test_main import error_of
from tests.registry.importers.test_bad_files import CIF, POSCAR, XYZ
from tests.workers.models import save_tiny_model

Lode = Callable[..., Result]
OURS = "pg_stat_activity WHERE application_name = 'lode' AND datname = current_database()"


@pytest.fixture
def lode(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lode:
    monkeypatch.setenv("LODE_DATABASE_URL", database_url)
    monkeypatch.setenv("LODE_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(cli, list(arguments))


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://nobody@127.0.0.1:9/none", "lode: no PostgreSQL answers at "),
        (
            "postgresql://me:secret@127.0.0.1:port/x",
            "lode: LODE_DATABASE_URL (or database_url in lode.toml): must read",
        ),
        ("postgresql://me:secret@127.0.0.1:9/x?colour=red", "lode: no PostgreSQL answers at "),
    ],
)
def test_init_on_no_server(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, url: str, said: str
):
    monkeypatch.setenv("LODE_DATABASE_URL", url)
    monkeypatch.setenv("LODE_HOME", str(tmp_path))
    code, error = error_of(monkeypatch, capsys, "init")
    assert (code, len(error.splitlines())) == (1, 1)
    assert error.startswith(said)
    assert "secret" not in error


@pytest.mark.parametrize("revision", ["9999", "beta"])
def test_init_on_a_schema_that_this_code_does_not_know(
    engine: Engine, lode: Lode, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], revision: str
):
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = :revision"), {"revision": revision})
    code, error = error_of(monkeypatch, capsys, "init")
    assert (code, len(error.splitlines())) == (1, 1)
    assert error.startswith(f"lode: the schema is at {revision}, unknown to this code")
    assert "install the Motherlode that made it" in error


def test_a_table_shows_what_it_is_given(capsys: pytest.CaptureFixture[str]):
    rows = [{"check": "[predictors]", "note": "[/tmp/x] :smile:"}, {"check": "[bold]a[/bold]", "note": "end\\"}]
    print_table(rows, ["check", "note"], "[/tmp] of [red]")
    shown = capsys.readouterr().out
    for word in ("[predictors]", "[/tmp/x] :smile:", "[bold]a[/bold]", "end\\", "[/tmp] of [red]"):
        assert word in shown


def test_a_page_is_no_longer_than_the_registry_allows(lode: Lode):
    limit = next(option for option in query.params if option.name == "limit")
    assert isinstance(limit.type, click.IntRange)
    assert limit.type.max == MAX_LIMIT
    assert lode("query", "--limit", str(MAX_LIMIT + 1)).exit_code == 2
    assert lode("query", "--limit", str(MAX_LIMIT)).exit_code == 0


def labelled(engine: Engine, *levels: str) -> None:
    with Session(engine) as session, session.begin():
        for name in levels:
            level = make.level(session, name, references={"Na": 0.0, "Cl": 0.0})
            make.calculation(session, make.structure(session, "NaCl"), level, energy=-5.0)
            place(session, level.id)


def test_rebuild_takes_the_only_level_with_a_hull(engine: Engine, lode: Lode):
    labelled(engine, "theirs")
    assert lode("hull", "rebuild").output.startswith("1 entries, 0 states changed")


def test_rebuild_asks_which_of_several_levels(engine: Engine, lode: Lode):
    labelled(engine, "ours", "theirs")
    told = lode("hull", "rebuild").exception
    assert isinstance(told, FilterError)
    assert "say which level the energies belong to: ours, theirs" in str(told)
    assert lode("hull", "rebuild", "--level", "ours").exit_code == 0


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_serve_on_either_family_of_addresses(lode: Lode, monkeypatch: pytest.MonkeyPatch, host: str):
    if host == "::1" and not has_ipv6():
        pytest.skip("this machine has no ::1")
    served: dict[str, Any] = {}
    monkeypatch.setattr("uvicorn.run", lambda _app, **options: served.update(options))
    done = lode("serve", "--host", host, "--port", "0")
    assert done.exit_code == 0, done.exception
    assert served["host"] == host
    assert done.stderr.startswith(f"http://{'[::1]' if host == '::1' else host}:0/graphql")


def test_serve_knows_the_sources_that_it_shall_show(lode: Lode):
    told = lode("serve", "--non-commercial", "GNOME").exception
    assert isinstance(told, NotFound)
    assert str(told) == "there is no source 'GNOME'; non-commercial ones: there are none"


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def test_serve_says_what_is_wrong_with_an_address():
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(SettingsError, match="already in use; choose"):
        serving._probe("127.0.0.1", taken.getsockname()[1])
    with pytest.raises(SettingsError, match="can't be served"):
        serving._probe("no such host", 0)


def test_other_terms_for_a_known_source_are_one_line(lode: Lode, tmp_path: Path):
    for number in range(3):
        (tmp_path / f"{number}.cif").write_text(CIF.replace("_a 4", f"_a 4.{number}"))
    assert lode("import", "0.cif", "--licence", "CC-BY-4.0").exit_code == 0
    refused = lode("import", "1.cif", "--licence", "CC0-1.0")
    assert refused.exit_code == 1
    assert "source 'user' is stored with other terms (licence 'CC-BY-4.0'): choose another --source" in refused.stderr
    assert lode("import", "2.cif").exit_code == 0


def test_a_bad_file_ends_no_batch(lode: Lode, tmp_path: Path):
    (tmp_path / "deep.json").write_text("[" * 100_000)
    (tmp_path / "nan.extxyz").write_text(XYZ.replace("pbc=", "energy=nan bandgap=nan pbc="))
    (tmp_path / "good.cif").write_text(CIF.replace("_a 4", "_a 4.5"))
    done = lode("import", "deep.json", "nan.extxyz", "good.cif", "--level", "theirs", "--json")
    assert done.exit_code == 1
    found = json.loads(done.stdout)
    assert (found["read"], found["imported"]) == (3, 1)
    assert [one["record"] for one in found["refused"]] == ["deep.json", "nan.extxyz:0"]


def test_predict_keeps_the_place_of_what_it_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("torch", reason="the extra `predictors` isn't installed")
    monkeypatch.chdir(tmp_path)
    salt, close = XYZ.replace("Cs", "Na"), XYZ.replace("Cs", "Na").replace("2 2 2", "0 0 0.2")
    (tmp_path / "many.extxyz").write_text(close + salt)
    (tmp_path / "empty.cif").write_text("")
    (tmp_path / "POSCAR").write_text(POSCAR.replace("Cs", "Na"))
    model = str(save_tiny_model(tmp_path / "tiny"))
    arguments = ["predict", "many.extxyz", "empty.cif", "POSCAR", "--model", model, "--no-registry"]
    done = CliRunner().invoke(cli, [*arguments, "--json"])
    assert done.exit_code == 1, done.exception
    rows = json.loads(done.stdout)
    assert [(row["index"], row["formula"]) for row in rows] == [(0, None), (1, "NaCl"), (2, None), (3, "NaCl")]
    assert [row["formation_energy_per_atom"] is None for row in rows] == [True, False, True, False]
    assert "overlapping atoms" in rows[0]["flags"][0]
    assert rows[2]["flags"] == ["the file is empty"]
    assert {frozenset(row) for row in rows} == {frozenset(rows[0])}
    assert {(row["model"], row["level"]) for row in rows} == {(rows[1]["model"], "7net-0")}
    assert CliRunner().invoke(cli, arguments).exit_code == 1


def test_predict_goes_on_past_what_is_wrong(
    lode: Lode, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Known crystals beside each that can be read; of each that can't be predicted one line, and where it stands."""
    pytest.importorskip("torch", reason="the extra `predictors` isn't installed")
    with Session(engine) as session, session.begin():
        make.level(session, "7net-0", references={"Na": -1.3, "Cl": -1.8})
    (tmp_path / "salt.cif").write_text(CIF.replace("Cs", "Na"))
    (tmp_path / "unknown.cif").write_text(CIF.replace("Cs", "Fr"))
    (tmp_path / "potash.cif").write_text(CIF.replace("Cs", "K"))
    (tmp_path / "words.cif").write_text("no crystal at all")
    (tmp_path / "folder").mkdir()
    assert lode("import", "salt.cif").exit_code == 0
    arguments = ["predict", "unknown.cif", "words.cif", "folder", "gone.cif", "salt.cif", "potash.cif"]
    arguments += ["--model", str(save_tiny_model(tmp_path / "tiny"))]
    done = lode(*arguments, "--json")
    assert done.exit_code == 1, done.exception
    assert [line.removeprefix("lode: ") for line in done.stderr.splitlines()] == [
        "words.cif:0: doesn't parse as CIF: no atoms listed",
        "folder: is a folder: name the files in it",
        "gone.cif: no such file",
        "unknown.cif:0: the model never saw Fr: train on data that hold it",
    ]
    rows = json.loads(done.stdout)
    assert [row["record"] for row in rows] == [
        "unknown.cif:0", "words.cif:0", "folder", "gone.cif", "salt.cif:0", "potash.cif:0",
    ]  # fmt: skip
    relations = [[one["relation"] for one in row["nearest"]] for row in rows]
    assert relations == [["same prototype"], [], [], [], ["same crystal"], ["same prototype"]]
    assert rows[4]["decomposition_energy"] is not None
    assert rows[5]["e_above_hull"] is None
    assert rows[5]["flags"][-1].startswith("no place on the hull: no reference energy for K")
    assert "same crystal" in lode(*arguments).stdout


def test_a_model_that_is_not_there_is_not_replaced_by_the_shipped_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("torch", reason="the extra `predictors` isn't installed")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "salt.cif").write_text(CIF)
    told = CliRunner().invoke(cli, ["predict", "salt.cif", "--model", "doesnotexist", "--no-registry"]).exception
    assert isinstance(told, NotFound)
    assert "doesnotexist" in str(told)


def test_a_name_that_is_no_text_and_a_reason_with_nul(lode: Lode, tmp_path: Path):
    (tmp_path / "s\udcff.cif").write_text(CIF)
    cell = {"a": 4.0, "b": 4.0, "c": 4.0, "alpha": 90.0, "beta": 90.0, "gamma": 90.0}
    rows = [cell | {"species": name, "frac_coords": [0.0, 0.0, 0.0]} for name in ("Q\0", "Po")]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "all.parquet")
    done = lode("import", "s\udcff.cif", "all.parquet", "--json")
    assert done.exit_code == 1, done.exception
    found = json.loads(done.stdout)
    assert (found["read"], found["imported"]) == (3, 2)
    assert found["refused"] == [{"record": "all.parquet:0", "reason": "unknown element Q?"}]


def test_a_licence_that_forbids_commerce_says_so_by_itself(lode: Lode, tmp_path: Path):
    (tmp_path / "salt.cif").write_text(CIF)
    assert lode("import", "salt.cif", "--source", "theirs", "--licence", "CC-BY-NC-4.0").exit_code == 0
    done = lode("export", "--format", "extxyz", "--out", "-")
    assert done.stdout == ""
    assert "left out 1 of theirs: not for commercial use" in done.stderr


@pytest.mark.parametrize("option", ["--source", "--level", "--licence", "--citation"])
@pytest.mark.parametrize(("value", "said"), [("a\udcff", "is no text"), ("x" * 3000, "longer than")])
def test_names_that_no_database_holds(lode: Lode, tmp_path: Path, option: str, value: str, said: str):
    (tmp_path / "salt.cif").write_text(CIF)
    done = lode("import", "salt.cif", option, value)
    assert isinstance(done.exception, SettingsError)
    assert said in str(done.exception)


def test_many_files_take_one_connection(engine: Engine, lode: Lode, tmp_path: Path):
    for number in range(30):
        (tmp_path / f"{number}.cif").write_text(CIF.replace("_a 4", f"_a 4.{number:02}"))
    gc.disable()
    try:
        assert lode("import", *[f"{number}.cif" for number in range(30)]).exit_code == 0
        with engine.connect() as connection:
            asked = (
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'lode'"
            )
            assert connection.scalar(text(asked)) <= 1
    finally:
        gc.enable()


def test_a_server_that_goes_away_is_one_line(
    engine: Engine, lode: Lode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "salt.cif").write_text(CIF)
    ours = f"SELECT pg_terminate_backend(pid) FROM {OURS}"

    def killed(session: Session) -> None:
        session.connection()
        with engine.connect() as connection:
            connection.execute(text(ours))

    monkeypatch.setattr("registry.imports.begin_import", killed)
    code, error = error_of(monkeypatch, capsys, "import", "salt.cif")
    assert (code, len(error.splitlines())) == (1, 1)
    assert error.startswith("lode: PostgreSQL says: ")


def test_a_home_that_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "postgres").write_text("")
    monkeypatch.delenv("LODE_DATABASE_URL", raising=False)
    monkeypatch.setenv("LODE_HOME", str(tmp_path / "home"))
    for command in ("init", "up", "status"):
        code, error = error_of(monkeypatch, capsys, command)
        assert (code, len(error.splitlines())) == (1, 1)
        assert error.startswith("lode: ")
