"""The command line in this process, against the registry that a module's tests bring."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from api.cli.main import cli


@pytest.fixture
def lode(registry: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """`lode("hull", "show", ...)` in an empty folder, on the module's own fixture `registry` (its URL)."""
    monkeypatch.setenv("LODE_DATABASE_URL", registry)
    monkeypatch.setenv("LODE_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(cli, list(arguments))

    return run
