"""Programs that compute labels: each run in a folder and a session of its own, watched until it ends or must end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from workers.engines.watched import NOT_FOUND, kill_session

POLL_SECONDS = 0.2
GRACE_SECONDS = 5.0
TAIL = 4000  # bytes of the log that are kept of a failure
WATCHED = "workers.engines.watched"


@dataclass(frozen=True)
class Ended:
    """How a program ended.

    code: its exit code, None where a signal ended it; signal: that signal's name, "SIGSEGV"; tail: of what it said
    cpu_seconds: of it and all its processes that it waited for
    """

    code: int | None
    signal: str | None
    tail: str
    cpu_seconds: float

    @property
    def missing(self) -> bool:
        """Whether there was no such program to run."""
        return self.code == NOT_FOUND

    def __str__(self) -> str:
        how = f"ended by {self.signal}" if self.signal else f"ended with code {self.code}"
        last = self.tail.strip().splitlines()[-1:]
        return f"{how}: {last[0][:300]}" if last else how


def run(
    command: Sequence[str],
    folder: Path,
    log: Path,
    watch: Callable[[], None],
    environment: Mapping[str, str] | None = None,
) -> Ended:
    """Run a command in a folder until it ends; what it says goes to `log`.

    `watch` is called several times a second. Whatever it raises ends the program with all its processes, and goes on
    up. So does the end of this process, however it comes.
    """
    before = _cpu_of_children()
    with log.open("ab") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", WATCHED, *command],
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=said,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONPATH": _with_ours(), **(environment or {})},
            start_new_session=True,
        )
    try:
        while process.poll() is None:
            watch()
            time.sleep(POLL_SECONDS)
    finally:
        _end(process)
    code = process.returncode
    return Ended(
        code=code if code >= 0 else None,
        signal=signal.Signals(-code).name if code < 0 else None,
        tail=tail_of(log),
        cpu_seconds=_cpu_of_children() - before,
    )


def tail_of(log: Path) -> str:
    """The last TAIL bytes of a file, from the beginning of a line."""
    with log.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - TAIL))
        text = file.read().decode(errors="replace")
    return text if size <= TAIL else text.partition("\n")[2]


def _with_ours() -> str:
    """PYTHONPATH by which the program's folder finds this package, also where it isn't installed."""
    ours = str(Path(__file__).parents[2])
    return os.pathsep.join([ours, *filter(None, [os.environ.get("PYTHONPATH")])])


def _cpu_of_children() -> float:
    times = os.times()
    return times.children_user + times.children_system


def _end(process: subprocess.Popen[bytes]) -> None:
    """The pipe closes, by which the watcher kills all; and what outlives a watcher that was killed itself."""
    assert process.stdin is not None
    process.stdin.close()
    try:
        process.wait(GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    kill_session(process.pid)
