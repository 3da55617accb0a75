"""A program that ends with whoever wanted it: python -m workers.engines.watched COMMAND...

Started in a session of its own, with a pipe as standard input that its starter holds open. When the pipe closes, be it
that the starter was killed, every process of the session is killed: MPI gives its ranks process groups of their own,
but no session. When the program ends, what it left behind is killed too, and this process ends as the program did,
by the same signal or with the same code.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

MEMORY = "LODE_WATCHED_MEMORY"
"""The environment's word for the bytes that each process may have."""

NOT_FOUND = 127
"""Exit code where there is no such program, as shells have it."""


def processes_of(session: int) -> Iterator[int]:
    """The processes of a session, by what the system says now."""
    import psutil

    for pid in psutil.pids():
        with contextlib.suppress(OSError):
            if os.getsid(pid) == session:
                yield pid


def kill_session(session: int) -> None:
    """Kill every process of a session but this one, also those that begin meanwhile."""
    while others := [pid for pid in processes_of(session) if pid != os.getpid() and not _is_dead(pid)]:
        for pid in others:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _is_dead(pid: int) -> bool:
    """Gone, or waiting for its parent to notice."""
    import psutil

    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def _end_with_input() -> None:
    while os.read(0, 1024):
        pass
    kill_session(os.getsid(0))
    os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    """Run the program and end as it does."""
    if limit := os.environ.get(MEMORY):
        resource.setrlimit(resource.RLIMIT_DATA, (int(limit), int(limit)))
    try:
        program = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
    except OSError as error:
        print(f"{sys.argv[1]}: {error.strerror}", file=sys.stderr, flush=True)
        os._exit(NOT_FOUND)
    threading.Thread(target=_end_with_input, daemon=True).start()
    code = program.wait()
    kill_session(os.getsid(0))
    if code >= 0:
        os._exit(code)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # of the program, not of this process, is a core of use
    signal.signal(-code, signal.SIG_DFL) if -code not in (signal.SIGKILL, signal.SIGSTOP) else None
    os.kill(os.getpid(), -code)


if __name__ == "__main__":
    main()
