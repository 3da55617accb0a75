"""The faults of other embedded servers, none of which ours may have, and the accidents that it must survive."""

from __future__ import annotations

import contextlib
import os
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import psycopg
import pytest

from registry import embedded
from registry.errors import DatabaseUnavailable
from registry.postgres_binaries import find_binaries

pytestmark = pytest.mark.usefixtures("no_postgres_environment")


@pytest.fixture
def no_postgres_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """PGPORT and the like of the person who runs this must not matter."""
    monkeypatch.setenv("PGPORT", "1")
    monkeypatch.setenv("PGDATA", "/nowhere")


@pytest.fixture
def home() -> Iterator[Path]:
    """In a short path, whoever runs the tests: that of a unix socket must be."""
    with tempfile.TemporaryDirectory(prefix="lode-") as folder:
        place = Path(folder) / "home"
        yield place
        embedded.stop(place)


def start(home: Path) -> str:
    return embedded.start(home, durable=False)


def value(url: str, query: str) -> object:
    with psycopg.connect(url) as connection:
        row = connection.execute(query).fetchone()
        return row and row[0]


def test_start_stop_start_keeps_the_rows(home: Path) -> None:
    url = start(home)
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    assert embedded.status(home).url == url
    assert embedded.stop(home) is True
    assert embedded.status(home) == embedded.Status(None, None, home / "postgres/data", home / "postgres/server.log")
    assert embedded.stop(home) is False
    assert start(home) == url
    assert value(url, "SELECT answer FROM kept") == 42


def test_no_folder_but_our_own_changes_its_permissions_or_owner(tmp_path: Path) -> None:
    """Also where the server's account can't enter: the parents below are closed to everybody else."""
    home = tmp_path / "closed" / "deeper" / "home"
    home.mkdir(parents=True)
    (tmp_path / "closed").chmod(0o700)
    folders = [home, *home.parents]
    before = [(folder.stat().st_mode, folder.stat().st_uid, folder.stat().st_gid) for folder in folders]
    url = start(home)
    try:
        assert value(url, "SELECT 1") == 1
        after = [(folder.stat().st_mode, folder.stat().st_uid, folder.stat().st_gid) for folder in folders]
        assert after == before
    finally:
        embedded.stop(home)


def test_the_cluster_and_the_password_are_private(home: Path) -> None:
    start(home)
    assert stat.S_IMODE((home / "postgres/data").stat().st_mode) == 0o700
    assert stat.S_IMODE((home / "postgres/run").stat().st_mode) == 0o700
    assert stat.S_IMODE((home / "postgres/password").stat().st_mode) == 0o600


def test_only_the_password_opens_the_door(home: Path) -> None:
    url = start(home)
    password = (home / "postgres/password").read_text()
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(url.replace(password, "guess"))
    assert value(url, "SELECT count(*) FROM pg_hba_file_rules WHERE auth_method <> 'scram-sha-256'") == 0
    assert value(url, "SELECT rolpassword LIKE 'SCRAM-SHA-256$%' FROM pg_authid WHERE rolname = 'lode'") is True
    assert value(url, "SHOW listen_addresses") == ""


def test_text_is_utf8_and_sorts_by_code_point_everywhere(home: Path) -> None:
    url = start(home)
    assert value(url, "SHOW server_encoding") == "UTF8"
    assert value(url, "SELECT 'a' > 'B'") is True
    assert value(url, "SHOW timezone") == "UTC"


@pytest.mark.parametrize("deep", [False, True], ids=["socket", "tcp"])
def test_a_stale_pid_file_whose_pid_is_somebody_elses_now(home: Path, tmp_path: Path, deep: bool) -> None:
    place = home / ("d" * 100) if deep else home
    url = start(place)
    pid = embedded.status(place).pid
    assert pid is not None
    _kill(pid)
    data = place / "postgres/data"
    lines = (data / "postmaster.pid").read_text().splitlines()
    with _same_account(data) as stranger:
        (data / "postmaster.pid").write_text("\n".join([str(stranger.pid), *lines[1:], ""]))
        assert embedded.status(place).pid is None
        assert start(place) == url
        assert value(url, "SELECT 1") == 1
        embedded.stop(place)
        assert stranger.poll() is None, "stop() killed a stranger"
        stranger.kill()


def _same_account(data: Path) -> subprocess.Popen[bytes]:
    owner = data.stat()
    return subprocess.Popen(["sleep", "60"], **({"user": owner.st_uid} if os.geteuid() == 0 else {}))


def _kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while Path(f"/proc/{pid}/cmdline").exists() and time.monotonic() < deadline:
        try:
            os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            break
        time.sleep(0.01)


def test_a_killed_server_recovers_with_all_that_was_committed(home: Path) -> None:
    url = start(home)
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT generate_series(1, 1000) AS id")
    pid = embedded.status(home).pid
    assert pid is not None
    orphan = psycopg.connect(url)
    _kill(pid)
    assert start(home) == url
    with pytest.raises(psycopg.OperationalError):
        orphan.execute("SELECT 1")
    orphan.close()
    assert value(url, "SELECT count(*) FROM kept") == 1000


def test_a_killed_caller_breaks_nothing(home: Path) -> None:
    """The server is a daemon: it lives on, the next caller finds it and can stop it."""
    code = (
        "import os, pathlib, sys; from registry import embedded;"
        "embedded.start(pathlib.Path(sys.argv[1]), durable=False); os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(home)], check=False).returncode == -signal.SIGKILL
    before = embedded.status(home)
    assert before.url is not None
    assert start(home) == before.url
    assert embedded.status(home).pid == before.pid
    assert embedded.stop(home) is True


def test_a_caller_killed_during_the_first_start_leaves_no_half_cluster(home: Path) -> None:
    code = "import pathlib, sys; from registry import embedded;embedded.start(pathlib.Path(sys.argv[1]), durable=False)"
    for seconds in (0.1, 0.3, 0.6, 1.0):
        child = subprocess.Popen([sys.executable, "-c", code, str(home)])
        time.sleep(seconds)
        child.kill()
        child.wait()
    assert value(start(home), "SELECT 1") == 1
    assert not list((home / "postgres").glob("initdb-*"))


def test_callers_at_the_same_time_share_one_server(home: Path) -> None:
    code = (
        "import pathlib, sys; from registry import embedded;"
        "print(embedded.start(pathlib.Path(sys.argv[1]), durable=False))"
    )

    def call(_number: int) -> str:
        done = subprocess.run([sys.executable, "-c", code, str(home)], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    with ThreadPoolExecutor(3) as pool:
        assert len(set(pool.map(call, range(3)))) == 1


def test_two_homes_have_two_servers(tmp_path: Path) -> None:
    homes = [tmp_path / "one", tmp_path / "two"]
    try:
        urls = [start(home) for home in homes]
        assert urls[0] != urls[1]
        assert embedded.status(homes[0]).pid != embedded.status(homes[1]).pid
    finally:
        for home in homes:
            embedded.stop(home)


def _slow_binaries(folder: Path, seconds: float) -> Path:
    """The real binaries, behind a `postgres` that takes its time like one that replays much WAL."""
    real = find_binaries().folder
    folder.mkdir()
    (folder / "initdb").symlink_to(real / "initdb")
    (folder / "postgres").write_text(
        f'#!/bin/sh\n[ "$1" = --version ] || [ "$1" = -V ] || sleep {seconds}\nexec "{real}/postgres" "$@"\n'
    )
    (folder / "postgres").chmod(0o755)
    return folder


def test_a_slow_start_is_waited_for(tmp_path: Path, home: Path) -> None:
    start(home)
    embedded.stop(home)
    slow = _slow_binaries(tmp_path / "bin", 12)
    began = time.monotonic()
    assert value(embedded.start(home, bin_dir=slow), "SELECT 1") == 1
    assert time.monotonic() - began > 11


def test_patience_has_an_end_and_the_message_says_where_to_look(tmp_path: Path, home: Path) -> None:
    start(home)
    embedded.stop(home)
    slow = _slow_binaries(tmp_path / "bin", 30)
    with pytest.raises(DatabaseUnavailable, match=r"no answer within 1 s; the end of .*server\.log"):
        embedded.start(home, bin_dir=slow, timeout=1)
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.NoSuchProcess):
            if str(slow) in " ".join(child.cmdline()):
                child.kill()
    assert value(start(home), "SELECT 1") == 1


def test_a_server_that_refuses_to_start_says_why(home: Path) -> None:
    start(home)
    embedded.stop(home)
    with (home / "postgres/data/postgresql.conf").open("a") as file:
        file.write("work_mem = 'plenty'\n")
    with pytest.raises(DatabaseUnavailable, match="work_mem"):
        start(home)


def test_a_path_too_long_for_a_unix_socket_uses_the_loopback_on_a_port_that_stays(home: Path) -> None:
    deep = home / ("d" * 100)
    url = start(deep)
    try:
        assert "@127.0.0.1:" in url
        assert value(url, "SHOW unix_socket_directories") == ""
        embedded.stop(deep)
        assert start(deep) == url
    finally:
        embedded.stop(deep)


@pytest.mark.parametrize("name", ["with space", "per%cent", "gräm'\"mar"])
def test_odd_names_of_folders(tmp_path: Path, name: str) -> None:
    home = tmp_path / name
    try:
        assert value(start(home), "SELECT 1") == 1
        assert embedded.stop(home) is True
    finally:
        embedded.stop(home)


def test_a_cluster_of_another_major_version_is_refused(home: Path) -> None:
    start(home)
    embedded.stop(home)
    (home / "postgres/data/PG_VERSION").write_text("9\n")
    with pytest.raises(DatabaseUnavailable, match=r"made by PostgreSQL 9, .* set LODE_PG_BIN"):
        start(home)


def test_a_folder_without_binaries_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatabaseUnavailable, match="set LODE_PG_BIN"):
        embedded.start(tmp_path / "home", bin_dir=tmp_path)


def test_status_and_stop_make_nothing(tmp_path: Path) -> None:
    assert embedded.status(tmp_path / "home").url is None
    assert embedded.stop(tmp_path / "home") is False
    assert not (tmp_path / "home").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may enter every folder")
def test_a_home_of_another_account_is_named(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    with pytest.raises(DatabaseUnavailable, match="belongs to another account"):
        start(closed / "home")


def test_stop_rolls_back_and_does_not_wait_for_idle_clients(home: Path) -> None:
    url = start(home)
    client = psycopg.connect(url)
    client.execute("CREATE TABLE lost (id int)")
    began = time.monotonic()
    assert embedded.stop(home) is True
    assert time.monotonic() - began < 20
    client.close()
    assert value(start(home), "SELECT to_regclass('lost')") is None


def test_threads_of_one_process_may_start_together(home: Path) -> None:
    urls: list[str] = []
    threads = [threading.Thread(target=lambda: urls.append(start(home))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(urls) == 2
    assert len(set(urls)) == 1
