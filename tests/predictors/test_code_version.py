"""What a model says of the code that made it."""

from __future__ import annotations

import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path

import pytest

from predictors.code_version import code_version, commit_of

git = pytest.mark.skipif(shutil.which("git") is None, reason="no git on this machine")


def run(folder: Path, *words: str) -> None:
    person = ["-c", "user.name=Nobody", "-c", "user.email=nobody@example.org"]
    subprocess.run(["git", "-C", str(folder), *person, *words], check=True, capture_output=True)


def test_begins_with_the_version() -> None:
    assert code_version().split("+")[0] == version("motherlode")


def test_an_installed_package_has_no_commit(tmp_path: Path) -> None:
    assert commit_of(tmp_path) is None


@git
def test_a_checkout_names_its_commit_and_says_when_it_was_changed(tmp_path: Path) -> None:
    (tmp_path / "code.py").write_text("1\n")
    run(tmp_path, "init")
    run(tmp_path, "add", ".")
    run(tmp_path, "commit", "-m", "one")
    clean = commit_of(tmp_path)
    assert clean is not None
    assert len(clean) >= 8
    (tmp_path / "code.py").write_text("2\n")
    assert commit_of(tmp_path) == f"{clean}.changed"


@git
def test_a_damaged_checkout_costs_the_commit_alone(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    assert commit_of(tmp_path) is None
