"""The real application on a socket, over registries that tests only read."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests
import uvicorn
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from api.app import create_app
from registry.database import engine_for
from registry.importers.prototypes import read_prototypes
from registry.imports import ImportReport
from registry.models import Structure
from registry.provider_imports import import_delivery
from registry.terms import SourceTerms
from tests import factories as make
from tests.registry.query import mixed

LIBRARY = SourceTerms("AFLOW prototypes", "CC-BY-4.0", "Mehl et al. (2017)")


class Api:
    """A client of one server; `base` is its unversioned base URL."""

    def __init__(self, base: str) -> None:
        self.base = base

    def reply(self, path: str, **parameters: str | int) -> requests.Response:
        return requests.get(f"{self.base}{path}", params=parameters, timeout=60)

    def get(self, path: str, **parameters: str | int) -> dict[str, Any]:
        reply = self.reply(path, **parameters)
        assert reply.status_code == 200, reply.text
        content: dict[str, Any] = reply.json()
        return content

    def ids(self, filter_: str, **parameters: str | int) -> list[str]:
        """All of them, page after page."""
        found, answer = [], self.get("/v1/structures", filter=filter_, response_fields="id", **parameters)
        while True:
            found += [one["id"] for one in answer["data"]]
            following = answer["links"]["next"]
            assert (following is not None) == answer["meta"]["more_data_available"]
            if following is None:
                return found
            answer = requests.get(following, timeout=60).json()

    def error(self, path: str, **parameters: str | int) -> tuple[int, str]:
        reply = self.reply(path, **parameters)
        (told,) = reply.json()["errors"]
        assert told["status"] == str(reply.status_code)
        assert reply.json()["meta"]["api_version"] == "1.2.0"
        return reply.status_code, told["detail"]


@contextlib.contextmanager
def serving(engine: Engine, non_commercial: frozenset[str] = frozenset()) -> Iterator[Api]:
    server = uvicorn.Server(uvicorn.Config(create_app(engine, non_commercial), port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield Api(f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/optimade")
    server.should_exit = True
    thread.join()


@pytest.fixture(scope="session")
def mixed_engine(new_database: Any) -> Iterator[Engine]:
    """300 materials of tests/registry/query/mixed.py."""
    with new_database() as url:
        engine = engine_for(url, "pytest")
        with Session(engine) as session:
            mixed.fill(session)
            session.commit()
        yield engine
        engine.dispose()


@pytest.fixture(scope="session")
def api(mixed_engine: Engine) -> Iterator[Api]:
    with serving(mixed_engine) as running:
        yield running


@pytest.fixture(scope="session")
def library_engine(new_database: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """The known crystals that ship, the first ten on a hull."""
    with new_database() as url:
        engine = engine_for(url, "pytest")
        report: ImportReport = import_delivery(engine, read_prototypes(), LIBRARY, None, lambda _: None)
        assert report.imported > 200
        with Session(engine) as session:
            level = make.level(session)
            for row in session.scalars(select(Structure).order_by(Structure.id).limit(10)):
                make.hull_state(session, make.calculation(session, row, level, final=row), 0.01 * (row.id % 3))
            session.commit()
        yield engine
        engine.dispose()


@pytest.fixture(scope="session")
def library(library_engine: Engine) -> Iterator[Api]:
    with serving(library_engine) as running:
        yield running
