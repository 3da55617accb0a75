"""The endpoints, under every base URL at which version 1 is spoken."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import TypeVar

from anyio import to_thread
from sqlalchemy import Engine
from sqlalchemy.orm import Session
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from api.optimade import asking, envelope, info
from api.optimade.asking import Asked
from api.optimade.entries import Listing, listing
from api.optimade.refusals import VERSION_NOT_SUPPORTED, Refused

Found = TypeVar("Found")
Endpoint = Callable[[Request], Awaitable[Response]]


def create_optimade(engine: Engine, non_commercial: frozenset[str] = frozenset()) -> Starlette:
    """An ASGI application to be mounted at the unversioned base URL.

    non_commercial: names of sources whose licence forbids commercial use, and that are shown all the same
    """
    routes = [Route("/versions", _guarded(_versions))]
    for base in envelope.SERVED:
        routes += [
            Route(f"{base}/info", _guarded(_info)),
            Route(f"{base}/info/structures", _guarded(_info_of_structures)),
            Route(f"{base}/links", _guarded(_links)),
            Route(f"{base}/structures", _guarded(_list)),
            Route(f"{base}/structures/{{identity:path}}", _guarded(_one)),
        ]
    routes.append(Route("/{rest:path}", _guarded(_elsewhere)))
    app = Starlette(routes=routes, exception_handlers={HTTPException: _refused})
    app.state.engine, app.state.non_commercial = engine, non_commercial
    return app


def _guarded(endpoint: Endpoint) -> Endpoint:
    """An endpoint that tells the standard's errors, whatever breaks."""

    async def answer(request: Request) -> Response:
        try:
            if not envelope.VERSION.match(envelope.path_of(request)):
                asking.check_hint(request.query_params.get("api_hint", ""))
            return await endpoint(request)
        except Exception as error:  # noqa: BLE001  (the last one before the client)
            return envelope.refused(request, error)

    return answer


async def _refused(request: Request, error: Exception) -> Response:
    return envelope.refused(request, error)


async def _versions(_: Request) -> Response:
    return Response("version\n1\n", media_type="text/csv; header=present")


async def _info(request: Request) -> Response:
    asking.plain(request.query_params)
    url, allowed = envelope.base_url(request), request.app.state.non_commercial
    return envelope.answered(request, await _asked(request, lambda session: info.base(session, allowed, url)))


async def _info_of_structures(request: Request) -> Response:
    asking.plain(request.query_params)
    return envelope.answered(request, info.structures())


async def _links(request: Request) -> Response:
    asking.plain(request.query_params)
    return envelope.answered(request, [info.PROVIDERS], data_returned=1, data_available=1)


async def _list(request: Request) -> Response:
    asked = asking.of_list(request.query_params)
    return envelope.page(request, await _listing(request, asked))


async def _one(request: Request) -> Response:
    identity = request.path_params["identity"]
    if not identity:
        return _without_slash(request)
    found = await _listing(request, asking.of_one(request.query_params, identity))
    if not found.entries:
        raise Refused(HTTPStatus.NOT_FOUND, f"there is no structure '{identity[:80]}'")
    return envelope.answered(request, found.entries[0], warnings=found.warnings, data_returned=1)


async def _elsewhere(request: Request) -> Response:
    if request.path_params["rest"].rstrip("/") != request.path_params["rest"]:
        return _without_slash(request)
    version = envelope.VERSION.match(f"/{request.path_params['rest']}")
    if version and version.group() not in envelope.SERVED:
        told = f"version {version.group()[1:20]} isn't spoken here: {envelope.base_url(request)}/v1 is"
        raise Refused(VERSION_NOT_SUPPORTED, told)
    raise Refused(HTTPStatus.NOT_FOUND, "nothing is here: /v1/info tells what there is")


def _without_slash(request: Request) -> Response:
    return RedirectResponse(str(request.url.replace(path=request.url.path.rstrip("/"))))


async def _listing(request: Request, asked: Asked) -> Listing:
    allowed = request.app.state.non_commercial
    return await _asked(request, lambda session: listing(session, asked, allowed))


async def _asked(request: Request, question: Callable[[Session], Found]) -> Found:
    """Off the event loop, in a snapshot that can't be written to."""
    engine: Engine = request.app.state.engine

    def answer() -> Found:
        reading = engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        with Session(reading) as session:
            return question(session)

    return await to_thread.run_sync(answer)
