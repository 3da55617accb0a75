"""lode upgrade."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from api.cli.output import as_json, print_json

if TYPE_CHECKING:
    from registry.upgrade import Upgrade


@click.command()
@as_json
def upgrade(as_json: bool) -> None:
    """Bring the embedded PostgreSQL to the major version of the binaries in use; the old cluster is kept."""
    from registry.embedded import check_cluster
    from registry.settings import load_settings
    from registry.upgrade import kept_clusters, upgrade_cluster

    settings = load_settings()
    if settings.database_url:
        click.echo("nothing to upgrade: LODE_DATABASE_URL is set, and that server is not ours")
        return
    done = upgrade_cluster(
        settings.home,
        bin_dir=settings.pg_bin,
        old_bin_dir=settings.old_pg_bin,
        timeout=settings.start_seconds,
        tell=lambda step: click.echo(step, err=True),
    )
    kept = kept_clusters(settings.home)
    if as_json:
        print_json({**_figures(done), "kept": [{"folder": str(path), "bytes": size} for path, size in kept.items()]})
        return
    still = check_cluster(settings.home, settings.pg_bin)
    click.echo(_sentence(done) if done else f"nothing to upgrade; the cluster: {still}")
    for path, size in kept.items():
        click.echo(f"the old cluster is kept in {path}, {size >> 20} MB: remove it when all is well with the new one")


def _figures(done: Upgrade | None) -> dict[str, Any]:
    if done is None:
        return {"upgraded": False}
    figures = {"from": done.old, "to": done.new, "tables": done.copied.tables, "rows": done.copied.rows}
    return {"upgraded": True, **figures, "settings_not_taken": done.copied.settings}


def _sentence(done: Upgrade) -> str:
    lost = f"; settings that it doesn't know: {', '.join(done.copied.settings)}" if done.copied.settings else ""
    counted = f"{done.copied.rows} rows in {done.copied.tables} tables, equal to the old ones"
    return f"PostgreSQL {done.new} instead of {done.old}: {counted}{lost}; start it with `lode up`"
