"""What stands around every answer: `meta`, links, errors."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any
from urllib.parse import urlencode

import optimade
import orjson
from starlette.requests import Request
from starlette.responses import Response

from api.optimade.entries import Listing
from api.optimade.refusals import detail_of, status_of, title_of

API_VERSION: str = optimade.__api_version__
MEDIA_TYPE = "application/vnd.api+json"
SCHEMA = f"https://schemas.optimade.org/openapi/v{API_VERSION}/optimade.json"
SERVED = ("", "/v1", "/v1.2", f"/v{API_VERSION}")
"""Bases under which the same is answered."""

PROVIDER = {
    "name": "Motherlode",
    "description": "A registry and discovery engine for inorganic materials",
    "prefix": "lode",
}
VERSION = re.compile(r"^/v\d+(\.\d+){0,2}(?=/|$)")


def base_url(request: Request) -> str:
    """The unversioned one, as the client wrote it."""
    return str(request.url.replace(path=request.scope["root_path"], query=""))


def path_of(request: Request) -> str:
    """What follows it."""
    return request.url.path.removeprefix(request.scope["root_path"])


def meta(request: Request, more: bool = False, warnings: Sequence[str] = (), **counts: int | None) -> dict[str, Any]:
    """Of every answer; counts that nobody knows are left out."""
    return {
        "query": {"representation": _representation(request)},
        "api_version": API_VERSION,
        "time_stamp": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        "more_data_available": more,
        "provider": PROVIDER,
        "implementation": {"name": "motherlode", "version": version("motherlode")},
        "schema": SCHEMA,
        **{name: value for name, value in counts.items() if value is not None},
        **({"warnings": [{"type": "warning", "detail": told} for told in warnings]} if warnings else {}),
    }


def _representation(request: Request) -> str:
    path = VERSION.sub("", path_of(request))
    return f"{path}?{request.url.query}" if request.url.query else path


def answered(request: Request, data: Any, **more: Any) -> Response:
    """200 with this under `data`."""
    return _json({"data": data, "meta": meta(request, **more)})


def page(request: Request, found: Listing) -> Response:
    """A listing, and where it goes on."""
    told = meta(
        request,
        found.cursor is not None,
        found.warnings,
        data_returned=found.returned,
        data_available=found.available,
    )
    return _json({"data": found.entries, "links": {"next": _next(request, found.cursor)}, "meta": told})


def _next(request: Request, cursor: str | None) -> str | None:
    if cursor is None:
        return None
    turned = ("page_offset", "page_cursor")
    kept = [pair for pair in request.query_params.multi_items() if pair[0] not in turned]
    return f"{base_url(request)}{path_of(request)}?{urlencode([*kept, ('page_cursor', cursor)])}"


def refused(request: Request, error: Exception) -> Response:
    """The error object of what went wrong."""
    status = status_of(error)
    shown = {"status": str(status), "title": title_of(status), "detail": detail_of(error)}
    return _json({"errors": [shown], "meta": meta(request)}, status)


def _json(content: dict[str, Any], status: int = 200) -> Response:
    return Response(orjson.dumps(content), status, media_type=MEDIA_TYPE)
