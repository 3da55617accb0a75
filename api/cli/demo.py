"""lode demo: a discovery round from nothing to a judged hull, on a database of its own."""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import click

from api.cli.database import DEFAULT_LEVEL, open_registry
from api.cli.output import print_json

FAMILY = "Li Na K Cs Mg Ca Sr Ba Ti Cu Zn Cd Al Ga In Si F Cl Br O S Se P As Sb"
NAME = "demo"


@click.command()
@click.option("--labels", default=500, show_default=True, type=click.IntRange(1))
@click.option("--workers", default=os.cpu_count() or 1, show_default=True, type=click.IntRange(1))
@click.option("--keep", is_flag=True, help="Go on with the demo's database instead of beginning anew.")
def demo(labels: int, workers: int, keep: bool) -> None:
    """Run a discovery round over 25 elements, judge it against the textbook, and show what was found.

    Uses a database of its own in LODE_HOME/demo and begins anew each time. The last line is JSON.
    """
    from registry.settings import load_settings

    began = time.monotonic()
    home = load_settings().home / "demo"
    if not keep:
        _clear(home)
    os.environ["LODE_HOME"] = str(home)
    os.environ["LODE_DATABASE_URL"] = ""  # the demo clears its database: it must be its own, whatever lode.toml says
    _prepare()
    outcome = _run(labels, workers)
    _show(outcome.round_id, home / "pictures")
    found = _validate(outcome.round_id)
    _say_how_to_go_on(home)
    print_json(_summary(outcome.round_id, found, time.monotonic() - began))


def _say_how_to_go_on(home: Path) -> None:
    lode = f"LODE_HOME={home} {Path(sys.argv[0]).resolve()}"
    click.echo(f"\nLook around:  {lode} serve      (GraphQL at http://127.0.0.1:8000/graphql)")
    click.echo(f'In SQL:       psql "$({lode} url)"')
    click.echo(f"Stop it:      {lode} down\n")


def _clear(home: Path) -> None:
    from registry.embedded import stop

    if home.exists():
        stop(home)
        shutil.rmtree(home)


def _prepare() -> None:
    """Server, schema, levels, model, known crystals."""
    from api.cli.importing import import_prototypes
    from api.cli.server import prepare_registry
    from registry.imports import ImportReport

    click.echo("starting PostgreSQL and creating the schema", err=True)
    prepare_registry()
    report = ImportReport()
    import_prototypes(report)
    click.echo(
        f"imported {report.imported} known crystals ({report.duplicates} of {report.read} equal another one)", err=True
    )


def _run(labels: int, workers: int) -> Any:
    from api.cli.campaign import run_with_daemons
    from api.cli.work import parse_family
    from workers.campaign import CampaignSettings
    from workers.candidates.generation import Settings

    candidates = Settings(simple_anions=True)
    settings = CampaignSettings(NAME, parse_family(FAMILY), labels=labels, candidates=candidates)
    return run_with_daemons(settings, DEFAULT_LEVEL, workers)


def _show(round_id: int, folder: Path) -> None:
    """New phases, and the hull of the system with most of them."""
    from api.cli.campaign import print_rows, round_rows
    from api.cli.hull import draw, entries_of

    rows = round_rows(round_id)
    print_rows(rows)
    for chemsys in _fullest_systems(rows):
        written = draw(entries_of(chemsys, DEFAULT_LEVEL), folder / f"hull-{chemsys}")
        click.echo("hull plot: " + "  ".join(str(path) for path in written))


def _fullest_systems(rows: list[dict[str, Any]]) -> list[str]:
    """The binary and the ternary system with the most new stable phases."""
    chosen = []
    for size in (2, 3):
        stable = [row["chemsys"] for row in rows if row["is_stable"] and row["chemsys"].count("-") == size - 1]
        if stable:
            chosen.append(max(sorted(set(stable)), key=stable.count))
    return chosen


def _validate(round_id: int) -> dict[str, Any]:
    from sqlalchemy.orm import Session

    from api.cli.validate import print_textbook
    from workers.validate import validate_textbook

    with Session(open_registry()) as session, session.begin():
        found = validate_textbook(session, round_id).as_dict()
    print_textbook(found)
    return found


SUMMARY = {
    "known": "SELECT count(*) FROM structure WHERE origin = 'imported'"
    " AND NOT EXISTS (SELECT FROM duplicate WHERE structure_id = structure.id)",
    "generated": "SELECT count(*) FROM structure WHERE origin = 'generated'",
    "scored": "SELECT count(DISTINCT structure_id) FROM prediction",
    "labelled": "SELECT count(*) FROM calculation JOIN selection ON structure_id = initial_structure_id"
    " AND selection.level_id = calculation.level_id"
    " WHERE purpose = 'label' AND state = 'converged' AND round_id = :round",
    "failed": "SELECT count(*) FROM selection WHERE purpose = 'label' AND round_id = :round AND NOT EXISTS (SELECT FROM"
    " calculation WHERE initial_structure_id = structure_id AND calculation.level_id = selection.level_id"
    " AND state = 'converged')",
    "on_hull": "SELECT count(*) FROM hull_state JOIN selection ON selection.structure_id = hull_state.structure_id"
    " AND selection.level_id = hull_state.level_id"
    " WHERE purpose = 'label' AND round_id = :round AND valid_to IS NULL AND is_stable",
}


def _summary(round_id: int, textbook: dict[str, Any], seconds: float) -> dict[str, Any]:
    """The demo's last line; each count is one SQL statement."""
    import sqlalchemy as sa

    with open_registry().connect() as connection:
        counts = {key: connection.scalar(sa.text(query), {"round": round_id}) for key, query in SUMMARY.items()}
    keys = ("asked", "found", "random_found", "right_structure", "within_25meV", "with_rivals", "right_with_rivals")
    return {**counts, "textbook": {key: textbook[key] for key in keys}, "seconds": round(seconds)}
