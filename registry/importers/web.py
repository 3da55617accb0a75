"""JSON from servers that may be down, slow, busy or no such servers at all."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any

import requests

from registry.errors import ProviderError
from registry.importers.record import reason_of

PASSING_CODES = frozenset({429, 500, 502, 503, 504})
PASSING_FAULTS = (
    requests.ConnectionError,
    requests.Timeout,
    requests.exceptions.ChunkedEncodingError,
    requests.exceptions.ContentDecodingError,
)
"""What may be over when it is tried again: no connection, no answer in time, an answer that broke off."""

LARGEST_ANSWER = 256 << 20
"""Bytes, unpacked. A page of structures has some hundred kilobytes."""

LONGEST_PAUSE = 60.0
"""Seconds between two tries, whatever a server asks for."""


@dataclass(frozen=True)
class Patience:
    """tries: how often one page is asked for
    pause: seconds before the second try; doubled before each further one
    connect, silence, answer: seconds for the connection, between two pieces of an answer, and for all of it
    """

    tries: int = 6
    pause: float = 1.0
    connect: float = 10.0
    silence: float = 60.0
    answer: float = 600.0

    def before(self, attempt: int, asked: float) -> float:
        """Seconds to wait before a try (counted from 1), where the server asks for `asked`."""
        return min(max(self.pause * 2.0 ** (attempt - 1), asked), LONGEST_PAUSE)


FIRST_CONTACT = Patience(tries=2)
"""A mistyped address is told at once."""


class _PassingError(Exception):
    """A fault that another try may mend; `pause` is what the server asks for, in seconds."""

    def __init__(self, message: str, pause: float = 0.0) -> None:
        super().__init__(message)
        self.pause = pause


def fetch(session: requests.Session, url: str, patience: Patience) -> dict[str, Any]:
    """The JSON object at a URL, tried again with growing pauses. Raises ProviderError, one line that names the URL."""
    told, asked = "", 0.0
    for attempt in range(patience.tries):
        if attempt:
            time.sleep(patience.before(attempt, asked))
        try:
            return _object(_content(session, url, patience), url)
        except _PassingError as error:
            told, asked = str(error), error.pause
    raise ProviderError(f"{url}: {told} (asked {patience.tries} times)")


def _content(session: requests.Session, url: str, patience: Patience) -> bytes:
    try:
        with session.get(url, timeout=(patience.connect, patience.silence), stream=True) as response:
            content = _body(response, url, patience.answer)
            _refuse_errors(response, content, url)
            return content
    except PASSING_FAULTS as error:
        raise _PassingError(_cause(error)) from error
    except (requests.RequestException, ValueError) as error:  # no URL, too many redirects, a host name that is none
        raise ProviderError(f"{url}: {reason_of(error)}") from error


def _body(response: requests.Response, url: str, seconds: float) -> bytes:
    content, deadline = bytearray(), time.monotonic() + seconds
    for piece in response.iter_content(1 << 16):
        content += piece
        if len(content) > LARGEST_ANSWER:
            raise ProviderError(f"{url}: answers with more than {LARGEST_ANSWER >> 20} MB: ask for smaller pages")
        if time.monotonic() > deadline:
            raise _PassingError(f"the answer wasn't complete after {seconds:g} s")
    return bytes(content)


def _refuse_errors(response: requests.Response, content: bytes, url: str) -> None:
    code = response.status_code
    if code == requests.codes.ok:
        return
    told = f"HTTP {code} {response.reason or ''}".rstrip() + _detail(content)
    if code in PASSING_CODES:
        asked = response.headers.get("Retry-After", "")
        raise _PassingError(told, float(asked) if asked.isdecimal() else 0.0)
    raise ProviderError(f"{url}: {told}")


def _detail(content: bytes) -> str:
    """What a JSON:API error says, with a colon before it; nothing where there's none."""
    try:
        first = json.loads(content)["errors"][0]
        return ": " + " ".join(str(first.get("detail") or first["title"]).split())[:200]
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError):
        return ""


def _object(content: bytes, url: str) -> dict[str, Any]:
    try:
        answer = json.loads(content)
    except (ValueError, RecursionError) as error:
        start = " ".join(content[:60].decode(errors="replace").split())
        raise ProviderError(f"{url}: the answer isn't JSON, it begins with {start!r}") from error
    if not isinstance(answer, dict):
        raise ProviderError(f"{url}: the answer is JSON, but no object")
    return answer


def _cause(error: BaseException) -> str:
    """The innermost reason: "Connection refused" rather than the story of the connection pool."""
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    reason = getattr(error.args[0], "reason", error.args[0]) if error.args else error
    return str(reason).rpartition(": ")[2].strip("()'\" ")[:200] or type(error).__name__
