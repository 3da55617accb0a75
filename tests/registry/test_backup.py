"""Backups of a filled registry, restored elsewhere; and all that isn't one."""

from __future__ import annotations

import hashlib
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import psutil
import psycopg
import pytest
from sqlalchemy import Engine, make_url, text
from sqlalchemy.orm import Session

from registry import embedded
from registry.backup import backup, restore, seal
from registry.database import engine_for
from registry.errors import BackupError, DatabaseUnavailable
from registry.postgres_binaries import Binaries, find_binaries, find_client
from registry.schema import schema_revision, upgrade
from tests import factories as make
from tests.conftest import NewDatabase, _system_binaries
from tests.docs.salts import salts
from tests.registry.clusters import contents


def test_a_restored_registry_is_equal_row_for_row_and_goes_on(
    filled_registry: str, backup_file: Path, restore_target: str
) -> None:
    counts = restore(restore_target, backup_file)
    assert contents(restore_target) == contents(filled_registry)
    assert counts["structure"] > 5
    engine = engine_for(restore_target)
    with engine.begin() as connection:
        assert connection.scalar(text("SELECT has_table_privilege('lode_reader', 'structure', 'SELECT')"))
        assert connection.scalar(text("SELECT has_table_privilege('lode_worker', 'work', 'DELETE')"))
        assert connection.scalar(text("SELECT reltuples > 0 FROM pg_class WHERE relname = 'structure'"))
    with Session(engine) as session, session.begin():
        highest = session.scalar(text("SELECT max(id) FROM structure")) or 0
        assert make.structure(session, "CsCl").id > highest
    engine.dispose()


def test_a_registry_with_rows_is_left_alone_and_named(filled_registry: str, backup_file: Path) -> None:
    before = contents(filled_registry)
    with pytest.raises(BackupError, match=r"isn't empty .*\d+ in structure"):
        restore(filled_registry, backup_file)
    assert contents(filled_registry) == before


def test_own_models_and_levels_make_a_registry_no_empty_one(
    engine: Engine, database_url: str, backup_file: Path
) -> None:
    """Beyond what `lode init` puts there: they would be gone."""
    with Session(engine) as session, session.begin():
        at = make.level(session, "7net-0")
        make.model(session, at, "shipped")
        make.model(session, at, "my own", promoted=False)
        make.level(session, "my level")
    with pytest.raises(BackupError, match=r"2 in model, .*level my level"):
        restore(database_url, backup_file)
    assert len(contents(database_url)["model"]) == 2


def test_tables_that_somebody_writes_to_are_not_replaced(engine: Engine, database_url: str, backup_file: Path) -> None:
    with Session(engine) as session:
        make.structure(session)
        with pytest.raises(BackupError, match="lock timeout"):
            restore(database_url, backup_file)
        session.commit()
    with pytest.raises(BackupError, match="1 in structure"):
        restore(database_url, backup_file)


def test_a_database_of_somebody_else_is_left_alone(empty_database: str, backup_file: Path) -> None:
    engine = engine_for(empty_database)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE invoice (id int)"))
    with pytest.raises(BackupError, match=r"isn't empty \(table invoice"):
        restore(empty_database, backup_file)
    engine.dispose()


def test_a_file_is_private_and_never_overwritten_unasked(filled_registry: str, backup_file: Path) -> None:
    assert stat.S_IMODE(backup_file.stat().st_mode) == 0o600
    digest = hashlib.sha256(backup_file.read_bytes()).hexdigest()
    with pytest.raises(BackupError, match="exists: give another name, or --replace"):
        backup(filled_registry, backup_file)
    assert hashlib.sha256(backup_file.read_bytes()).hexdigest() == digest
    assert not list(backup_file.parent.glob("*.draft"))


def test_a_backup_replaces_its_forerunner_when_told(filled_registry: str, tmp_path: Path) -> None:
    (tmp_path / "daily").write_text("old")
    backup(filled_registry, tmp_path / "daily", replace=True)
    assert (tmp_path / "daily").read_bytes().startswith(b"PGDMP")


@pytest.mark.parametrize("garbage", [b"", b"PGDMP", b"PGDMP" + bytes(500), b"SELECT 1;\n", bytes(range(256))])
def test_garbage_is_refused_and_changes_nothing(restore_target: str, tmp_path: Path, garbage: bytes) -> None:
    (tmp_path / "file").write_bytes(garbage)
    refuses(restore_target, tmp_path / "file")


@pytest.mark.parametrize("part", [0.02, 0.3, 0.6, 0.9, 0.999])
def test_a_truncated_file_is_refused_and_changes_nothing(
    restore_target: str, tmp_path: Path, backup_file: Path, part: float
) -> None:
    whole = backup_file.read_bytes()
    (tmp_path / "file").write_bytes(whole[: int(len(whole) * part)])
    refuses(restore_target, tmp_path / "file")


def refuses(target: str, file: Path) -> None:
    before = contents(target)
    with pytest.raises(BackupError) as refused:
        restore(target, file)
    assert "\n" not in str(refused.value)
    assert contents(target) == before


def test_no_file_is_said(empty_database: str, tmp_path: Path) -> None:
    with pytest.raises(BackupError, match="can't be read: No such file"):
        restore(empty_database, tmp_path / "nowhere")


def test_a_backup_of_a_newer_schema_is_refused(engine: Engine, empty_database: str, tmp_path: Path) -> None:
    """Written by a pg_dump of its own: `lode backup` doesn't speak to a schema that it doesn't know."""
    url = engine.url.render_as_string(hide_password=False).replace("+psycopg", "")
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    dump(url, tmp_path / "newer")
    with pytest.raises(BackupError, match="holds schema 9999, newer than this code"):
        restore(empty_database, tmp_path / "newer")
    empty = engine_for(empty_database)
    assert schema_revision(empty) is None
    empty.dispose()


def test_a_dump_of_something_else_is_refused(new_database: NewDatabase, empty_database: str, tmp_path: Path) -> None:
    with new_database("template1") as other:
        dump(other, tmp_path / "other")
    with pytest.raises(BackupError, match="of no registry"):
        restore(empty_database, tmp_path / "other")


def dump(url: str, file: Path) -> None:
    engine = engine_for(url)
    with engine.connect() as connection:
        major = connection.scalar(text("SELECT current_setting('server_version_num')::int / 10000"))
    engine.dispose()
    subprocess.run([find_client("pg_dump", int(major or 0)), "-Fc", f"--file={file}", url], check=True)
    seal(file)


def test_a_client_as_new_as_the_server_is_asked_for() -> None:
    with pytest.raises(DatabaseUnavailable, match="install postgresql-client-99, or set LODE_PG_BIN"):
        find_client("pg_dump", 99)


CODE = "import sys, pathlib; from registry.backup import backup; backup(sys.argv[1], pathlib.Path(sys.argv[2]))"


def test_a_killed_backup_leaves_no_half_file_and_shows_no_password(filled_registry: str, tmp_path: Path) -> None:
    """pg_dump is held at a locked table; it loses its caller there."""
    engine = engine_for(filled_registry)
    with engine.connect() as holder:
        holder.execute(text("LOCK TABLE structure IN ACCESS EXCLUSIVE MODE"))
        caller = subprocess.Popen([sys.executable, "-c", CODE, filled_registry, str(tmp_path / "file")])
        dumper = child_of(caller)
        assert str(engine.url.password) not in " ".join(dumper.cmdline())
        caller.send_signal(signal.SIGKILL)
        caller.wait()
        with pytest.raises(BackupError, match="another backup writes"):
            backup(filled_registry, tmp_path / "file")
        dumper.kill()
        psutil.wait_procs([dumper], timeout=20)
        assert not (tmp_path / "file").exists()
    assert backup(filled_registry, tmp_path / "file") == (tmp_path / "file").stat().st_size
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    engine.dispose()


def child_of(caller: subprocess.Popen[bytes]) -> psutil.Process:
    """The pg_dump that the caller starts."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and caller.poll() is None:
        for process in psutil.Process(caller.pid).children():
            if "--format=custom" in process.cmdline():  # it's asked for its version before
                return process
        time.sleep(0.02)
    raise AssertionError("no pg_dump was started")


def test_a_backup_changes_over_to_a_newer_postgresql(test_homes: Path, tmp_path: Path) -> None:
    """The older one is that of PATH, the newer one the wheel's."""
    older = _system_binaries()
    if Binaries(older).major() >= find_binaries().major():
        pytest.skip("the postgres on PATH is no older than the wheel's")
    old_home, new_home = test_homes / "older", test_homes / "newer"
    old = embedded.start(old_home, bin_dir=older, durable=False)
    engine = engine_for(old)
    upgrade(engine)
    with Session(engine) as session, session.begin():
        salts(session)
    engine.dispose()
    backup(old, tmp_path / "file", bin_dir=older)
    before = contents(old)
    embedded.stop(old_home)
    with pytest.raises(DatabaseUnavailable, match="run `lode upgrade`"):
        embedded.start(old_home)
    new = embedded.start(new_home, durable=False)
    restore(new, tmp_path / "file")
    assert contents(new) == before
    backup(new, tmp_path / "newer")
    old = embedded.start(old_home, bin_dir=older, durable=False)
    with psycopg.connect(old, autocommit=True) as connection:
        connection.execute("CREATE DATABASE empty")
    with pytest.raises(BackupError, match=r"was made by PostgreSQL \d+, this server is"):
        restore(make_url(old).set(database="empty").render_as_string(hide_password=False), tmp_path / "newer")
    assert contents(old) == before
    embedded.stop(old_home)
    embedded.stop(new_home)
