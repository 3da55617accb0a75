"""Calls that hang or crash, in real processes."""

import contextlib
import os
import signal
import time
from collections.abc import Iterator

import pytest

from workers.candidates.guard import Ended, Guarded


def asked(what: str) -> str:
    if what == "hang":
        while True:
            time.process_time()
    if what == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    return f"{what} done"


@pytest.fixture
def guarded() -> Iterator[Guarded[str]]:
    guard = Guarded(asked, seconds=0.3)
    yield guard
    guard.close()


def test_what_hangs_or_crashes_ends_and_the_next_call_is_answered(guarded: Guarded[str]) -> None:
    assert guarded("one") == "one done"
    with pytest.raises(Ended, match="took too long"):
        guarded("hang")
    assert guarded("two") == "two done"
    with pytest.raises(Ended, match=r"crashed \(-11\)"):
        guarded("crash")
    assert guarded("three") == "three done"


def interrupted(what: str) -> str:
    os.kill(os.getppid(), signal.SIGINT)
    time.sleep(0.2)
    return f"{what} done"


@pytest.fixture
def interruptible() -> Iterator[None]:
    """What a shell starts in the background ignores Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_the_answer_of_an_interrupted_call_is_not_the_next_ones() -> None:
    with contextlib.closing(Guarded(interrupted, seconds=5.0)) as guard:
        with pytest.raises(KeyboardInterrupt):
            guard("one")
        guard.function = asked
        assert guard("two") == "two done"
