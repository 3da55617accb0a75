"""The answer of `lode hull history`: a table, and pictures."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from api.cli.output import print_table

COLUMNS = ["at", "id", "reduced_formula", "change", "was", "e_above_hull", "others"]


def print_history(found: dict[str, Any]) -> None:
    """Changes in the order of time; of a chemical system only those on the hull."""
    whole = found["kind"] != "chemsys"
    rows = sorted(_rows(found, whole), key=lambda row: (row["at"], row["e_above_hull"] or 0.0, row["id"]))
    print_table(rows, COLUMNS, f"{found['asked']} at level {found['level']} (eV/atom above the hull, UTC)")
    click.echo(f"{len(found['entries'])} entries, {len(rows)} changes")


def draw_history(found: dict[str, Any], out: Path) -> list[Path]:
    """Write the pictures of a history; their paths. Raises SettingsError; then none is written."""
    from api.pictures.hull_files import beside, write_files
    from api.pictures.hull_history import history_html, history_png

    title = f"History of {found['asked']} at level {found['level']}"
    end = found["as_of"] or datetime.now(UTC)
    html, png = beside(out)
    pictures = {
        html: history_html(found["entries"], title, end).encode(),
        png: history_png(found["entries"], title, end),
    }
    return write_files(pictures)


def _rows(found: dict[str, Any], whole: bool) -> Iterator[dict[str, Any]]:
    for entry in found["entries"]:
        for change in entry["changes"]:
            if whole or _on_the_hull(change):
                yield {"id": entry["id"], "reduced_formula": entry["reduced_formula"], **change} | {
                    "others": _others(entry, change["at"])
                }


def _on_the_hull(change: dict[str, Any]) -> bool:
    """Whether the hull itself changed: what is withdrawn from above it left no trace there."""
    return change["change"] in {"entered", "left"} or (change["change"] == "withdrawn" and change["was"] == 0)


def _others(entry: dict[str, Any], at: datetime) -> str | None:
    by = [f"by {_name(one)}" for one in entry["displaced_by"] if one["at"] == at]
    of = [f"displaces {_name(one)}, which fell {one['fell_by']:.4f}" for one in entry["displaced"] if one["at"] == at]
    return "; ".join([*by, *of]) or None


def _name(other: dict[str, Any]) -> str:
    return f"{other['reduced_formula']} {other['id']}"
