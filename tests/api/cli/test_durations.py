"""Durations as schedulers write them."""

from __future__ import annotations

import click
import pytest

from api.cli.numbers import Duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("1.5", 1.5), ("10:00", 600), ("23:50:00", 85_800), ("2-00:00:01", 172_801), ("100:00", 6_000)],
)
def test_durations(text: str, seconds: float):
    assert Duration().convert(text, None, None) == seconds


@pytest.mark.parametrize(
    "text", ["", "a day", "-5", "0", "0:00", "1:2:3:4", "12:5", "24:90:00", "10:60", "1-24:00:00", "1e3", "nan", "inf"]
)
def test_what_is_no_duration(text: str):
    with pytest.raises(click.BadParameter):
        Duration().convert(text, None, None)
