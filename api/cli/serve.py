"""lode serve."""

from __future__ import annotations

import click


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=8000, show_default=True, type=click.IntRange(0, 65535))
def serve(host: str, port: int) -> None:
    """Answer GraphQL at /graphql and show the registry at /."""
    import uvicorn

    from api.app import create_app
    from api.cli.database import open_registry

    app = create_app(open_registry("lode serve"))
    _probe(host, port)
    address = f"[{host}]" if ":" in host else host
    click.echo(f"http://{address}:{port}/graphql answers; Ctrl-C stops it", err=True)
    uvicorn.run(app, host=host, port=port, log_level="warning")


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
