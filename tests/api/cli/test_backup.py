"""lode backup and lode restore as a person calls them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from api.cli.main import cli
from tests import factories as make


def test_a_backup_fills_an_empty_registry(
    engine: Engine, empty_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Session(engine) as session, session.begin():
        make.structure(session, "NaCl")
    file = str(tmp_path / "file")
    monkeypatch.setenv("LODE_HOME", str(tmp_path))
    url = engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    monkeypatch.setenv("LODE_DATABASE_URL", url)
    written = CliRunner().invoke(cli, ["backup", file, "--json"], catch_exceptions=False)
    assert json.loads(written.output) == {"file": file, "bytes": Path(file).stat().st_size}
    monkeypatch.setenv("LODE_DATABASE_URL", empty_database)
    filled = CliRunner().invoke(cli, ["restore", file, "--json"], catch_exceptions=False)
    assert json.loads(filled.output)["rows"]["structure"] == 1
