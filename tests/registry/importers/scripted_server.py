"""A web server on this machine that answers as a test says: errors, half answers, silence, and pages that mislead."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PROVIDER = {"name": "Test Provider", "prefix": "test", "description": "", "homepage": "https://test.example"}
META = {"api_version": "1.2.0", "provider": PROVIDER}


@dataclass(frozen=True)
class Answer:
    """length: the Content-Length that is claimed; silence: seconds before anything is said"""

    body: bytes = b""
    code: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    length: int | None = None
    silence: float = 0.0


Script = Callable[[str, int], Answer]
"""(path with query, how often it was asked for before) -> what is answered."""


def told(content: Any, code: int = 200, **headers: str) -> Answer:
    return Answer(json.dumps(content).encode(), code, headers)


def info(**attributes: Any) -> Answer:
    """What /v1/info says of a server."""
    return told(
        {"data": {"id": "/", "type": "info", "attributes": {"api_version": "1.2.0", **attributes}}, "meta": META}
    )


def page(entries: list[Any], following: Any = None, **meta: Any) -> Answer:
    return told({"data": entries, "links": {"next": following}, "meta": META | meta})


@contextlib.contextmanager
def scripted(script: Script) -> Iterator[str]:
    """The base URL of the server."""
    asked: dict[str, int] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            before = asked[self.path] = asked.get(self.path, -1) + 1
            answer = script(self.path, before)
            time.sleep(answer.silence)
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                self.send_response(answer.code)
                for name, value in answer.headers.items():
                    self.send_header(name.replace("_", "-"), value)
                self.send_header("Content-Length", str(answer.length or len(answer.body)))
                self.end_headers()
                self.wfile.write(answer.body)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()
