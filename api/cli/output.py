"""What commands print: JSON where asked, tables and progress bars otherwise."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import click

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def print_json(value: object) -> None:
    """One JSON document, NaN as null, dates in ISO 8601."""
    import orjson

    click.echo(orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS).decode())


def print_table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], title: str | None = None) -> None:
    """A table of the named columns; numbers to four digits behind the point."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    heading = (
        Text(title, style="table.title") if title else None
    )  # Text, since a str is read as markup: [/tmp/x] raises
    table = Table(box=box.SIMPLE_HEAD, title=heading, title_justify="left")
    for column in columns:
        table.add_column(Text(column.replace("_", " ")))
    for row in rows:
        table.add_row(*[Text(_cell(row.get(column))) for column in columns])
    width = None if sys.stdout.isatty() else 200
    Console(width=width, highlight=False).print(table)


def shown_interval(ends: Sequence[float] | None) -> str:
    """Its ends, as a table shows them."""
    return f"{ends[0]:.3f} to {ends[1]:.3f}" if ends else "–"


def _cell(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.4f}"
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M")
    return str(value)


Advance = Callable[[str, int, int], None]


@contextmanager
def progress() -> Iterator[Advance]:
    """A bar per title on a terminal; elsewhere one line when a title begins and one when it ends.

    Yields advance(title, done, total); total 0 where it isn't known.
    """
    with _bars() if sys.stderr.isatty() else _lines() as advance:
        yield advance


@contextmanager
def _bars() -> Iterator[Advance]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    tasks: dict[str, Any] = {}
    with Progress(*columns, console=Console(stderr=True)) as bars:

        def advance(title: str, done: int, total: int) -> None:
            if title not in tasks:
                tasks[title] = bars.add_task(title, total=total or None)
            bars.update(tasks[title], completed=done, total=total or None)

        yield advance


@contextmanager
def _lines() -> Iterator[Advance]:
    """At most ten lines a title."""
    shown: dict[str, int] = {}

    def advance(title: str, done: int, total: int) -> None:
        step = 10 if total == 0 or done >= total else 10 * done // total
        if step > shown.get(title, -1):
            shown[title] = step
            click.echo(f"{title}: {done} of {total}" if total else f"{title} ...", err=True)

    yield advance
