"""A function called in a process of its own, which may hang or crash there and stops nobody.

Symmetry searches and guesses of oxidation states run in compiled or combinatorial code that no exception can end.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, Generic, TypeVar

Result = TypeVar("Result")
WAIT = 30
"""Seconds on the clock for each second of CPU: a busy machine ends nothing that a quiet one wouldn't."""


class Ended(Exception):
    """The process ended in the middle of a call; the message says why."""


@dataclass(eq=False)
class Guarded(Generic[Result]):
    """`function` (of a module), each call ended after so many seconds of CPU. Arguments and results are pickled.

    The process starts with the first call, and anew after one that it didn't survive. It ends with this one.
    """

    function: Callable[..., Result]
    seconds: float
    _process: BaseProcess | None = field(default=None, init=False)
    _pipe: Connection | None = field(default=None, init=False)

    def __call__(self, *arguments: object) -> Result:
        """Raises Ended; EOFError where no process can be started from here (a script that is read from a pipe)."""
        pipe = self._pipe or self._start()
        try:
            pipe.send(arguments)
            result: Result = pipe.recv()
        except (EOFError, OSError) as error:
            raise Ended(self._why()) from error
        except BaseException:  # Ctrl-C: its answer, still to come, would be taken for the next call's
            self.close()
            raise
        return result

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
        self._process = self._pipe = None

    def _start(self) -> Connection:
        context = multiprocessing.get_context("spawn")  # a fork would take locks of other threads along
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, self.function, self.seconds), daemon=True)
        self._process.start()
        theirs.close()
        self._pipe.recv()  # EOFError: it can't be started at all, which is no call's fault
        return self._pipe

    def _why(self) -> str:
        assert self._process is not None
        self._process.join()
        code = self._process.exitcode
        self._process = self._pipe = None
        return "took too long" if code in (-signal.SIGPROF, -signal.SIGALRM) else f"crashed ({code})"


def _serve(pipe: Connection, function: Callable[..., Any], seconds: float) -> None:
    """The system ends this process when a timer runs out, whatever code is running."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent
    for number in (signal.SIGPROF, signal.SIGALRM):
        signal.signal(number, signal.SIG_DFL)
    pipe.send("ready")
    while True:
        try:
            arguments = pipe.recv()
        except EOFError:
            return
        _set_timers(seconds)
        result = function(*arguments)
        _set_timers(0)
        pipe.send(result)


def _set_timers(seconds: float) -> None:
    signal.setitimer(signal.ITIMER_PROF, seconds)
    signal.setitimer(signal.ITIMER_REAL, seconds * WAIT)
