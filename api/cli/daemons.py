"""Daemons in processes of their own on this machine: one a core, stopped with the command that started them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from registry.errors import LodeError

STOP_SECONDS = 120.0


class LocalDaemons:
    """`count` processes of `lode worker run KINDS`, each writing its log into `folder`."""

    def __init__(self, kinds: Sequence[str], count: int, folder: Path) -> None:
        self._command = [sys.executable, "-m", "api.cli.main", "worker", "run", *kinds, "--poll", "0.5"]
        self._count, self._folder = count, folder
        self._processes: list[subprocess.Popen[bytes]] = []
        self._logs: list[IO[bytes]] = []

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        for number in range(self._count):
            log = (self._folder / f"worker-{number}.log").open("ab")
            self._logs.append(log)
            self._processes.append(subprocess.Popen(self._command, stdout=log, stderr=log, stdin=subprocess.DEVNULL))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Drain them; whoever does not end in time is killed (its row goes back when the lease ends)."""
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for log in self._logs:
            log.close()

    def check(self) -> None:
        """Raise LodeError when none of them is alive."""
        if all(process.poll() is not None for process in self._processes):
            raise LodeError(f"all workers have stopped; their logs are in {self._folder}")
