"""lode level list | show | add | add-reference-set | bridge."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from api.cli.bridge import bridge
from api.cli.database import open_registry
from api.cli.output import as_json, print_json, print_table

FROM = {"table": "from elsewhere", "engine": "computed at this level", "entry": "lowest entry"}


@click.group()
def level() -> None:
    """Levels of theory: which energies may stand beside each other."""


level.add_command(bridge)


@level.command(name="list")
@as_json
def list_levels(as_json: bool) -> None:
    """Every level with its functional, correction scheme and number of entries."""
    from sqlalchemy.orm import Session

    from registry.query.levels import levels

    with Session(open_registry()) as session:
        found = levels(session)
    if as_json:
        print_json(found)
    else:
        print_table(found, ["name", "engine", "functional", "correction_scheme", "entries", "off_hull"])


@level.command()
@click.argument("name")
@click.option("--off-hull", is_flag=True, help="List the energies that are kept off the hull instead.")
@as_json
def show(name: str, off_hull: bool, as_json: bool) -> None:
    """What level NAME is made of: functional, corrections, settings, references, entries, what is kept off its hull."""
    from sqlalchemy.orm import Session

    from registry.query.levels import kept_off, level_facts

    with Session(open_registry()) as session:
        found: Any = kept_off(session, name) if off_hull else level_facts(session, name)
    if as_json:
        print_json(found)
    elif off_hull:
        print_table(found, ["id", "reduced_formula", "reason"], f"kept off the hull of level {name}")
    else:
        _print(found)


@level.command()
@click.argument("file", type=click.Path(path_type=Path))
def add(file: Path) -> None:
    """Add a level as the JSON in FILE says it: name, engine, functional, settings, references, tabulated, ..."""
    from sqlalchemy.orm import Session

    from registry.hull.level_rows import add_level
    from registry.hull.levels import read_level

    found = read_level(file)
    with Session(open_registry()) as session, session.begin():
        new = add_level(session, found)
    click.echo(f"level {found.name}: {'added' if new else 'there already, and the same'}")


@level.command(name="add-reference-set")
@click.argument("name")
@click.option("--from", "from_name", required=True, metavar="LEVEL", help="The level of imported energies.")
@as_json
def add_reference_set(name: str, from_name: str, as_json: bool) -> None:
    """Let the imported entries of another level compete at level NAME, if the two agree in everything.

    Functional, pseudopotentials, U values and corrections of each entry are compared. Run it again when entries came,
    went or were corrected at the other level.
    """
    from dataclasses import asdict

    from sqlalchemy.orm import Session

    from registry.hull.reference_sets import add_reference_set as bring
    from registry.imports import begin_import

    with Session(open_registry()) as session, session.begin():
        begin_import(session)
        found = bring(session, name, from_name)
    if as_json:
        print_json(asdict(found))
        return
    click.echo(agreement(found.compared))
    own = f", {found.own} are there as its own" if found.own else ""
    gone = f", {found.withdrawn} withdrawn" if found.withdrawn else ""
    click.echo(f"{found.stored} entries of {from_name} stored or renewed at {name}{own}{gone}: `lode place`")


def agreement(compared: Any) -> str:
    """What was compared and found to agree, in one line."""
    hubbards = ", ".join(f"{element} {value:g} eV" for element, value in compared["hubbards"].items()) or "none"
    symbols = ", ".join(compared["pseudopotentials"].values())
    return (
        f"{compared['entries']} entries agree: functional {compared['functional']}; pseudopotentials {symbols}; "
        f"U {hubbards}; corrections {compared['correction_scheme']}, at most {compared['apart']:.1g} eV/atom apart"
    )


def _print(found: dict[str, Any]) -> None:
    click.echo(f"level {found['name']} ({found['kind']}: {found['engine']})")
    for key in ("functional", "correction_scheme", "note"):
        click.echo(f"  {key.replace('_', ' ')}: {found[key] or '–'}")
    for key, value in found["settings"].items():
        click.echo(f"  {key}: {value}")
    counts = ("entries", "from_reference_sets", "placed", "on_hull")
    click.echo("  " + ", ".join(f"{found[key]} {key.replace('_', ' ')}" for key in counts))
    for one in found["off_hull"]:
        click.echo(f"  {one['count']} kept off the hull: {one['reason']}")
    for one in found["reference_sets"]:
        click.echo(f"  reference set {one['level']}: {agreement(one['compared'])}")
    rows = [{**one, "from": FROM[one["from"]]} for one in found["references"]]
    print_table(rows, ["element", "energy_per_atom", "from", "gas"], "element references (eV/atom)")
