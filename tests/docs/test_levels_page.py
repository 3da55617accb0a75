"""The page on levels: its commands are understood, and its level is one."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from api.cli.importing import import_
from api.cli.level import level
from registry.hull.levels import level_of
from registry.hull.reference_sets import theory_of

PAGE = (Path(__file__).parents[2] / "docs" / "levels.md").read_text()
COMMANDS = re.findall(r"^    lode (level|import) ([^#\n]*)", PAGE, re.MULTILINE)


@pytest.mark.parametrize(("group", "words"), COMMANDS)
def test_its_commands_are_understood(group: str, words: str):
    command, arguments = import_, shlex.split(words)
    if group == "level":
        name, *arguments = arguments
        command = level.commands[name]
    assert command.make_context(group, arguments).params


def test_its_level_can_take_a_reference_set():
    written = re.findall(r"^    (\{\"name\".*?\})\n\n", PAGE, re.MULTILINE | re.DOTALL)
    found = level_of(json.loads(written[0]))
    assert theory_of(found).pseudopotentials
    assert set(found.tabulated) == set(found.references)
    own = re.findall(r"^    (\{\"pseudopotentials\".*\})$", PAGE, re.MULTILINE)
    assert theory_of(level_of({**json.loads(written[0]), "settings": json.loads(own[0])})).hubbards["F"]
