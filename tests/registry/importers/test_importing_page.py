"""The page on importing: its commands are understood, and its tables are those of the code."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from api.cli.importing import import_
from registry.importers import files, gnome

PAGE = (Path(__file__).parents[3] / "docs" / "importing.md").read_text()
COMMANDS = re.findall(r"^    lode (import (?!FILE)(?!.*\.\.\.]).*)$", PAGE, re.MULTILINE)


@pytest.mark.parametrize("command", COMMANDS)
def test_its_commands_are_understood(command: str):
    context = import_.make_context("import", shlex.split(command)[1:])
    known = [files.format_of(path) for path in context.params["files"]]
    assert None not in known


def test_it_names_every_format():
    assert len(COMMANDS) >= 8
    for pattern in files.READERS:
        assert f"`{pattern}`".lower() in PAGE.lower()


def test_it_tells_the_shifts_that_are_applied():
    row = next(line for line in PAGE.splitlines() if line.startswith("| eV per atom of it"))
    told = [float(cell) for cell in row.strip("| ").split("|")[1:]]
    assert told == list(gnome.MP_SHIFTS.values())


def test_it_names_all_metadata_of_gnome():
    for name in (*gnome.NUMBERS.values(), *gnome.TEXTS.values()):
        stem = re.sub(r"(_all|_relative|_mp_oqmd|_mp)_ev_per_atom$", "_ev_per_atom", name)
        assert f"`{stem}`" in PAGE
