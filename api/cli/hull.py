"""lode hull show | history | plot | rebuild | ranges | open."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from api.cli.database import open_registry, questions
from api.cli.hull_analysis import open_, ranges, with_reaction_energies
from api.cli.output import as_json, print_json, print_table
from registry.errors import HullError, SettingsError


@click.group()
def hull() -> None:
    """Convex hulls of chemical systems."""


hull.add_command(ranges)
hull.add_command(open_)


@hull.command()
@click.argument("chemsys")
@click.option("--level", help="Level of theory.  [default: the only one with a hull]")
@click.option("--as-of", help="The hull as it was then, ISO 8601.")
@as_json
def show(chemsys: str, level: str | None, as_of: str | None, as_json: bool) -> None:
    """Every entry within CHEMSYS (Li-Fe-O) and its subsystems, with its place on the hull."""
    found = entries_of(chemsys, level, _moment(as_of))
    if as_json:
        print_json(with_reaction_energies(found))
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
@click.argument("asked")
@click.option("--level", help="Level of theory.  [default: the only one with a hull]")
@click.option("--as-of", help="What was known then, ISO 8601.")
@click.option("--plot", "out", type=click.Path(path_type=Path), help="Draw it, too: FILE.html and FILE.png.")
@as_json
def history(asked: str, level: str | None, as_of: str | None, out: Path | None, as_json: bool) -> None:
    """When entries entered or left the hull, how far they lay above it, and who displaced whom.

    ASKED is a formula in any spelling (LiFePO4), the id of a crystal, or a chemical system (Li-Fe-O): of that and its
    subsystems only what entered, left or was withdrawn is listed; --json holds every state.
    """
    from sqlalchemy.orm import Session

    from api.cli.hull_history import draw_history, print_history
    from registry.hull import history as reading

    moment = _moment(as_of)
    with Session(open_registry()) as session:
        found = reading.history(session, asked, level, moment)
    written = draw_history(found, out) if out is not None else []
    if as_json:
        print_json(found)
    else:
        print_history(found)
    for path in written:
        click.echo(str(path), err=as_json)


@hull.command()
@click.argument("chemsys")
@click.option("--level", help="Level of theory.  [default: the only one with a hull]")
@click.option("--as-of", help="The hull as it was then, ISO 8601; without candidates.")
@click.option(
    "--out", type=click.Path(path_type=Path), help="Where to write; .html and .png.  [default: ./hull-CHEMSYS]"
)
@click.option("--candidates/--no-candidates", default=True, show_default=True, help="Draw what is only predicted, too.")
def plot(chemsys: str, level: str | None, as_of: str | None, out: Path | None, candidates: bool) -> None:
    """Draw the hull of two, three or four elements as HTML and PNG.

    Candidates are generated crystals without a label: the 50 that the level's promoted model puts lowest, up to 0.1
    eV/atom above the hull, each with half of the spread of its members on either side.
    """
    from api.pictures.hull import check_elements
    from registry.query.values import element_symbol

    elements = sorted({element_symbol(word) for word in chemsys.split("-")})
    check_elements(elements)
    moment = _moment(as_of)
    found = entries_of(chemsys, level, moment, candidates=candidates and moment is None)
    click.echo("\n".join(str(path) for path in draw(found, out or Path(f"hull-{found['chemsys']}"))))


@hull.command()
@click.option("--level", help="Level of theory.  [default: the only one with a hull]")
def rebuild(level: str | None) -> None:
    """Solve every hull of a level anew and store what changed."""
    from sqlalchemy.orm import Session

    from api.cli.database import DEFAULT_LEVEL
    from registry.hull.geometry import warm
    from registry.hull.level_rows import level_id
    from registry.hull.store import place
    from registry.query.materials import the_level

    warm()  # before a transaction is open: the compiler may take longer than one may idle
    with Session(open_registry()) as session, session.begin():
        name, _ = the_level(session, level)
        placed = place(session, level_id(session, name or DEFAULT_LEVEL))
    click.echo(f"{placed.entries} entries, {placed.changed} states changed, {placed.displaced} displacements")
    for reason in sorted({str(reason) for reason in placed.refused.values()}):
        click.echo(f"lode: left out: {reason}", err=True)


def draw(found: dict[str, Any], out: Path) -> list[Path]:
    """Write the pictures of what `entries_of` found; their paths. Raises HullError, SettingsError; then none is."""
    from api.pictures.hull import hull_html, hull_png
    from api.pictures.hull_files import beside, write_files

    if not found["entries"] and not found.get("candidates"):
        raise HullError(
            f"nothing within {found['chemsys']} is on the hull of {_where(found)}: label crystals of it first"
        )
    rows = [*_labelled(found), *_references(found), *_candidates(found)]
    title = f"{found['chemsys']} at {_where(found)}"
    elements = found["chemsys"].split("-")
    html, png = beside(out)
    return write_files({html: hull_html(rows, elements, title).encode(), png: hull_png(rows, elements, title)})


def _where(found: dict[str, Any]) -> str:
    level = "any level" if found["level"] is None else f"level {found['level']}"
    return level + (f" as of {found['as_of']}" if found["as_of"] else "")


def _labelled(found: dict[str, Any]) -> list[Any]:
    return [_row(row, is_stable=row["is_stable"], is_new=row.get("origin") == "generated") for row in found["entries"]]


def _candidates(found: dict[str, Any]) -> list[Any]:
    guesses = found.get("candidates", ())
    return [
        _row(row, is_stable=False, is_candidate=True, spread=row["spread"], is_doubtful=bool(row["out_of_domain"]))
        for row in guesses
    ]


def _row(row: dict[str, Any], **kind: Any) -> Any:
    from pymatgen.core import Composition

    from api.pictures.hull import HullRow

    return HullRow(
        formula=row["reduced_formula"],
        amounts=Composition(row["reduced_formula"]).as_dict(),
        formation_energy=row["formation_energy_per_atom"],
        e_above_hull=row["e_above_hull"],
        label=row["id"],
        **kind,
    )


def _references(found: dict[str, Any]) -> list[Any]:
    """The corners that no labelled crystal holds: the level's own references, at zero."""
    from api.pictures.hull import HullRow

    held = {row["chemsys"] for row in found["entries"] if row["is_stable"]}
    return [
        HullRow(element, {element: 1.0}, formation_energy=0.0, e_above_hull=0.0, is_stable=True, label="reference")
        for element in found["references"]
        if element not in held
    ]


def entries_of(
    chemsys: str, level: str | None, as_of: datetime | None = None, *, candidates: bool = False
) -> dict[str, Any]:
    """Every entry within a chemical system, as `lode hull show --json` prints it; "candidates" where asked for."""
    from registry.hull.candidates import candidates as candidates_of
    from registry.query.materials import hull_entries

    with questions() as session:
        found = hull_entries(session, chemsys, level, as_of)
        return {**found, "candidates": candidates_of(session, found)} if candidates and found["level"] else found


def _moment(text: str | None) -> datetime | None:
    """Raises SettingsError for what is no date."""
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise SettingsError(f"--as-of {text}: {error}; write 2026-01-31 or 2026-01-31T12:00:00+00:00") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
