"""A searching process dies with a search in its hands, or wakes up when another has done it: nothing is there twice."""

from __future__ import annotations

import signal
import time
from dataclasses import asdict

from sqlalchemy import Engine, select, text
from sqlalchemy.orm import Session

from registry.hull.level_rows import ensure_level
from registry.models import Search, Work
from registry.searches import ask
from registry.states import WorkState
from tests.faults.processes import daemon, until
from tests.workers.standin import standin_level
from workers.candidates.random_search import Settings

LEASE = 2.0
WANTED = 20


def want(engine: Engine) -> None:
    with Session(engine) as session, session.begin():
        ask(session, {11: 1, 17: 1}, ensure_level(session, standin_level()), WANTED, 0, asdict(Settings(most_atoms=4)))


def held(engine: Engine) -> bool:
    with Session(engine) as session:
        return [row.state for row in session.scalars(select(Work))] == [WorkState.RUNNING]


def finished(engine: Engine) -> bool:
    with Session(engine) as session:
        return session.scalars(select(Search)).one().finished_at is not None


def stored(engine: Engine) -> list[int]:
    tables = ("structure", "lineage", "selection", "work")
    with engine.connect() as connection:
        return [connection.scalar(text(f"SELECT count(*) FROM {table}")) or 0 for table in tables]


def test_a_killed_search_leaves_nothing_and_another_worker_does_it(engine: Engine, database_url: str):
    want(engine)
    with daemon("searching", database_url, LEASE, 1.0) as killed:
        until(lambda: held(engine))
        time.sleep(1.0)
        killed.send_signal(signal.SIGKILL)
        killed.wait()
    assert stored(engine) == [0, 0, 0, 1]
    with daemon("searching", database_url, LEASE, 0.0), daemon("searching", database_url, LEASE, 0.0):
        until(lambda: finished(engine))
        time.sleep(1.0)  # would the other do it, too?
    assert stored(engine) == [WANTED, WANTED, WANTED, 0]


def test_a_search_that_wakes_up_late_adds_nothing(engine: Engine, database_url: str):
    want(engine)
    with daemon("searching", database_url, LEASE, 0.5) as frozen:
        until(lambda: held(engine))
        frozen.send_signal(signal.SIGSTOP)
        with daemon("searching", database_url, LEASE, 0.0):
            until(lambda: finished(engine))
        frozen.send_signal(signal.SIGCONT)
        time.sleep(2.0)  # it sees that its lease is gone
        frozen.send_signal(signal.SIGTERM)
        assert frozen.wait(30) == 0
    assert stored(engine) == [WANTED, WANTED, WANTED, 0]
