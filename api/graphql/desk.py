"""What one request works at: a read-only snapshot of the database, and a loader for each nested list."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any, Self, TypeVar

import psycopg
from aiodataloader import DataLoader
from anyio import to_thread
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from api.graphql.rows import Fetch, Grouped, Row
from registry.database import answer_within
from registry.errors import DatabaseError
from registry.query.materials import Question, describe

STATEMENT_SECONDS = 10
CANCEL_SECONDS = 2

Answer = TypeVar("Answer")


class Desk:
    """`async with Desk(engine) as desk`: every statement of a request sees the same data, one after another."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._one_at_a_time = asyncio.Lock()
        self._loaders: dict[object, DataLoader[int, Any]] = {}
        self._wire: psycopg.Connection[Any] | None = None
        self._closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """End the statement that a request out of time may have left behind, then let the connection go."""
        self._closed = True
        if self._one_at_a_time.locked():
            await to_thread.run_sync(self._interrupt)
        async with self._one_at_a_time:
            if "_session" in self.__dict__:
                await to_thread.run_sync(self._session.close)

    async def ask(self, question: Callable[[Session], Answer]) -> Answer:
        """Run synchronous SQL off the event loop."""
        await self._one_at_a_time.acquire()
        running = asyncio.ensure_future(to_thread.run_sync(lambda: self._answer(question)))
        running.add_done_callback(self._free)
        return await asyncio.shield(running)

    def nested(self, fetch: Fetch, key: int, *arguments: Any) -> Awaitable[Sequence[Row]]:
        """The rows of one key; all keys asked for at the same depth go into one statement."""
        name = (fetch, arguments)
        return self._loader(name, lambda session, keys: _in_order(fetch(session, keys, *arguments), keys)).load(key)

    def material(self, structure_id: int, question: Question) -> Awaitable[Row]:
        """The fields of a material, seen at the level and moment of a question."""
        where: tuple[int | None, datetime | None] = (question.level_id, question.filter.as_of)
        return self._loader(where, lambda session, keys: describe(session, keys, question)).load(structure_id)

    def _loader(self, name: object, answer: Callable[[Session, list[int]], list[Any]]) -> DataLoader[int, Any]:
        if name not in self._loaders:

            async def load(keys: list[int]) -> list[Any]:
                return await self.ask(lambda session: answer(session, keys))

            self._loaders[name] = DataLoader(load)
        return self._loaders[name]

    def _answer(self, question: Callable[[Session], Answer]) -> Answer:
        if self._closed:
            raise DatabaseError("the request is over")
        return question(self._session)

    def _free(self, running: asyncio.Future[Any]) -> None:
        """The session is free when its thread is done, however early a cancelled caller has left."""
        self._one_at_a_time.release()
        if not running.cancelled():
            running.exception()  # asyncio complains of one that nobody was left to see

    def _interrupt(self) -> None:
        if self._wire is not None:
            with contextlib.suppress(psycopg.Error):
                self._wire.cancel_safe(timeout=CANCEL_SECONDS)

    @cached_property
    def _session(self) -> Session:
        """Opened within the thread of the first statement, because that may wait for a connection."""
        connection = self._engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        session = Session(connection)
        answer_within(session, STATEMENT_SECONDS)
        self._wire = session.connection().connection.driver_connection
        return session


def _in_order(found: Grouped, keys: list[int]) -> list[Sequence[Row]]:
    return [found.get(key, ()) for key in keys]
