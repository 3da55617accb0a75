"""A PostgreSQL of our own in LODE_HOME: `start`, `stop`, `status`. A daemon, so it outlives whoever started it.

    LODE_HOME/postgres/data        the cluster (0700, owned by the account that the server runs as)
    LODE_HOME/postgres/run         its unix socket; where that path is too long, TCP on 127.0.0.1 and a file `port`
    LODE_HOME/postgres/password    of the role `lode`, readable by the caller alone
    LODE_HOME/postgres/server.log

Liveness is an answer to `SELECT 1`. The pid in postmaster.pid is believed only when that process names our data folder.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from urllib.parse import quote

from registry.accounts import Account, account_for
from registry.errors import DatabaseUnavailable
from registry.postgres_binaries import Binaries, find_binaries

ROLE = DATABASE = "lode"
SOCKET_PORT = 5432
SOCKET_PATH_BYTES = 103  # sun_path less its NUL: 107 on Linux, 103 on macOS
NO_PROCESS = 2**31 - 1  # above every kernel's pid_max
POLL_SECONDS = 0.05
LOG_BYTES = 16 * 1024 * 1024

LAPTOP: Mapping[str, str] = {
    "max_connections": "60",
    "shared_buffers": "256MB",
    "effective_cache_size": "2GB",
    "work_mem": "16MB",
    "maintenance_work_mem": "256MB",
    "max_wal_size": "2GB",
    "random_page_cost": "1.1",
    "jit": "off",
    "log_checkpoints": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "unix_socket_permissions": "0700",
}
# synchronous_commit stays on: without it a killed server forgets what it had committed, and tests kill servers.
THROWAWAY: Mapping[str, str] = {
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "64MB",
}


@dataclass(frozen=True)
class Status:
    """`url` is set while the server answers; `pid` while its process lives."""

    url: str | None
    pid: int | None
    data: Path
    log: Path


class _Answer(Enum):
    READY = "ready"
    BUSY = "starting, recovering or shutting down"
    NONE = "nobody listens"


@dataclass(frozen=True)
class _Folders:
    """Where one LODE_HOME keeps its server."""

    root: Path

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def run(self) -> Path:
        return self.root / "run"

    @property
    def log(self) -> Path:
        return self.root / "server.log"

    @property
    def password(self) -> Path:
        return self.root / "password"

    @property
    def port(self) -> Path:
        return self.root / "port"

    @property
    def pid(self) -> Path:
        return self.data / "postmaster.pid"

    @property
    def socket_fits(self) -> bool:
        return len(os.fsencode(self.run / f".s.PGSQL.{SOCKET_PORT}")) <= SOCKET_PATH_BYTES


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
    folders = _folders(home)
    with _refusing(home), _lock(folders) as lock:
        binaries = find_binaries(bin_dir)
        account = account_for(folders.data, home, needs=[binaries.postgres, folders.root])
        if not folders.data.exists():
            _create_cluster(folders, binaries, account, lock, durable=durable)
        binaries.check_version(folders.data)
        _bring_up(folders, binaries, account, {} if durable else THROWAWAY, timeout)
        _create_database(folders)
        return _url(folders)


def stop(home: Path, *, timeout: float = 120.0) -> bool:
    """Stop the server of `home`, open transactions rolled back. False when none ran."""
    folders = _folders(home)
    if not folders.root.exists():
        return False
    with _refusing(home), _lock(folders):
        pid = _server_pid(folders)
        if pid is None:
            return False
        os.kill(pid, signal.SIGINT)
        _wait_for_end(folders, pid, timeout)
        return True


def status(home: Path) -> Status:
    """What runs now; starts and changes nothing."""
    folders = _folders(home)
    with _refusing(home):
        answers = folders.password.exists() and _ask(folders) is _Answer.READY
        return Status(_url(folders) if answers else None, _server_pid(folders), folders.data, folders.log)


def _folders(home: Path) -> _Folders:
    return _Folders(home.expanduser().resolve() / "postgres")


@contextlib.contextmanager
def _refusing(home: Path) -> Iterator[None]:
    """Speak of folders that the caller may not enter, instead of a traceback."""
    try:
        yield
    except PermissionError as error:
        raise DatabaseUnavailable(
            f"{error.filename or home} belongs to another account: run lode as its owner, or set LODE_HOME"
        ) from error


@contextlib.contextmanager
def _lock(folders: _Folders) -> Iterator[int]:
    """One start or stop at a time; the kernel frees the lock of a killed process. Gives the lock's descriptor."""
    folders.root.mkdir(parents=True, exist_ok=True)
    with (folders.root / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file.fileno()


def _create_cluster(folders: _Folders, binaries: Binaries, account: Account, lock: int, *, durable: bool) -> None:
    """initdb beside the final place, then rename: a start that is killed leaves no half cluster behind.

    initdb inherits the lock, so that nobody else starts while one that lost its caller still writes.
    """
    for leftover in folders.root.glob("initdb-*"):
        shutil.rmtree(leftover)
    draft = Path(tempfile.mkdtemp(prefix="initdb-", dir=folders.root))
    password = secrets.token_urlsafe(24)
    _write_private(draft / "password", password)
    account.own(draft, draft / "password")
    _initdb(draft, binaries, account, lock, durable=durable)
    with (draft / "data" / "postgresql.conf").open("a") as file:
        file.writelines(f"{name} = '{value}'\n" for name, value in LAPTOP.items())
    _write_private(folders.password, password)
    (draft / "data").rename(folders.data)
    shutil.rmtree(draft)


def _initdb(draft: Path, binaries: Binaries, account: Account, lock: int, *, durable: bool) -> None:
    command = [
        str(binaries.initdb),
        f"--pgdata={draft / 'data'}",
        f"--username={ROLE}",
        f"--pwfile={draft / 'password'}",
        "--auth=scram-sha-256",
        "--encoding=UTF8",
        "--locale=C",
        *([] if durable else ["--no-sync"]),
    ]
    done = account.run(command, environment=_environment(), cwd=draft, keep_open=[lock])
    if done.returncode:
        raise DatabaseUnavailable(f"initdb failed:\n{done.stdout.strip()}")


def _write_private(file: Path, text: str) -> None:
    file.unlink(missing_ok=True)
    file.touch(mode=0o600, exist_ok=False)
    file.write_text(text)


def _bring_up(
    folders: _Folders, binaries: Binaries, account: Account, options: Mapping[str, str], timeout: float
) -> None:
    """Launch when nobody is there, wait for those who are, until `SELECT 1` is answered."""
    deadline = time.monotonic() + timeout
    launches_left = 3
    child: subprocess.Popen[bytes] | None = None
    while (answer := _ask(folders)) is not _Answer.READY:
        if child is not None and child.poll() is not None:
            _refuse_if(launches_left == 0, folders, "the server ended")
            child = None
            time.sleep(1.0)  # the last backends of a killed server may still hold its shared memory
        _refuse_if(time.monotonic() > deadline, folders, f"no answer within {timeout:g} s")
        if child is None and answer is _Answer.NONE and _server_pid(folders) is None:
            launches_left -= 1
            child = _launch(folders, binaries, account, options)
        time.sleep(POLL_SECONDS)


def _launch(
    folders: _Folders, binaries: Binaries, account: Account, options: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    _disown_pid_file(folders)
    if not folders.run.exists():
        folders.run.mkdir(mode=0o700)
        account.own(folders.run)
    if folders.log.exists() and folders.log.stat().st_size > LOG_BYTES:
        folders.log.replace(folders.log.with_suffix(".log.1"))
    settings = {**_address(folders), **options}
    arguments = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    command = [str(binaries.postgres), "-D", str(folders.data), *arguments]
    with folders.log.open("ab") as log:
        return account.spawn(command, environment=_environment(), cwd=folders.data, output=log)


def _disown_pid_file(folders: _Folders) -> None:
    """Make a stale postmaster.pid harmless, even where its pid belongs to somebody else by now.

    Only the pid is replaced: the file also names the shared memory by which PostgreSQL notices orphaned backends.
    """
    lines = _pid_lines(folders)
    if lines and _server_pid(folders) is None:
        folders.pid.write_text("\n".join([str(NO_PROCESS), *lines[1:], ""]))


def _pid_lines(folders: _Folders) -> list[str]:
    try:
        return folders.pid.read_text().splitlines()
    except FileNotFoundError:
        return []


def _server_pid(folders: _Folders) -> int | None:
    """The pid in postmaster.pid, if that process is a PostgreSQL told to serve our data folder."""
    import psutil

    lines = _pid_lines(folders)
    if not lines or not lines[0].isdigit():
        return None
    try:
        command = psutil.Process(int(lines[0])).cmdline()
    except (psutil.NoSuchProcess, psutil.AccessDenied, OverflowError):
        return None
    ours = str(folders.data) in command and "postgres" in Path(command[0]).name
    return int(lines[0]) if ours else None


def _wait_for_end(folders: _Folders, pid: int, timeout: float) -> None:
    deadline = time.monotonic() + timeout
    while _server_pid(folders) == pid:
        _refuse_if(time.monotonic() > deadline, folders, f"the server (pid {pid}) doesn't end")
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
        time.sleep(POLL_SECONDS)


def _refuse_if(wrong: bool, folders: _Folders, reason: str) -> None:
    if wrong:
        raise DatabaseUnavailable(f"embedded PostgreSQL: {reason}; the end of {folders.log}:\n{_log_end(folders)}")


def _log_end(folders: _Folders, lines: int = 8) -> str:
    return "\n".join(folders.log.read_text(errors="replace").splitlines()[-lines:]) if folders.log.exists() else ""


def _address(folders: _Folders) -> dict[str, str]:
    """Server settings: the unix socket where its path fits, else the loopback interface on a port that stays."""
    if folders.socket_fits:
        where = {"unix_socket_directories": str(folders.run), "listen_addresses": "", "port": str(SOCKET_PORT)}
    else:
        port = _free_port(_known_port(folders))
        folders.port.write_text(f"{port}\n")
        where = {"unix_socket_directories": "", "listen_addresses": "127.0.0.1", "port": str(port)}
    return where


def _known_port(folders: _Folders) -> int:
    """0 when none was chosen yet."""
    return int(folders.port.read_text()) if folders.port.exists() else 0


def _free_port(wish: int) -> int:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wish))
        except OSError:
            probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _url(folders: _Folders, database: str = DATABASE) -> str:
    """A libpq URI that SQLAlchemy understands as well."""
    password = folders.password.read_text()
    if folders.socket_fits:
        return f"postgresql://{ROLE}:{password}@/{database}?host={quote(str(folders.run), safe='')}&port={SOCKET_PORT}"
    return f"postgresql://{ROLE}:{password}@127.0.0.1:{_known_port(folders)}/{database}"


def _ask(folders: _Folders) -> _Answer:
    import psycopg

    try:
        with psycopg.connect(_url(folders, "postgres"), connect_timeout=10) as connection:
            connection.execute("SELECT 1")
    except psycopg.OperationalError as error:
        if "password authentication failed" in str(error) and _server_pid(folders) is not None:
            raise DatabaseUnavailable(f"{folders.password} isn't the password of role {ROLE}: restore it") from error
        return _understood(str(error))
    return _Answer.READY


def _understood(refusal: str) -> _Answer:
    """libpq gives no SQLSTATE for a refused connection; LC_ALL=C keeps the server's words English."""
    if "too many clients" in refusal or "connection slots are reserved" in refusal:
        return _Answer.READY
    return _Answer.BUSY if "the database system is" in refusal else _Answer.NONE


def _create_database(folders: _Folders) -> None:
    import psycopg

    with psycopg.connect(_url(folders, "postgres"), autocommit=True) as connection:
        if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone():
            connection.execute(f"CREATE DATABASE {DATABASE}")


def _environment() -> dict[str, str]:
    """Ours without PGDATA, PGPORT and their like, which the server would obey."""
    return {**{name: value for name, value in os.environ.items() if not name.startswith("PG")}, "LC_ALL": "C"}
