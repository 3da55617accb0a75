"""The page on compositions: its commands are understood, and the balances that it prints are those told."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from api.cli.compositions import compositions

PAGE = (Path(__file__).parents[2] / "docs" / "compositions.md").read_text()
COMMANDS = re.findall(r"^    lode compositions ([^#|\n]*)", PAGE, re.MULTILINE)


@pytest.mark.parametrize("words", COMMANDS)
def test_its_commands_are_understood(words: str):
    assert compositions.make_context("compositions", shlex.split(words)).params


def test_its_balances_are_those_told():
    printed = re.findall(r"^    (\S+\t.*)$", PAGE, re.MULTILINE)
    done = CliRunner().invoke(compositions, shlex.split(COMMANDS[-1]))
    assert done.stdout.splitlines() == printed
    assert len(printed) == 5
