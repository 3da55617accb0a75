"""One cluster on disk and the server that serves it: made, started, asked, ended. Whose turn it is, others decide.

Liveness is an answer to `SELECT 1`. The pid in postmaster.pid is believed only when that process names our data folder.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from urllib.parse import quote

from registry.accounts import Account
from registry.errors import DatabaseUnavailable
from registry.postgres_binaries import Binaries

ROLE = DATABASE = "lode"
SOCKET_PORT = 5432
SOCKET_PATH_BYTES = 103  # sun_path less its NUL: 107 on Linux, 103 on macOS
NO_PROCESS = 2**31 - 1  # above every kernel's pid_max
POLL_SECONDS = 0.05
LOG_BYTES = 16 * 1024 * 1024

LAPTOP: Mapping[str, str] = {
    "max_connections": "60",
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


def physical_memory() -> int:
    """Bytes of this machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def shared_buffers(memory: int) -> str:
    """An eighth of the memory, 256 MB to 2 GB: pages of millions of structures are random reads."""
    return f"{min(max(memory // 8 // 2**20, 256), 2048)}MB"


class Answer(Enum):
    """What a server says to `SELECT 1`."""

    READY = "ready"
    BUSY = "starting, recovering or shutting down"
    NONE = "nobody listens"


@dataclass(frozen=True)
class Folders:
    """Where a server keeps its things; its cluster is `root`/data unless `cluster` names another."""

    root: Path
    cluster: Path | None = None

    @property
    def data(self) -> Path:
        return self.cluster or self.root / "data"

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


def create_cluster(
    folders: Folders, binaries: Binaries, account: Account, lock: int, *, durable: bool, password: str | None = None
) -> None:
    """initdb beside the final place, then rename: a start that is killed leaves no half cluster behind.

    initdb inherits the lock, so that nobody else starts while one that lost its caller still writes. `password` is
    that of role `lode`, a new one when None.
    """
    for leftover in folders.root.glob("initdb-*"):
        shutil.rmtree(leftover)
    draft = Path(tempfile.mkdtemp(prefix="initdb-", dir=folders.root))
    password = password or secrets.token_urlsafe(24)
    write_private(draft / "password", password)
    account.own(draft, draft / "password")
    _initdb(draft, binaries, account, lock, durable=durable)
    with (draft / "data" / "postgresql.conf").open("a") as file:
        chosen = {**LAPTOP, "shared_buffers": shared_buffers(physical_memory())}
        file.writelines(f"{name} = '{value}'\n" for name, value in chosen.items())
    write_private(folders.password, password)
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
    done = account.run(command, environment=environment(), cwd=draft, keep_open=[lock])
    if done.returncode:
        raise DatabaseUnavailable(f"initdb failed:\n{done.stdout.strip()}")


def write_private(file: Path, text: str) -> None:
    """A new file that the caller alone can read."""
    file.unlink(missing_ok=True)
    file.touch(mode=0o600, exist_ok=False)
    file.write_text(text)


def bring_up(
    folders: Folders, binaries: Binaries, account: Account, options: Mapping[str, str], timeout: float
) -> None:
    """Launch when nobody is there, wait for those who are, until `SELECT 1` is answered.

    `options` are settings of the server for this one run. Raises DatabaseUnavailable after `timeout` seconds.
    """
    deadline = time.monotonic() + timeout
    launches_left = 3
    child: subprocess.Popen[bytes] | None = None
    while (answer := ask(folders)) is not Answer.READY:
        if child is not None and child.poll() is not None:
            _refuse_if(launches_left == 0, folders, "the server ended")
            child = None
            time.sleep(1.0)  # the last backends of a killed server may still hold its shared memory
        _refuse_if(time.monotonic() > deadline, folders, f"no answer within {timeout:g} s")
        if child is None and answer is Answer.NONE and server_pid(folders) is None:
            launches_left -= 1
            child = _launch(folders, binaries, account, options)
        time.sleep(POLL_SECONDS)


def _launch(
    folders: Folders, binaries: Binaries, account: Account, options: Mapping[str, str]
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
        return account.spawn(command, environment=environment(), cwd=folders.data, output=log)


def _disown_pid_file(folders: Folders) -> None:
    """Make a stale postmaster.pid harmless, even where its pid belongs to somebody else by now.

    Only the pid is replaced: the file also names the shared memory by which PostgreSQL notices orphaned backends.
    """
    lines = _pid_lines(folders)
    if lines and server_pid(folders) is None:
        folders.pid.write_text("\n".join([str(NO_PROCESS), *lines[1:], ""]))


def _pid_lines(folders: Folders) -> list[str]:
    try:
        return folders.pid.read_text().splitlines()
    except FileNotFoundError:
        return []


def server_pid(folders: Folders) -> int | None:
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


def end_server(folders: Folders, timeout: float = 120.0) -> bool:
    """End the server of `folders`, open transactions rolled back, the cluster on disk. False when none ran."""
    pid = server_pid(folders)
    if pid is None:
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGINT)
    _wait_for_end(folders, pid, timeout)
    return True


def _wait_for_end(folders: Folders, pid: int, timeout: float) -> None:
    deadline = time.monotonic() + timeout
    while server_pid(folders) == pid:
        _refuse_if(time.monotonic() > deadline, folders, f"the server (pid {pid}) doesn't end")
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
        time.sleep(POLL_SECONDS)


def _refuse_if(wrong: bool, folders: Folders, reason: str) -> None:
    if wrong:
        raise DatabaseUnavailable(f"embedded PostgreSQL: {reason}; the end of {folders.log}:\n{_log_end(folders)}")


def _log_end(folders: Folders, lines: int = 8) -> str:
    return "\n".join(folders.log.read_text(errors="replace").splitlines()[-lines:]) if folders.log.exists() else ""


def _address(folders: Folders) -> dict[str, str]:
    """Server settings: the unix socket where its path fits, else the loopback interface on a port that stays."""
    if folders.socket_fits:
        where = {"unix_socket_directories": str(folders.run), "listen_addresses": "", "port": str(SOCKET_PORT)}
    else:
        port = _free_port(_known_port(folders))
        folders.port.write_text(f"{port}\n")
        where = {"unix_socket_directories": "", "listen_addresses": "127.0.0.1", "port": str(port)}
    return where


def _known_port(folders: Folders) -> int:
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


def url_of(folders: Folders, database: str = DATABASE, *, secret: bool = True) -> str:
    """A libpq URI that SQLAlchemy understands as well; without the password unless `secret`."""
    user = f"{ROLE}:{folders.password.read_text()}" if secret else ROLE
    name = quote(database, safe="")
    if folders.socket_fits:
        return f"postgresql://{user}@/{name}?host={quote(str(folders.run), safe='')}&port={SOCKET_PORT}"
    return f"postgresql://{user}@127.0.0.1:{_known_port(folders)}/{name}"


def ask(folders: Folders) -> Answer:
    """Whether somebody answers. Raises DatabaseUnavailable where our password isn't the role's."""
    import psycopg

    try:
        with psycopg.connect(url_of(folders, "postgres"), connect_timeout=10) as connection:
            connection.execute("SELECT 1")
    except psycopg.OperationalError as error:
        if "password authentication failed" in str(error) and server_pid(folders) is not None:
            raise DatabaseUnavailable(f"{folders.password} isn't the password of role {ROLE}: restore it") from error
        return _understood(str(error))
    return Answer.READY


def _understood(refusal: str) -> Answer:
    """libpq gives no SQLSTATE for a refused connection; LC_ALL=C keeps the server's words English."""
    if "too many clients" in refusal or "connection slots are reserved" in refusal:
        return Answer.READY
    return Answer.BUSY if "the database system is" in refusal else Answer.NONE


def environment() -> dict[str, str]:
    """Ours without PGDATA, PGPORT and their like, which the server would obey."""
    return {**{name: value for name, value in os.environ.items() if not name.startswith("PG")}, "LC_ALL": "C"}
