"""lode init | up | down | status."""

from __future__ import annotations

from typing import Any

import click

from api.cli.output import as_json, print_json, print_table


@click.command()
def init() -> None:
    """Start the embedded PostgreSQL unless LODE_DATABASE_URL names another, and bring the schema up to date."""
    models = prepare_registry()
    click.echo(f"the registry is ready, with {len(models)} model(s); bring crystals in with `lode import FILE`")


def prepare_registry() -> list[str]:
    """Server, schema, the default level, the compiled hull solver and the shipped models; the models' names."""
    from sqlalchemy.orm import Session

    from api.cli.database import DEFAULT_LEVEL
    from registry.database import check_server, engine_for, ensure_server
    from registry.hull.geometry import warm
    from registry.hull.level_rows import ensure_level
    from registry.hull.levels import load_level
    from registry.schema import upgrade
    from registry.settings import load_settings
    from workers.train import register_shipped

    engine = engine_for(ensure_server(load_settings()))
    check_server(engine)
    upgrade(engine)
    warm()
    with Session(engine) as session, session.begin():
        ensure_level(session, load_level(DEFAULT_LEVEL))
        return register_shipped(session)


@click.command()
def up() -> None:
    """Start the embedded PostgreSQL."""
    from registry.database import ensure_server
    from registry.settings import load_settings

    settings = load_settings()
    ensure_server(settings)
    click.echo(
        f"PostgreSQL runs; its files are in {settings.home}"
        if not settings.database_url
        else "nothing to start: LODE_DATABASE_URL is set"
    )


@click.command()
def down() -> None:
    """Stop the embedded PostgreSQL."""
    from registry.embedded import stop
    from registry.settings import load_settings

    stopped = stop(load_settings().home)
    click.echo("stopped" if stopped else "it didn't run")


@click.command()
def url() -> None:
    """Print the address of the database: psql "$(lode url)"."""
    from registry.database import database_url
    from registry.settings import load_settings

    click.echo(database_url(load_settings()))


@click.command()
@as_json
def status(as_json: bool) -> None:
    """What runs, what waits, what the registry holds."""
    found = _status()
    if as_json:
        print_json(found)
        return
    database = found["database"]
    click.echo(f"PostgreSQL {database['version']} ({database['url_kind']}), schema {database['schema']}")
    print_table(
        [{"kind": kind, **states} for kind, states in found["work"].items()], ["kind", "waiting", "running", "dead"]
    )
    print_table(found["workers"], ["id", "kinds", "host", "pid", "beat_at"], "workers alive") if found[
        "workers"
    ] else click.echo("no worker is alive")
    click.echo(", ".join(f"{count} {name}" for name, count in found["counts"].items()))


def _status() -> dict[str, Any]:
    from sqlalchemy.orm import Session

    from api.cli.database import open_registry
    from registry.database import check_server
    from registry.overview import overview
    from registry.schema import schema_revision
    from registry.settings import load_settings

    engine = open_registry()
    with Session(engine) as session:
        found = overview(session)
    kind = "external" if load_settings().database_url else "embedded"
    version = str(check_server(engine))
    return {"database": {"url_kind": kind, "version": version, "schema": schema_revision(engine)}, **found}
