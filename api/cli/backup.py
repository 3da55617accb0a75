"""lode backup | restore."""

from __future__ import annotations

from pathlib import Path

import click

from api.cli.output import as_json, print_json, print_table


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--replace", is_flag=True, help="Replace the file once the new backup is whole.")
@as_json
def backup(file: Path, replace: bool, as_json: bool) -> None:
    """Write the whole registry into FILE, as of one moment; daemons may go on working."""
    from registry.backup import backup as write
    from registry.database import database_url
    from registry.settings import load_settings

    settings = load_settings()
    size = write(database_url(settings), file, bin_dir=settings.pg_bin, replace=replace)
    if as_json:
        print_json({"file": str(file), "bytes": size})
        return
    click.echo(f"the registry is in {file}, {size} bytes; fill an empty one from it with `lode restore {file}`")


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@as_json
def restore(file: Path, as_json: bool) -> None:
    """Fill an empty registry, fresh from `lode init` or without any table, from FILE of `lode backup`."""
    from registry.backup import restore as fill
    from registry.database import ensure_server
    from registry.settings import load_settings

    settings = load_settings()
    counts = fill(ensure_server(settings), file, bin_dir=settings.pg_bin)
    if as_json:
        print_json({"file": str(file), "rows": counts})
        return
    rows = [{"table": name, "rows": count} for name, count in counts.items() if count]
    print_table(rows, ["table", "rows"], "restored")
