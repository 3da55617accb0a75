"""The page on a second level: its commands are understood."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from api.cli.validate import validate

PAGE = (Path(__file__).parents[2] / "docs" / "validation-r2scan.md").read_text()
COMMANDS = re.findall(r"^    lode validate (\S+)([^#\n]*)", PAGE, re.MULTILINE)


@pytest.mark.parametrize(("name", "words"), COMMANDS)
def test_its_commands_are_understood(name: str, words: str):
    assert validate.commands[name].make_context(name, shlex.split(words)).params


def test_it_has_commands():
    assert {name for name, _ in COMMANDS} == {"r2scan"}
