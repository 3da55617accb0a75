"""lode export as people and scripts call it."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result
from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from api.cli.main import cli, main
from registry.database import engine_for
from registry.importers import ImportedRecord, read_file
from registry.models import Property, Structure
from tests import factories as make
from tests.conftest import NewDatabase

ROOT = Path(__file__).parents[3]
FILES = {"parquet": "all.parquet", "extxyz": "all.extxyz", "json": "all.json", "entries": "e.json.gz", "cif": "all.zip"}


@pytest.fixture(scope="module")
def registry(new_database: NewDatabase) -> Iterator[str]:
    """Two labelled salts of one source, a third crystal of another that is not for commerce; the URL."""
    with new_database() as url:
        engine = engine_for(url)
        with Session(engine) as session, session.begin():
            for formula in ("NaCl", "KCl"):
                make.material(session, formula)
            make.source(session, "G NoME", non_commercial=True)
            make.structure(session, "CsCl", source_name="G NoME")
        engine.dispose()
        yield url


@pytest.fixture
def lode(registry: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("LODE_DATABASE_URL", registry)
    monkeypatch.setenv("LODE_HOME", str(tmp_path / "home"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(cli, ["export", *arguments])

    return run


@pytest.mark.parametrize("format_", FILES)
def test_every_format(lode: Any, format_: str):
    result = lode("--format", format_, "--level", "test-level", "--out", FILES[format_], "--json")
    assert result.exit_code == 0, (result.output, result.exception)
    assert json.loads(result.stdout) == {"exported": 2, "left_out": {"G NoME": 1}, "file": FILES[format_]} | (
        {"left_out": {}} if format_ == "entries" else {}  # it has no label
    )
    assert [path.name for path in Path().iterdir()] == [FILES[format_]]
    if format_ == "cif":
        assert len(zipfile.ZipFile("all.zip").namelist()) == 2
    else:
        assert all(isinstance(item, ImportedRecord) for item in read_file(FILES[format_]))


def test_a_partitioned_folder(lode: Any):
    result = lode("--format", "parquet", "--partitioned", "--out", "all", "--json")
    assert json.loads(result.stdout) == {"exported": 2, "left_out": {"G NoME": 1}, "file": "all"}
    assert pq.read_table("all")["reduced_formula"].to_pylist() == ["KCl", "NaCl"]  # Cl-K, Cl-Na
    assert [path.name for path in Path().iterdir()] == ["all"]


def test_what_stays_is_told_and_comes_along_by_name(lode: Any):
    result = lode("--format", "parquet", "--out", "all.parquet")
    assert result.stdout == "2 exported to all.parquet\n"
    assert [line for line in result.stderr.splitlines() if line.startswith("lode:")] == [
        "lode: left out 1 of G NoME: not for commercial use; --non-commercial 'G NoME' takes them along"
    ]
    again = lode("--format", "parquet", "--out", "all.parquet", "--non-commercial", "G NoME")
    assert (again.stdout, "left out" in again.stderr) == ("3 exported to all.parquet\n", False)
    assert pq.read_table("all.parquet")["source"].to_pylist() == ["test", "test", "G NoME"]


def test_a_property_that_stays_is_told(registry: str, lode: Any):
    engine = engine_for(registry)
    with Session(engine) as session, session.begin():
        theirs, salt = make.source(session, "G NoME"), session.scalars(select(Structure)).first()
        assert salt is not None
        make.property_of(session, salt, "band_gap", 5.0, "PBE", source_id=theirs.id)
    done = lode("--format", "json", "--filter", "band_gap IS KNOWN", "--out", "all.json", "--json")
    assert "lode: left out 1 properties of G NoME: not for commercial use; --non-commercial 'G NoME'" in done.stderr
    assert json.loads(done.stdout)["properties_left_out"] == {"G NoME": 1}
    with Session(engine) as session, session.begin():
        session.execute(delete(Property))
    engine.dispose()


def test_text_to_the_standard_output(lode: Any):
    result = lode("--format", "json", "--filter", 'elements HAS "K"', "--out", "-")
    assert [one["properties"]["reduced_formula"] for one in json.loads(result.stdout)] == ["KCl"]
    assert "1 exported to -" in result.stderr
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["--format", "parquet", "--out", "-"],
        ["--format", "cif", "--out", "-"],
        ["--format", "json", "--out", "-", "--json"],
        ["--format", "xlsx", "--out", "all.xlsx"],
        ["--format", "json"],
        ["--format", "json", "--partitioned", "--out", "all"],
        ["--format", "parquet", "--partitioned", "--out", "-"],
        ["--out", "all.json"],
    ],
)
def test_a_wrong_call_is_exit_code_2(lode: Any, arguments: list[str]):
    assert lode(*arguments).exit_code == 2
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--filter", "colour = 1"], "colour"),
        (["--level", "nowhere"], "no level 'nowhere'"),
        (["--non-commercial", "GNoME"], "no source 'GNoME'; non-commercial ones: G NoME"),
        (["--out", "gone/all.json"], "gone/all.json can't be written: No such file or directory"),
        (["--out", "."], "is a folder: name a file in it"),
    ],
)
def test_a_mistake_is_exit_code_1_and_leaves_nothing(
    lode: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
):
    monkeypatch.setattr(sys, "argv", ["lode", "export", "--format", "json", "--out", "all.json", *arguments])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 1
    assert said in capsys.readouterr().err
    assert list(Path().iterdir()) == []


def test_help_imports_nothing_heavy():
    script = (
        "import sys\nfrom api.cli.main import cli\n"
        "try: cli.main(['export', '--help'])\nexcept SystemExit: pass\n"
        "print([name for name in ('numpy', 'sqlalchemy', 'pyarrow', 'pydantic') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_reader_that_goes_away_is_no_traceback(lode: Any):
    command = [sys.executable, "-m", "api.cli.main", "export", "--format", "extxyz", "--out", "-"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT, text=True) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert "Traceback" not in (said := process.stderr.read()), said
        assert "Exception ignored" not in said
    assert process.returncode == 1
