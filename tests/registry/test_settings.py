from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from registry.cluster import shared_buffers
from registry.errors import SettingsError
from registry.settings import load_settings


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LODE_HOME", "LODE_DATABASE_URL", "LODE_PG_BIN", "LODE_OLD_PG_BIN", "LODE_START_SECONDS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    monkeypatch.chdir(tmp_path)


def test_defaults_need_no_file(tmp_path: Path) -> None:
    settings = load_settings()
    assert settings.home == tmp_path / "me/.local/share/motherlode"
    assert settings.database_url is None


def test_environment_beats_the_file_here_which_beats_the_one_in_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "registry"
    home.mkdir()
    (home / "lode.toml").write_text('database_url = "postgresql://home/a"\nstart_seconds = 1\npg_bin = "/home/bin"\n')
    (tmp_path / "lode.toml").write_text(f'home = "{home}"\nstart_seconds = 2\npg_bin = "/here/bin"\n')
    monkeypatch.setenv("LODE_PG_BIN", "/env/bin")
    settings = load_settings()
    assert settings.home == home
    assert settings.database_url == "postgresql://home/a"
    assert settings.start_seconds == 2
    assert settings.pg_bin == Path("/env/bin")


def test_an_option_of_the_command_line_beats_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LODE_START_SECONDS", "3")
    assert load_settings(start_seconds=4).start_seconds == 4


def test_settings_are_frozen_and_keep_the_password_out_of_their_repr() -> None:
    settings = load_settings(database_url="postgres://me:secret@host/lode")
    assert "secret" not in repr(settings)
    with pytest.raises(ValidationError):
        settings.home = Path("/elsewhere")


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_every_spelling_of_postgresql_is_understood(scheme: str) -> None:
    assert load_settings(database_url=f"{scheme}://host/lode").database_url == "postgresql://host/lode"


def test_an_empty_url_means_the_embedded_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LODE_DATABASE_URL", "")
    assert load_settings().database_url is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('datbase_url = "postgresql://x/y"', "datbase_url is no setting"),
        ('database_url = "mysql://x/y"', "LODE_DATABASE_URL .* must start with postgresql://"),
        ('database_url = "postgresql://me:secret@host:port/x"', "LODE_DATABASE_URL .* the port as a number"),
        ("start_seconds = -1", "LODE_START_SECONDS .* greater than 0"),
        ('mpi = "mpirun \'-np 2"', "LODE_MPI .* No closing quotation"),
        ('vasp = "vasp_std \'of mine"', "LODE_VASP .* No closing quotation"),
        ('vasp_incar = "NCORE = 4"', "LODE_VASP_INCAR .* must read TAG=VALUE .* not NCORE = 4"),
        ("home = ", "lode.toml can't be read"),
    ],
)
def test_a_wrong_file_gives_one_clear_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "lode.toml").write_text(text)
    with pytest.raises(SettingsError, match=message) as caught:
        load_settings()
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_the_launcher_and_the_schema_check_are_light() -> None:
    """`lode --help` may import them: no pydantic, no alembic, no driver, no numerics."""
    code = "import sys, registry.embedded, registry.schema; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"pydantic", "alembic", "psycopg", "psutil", "numpy", "torch"} & set(loaded)


@pytest.mark.parametrize(("gigabytes", "expected"), [(1, "256MB"), (8, "1024MB"), (16, "2048MB"), (512, "2048MB")])
def test_the_server_keeps_an_eighth_of_the_memory(gigabytes: int, expected: str):
    assert shared_buffers(gigabytes * 2**30) == expected
