"""The life of a daemon: drains, stops, failures and leases, with work that takes no time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from registry import queue
from registry.errors import Drained, LabelFailure, LeaseLost
from registry.models import Source, Work, Worker
from registry.queue import Claim
from registry.states import ErrorClass, Kind, WorkState
from tests import factories as make
from workers.loop import Done, Failed, Heart, Loop, Outcome
from workers.retries import MAX_ATTEMPTS, retry_delay


@dataclass
class Writer:
    """Stores a source named after each subject. `before`: called with each claim before its outcome."""

    before: Callable[[Claim], None] = lambda _claim: None
    batch: int = 3
    lease_seconds: float = 30.0
    kind: Kind = Kind.LABEL
    failure: LabelFailure | None = None
    done: list[int] = field(default_factory=list)

    def work(self, engine: Engine, claims: Sequence[Claim], beat: Callable[[], None]) -> Iterator[Outcome]:
        for claim in claims:
            self.before(claim)
            beat()
            self.done.append(claim.subject_id)

            def write(session: Session, subject: int = claim.subject_id) -> None:
                session.add(Source(name=f"subject {subject}", licence="", citation=""))

            yield Failed(claim, self.failure, write) if self.failure else Done(claim, write)


def add_rows(engine: Engine, count: int) -> None:
    with Session(engine) as session, session.begin():
        for number in range(count):
            make.work(session, subject_id=number)


def left(engine: Engine) -> list[Work]:
    with Session(engine, expire_on_commit=False) as session:
        return list(session.query(Work).order_by(Work.id))


def sources(engine: Engine) -> int:
    with Session(engine) as session:
        return session.query(Source).count()


def test_a_drain_does_everything_and_ends(engine: Engine):
    add_rows(engine, 7)
    daemon, told = Writer(), []
    Loop(engine, [daemon], drain=True, on_outcome=told.append).run()
    assert left(engine) == []
    assert sorted(daemon.done) == list(range(7))
    assert (len(told), sources(engine)) == (7, 7)
    with Session(engine) as session:
        worker = session.query(Worker).one()
        assert (worker.kinds, worker.pid) == (["label"], os.getpid())
        assert worker.stopped_at is not None


def test_a_drain_waits_for_rows_that_another_daemon_holds(engine: Engine):
    add_rows(engine, 1)
    other = queue.register(engine, [Kind.LABEL])
    claim = queue.claim(engine, Kind.LABEL, other, 1, 60)[0]
    loop = Loop(engine, [Writer()], drain=True)
    thread = threading.Thread(target=loop.run)
    thread.start()
    thread.join(0.5)
    assert thread.is_alive()
    with Session(engine) as session, session.begin():
        queue.finish(session, claim)
    thread.join(10)
    assert not thread.is_alive()


def test_a_stop_finishes_what_is_in_hand_and_gives_the_rest_back(engine: Engine):
    add_rows(engine, 5)
    daemon = Writer(batch=4)
    loop = Loop(engine, [daemon])
    daemon.before = lambda _claim: loop.stop()
    loop.run()
    assert daemon.done == [0]
    assert sources(engine) == 1
    assert {(row.state, row.attempts, row.token) for row in left(engine)} == {(WorkState.WAITING, 0, None)}
    assert len(left(engine)) == 4


def test_a_stopped_loop_serves_no_further_kind(engine: Engine):
    add_rows(engine, 1)
    with Session(engine) as session, session.begin():
        make.work(session, kind="score", subject_id=9)
    first, second = Writer(), Writer(kind=Kind.SCORE)
    loop = Loop(engine, [first, second])
    first.before = lambda _claim: loop.stop()
    loop.run()
    assert (first.done, second.done) == ([0], [])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_drain_a_process(engine: Engine, database_url: str, number: signal.Signals):
    """A real process with three claims of a second each: one is finished, the others are back at once."""
    add_rows(engine, 3)
    script = (
        "import sys, time\n"
        "from registry.database import engine_for\n"
        "from tests.workers.test_loop import Writer\n"
        "from workers.loop import Loop\n"
        "loop = Loop(engine_for(sys.argv[1]), [Writer(before=lambda _claim: time.sleep(1))], poll_seconds=0.1)\n"
        "loop.stop_on_signals()\n"
        "loop.run()\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script, database_url])
    try:
        deadline = time.monotonic() + 60
        while not any(row.state == WorkState.RUNNING for row in left(engine)):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(number)
        assert process.wait(30) == 0
    finally:
        process.kill()
    rows = left(engine)
    assert {row.state for row in rows} == {WorkState.WAITING}
    assert len(rows) + sources(engine) == 3


@pytest.mark.parametrize("error_class", [ErrorClass.GEOMETRY_EXPLODED, ErrorClass.OUT_OF_MEMORY])
def test_a_failure_keeps_its_record_and_waits_by_its_class(engine: Engine, error_class: ErrorClass):
    add_rows(engine, 1)
    loop = Loop(engine, [daemon := Writer(failure=LabelFailure(error_class, "no"))], poll_seconds=0.05)
    daemon.before = lambda _claim: loop.stop()
    loop.run()
    row = left(engine)[0]
    first = retry_delay(error_class, 1)
    assert row.state == (WorkState.DEAD if first is None else WorkState.WAITING)
    assert (row.error_class, row.error, row.attempts, row.failed_on) == (error_class, "no", 1, None)
    assert sources(engine) == 1
    if first is not None:
        assert row.run_after > datetime.now(UTC) + timedelta(seconds=first - 10)


class Long(Writer):
    """Works until it is stopped, and tells how long it was let."""

    seconds = 0.0

    def work(self, engine: Engine, claims: Sequence[Claim], beat: Callable[[], None]) -> Iterator[Outcome]:
        self.before(claims[0])
        began = time.monotonic()
        try:
            while True:
                beat()
                time.sleep(0.02)
        finally:
            self.seconds = time.monotonic() - began
        yield from ()


def test_a_stop_that_has_lost_its_patience_gives_back_what_is_in_hand(engine: Engine):
    add_rows(engine, 2)
    daemon = Long()
    loop = Loop(engine, [daemon], patience=0.5)
    daemon.before = lambda _claim: loop.stop()
    loop.run()
    assert 0.4 < daemon.seconds < 5
    assert {(row.state, row.attempts, row.token) for row in left(engine)} == {(WorkState.WAITING, 0, None)}


def test_a_loop_has_ended_when_its_walltime_is_over(engine: Engine):
    add_rows(engine, 1)
    began = time.monotonic()
    Loop(engine, [daemon := Long()], patience=0.5, walltime=21.5).run()  # 20 s of it are kept for storing
    assert time.monotonic() - began < 10
    assert daemon.seconds > 1
    assert left(engine)[0].attempts == 0


def test_what_came_some_way_before_it_was_interrupted_costs_no_attempt(engine: Engine):
    add_rows(engine, 1)
    failure = LabelFailure(ErrorClass.WALLTIME, "ended after 3 steps")

    class Part(Writer):
        def work(self, engine: Engine, claims: Sequence[Claim], beat: Callable[[], None]) -> Iterator[Outcome]:
            self.before(claims[0])
            with pytest.raises(Drained):
                beat()
            yield Failed(claims[0], failure, lambda session: None, unspent=True)

    loop = Loop(engine, [daemon := Part()], patience=0.0)
    daemon.before = lambda _claim: loop.stop()
    loop.run()
    row = left(engine)[0]
    assert (row.state, row.attempts, row.error_class) == (WorkState.WAITING, 0, ErrorClass.WALLTIME)
    assert row.run_after <= datetime.now(UTC)


def test_an_idle_worker_says_that_it_is_there(engine: Engine, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("workers.loop.ALIVE_SECONDS", 0.1)
    loop = Loop(engine, [Writer()], poll_seconds=0.1)
    thread = threading.Thread(target=loop.run)
    thread.start()
    time.sleep(1.0)
    loop.stop()
    thread.join()
    with Session(engine) as session:
        worker = session.query(Worker).one()
        assert worker.beat_at > worker.started_at + timedelta(seconds=0.3)


def lose_the_lease(engine: Engine) -> None:
    """What happens while a worker is frozen: its row is rescued and taken by another."""
    with engine.begin() as connection:
        connection.execute(text("UPDATE work SET lease_until = now() - interval '1 s'"))
    queue.rescue(engine, MAX_ATTEMPTS)
    queue.claim(engine, Kind.LABEL, queue.register(engine, [Kind.LABEL]), 9, 60)


def test_a_late_result_is_dropped(engine: Engine):
    add_rows(engine, 1)
    loop = Loop(engine, [daemon := Writer()])

    def late(_claim: Claim) -> None:
        lose_the_lease(engine)
        loop.stop()

    daemon.before = late
    loop.run()
    assert daemon.done == [0]
    assert sources(engine) == 0
    assert [row.state for row in left(engine)] == [WorkState.RUNNING]


def test_a_heart_keeps_a_lease_alive(engine: Engine):
    add_rows(engine, 1)
    worker = queue.register(engine, [Kind.LABEL])
    claim = queue.claim(engine, Kind.LABEL, worker, 1, 0.9)[0]
    with Heart(engine, claim, worker, 0.9) as heart:
        time.sleep(1.5)
        heart.check()
        assert queue.rescue(engine, MAX_ATTEMPTS) == 0


def test_silence_is_no_loss(engine: Engine, monkeypatch: pytest.MonkeyPatch):
    """A database that is away gives the row to nobody; once it is back the beats go on."""
    add_rows(engine, 1)
    worker = queue.register(engine, [Kind.LABEL])
    claim = queue.claim(engine, Kind.LABEL, worker, 1, 0.6)[0]
    away = OperationalError("beat", {}, Exception("no server"))
    with monkeypatch.context() as context, Heart(engine, claim, worker, 0.6) as heart:
        context.setattr(queue, "beat", raising(away))
        time.sleep(1.0)
        heart.check()
        context.undo()
        time.sleep(0.5)
        heart.check()
        assert queue.rescue(engine, MAX_ATTEMPTS) == 0


def raising(error: Exception) -> Callable[..., int]:
    def call(*_arguments: object) -> int:
        raise error

    return call


def test_a_heart_notices_that_the_row_is_gone(engine: Engine):
    add_rows(engine, 1)
    worker = queue.register(engine, [Kind.LABEL])
    claim = queue.claim(engine, Kind.LABEL, worker, 1, 0.9)[0]
    with Heart(engine, claim, worker, 0.9) as heart:
        lose_the_lease(engine)
        time.sleep(0.7)
        with pytest.raises(LeaseLost):
            heart.check()


def test_a_dead_workers_row_is_taken_again(engine: Engine):
    add_rows(engine, 1)
    queue.claim(engine, Kind.LABEL, queue.register(engine, [Kind.LABEL]), 1, 0.2)
    daemon = Writer()
    Loop(engine, [daemon], drain=True).run()
    assert daemon.done == [0]
    assert left(engine) == []


def test_a_loop_outlives_a_database_that_drops_its_connections(engine: Engine):
    add_rows(engine, 2)
    kill = text(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )

    def cut(_claim: Claim) -> None:
        with engine.connect() as connection:
            connection.execute(kill)

    daemon = Writer(batch=1, before=cut)
    Loop(engine, [daemon], poll_seconds=0.1, drain=True).run()
    assert left(engine) == []
    assert sources(engine) == 2


def test_a_row_that_breaks_its_daemon_fails_alone(engine: Engine):
    """The others of its batch are done, whether the break is in the work or in the writing of its result."""
    add_rows(engine, 3)

    def breaks(claim: Claim) -> None:
        if claim.subject_id == 1:
            raise RuntimeError("a poison row")

    daemon = Writer(before=breaks)
    loop = Loop(engine, [daemon], poll_seconds=0.05, on_outcome=lambda _outcome: len(left(engine)) > 1 or loop.stop())
    loop.run()
    (row,) = left(engine)
    assert (row.subject_id, row.state, row.error_class, row.attempts) == (1, WorkState.WAITING, ErrorClass.BUG, 1)
    assert "a poison row" in str(row.error)
    assert sources(engine) == 2


def test_a_result_that_can_not_be_written_fails_its_row(engine: Engine):
    add_rows(engine, 2)
    with Session(engine) as session, session.begin():
        session.add(Source(name="subject 0", licence="", citation=""))  # the name is unique
    daemon = Writer()
    loop = Loop(engine, [daemon], poll_seconds=0.05, on_outcome=lambda _outcome: len(left(engine)) > 1 or loop.stop())
    loop.run()
    (row,) = left(engine)
    assert (row.subject_id, row.state, row.error_class) == (0, WorkState.WAITING, ErrorClass.BUG)
    assert sources(engine) == 2


def test_an_idle_daemon_wakes_at_a_ring(engine: Engine):
    done = threading.Event()
    loop = Loop(engine, [Writer(before=lambda _claim: done.set())], poll_seconds=30)
    thread = threading.Thread(target=loop.run)
    thread.start()
    time.sleep(1.0)
    with Session(engine) as session, session.begin():
        make.work(session, subject_id=1)
        queue.ring(session)
    assert done.wait(10)
    loop.stop()
    with Session(engine) as session, session.begin():
        queue.ring(session)
    thread.join(10)
    assert not thread.is_alive()


def test_a_bell_without_a_database_waits_in_silence(engine: Engine):
    bell = queue.Bell(engine)
    bell.wait(0.01)
    with engine.begin() as connection:
        connection.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE query LIKE 'LISTEN%' AND datname = current_database()"
            )
        )
    bell.wait(0.05)
    bell.wait(0.05)
    bell.close()
