"""lode serve."""

from __future__ import annotations

import click


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=8000, show_default=True, type=click.IntRange(0, 65535))
def serve(host: str, port: int) -> None:
    """Answer GraphQL at /graphql and show the registry at /."""
    import socket

    import uvicorn

    from api.app import create_app
    from api.cli.database import open_registry
    from registry.errors import SettingsError

    app = create_app(open_registry("lode serve"))
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise SettingsError(f"{host}:{port} can't be served: {error.strerror}; choose another --port") from error
    click.echo(f"http://{host}:{port}/graphql answers; Ctrl-C stops it", err=True)
    uvicorn.run(app, host=host, port=port, log_level="warning")
