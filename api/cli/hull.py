"""lode hull show | plot | rebuild."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from api.cli.database import open_registry, questions
from api.cli.output import as_json, print_json, print_table


@click.group()
def hull() -> None:
    """Convex hulls of chemical systems."""


@hull.command()
@click.argument("chemsys")
@click.option("--level", help="Level of theory.  [default: the only one with a hull]")
@click.option("--as-of", help="The hull as it was then, ISO 8601.")
@as_json
def show(chemsys: str, level: str | None, as_of: str | None, as_json: bool) -> None:
    """Every entry within CHEMSYS (Li-Fe-O) and its subsystems, with its place on the hull."""
    found = entries_of(chemsys, level, _moment(as_of))
    if as_json:
        print_json(found)
        return
    columns = [
        "id",
        "reduced_formula",
        "formation_energy_per_atom",
        "e_above_hull",
        "phase_separation_energy",
        "is_stable",
    ]
    print_table(found["entries"], columns, f"{found['chemsys']} at level {found['level']} (eV/atom)")


@hull.command()
@click.argument("chemsys")
@click.option("--level")
@click.option(
    "--out", type=click.Path(path_type=Path), help="Where to write; .html and .png.  [default: ./hull-CHEMSYS]"
)
def plot(chemsys: str, level: str | None, out: Path | None) -> None:
    """Draw the hull of two, three or four elements as HTML and PNG."""
    found = entries_of(chemsys, level, None)
    written = draw(found, (out or Path(f"hull-{found['chemsys']}")).with_suffix(""))
    click.echo("\n".join(str(path) for path in written))


@hull.command()
@click.option("--level", help="Level of theory.  [default: the only one with a hull]")
def rebuild(level: str | None) -> None:
    """Solve every hull of a level anew and store what changed."""
    from sqlalchemy.orm import Session

    from api.cli.database import DEFAULT_LEVEL
    from registry.hull.level_rows import level_id
    from registry.hull.store import place
    from registry.query.materials import the_level

    with Session(open_registry()) as session, session.begin():
        name, _ = the_level(session, level)
        placed = place(session, level_id(session, name or DEFAULT_LEVEL))
    click.echo(f"{placed.entries} entries, {placed.changed} states changed, {placed.displaced} displacements")
    for reason in sorted({str(reason) for reason in placed.refused.values()}):
        click.echo(f"lode: left out: {reason}", err=True)


def draw(found: dict[str, Any], stem: Path) -> list[Path]:
    """Write the pictures of `hull_entries`' answer; their paths."""
    from api.pictures.hull import hull_html, hull_png

    rows = [*_rows(found), *_references(found)]
    title = f"{found['chemsys']} at level {found['level']}"
    elements = found["chemsys"].split("-")
    stem.parent.mkdir(parents=True, exist_ok=True)
    html, png = stem.with_suffix(".html"), stem.with_suffix(".png")
    html.write_text(hull_html(rows, elements, title))
    png.write_bytes(hull_png(rows, elements, title))
    return [html, png]


def _rows(found: dict[str, Any]) -> list[Any]:
    from pymatgen.core import Composition

    from api.pictures.hull import HullRow

    return [
        HullRow(
            formula=row["reduced_formula"],
            amounts=Composition(row["reduced_formula"]).as_dict(),
            formation_energy=row["formation_energy_per_atom"],
            e_above_hull=row["e_above_hull"],
            is_stable=row["is_stable"],
            label=row["id"],
            is_new=row.get("origin") == "generated",
        )
        for row in found["entries"]
    ]


def _references(found: dict[str, Any]) -> list[Any]:
    """The corners that no labelled crystal holds: the level's own references, at zero."""
    from api.pictures.hull import HullRow

    held = {row["chemsys"] for row in found["entries"] if row["is_stable"]}
    return [
        HullRow(element, {element: 1.0}, formation_energy=0.0, e_above_hull=0.0, is_stable=True, label="reference")
        for element in found["references"]
        if element not in held
    ]


def entries_of(chemsys: str, level: str | None, as_of: datetime | None = None) -> dict[str, Any]:
    """Every entry within a chemical system, as `lode hull show --json` prints it."""
    from registry.query.materials import hull_entries

    with questions() as session:
        return hull_entries(session, chemsys, level, as_of)


def _moment(text: str | None) -> datetime | None:
    """Raises SettingsError for what is no date."""
    from registry.errors import SettingsError

    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise SettingsError(f"--as-of {text}: {error}; write 2026-01-31 or 2026-01-31T12:00:00+00:00") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
