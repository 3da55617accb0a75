"""What goes wrong with a request, as HTTP knows it."""

from __future__ import annotations

import logging
import uuid
from http import HTTPStatus

from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as NoConnection
from starlette.exceptions import HTTPException

from registry.errors import DatabaseError, LodeError, TooSlow, UnsupportedFilter

STATEMENT_SECONDS = 10
VERSION_NOT_SUPPORTED = 553
"""The standard's own."""

AWAY = (OperationalError, InterfaceError, NoConnection)
"""The database doesn't answer, or every connection is taken."""

log = logging.getLogger(__name__)


class Refused(Exception):
    """A request that isn't answered, and the status that says so."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status


def status_of(error: Exception) -> int:
    """400 for what is written wrongly, 501 for what the standard leaves optional, 503 for what may work later."""
    if isinstance(error, Refused):
        return error.status
    if isinstance(error, HTTPException):
        return error.status_code
    if isinstance(error, UnsupportedFilter):
        return HTTPStatus.NOT_IMPLEMENTED
    if isinstance(error, (DatabaseError, *AWAY)):
        return HTTPStatus.SERVICE_UNAVAILABLE
    return HTTPStatus.BAD_REQUEST if isinstance(error, LodeError) else HTTPStatus.INTERNAL_SERVER_ERROR


def title_of(status: int) -> str:
    return "Version Not Supported" if status == VERSION_NOT_SUPPORTED else HTTPStatus(status).phrase


def detail_of(error: Exception) -> str:
    """In our own words; SQL never shows."""
    if isinstance(error, TooSlow):
        return f"the question took longer than {STATEMENT_SECONDS} seconds: narrow the filter"
    if isinstance(error, HTTPException):
        return str(error.detail)
    if isinstance(error, LodeError | Refused):
        return str(error).encode(errors="replace").decode()  # half a surrogate pair is no JSON
    if isinstance(error, AWAY):
        log.error("optimade: the database doesn't answer", exc_info=error)
        return "the database doesn't answer: try again later"
    number = uuid.uuid4().hex[:8]
    log.error("optimade error %s", number, exc_info=error)
    return f"something broke here; the server's log has it as {number}"
