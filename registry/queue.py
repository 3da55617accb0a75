"""Claims on work: the Python side of queue.sql. Each call is one short transaction unless a session is passed in."""

from __future__ import annotations

import os
import re
import socket
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import psycopg
from sqlalchemy import Connection, CursorResult, Engine
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from registry.errors import LeaseLost, printable
from registry.states import Kind

ENQUEUE_LIMIT = 10_000
CHANNEL = "lode_work"
HOST = socket.gethostname()


@dataclass(frozen=True)
class Claim:
    """One row of work that is ours until the lease ends."""

    id: int
    kind: Kind
    subject_id: int
    target_id: int
    attempts: int
    token: uuid.UUID


@cache
def statements() -> dict[str, str]:
    """The named statements of queue.sql."""
    text = (resources.files("registry") / "queue.sql").read_text()
    pairs = re.findall(r"-- name: (\w+)\n(.*?;)\n", text, flags=re.DOTALL)
    return dict(pairs)


def run(connection: Connection, name: str, parameters: Mapping[str, Any]) -> CursorResult[Any]:
    """Execute a named statement with psycopg's %(name)s parameters."""
    return connection.exec_driver_sql(statements()[name], dict(parameters))


def run_many(connection: Connection, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Execute a named statement once for each of the rows of parameters."""
    if rows:
        connection.exec_driver_sql(statements()[name], [dict(row) for row in rows])


def register(engine: Engine, kinds: Sequence[Kind]) -> int:
    """Write down that a worker lives here; the id that its claims carry."""
    statement = "INSERT INTO worker (kinds, host, pid) VALUES (%(kinds)s, %(host)s, %(pid)s) RETURNING id"
    values = {"kinds": [kind.value for kind in kinds], "host": HOST, "pid": os.getpid()}
    with engine.begin() as connection:
        return int(connection.exec_driver_sql(statement, values).scalar_one())


def retire(engine: Engine, worker_id: int) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE worker SET stopped_at = now() WHERE id = %(id)s", {"id": worker_id})


def enqueue(engine: Engine, kind: Kind) -> int:
    """Turn what the kind's view finds missing into waiting rows; how many are new."""
    with engine.begin() as connection:
        return run(connection, f"enqueue_{kind.value}", {"limit": ENQUEUE_LIMIT}).rowcount


def claim(engine: Engine, kind: Kind, worker_id: int, batch: int, lease_seconds: float) -> list[Claim]:
    """Take up to `batch` waiting rows for `lease_seconds`."""
    token = uuid.uuid4()
    values = {"kind": kind.value, "batch": batch, "token": token, "worker_id": worker_id, "host": HOST}
    with engine.begin() as connection:
        rows = run(connection, "claim", {**values, "lease_seconds": lease_seconds}).all()
    claims = [Claim(row.id, kind, row.subject_id, row.target_id, row.attempts, token) for row in rows]
    return sorted(claims, key=lambda claim: claim.id)


def beat(engine: Engine, token: uuid.UUID, worker_id: int, lease_seconds: float) -> int:
    """Prolong every row held under the token; how many are still ours."""
    values = {"token": token, "worker_id": worker_id, "lease_seconds": lease_seconds}
    with engine.begin() as connection:
        return run(connection, "beat", values).rowcount


def finish(session: Session, claim: Claim) -> None:
    """Let go of a row in the session that holds its result. Raises LeaseLost, so that the result is rolled back."""
    if run(session.connection(), "finish", {"id": claim.id, "token": claim.token}).rowcount != 1:
        raise LeaseLost(f"{claim.kind} {claim.subject_id}: the lease had run out; the result is dropped")


def hold(session: Session, claims: Sequence[Claim]) -> list[Claim]:
    """Those of a batch, all of one token, that are still ours; until the session commits nobody takes them away."""
    values = {"ids": [claim.id for claim in claims], "token": claims[0].token}
    held = set(run(session.connection(), "hold", values).scalars())
    return [claim for claim in claims if claim.id in held]


def finish_held(session: Session, claims: Sequence[Claim]) -> None:
    """Let go of rows that this session holds."""
    run(session.connection(), "finish_held", {"ids": [claim.id for claim in claims]})


def fail(
    session: Session, claim: Claim, error_class: str, error: str, retry_after: float | None, elsewhere: bool = False
) -> None:
    """Give a row back for `retry_after` seconds, or bury it (None). Raises LeaseLost.

    elsewhere: other hosts go first; while there are any it costs no attempt
    """
    told = {"error_class": error_class, "error": printable(error)[:2000]}
    values = {"id": claim.id, "token": claim.token, "host": HOST, **told}
    if elsewhere and run(session.connection(), "pass_on", values).rowcount == 1:
        return
    _settle(session, claim, "fail", {**told, "retry_after": retry_after})


def go_on(session: Session, claim: Claim, error_class: str, error: str) -> None:
    """Give back a row of which an interrupted attempt has done a part: no attempt is lost. Raises LeaseLost."""
    _settle(session, claim, "go_on", {"error_class": error_class, "error": printable(error)[:2000]})


def _settle(session: Session, claim: Claim, statement: str, told: Mapping[str, object]) -> None:
    values = {"id": claim.id, "token": claim.token, **told}
    if run(session.connection(), statement, values).rowcount != 1:
        raise LeaseLost(f"{claim.kind} {claim.subject_id}: the lease had run out; the failure is dropped")


def alive(engine: Engine, worker_id: int) -> None:
    """Tell that an idle worker is there."""
    with engine.begin() as connection:
        run(connection, "alive", {"worker_id": worker_id})


def give_back(engine: Engine, token: uuid.UUID) -> int:
    """Return all rows of a token unharmed (a drain)."""
    with engine.begin() as connection:
        return run(connection, "give_back", {"token": token}).rowcount


def rescue(engine: Engine, max_attempts: int) -> int:
    """Return rows whose lease ran out to the waiting ones."""
    with engine.begin() as connection:
        return run(connection, "rescue", {"max_attempts": max_attempts}).rowcount


def retry(engine: Engine, kind: Kind | None = None) -> int:
    """Revive dead rows; how many."""
    with engine.begin() as connection:
        return run(connection, "retry", {"kind": kind.value if kind else None}).rowcount


def ring(session: Session) -> None:
    """Wake idle daemons once this transaction, which made work, is committed; else they find it at their next look."""
    session.connection().exec_driver_sql(f"NOTIFY {CHANNEL}")


class Bell:
    """Waits for `ring` on a connection of its own, which is opened at the first wait and holds no transaction."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._connection: psycopg.Connection[Any] | None = None

    def wait(self, seconds: float) -> None:
        """Return at the next ring, after `seconds` at the latest; a database that is away never rings."""
        try:
            for _ in self._listening().notifies(timeout=seconds, stop_after=1):
                pass
        except (psycopg.OperationalError, OperationalError):
            self.close()
            time.sleep(seconds)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _listening(self) -> psycopg.Connection[Any]:
        if self._connection is None:
            pooled = self._engine.raw_connection()
            connection: psycopg.Connection[Any] = pooled.driver_connection  # type: ignore[assignment]
            pooled.detach()
            connection.rollback()
            connection.autocommit = True
            connection.execute(f"LISTEN {CHANNEL}")
            self._connection = connection
        return self._connection


def open_work(engine: Engine, kind: Kind) -> int:
    """Rows of a kind that are missing, wait or run; dead ones are not counted."""
    with engine.begin() as connection:
        return int(run(connection, f"open_{kind.value}", {}).scalar_one())


def open_picks(engine: Engine) -> int:
    """Labels that rounds picked and that are missing; neither dead ones nor those of searches are counted."""
    with engine.begin() as connection:
        return int(run(connection, "open_picks", {}).scalar_one())


def summary(session: Session) -> dict[str, dict[str, int]]:
    """Kind -> state -> rows, every kind and state present. What no daemon has enqueued yet waits, too."""
    found = {kind.value: {"waiting": 0, "running": 0, "dead": 0} for kind in Kind}
    for row in run(session.connection(), "summary", {}).mappings():
        found[row["kind"]][row["state"]] = row["count"]
    return found
