"""Numbers that options take."""

from __future__ import annotations

import re
from math import isfinite
from typing import Any

import click


class FiniteRange(click.FloatRange):
    """As click's, whose comparisons let NaN through."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if not isfinite(number):
            self.fail(f"{value} is no number to compare with.", param, ctx)
        return number


class Duration(click.ParamType[float]):
    """Seconds, or as schedulers write it: minutes:seconds, hours:minutes:seconds, days-hours:minutes:seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, float):
            return value
        match = re.fullmatch(r"(?:(?:(?P<d>\d+)-)?(?P<h>\d+):)?(?P<m>\d+):(?P<s>\d\d)|(?P<alone>\d+(?:\.\d+)?)", value)
        if match is None:
            self.fail(f"{value!r} is no duration: write 23:50:00, or seconds.", param, ctx)
        days, hours, minutes, seconds = (int(match[name] or 0) for name in "dhms")
        if seconds > 59 or (match["h"] is not None and minutes > 59) or (match["d"] is not None and hours > 23):
            self.fail(f"{value!r} is no duration: minutes and seconds go to 59.", param, ctx)
        total = float(match["alone"] or ((days * 24 + hours) * 60 + minutes) * 60 + seconds)
        return total if total > 0 else self.fail("A walltime of nothing ends before it begins.", param, ctx)
