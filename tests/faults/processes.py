"""Daemons of tests in processes of their own, which may be killed or stopped there, and waiting for what they do."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]


@contextlib.contextmanager
def daemon(name: str, *arguments: object) -> Iterator[subprocess.Popen[bytes]]:
    """`python -m tests.faults.NAME ARGUMENTS`, killed at the end."""
    command = [sys.executable, "-m", f"tests.faults.{name}", *map(str, arguments)]
    process = subprocess.Popen(command, cwd=ROOT)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGCONT)
        process.kill()
        process.wait()


def until(condition: Callable[[], bool], seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.1)
