"""lode serve."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from sqlalchemy import Engine


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=8000, show_default=True, type=click.IntRange(0, 65535))
@click.option(
    "--non-commercial", "sources", multiple=True, help="Show this non-commercial SOURCE in OPTIMADE; repeatable."
)
def serve(host: str, port: int, sources: tuple[str, ...]) -> None:
    """Answer GraphQL at /graphql and OPTIMADE at /optimade/v1, and show the registry at /.

    OPTIMADE keeps rows of non-commercial sources back unless the source is named, as exports do.
    """
    import uvicorn

    from api.app import create_app
    from api.cli.database import open_registry

    engine = open_registry("lode serve")
    _check(engine, frozenset(sources))
    app = create_app(engine, frozenset(sources))
    _probe(host, port)
    address = f"[{host}]" if ":" in host else host
    base = f"http://{address}:{port}"
    click.echo(f"{base}/graphql and {base}/optimade/v1 answer; Ctrl-C stops it", err=True)
    uvicorn.run(app, host=host, port=port, log_level="warning")


def _check(engine: Engine, sources: frozenset[str]) -> None:
    """Raises NotFound for a source that isn't."""
    from sqlalchemy.orm import Session

    from registry.exporters.materials import refuse_unknown_sources

    with Session(engine) as session:
        refuse_unknown_sources(session, sources)


def _probe(host: str, port: int) -> None:
    """Raises SettingsError where nothing can listen: another process does, or the host isn't this machine."""
    import socket

    from registry.errors import SettingsError

    try:
        family, kind, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise SettingsError(
            f"{host}:{port} can't be served: {error.strerror}; choose another --host or --port"
        ) from error
