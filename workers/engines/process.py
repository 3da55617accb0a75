"""Programs that compute labels: each run in a folder and a session of its own, watched until it ends or must end."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from registry.states import ErrorClass
from workers.engines.base import Machine
from workers.engines.watched import MEMORY, NOT_FOUND, kill_session

POLL_SECONDS = 0.2
GRACE_SECONDS = 5.0
TAIL = 4000  # bytes of the log that are kept of a failure
WATCHED = "workers.engines.watched"
DISK_FULL = 74  # exit code of our programs, as of sysexits.h: what they would say went to the full disk, too
HOST = re.sub(r"\W", "_", socket.gethostname())
SCRATCH = re.compile(rf"lode-\w+-{HOST}-(\d+)-\w+")
OOM_COUNTERS = (Path("/sys/fs/cgroup/memory.events"), Path("/proc/vmstat"))


@dataclass(frozen=True)
class Ended:
    """How a program ended.

    code: its exit code, None where a signal ended it; signal: that signal's name, "SIGSEGV"; tail: of what it said
    cpu_seconds: of it and all its processes that it waited for
    out_of_memory: whether the kernel killed for want of memory meanwhile
    """

    code: int | None
    signal: str | None
    tail: str
    cpu_seconds: float
    out_of_memory: bool = False

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
    memory: int | None = None,
) -> Ended:
    """Run a command in a folder until it ends; what it says goes to `log`. memory: bytes that each process may have.

    `watch` is called several times a second. Whatever it raises ends the program with all its processes, and goes on
    up. So does the end of this process, however it comes.
    """
    before, killed_before = _cpu_of_children(), killed_for_memory()
    limit = {} if memory is None else {MEMORY: str(memory)}
    with log.open("ab") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", WATCHED, *command],
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=said,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONPATH": _with_ours(), **limit, **(environment or {})},
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
        out_of_memory=code == -signal.SIGKILL and killed_for_memory() > killed_before,
    )


def class_of(ended: Ended) -> ErrorClass:
    """Of a program that left no result."""
    said = ended.tail.lower()
    if ended.missing:
        return ErrorClass.MISSING_ENGINE
    if ended.out_of_memory or any(words in said for words in ("memoryerror", "bad_alloc", "out of memory")):
        return ErrorClass.OUT_OF_MEMORY
    if ended.code == DISK_FULL or "no space left on device" in said:
        return ErrorClass.DISK_FULL
    return ErrorClass.KILLED if ended.signal in ("SIGKILL", "SIGTERM", "SIGINT", "SIGHUP") else ErrorClass.BUG


def _sweep(parent: Path) -> None:
    """Remove our folders whose process has died without: they may hold wave functions of gigabytes."""
    import psutil

    for folder in parent.iterdir():
        owner = SCRATCH.fullmatch(folder.name)
        if owner and not psutil.pid_exists(int(owner[1])) and folder.stat().st_uid == os.getuid():
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def scratch_folder(machine: Machine, name: str) -> Iterator[Path]:
    """A folder of its own for one calculation, gone afterwards; and those of killed processes of this host with it."""
    if machine.scratch is not None:
        machine.scratch.mkdir(parents=True, exist_ok=True)
    _sweep(machine.scratch or Path(tempfile.gettempdir()))
    folder = Path(tempfile.mkdtemp(prefix=f"lode-{name}-{HOST}-{os.getpid()}-", dir=machine.scratch))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def killed_for_memory() -> int:
    """How often the kernel has killed for want of memory so far, by the first counter that is here."""
    for counter in OOM_COUNTERS:
        if counter.exists():
            lines = [line.split() for line in counter.read_text().splitlines()]
            return next((int(line[1]) for line in lines if line[0] == "oom_kill"), 0)
    return 0


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
