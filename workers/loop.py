"""The life of a daemon: rescue, enqueue, claim, work without a transaction, commit result and finish together.

Every kind of work is a `Daemon`; this module knows nothing of what they do.
"""

from __future__ import annotations

import logging
import math
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from types import FrameType
from typing import Protocol

from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from registry import queue
from registry.errors import Drained, Interrupted, LabelFailure, LeaseLost
from registry.queue import Claim
from registry.states import ErrorClass, Kind
from workers.retries import MAX_ATTEMPTS, POLICIES, Then, retry_delay

log = logging.getLogger("lode.worker")

ALIVE_SECONDS = 60.0
REFUSED_SECONDS = 600.0  # that a result is offered to a server that is there but has no room, or no time, for it
STORING_SECONDS = 20.0
"""What storing a result may take, at the end of a walltime or with a database that is away while the loop stops."""

Commit = Callable[[Session], None]


@dataclass(frozen=True)
class Done:
    """A claim that was worked on: `write` stores its result in the session that also finishes the claim."""

    claim: Claim
    write: Commit


@dataclass(frozen=True)
class Failed:
    """A claim whose attempt failed: `write` stores what is known of the attempt.

    changed: whether the next attempt will go another way; unspent: whether this one counts for nothing, as it came
    some way and was interrupted
    """

    claim: Claim
    failure: LabelFailure
    write: Commit
    changed: bool = False
    unspent: bool = False

    @property
    def delay(self) -> float | None:
        """Seconds until the next attempt; None where there shall be none."""
        return 0.0 if self.unspent else retry_delay(self.failure.error_class, self.claim.attempts, self.changed)


Outcome = Done | Failed


@dataclass(frozen=True)
class Together:
    """Claims of one batch that are settled in one commit: `write` gets those that are still ours.

    It stores their results, and returns the failures by claim id; all others are done.
    """

    claims: Sequence[Claim]
    write: Callable[[Session, Sequence[Claim]], Mapping[int, LabelFailure]]


class Daemon(Protocol):
    """One kind of work. `prepare` reads rows in a short session; `work` runs long and holds no connection."""

    kind: Kind
    batch: int
    lease_seconds: float

    def work(self, engine: Engine, claims: Sequence[Claim], beat: Callable[[], None]) -> Iterator[Outcome | Together]:
        """Yield an outcome for every claim as soon as it's there, alone or with others."""
        ...


@dataclass
class Loop:
    """Runs daemons until stopped or, with `drain`, until nothing of their kinds is left.

    patience: seconds that what is in hand has after a stop, before it goes back as far as it came
    walltime: seconds from now after which the loop has to have ended; it stops in time for that
    """

    engine: Engine
    daemons: Sequence[Daemon]
    poll_seconds: float = 2.0
    drain: bool = False
    patience: float = 10.0
    walltime: float | None = None
    on_outcome: Callable[[Outcome], None] = lambda _outcome: None

    def __post_init__(self) -> None:
        self._stop = threading.Event()
        self._patient_until = math.inf
        self._bell = queue.Bell(self.engine)
        self._looked: dict[Kind, float] = {}
        self._told_alive = time.monotonic()

    def stop(self) -> None:
        """Finish what can be finished in patience, give the rest back, and return from `run`."""
        self._patient_until = min(self._patient_until, time.monotonic() + self.patience)
        self._stop.set()

    def stop_on_signals(self) -> None:
        """SIGTERM, SIGINT, and SIGUSR1 as schedulers send it ahead of the end, drain the daemon."""

        def handler(_number: int, _frame: FrameType | None) -> None:
            self.stop()

        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
            signal.signal(number, handler)

    def run(self) -> None:
        worker_id = queue.register(self.engine, [daemon.kind for daemon in self.daemons])
        with self._clock():
            try:
                while not self._stop.is_set() and not self._turn(worker_id):
                    pass
            finally:
                self._bell.close()
                queue.retire(self.engine, worker_id)

    @contextmanager
    def _clock(self) -> Iterator[None]:
        """Stops the loop ahead of its walltime, by its patience and what storing may take."""
        if self.walltime is None:
            yield
            return
        timer = threading.Timer(max(0.0, self.walltime - self.patience - STORING_SECONDS), self.stop)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _turn(self, worker_id: int) -> bool:
        """One look at every kind; True where a drain is over. A database that is away is waited for."""
        try:
            queue.rescue(self.engine, MAX_ATTEMPTS)
            claims = sum(self._serve(daemon, worker_id) for daemon in self.daemons)
            return claims == 0 and self._idle(worker_id)
        except OperationalError as error:
            log.warning("the database is away, trying again: %s", error.orig)
            self._stop.wait(self.poll_seconds)
            return False

    def _idle(self, worker_id: int) -> bool:
        """True where a drain is over; otherwise sleeps until there is news, or until the next look."""
        if self.drain and not any(queue.open_work(self.engine, daemon.kind) for daemon in self.daemons):
            return True
        if not self._stop.is_set():
            self._bell.wait(self.poll_seconds if not self.drain else 0.2)
            self._tell_alive(worker_id)
        self._looked.clear()
        return False

    def _tell_alive(self, worker_id: int) -> None:
        """Who is idle beats for no row: once a minute it says that it is there."""
        if time.monotonic() - self._told_alive > ALIVE_SECONDS:
            queue.alive(self.engine, worker_id)
            self._told_alive = time.monotonic()

    def _serve(self, daemon: Daemon, worker_id: int) -> int:
        if self._stop.is_set():
            return 0
        self._look(daemon.kind)
        claims = queue.claim(self.engine, daemon.kind, worker_id, daemon.batch, daemon.lease_seconds)
        if claims:
            self._bell.close()  # a daemon at work holds no connection
            with Heart(self.engine, claims[0], worker_id, daemon.lease_seconds) as heart:
                try:
                    self._work(daemon, claims, heart)
                finally:  # whatever is left when the loop is stopped goes back unharmed
                    queue.give_back(self.engine, claims[0].token)
        return len(claims)

    def _look(self, kind: Kind) -> None:
        """Ask the view what is missing: it reads much, so not for every row of a busy daemon."""
        now = time.monotonic()
        if now - self._looked.get(kind, -self.poll_seconds) >= self.poll_seconds:
            queue.enqueue(self.engine, kind)
            self._looked[kind] = now

    def _work(self, daemon: Daemon, claims: Sequence[Claim], heart: Heart) -> None:
        """Store outcomes as they come. A row that breaks its batch is found by working on each alone, and fails."""
        left = {claim.id: claim for claim in claims}
        try:
            for outcome in daemon.work(self.engine, claims, partial(self._check, heart)):
                self._store(outcome)
                for claim in outcome.claims if isinstance(outcome, Together) else [outcome.claim]:
                    del left[claim.id]
                if self._stop.is_set():
                    return
        except Interrupted as interrupted:
            log.warning("%s", interrupted)
        except OperationalError:
            raise
        except Exception:
            log.exception("%s: %d rows broke the daemon", daemon.kind, len(left))
            self._isolate(daemon, list(left.values()), heart)

    def _check(self, heart: Heart) -> None:
        """What work asks between its steps. Raises LeaseLost, and Drained once a stop has lost its patience."""
        heart.check()
        if time.monotonic() > self._patient_until:
            raise Drained("the daemon is to end: what is in hand goes back")

    def _isolate(self, daemon: Daemon, claims: Sequence[Claim], heart: Heart) -> None:
        """Called while an exception is handled: a row alone is to blame, of several each is tried by itself."""
        if len(claims) == 1:
            self._store(Failed(claims[0], LabelFailure(ErrorClass.BUG, traceback.format_exc(limit=-3)), _nothing))
            return
        for claim in claims:
            if not self._stop.is_set():
                self._work(daemon, [claim], heart)

    def _store(self, outcome: Outcome | Together) -> None:
        """A result is kept until the database takes it: what was computed for hours outlives a restarted server."""
        given_up = math.inf
        while True:
            try:
                with Session(self.engine) as session, session.begin():
                    told = _settled(session, outcome)
                break
            except LeaseLost as lost:
                log.warning("%s", lost)
                return
            except OperationalError as error:
                if self._stop.is_set():
                    given_up = min(given_up, time.monotonic() + STORING_SECONDS)
                elif not is_away(error):
                    given_up = min(given_up, time.monotonic() + REFUSED_SECONDS)
                if time.monotonic() > given_up:
                    raise
                log.warning("the database is away, the result waits for it: %s", error.orig)
                time.sleep(min(self.poll_seconds, 1.0))
        for one in told:
            self.on_outcome(one)


def is_away(error: OperationalError) -> bool:
    """Whether there was no connection (SQLSTATE 08, 57P, or none at all); else the server itself refused."""
    state = getattr(error.orig, "sqlstate", None)
    return state is None or state.startswith(("08", "57P"))


def _settled(session: Session, outcome: Outcome | Together) -> list[Outcome]:
    return _settle_together(session, outcome) if isinstance(outcome, Together) else _settle(session, outcome)


def _settle(session: Session, outcome: Outcome) -> list[Outcome]:
    """Settles the claim first: a late result must not even try to be written."""
    if isinstance(outcome, Done):
        queue.finish(session, outcome.claim)
    elif outcome.unspent:
        queue.go_on(session, outcome.claim, outcome.failure.error_class, str(outcome.failure))
    else:
        _fail(session, outcome)
    outcome.write(session)
    return [outcome]


def _fail(session: Session, outcome: Failed) -> None:
    error_class = outcome.failure.error_class
    elsewhere = POLICIES[ErrorClass(error_class)].then is Then.ELSEWHERE
    queue.fail(session, outcome.claim, error_class, str(outcome.failure), outcome.delay, elsewhere)


def _settle_together(session: Session, outcome: Together) -> list[Outcome]:
    """What became of each claim; those that are no longer ours are left to whoever has them."""
    held = queue.hold(session, outcome.claims)
    if len(held) < len(outcome.claims):
        log.warning("%d of %d rows were taken away meanwhile", len(outcome.claims) - len(held), len(outcome.claims))
    failures = outcome.write(session, held) if held else {}
    done = [claim for claim in held if claim.id not in failures]
    failed = [Failed(claim, failures[claim.id], _nothing) for claim in held if claim.id in failures]
    queue.finish_held(session, done)
    for one in failed:
        _settle(session, one)
    return [*(Done(claim, _nothing) for claim in done), *failed]


def _nothing(_session: Session) -> None:
    """A row that broke its daemon leaves the traceback in the row of work."""


class Heart:
    """Beats for a batch of claims from a thread of its own, at a third of the lease."""

    def __init__(self, engine: Engine, claim: Claim, worker_id: int, lease_seconds: float) -> None:
        self._engine, self._claim, self._worker_id = engine, claim, worker_id
        self._lease_seconds = lease_seconds
        self._stop = threading.Event()
        self._lost = False
        self._thread = threading.Thread(target=self._beat, name="heart", daemon=True)

    def __enter__(self) -> Heart:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def check(self) -> None:
        """Raise LeaseLost once the rows are gone.

        Silence is no loss: a database that is away gives them to nobody. Where it is there for others only, they may
        be another's by now, and the token keeps this result from being stored: time is lost, no more.
        """
        if self._lost:
            raise LeaseLost(f"{self._claim.kind} {self._claim.subject_id}: the lease ran out while it was worked on")

    def _beat(self) -> None:
        """After a beat that did not come through the next is soon: the lease may end right after the server is back."""
        rest = self._lease_seconds / 3
        while not self._stop.wait(rest):
            try:
                held = queue.beat(self._engine, self._claim.token, self._worker_id, self._lease_seconds)
                self._lost, rest = held == 0, self._lease_seconds / 3
            except OperationalError as error:
                rest = min(1.0, self._lease_seconds / 3)
                log.warning("a beat didn't reach the database: %s", error.orig)
