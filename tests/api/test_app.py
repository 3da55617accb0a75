"""The web edge, over a socket."""

from __future__ import annotations

import json
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator

import pytest
import uvicorn
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from api.app import create_app
from api.explorer import landing
from registry import queue
from tests import factories as make


@pytest.fixture
def url(engine: Engine) -> Iterator[str]:
    """A running server on a registry of two materials, one with a hostile name."""
    with Session(engine) as session:
        make.material(session, "NaTiCl3", source_name="<script>alert(1)</script>")
        make.material(session, "KCl", 0.1)
        session.commit()
    server = uvicorn.Server(uvicorn.Config(create_app(engine), port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()


def get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def post(url: str, body: bytes) -> tuple[int, dict[str, object]]:
    request = urllib.request.Request(url, body, {"content-type": "application/json"})
    status, text = get(request)  # type: ignore[arg-type]
    return status, json.loads(text)


def test_a_page_that_takes_too_long(url: str, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landing, "SECONDS", 0.1)
    with engine.begin() as holder:
        holder.execute(text("LOCK TABLE structure IN ACCESS EXCLUSIVE MODE"))
        assert get(f"{url}/") == (503, "counting took too long: ask at /graphql, or come back later")
    assert get(f"{url}/")[0] == 200


def test_serves(url: str, engine: Engine) -> None:
    status, landing = get(f"{url}/")
    assert status == 200
    assert "<td>NaTiCl3</td>" in landing
    assert "&lt;script&gt;" in landing
    assert "test-level" in landing
    assert "<script>" not in landing
    assert "KCl" not in landing  # it isn't on the hull
    assert get(f"{url}/health") == (200, '{"database":"answers"}')
    status, page = get(f"{url}/graphql")
    assert status == 200
    assert "http" not in page.replace("http-equiv", "")  # nothing is loaded from elsewhere
    query = "{ materials { count(upTo: 5000) { value } } }"
    expected = {"data": {"materials": {"count": {"value": 2}}}}
    assert post(f"{url}/graphql", json.dumps({"query": query}).encode()) == (200, expected)
    assert json.loads(get(f"{url}/graphql?{urllib.parse.urlencode({'query': query})}")[1]) == expected


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"not json", "must be JSON"),
        (b"[]", "one JSON object"),
        (b"{}", "query must be a text"),
        (b'{"query": "{ fields { name } }", "variables": 3}', "variables an object"),
        (b'{"query": "' + b"x" * 300_000 + b'"}', "larger than"),
        (b'{"query": "{ nothing }"}', "Cannot query field"),
    ],
)
def test_refuses(url: str, body: bytes, message: str) -> None:
    status, found = post(f"{url}/graphql", body)
    assert status == 400
    assert message in str(found["errors"])


def test_work_is_shown_before_a_daemon_has_looked(url: str, engine: Engine) -> None:
    with Session(engine) as session:
        make.calculation(session, make.structure(session, "LiCl"), make.level(session))
        session.commit()
        waiting = queue.summary(session)["place"]["waiting"]
    assert waiting > 0
    assert f"<td>place</td><td>{waiting}</td><td>0</td><td>0</td>" in get(f"{url}/")[1]
    query = json.dumps({"query": "{ work { kind waiting } }"}).encode()
    shown = post(f"{url}/graphql", query)[1]["data"]
    assert {"kind": "place", "waiting": waiting} in shown["work"]  # type: ignore[index]


def test_an_empty_registry_has_a_page(engine: Engine) -> None:
    from api.explorer.landing import _rendered

    assert "No hull yet." in _rendered(engine)


def test_says_when_the_database_is_gone() -> None:
    from registry.database import engine_for

    server = uvicorn.Server(
        uvicorn.Config(create_app(engine_for("postgresql://x@127.0.0.1:1/x")), port=0, log_level="critical")
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    assert get(f"http://127.0.0.1:{port}/health")[0] == 503
    server.should_exit = True
    thread.join()
