"""lode merge."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from api.cli.output import as_json, print_json, print_table, progress

if TYPE_CHECKING:
    from registry.merge.report import MergeReport


@click.command()
@click.argument("registry")
@click.option("--dry-run", is_flag=True, help="Say what would come, and take it all back.")
@as_json
def merge(registry: str, dry_run: bool, as_json: bool) -> None:
    """Take another registry into this one: REGISTRY is its URL, or the LODE_HOME of an embedded one that runs.

    The other one is only read. What is here already stays as it is, so that a second merge adds nothing, and one that
    was stopped is run again.
    """
    from api.cli.database import open_registry
    from registry.merge.merging import merge as merge_registry
    from registry.merge.origin import url_of

    theirs = url_of(registry)
    ours = open_registry().url.render_as_string(hide_password=False)
    with progress() as advance:
        report = merge_registry(ours, theirs, advance, dry_run=dry_run)
    print_json(report.as_dict()) if as_json else _print(report, dry_run)


def _print(report: MergeReport, dry_run: bool) -> None:
    rows = [
        {"table": name, "read": one.read, "new": one.new, "known": one.known}
        for name, one in report.tables.items()
        if one.read
    ]
    print_table(rows, ["table", "read", "new", "known"], "would come" if dry_run else "merged")
    for conflict in report.conflicts:
        click.echo(", ".join(f"{name} {value}" for name, value in conflict.items()), err=True)
    click.echo(f"{report.twins} crystals linked as duplicates, {report.conflict_count} conflicts")
    if not dry_run:
        click.echo("place what came: lode place")
