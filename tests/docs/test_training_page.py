"""The pages on training: their commands are understood, the config is one, the splits are those there are."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

pytest.importorskip("torch", reason="the extra `predictors` isn't installed")

from api.cli.level import level
from api.cli.model import model
from predictors.splits import WAYS
from predictors.train_config import read_config

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "training.md").read_text()
PAGES = PAGE + (DOCS / "composition-model.md").read_text()
COMMANDS = re.findall(r"^    lode (level|model) ([^#\n]*)", PAGES, re.MULTILINE)


@pytest.mark.parametrize(("group", "words"), COMMANDS)
def test_its_commands_are_understood(group: str, words: str):
    command: click.Command = {"level": level, "model": model}[group]
    arguments = shlex.split(words)
    while isinstance(command, click.Group):
        name, *arguments = arguments
        command = command.commands[name]
    assert command.make_context(group, arguments) is not None


def test_its_config_is_one(tmp_path: Path):
    written = re.search(r"^    epochs = 60\n.*?probability = 0.6\n", PAGE, re.MULTILINE | re.DOTALL)
    assert written is not None
    (tmp_path / "c.toml").write_text(re.sub(r"^    ", "", written.group(), flags=re.MULTILINE))
    config = read_config(tmp_path / "c.toml")
    assert (config.epochs, config.patience, config.copies, config.perturbation.probability) == (60, 10, 2, 0.6)


def test_its_splits_are_those_there_are():
    assert tuple(re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)) == tuple(WAYS)
