"""The web edge: GraphQL at /graphql, OPTIMADE at /optimade, what the registry holds at /, a sign of life at /health."""

from __future__ import annotations

from anyio import to_thread
from sqlalchemy import Engine, text
from sqlalchemy.exc import SQLAlchemyError
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route

from api.explorer import landing
from api.graphql import endpoint
from api.optimade.routes import create_optimade


def create_app(engine: Engine, non_commercial: frozenset[str] = frozenset()) -> Starlette:
    """An ASGI application on the registry behind `engine`; the engine stays the caller's to dispose of.

    non_commercial: names of sources that forbid commercial use and that OPTIMADE shows all the same
    """
    routes = [
        Route("/", landing.page),
        Route("/graphql", endpoint.endpoint, methods=["GET", "POST"]),
        Route("/health", health),
        Mount("/optimade", create_optimade(engine, non_commercial)),
    ]
    app = Starlette(routes=routes, middleware=[Middleware(GZipMiddleware, minimum_size=1000)])
    app.state.engine = engine
    return app


async def health(request: Request) -> Response:
    """200 while the database answers, else 503."""
    try:
        await to_thread.run_sync(_ping, request.app.state.engine)
    except SQLAlchemyError:
        return JSONResponse({"database": "doesn't answer"}, 503)
    return JSONResponse({"database": "answers"})


def _ping(engine: Engine) -> None:
    with engine.connect() as connection:
        connection.execute(text("SELECT 1"))
