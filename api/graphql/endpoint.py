"""GraphQL over HTTP: POST {"query", "variables", "operationName"}, GET ?query=..., and a page to write queries in."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

import orjson
from graphql import DocumentNode, ExecutionResult, GraphQLError, execute, parse, validate
from sqlalchemy import Engine
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from api.graphql.desk import STATEMENT_SECONDS, Desk
from api.graphql.limits import MAX_TOKENS, too_much
from api.graphql.schema import schema
from registry.errors import FilterError, LodeError, TooSlow

MAX_BODY = 200_000
ANSWER_SECONDS = 20

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Asked:
    """What a request wants to know."""

    query: str
    variables: Mapping[str, Any]
    operation: str | None


async def answer(engine: Engine, asked: Asked) -> dict[str, Any]:
    """{"data", "errors"} of a request. What went wrong is said in our own words; SQL never shows."""
    document = _document(asked)
    if isinstance(document, list):
        return {"errors": [error.formatted for error in document]}
    try:
        done = await _executed(engine, document, asked)
    except TimeoutError:
        return {"data": None, "errors": [_too_slow().formatted]}
    errors = {"errors": [_shown(error) for error in done.errors]} if done.errors else {}
    return {"data": done.data, **errors}


async def _executed(engine: Engine, document: DocumentNode, asked: Asked) -> ExecutionResult:
    async with Desk(engine) as desk:
        result = execute(
            schema().graphql_schema,
            document,
            variable_values=dict(asked.variables),
            operation_name=asked.operation,
            context_value={"desk": desk},
        )
        async with asyncio.timeout(ANSWER_SECONDS):
            return result if isinstance(result, ExecutionResult) else await result


def _too_slow() -> GraphQLError:
    message = f"the answer took longer than {ANSWER_SECONDS} seconds: ask for fewer fields or a smaller page"
    return GraphQLError(message, extensions={"code": "TooSlow"})


def _document(asked: Asked) -> DocumentNode | list[GraphQLError]:
    try:
        document = parse(asked.query, max_tokens=MAX_TOKENS)
    except GraphQLError as error:
        return [error]
    refused = validate(schema().graphql_schema, document)
    if refused:
        return refused
    excess = too_much(schema().graphql_schema, document, asked.variables)
    return [excess] if excess else document


def _shown(error: GraphQLError) -> dict[str, Any]:
    shown = dict(error.formatted)
    cause = error.original_error
    if cause is None or isinstance(cause, GraphQLError):  # the latter of a variable that isn't of its type
        return shown
    return {**shown, "message": _message(cause), "extensions": {"code": _code(cause)}}


def _code(cause: Exception) -> str:
    if isinstance(cause, FilterError):
        return "FilterError"
    return type(cause).__name__ if isinstance(cause, LodeError) else "InternalError"


def _message(cause: Exception) -> str:
    if isinstance(cause, TooSlow):
        return f"the question took longer than {STATEMENT_SECONDS} seconds: narrow the filter"
    if isinstance(cause, LodeError):
        return str(cause).encode(errors="replace").decode()  # half a surrogate pair is no JSON
    number = uuid.uuid4().hex[:8]
    log.error("graphql error %s", number, exc_info=cause)
    return f"something broke here; the server's log has it as {number}"


async def endpoint(request: Request) -> Response:
    """The route /graphql."""
    if request.method == "GET" and "query" not in request.query_params:
        return HTMLResponse((resources.files("api.graphql") / "page.html").read_text())
    asked = await _asked(request)
    if isinstance(asked, str):
        return _json({"errors": [{"message": asked}]}, 400)
    answered = await answer(request.app.state.engine, asked)
    return _json(answered, 200 if "data" in answered else 400)


async def _asked(request: Request) -> Asked | str:
    if request.method == "GET":
        return _read(dict(request.query_params))
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_BODY:
            return f"the request is larger than {MAX_BODY:,} bytes"
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError:
        return 'the body must be JSON: {"query": "..."}'
    return _read(content) if isinstance(content, dict) else 'the body must be one JSON object: {"query": "..."}'


def _read(content: dict[str, Any]) -> Asked | str:
    query, variables, operation = (content.get(key) for key in ("query", "variables", "operationName"))
    if isinstance(variables, str):
        try:
            variables = orjson.loads(variables)
        except orjson.JSONDecodeError:
            return "variables must be JSON"
    if not isinstance(query, str) or not isinstance(variables or {}, dict) or not isinstance(operation or "", str):
        return "query must be a text, variables an object, operationName a text"
    return Asked(query, variables or {}, operation or None)


def _json(content: dict[str, Any], status: int) -> Response:
    return Response(orjson.dumps(content), status, media_type="application/json")
