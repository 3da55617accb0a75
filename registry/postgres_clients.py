"""Programs of PostgreSQL that speak to a server. Passwords travel in the environment, never on a command line."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from collections.abc import Sequence

from sqlalchemy import make_url

from registry.errors import BackupError


def run_client(command: Sequence[str], url: str | None = None, output: int = subprocess.PIPE) -> str:
    """Run a program; what it printed. Raises BackupError with the first thing it complains about."""
    done = subprocess.run(command, env=_environment(url), stdout=output, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise BackupError(_complaint(command, done.stderr))
    return done.stdout or ""


def pipe_clients(writer: Sequence[str], reader: Sequence[str], url: str) -> None:
    """Have `reader` read what `writer` writes, both with the password in `url`.

    Raises BackupError with the complaint of the one that failed first: a writer whose reader has gone dies of SIGPIPE.
    """
    with tempfile.TemporaryFile("w+") as written, tempfile.TemporaryFile("w+") as read:
        first = subprocess.Popen(writer, env=_environment(url), stdout=subprocess.PIPE, stderr=written)
        second = subprocess.Popen(reader, env=_environment(url), stdin=first.stdout, stderr=read)
        if first.stdout:
            first.stdout.close()  # only the reader shall hold this end
        codes = first.wait(), second.wait()
        if not any(codes):
            return
        command, complaints = (reader, read) if codes[0] in (0, -signal.SIGPIPE) else (writer, written)
        complaints.seek(0)
        raise BackupError(_complaint(command, complaints.read()))


def without_password(url: str) -> str:
    """A libpq URI. The driver's name is SQLAlchemy's and unknown to libpq."""
    parsed = make_url(url).set(drivername="postgresql").difference_update_query(["password"])
    return parsed._replace(password=None).render_as_string(hide_password=False)


def _environment(url: str | None) -> dict[str, str]:
    environment = {**os.environ, "LC_ALL": "C"}
    if url is not None and (password := _password(url)):
        environment["PGPASSWORD"] = password
    return environment


def _password(url: str) -> str | None:
    parsed = make_url(url)
    return parsed.password or str(parsed.query.get("password", "")) or None


def _complaint(command: Sequence[str], told: str) -> str:
    lines = [line for line in told.splitlines() if "error" in line.lower()] or told.splitlines()
    return lines[0] if lines else f"{command[0]} failed"
