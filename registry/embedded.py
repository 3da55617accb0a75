"""A PostgreSQL of our own in LODE_HOME: `start`, `stop`, `status`. A daemon, so it outlives whoever started it.

    LODE_HOME/postgres/data        the cluster (0700, owned by the account that the server runs as)
    LODE_HOME/postgres/run         its unix socket; where that path is too long, TCP on 127.0.0.1 and a file `port`
    LODE_HOME/postgres/password    of the role `lode`, readable by the caller alone
    LODE_HOME/postgres/server.log

An upgrade (registry/upgrade.py) puts a newer cluster in the place of `data`; a start finishes or clears away what a
killed one left.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from registry import swap
from registry.accounts import account_for
from registry.cluster import (
    DATABASE,
    THROWAWAY,
    Answer,
    Folders,
    ask,
    bring_up,
    create_cluster,
    end_server,
    server_pid,
    url_of,
)
from registry.errors import DatabaseUnavailable
from registry.postgres_binaries import find_binaries


@dataclass(frozen=True)
class Status:
    """`url` is set while the server answers; `pid` while its process lives."""

    url: str | None
    pid: int | None
    data: Path
    log: Path


def start(
    home: Path,
    *,
    bin_dir: Path | None = None,
    durable: bool = True,
    timeout: float = 600.0,
) -> str:
    """Start the server of `home`, or find it running; its URL, as soon as `SELECT 1` is answered.

    Without `durable` it is fast and loses everything in a power cut: for tests. Raises DatabaseUnavailable with the
    end of the server's log.
    """
    folders = folders_of(home)
    with refusing(home), swap.lock(folders) as lock:
        swap.settle(folders)
        binaries = find_binaries(bin_dir)
        account = account_for(folders.data, home, needs=[binaries.postgres, folders.root])
        if not folders.data.exists():
            create_cluster(folders, binaries, account, lock, durable=durable)
        binaries.check_version(folders.data)
        bring_up(folders, binaries, account, {} if durable else THROWAWAY, timeout)
        _create_database(folders)
        return url_of(folders)


def stop(home: Path, *, timeout: float = 120.0) -> bool:
    """Stop the server of `home`, open transactions rolled back. False when none ran."""
    folders = folders_of(home)
    if not folders.root.exists():
        return False
    with refusing(home), swap.lock(folders):
        swap.settle(folders)
        return end_server(folders, timeout)


def status(home: Path) -> Status:
    """What runs now; starts and changes nothing."""
    folders = folders_of(home)
    with refusing(home):
        answers = folders.password.exists() and ask(folders) is Answer.READY
        return Status(url_of(folders) if answers else None, server_pid(folders), folders.data, folders.log)


def check_cluster(home: Path, bin_dir: Path | None = None) -> str:
    """Which cluster is in `home`. Raises DatabaseUnavailable where the binaries in use can't serve it."""
    folders, binaries = folders_of(home), find_binaries(bin_dir)
    with refusing(home):
        if not folders.data.exists():
            return "none yet: `lode init` makes one"
        binaries.check_version(folders.data)
    return f"PostgreSQL {binaries.major()}"


def folders_of(home: Path) -> Folders:
    """Where `home` keeps its server."""
    return Folders(home.expanduser().resolve() / "postgres")


@contextlib.contextmanager
def refusing(home: Path) -> Iterator[None]:
    """Speak of folders that the caller may not enter or write, instead of a traceback."""
    try:
        yield
    except PermissionError as error:
        raise DatabaseUnavailable(
            f"{error.filename or home} belongs to another account: run lode as its owner, or set LODE_HOME"
        ) from error
    except OSError as error:  # a file in the place of a folder, a disk that is full or only read
        told = error.strerror or error
        raise DatabaseUnavailable(f"{error.filename or home}: {told}: mend it, or set LODE_HOME") from error


def _create_database(folders: Folders) -> None:
    import psycopg

    with psycopg.connect(url_of(folders, "postgres"), autocommit=True) as connection:
        if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone():
            connection.execute(f"CREATE DATABASE {DATABASE}")
