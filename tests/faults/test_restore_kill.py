"""kill -9 in the midst of `lode restore`: the registry is empty, and a restore fills it, or it is whole."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import psycopg
import pytest
from sqlalchemy import make_url

from registry.backup import restore
from registry.database import engine_for
from registry.errors import BackupError
from registry.schema import check_schema, upgrade
from tests.conftest import NewDatabase
from tests.registry.clusters import contents

CODE = "import sys, pathlib; from registry.backup import restore; restore(sys.argv[1], pathlib.Path(sys.argv[2]))"
KILLS = 4
IN_TRANSACTION = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = %s AND application_name = 'pg_restore' AND xact_start IS NOT NULL
"""
CONNECTED = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s"
EMPTY = {"sequences": []}


def start(url: str, file: Path) -> subprocess.Popen[bytes]:
    """In a session of its own, so that all its processes can be killed at once."""
    return subprocess.Popen([sys.executable, "-c", CODE, url, str(file)], start_new_session=True)


def wait_until(server: str, query: str, database: str | None, count: int) -> None:
    deadline = time.monotonic() + 60
    with psycopg.connect(server, autocommit=True) as connection:
        while connection.execute(query.encode(), [database]).fetchone() != (count,):
            assert time.monotonic() < deadline


def program_of(caller: subprocess.Popen[bytes]) -> psutil.Process:
    """The pg_restore that writes."""
    return next(one for one in psutil.Process(caller.pid).children() if "--single-transaction" in one.cmdline())


def goes_on(url: str) -> bool:
    """After `lode init`, which brings what the killed one didn't come to."""
    engine = engine_for(url)
    upgrade(engine)
    check_schema(engine)
    engine.dispose()
    return True


@pytest.mark.parametrize("orphan", ["dies too", "goes on alone"])
def test_a_restore_killed_while_rows_come(
    postgres_server: str, filled_registry: str, backup_file: Path, restore_target: str, orphan: str
) -> None:
    database = make_url(restore_target).database
    caller = start(restore_target, backup_file)
    wait_until(postgres_server, IN_TRANSACTION, database, 1)
    program = program_of(caller)
    program.suspend()
    caller.kill()
    caller.wait()
    if orphan == "dies too":
        program.kill()
        wait_until(postgres_server, CONNECTED, database, 0)
        assert contents(restore_target) == EMPTY
        restore(restore_target, backup_file)
    else:
        program.resume()
        wait_until(postgres_server, CONNECTED, database, 0)
        with pytest.raises(BackupError, match="isn't empty"):
            restore(restore_target, backup_file)
    assert contents(restore_target) == contents(filled_registry)
    assert goes_on(restore_target)


def test_random_moments(
    postgres_server: str, filled_registry: str, backup_file: Path, restore_target: str, new_database: NewDatabase
) -> None:
    """After each the registry has no tables, those of an empty one, or everything."""
    with new_database() as empty, new_database("template1") as timed:
        allowed = [EMPTY, contents(empty), contents(filled_registry)]
        begun = time.monotonic()
        assert start(timed, backup_file).wait() == 0
        seconds = time.monotonic() - begun
    rng = random.Random(0)
    for _ in range(KILLS):
        caller = start(restore_target, backup_file)
        try:
            caller.wait(seconds * rng.uniform(0.3, 1.0))
        except subprocess.TimeoutExpired:
            os.killpg(caller.pid, signal.SIGKILL)
            caller.wait()
        wait_until(postgres_server, CONNECTED, make_url(restore_target).database, 0)
        found = contents(restore_target)
        assert found in allowed
    if not found.get("structure"):
        restore(restore_target, backup_file)
    assert contents(restore_target) == contents(filled_registry)
    assert goes_on(restore_target)
