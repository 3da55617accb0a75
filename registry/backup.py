"""The whole registry in one file, and back: pg_dump and pg_restore of a version that fits the server.

A backup is one snapshot, so daemons may go on working. It holds neither owners nor grants: roles belong to a server,
and the restored tables get theirs from roles.sql.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from registry.database import check_server, engine_for
from registry.disk import flush
from registry.errors import BackupError, DatabaseUnavailable
from registry.hull.levels import shipped_levels
from registry.postgres_binaries import find_client, major_of
from registry.postgres_clients import run_client, without_password
from registry.schema import alembic_config, check_schema, expected_revision, upgrade

MARK = b"PGDMP"  # the first bytes of an archive in the custom format
SEAL = b"LODE-SHA256:"
BLOCK = 1 << 20
OURS = {"alembic_version", "structure", "hull_state"}
MANY = 1_000
MADE_BY_INIT = {"alembic_version": 1, "level": MANY, "source": 1, "training_set": 1, "model": 1, "model_file": 2}
"""How many rows: the shipped model with its level."""

WAIT_FOR_TABLE = "60s"
TABLES = """
SELECT relname FROM pg_class
WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition ORDER BY relname
"""


def backup(url: str, file: Path, *, bin_dir: Path | None = None, replace: bool = False) -> int:
    """Write the registry at `url` into `file` (mode 0600), which appears whole or not at all; its size in bytes.

    Raises BackupError where the file exists (unless `replace`) or pg_dump fails, DatabaseUnavailable, SchemaOutdated.
    """
    if file.exists() and not (replace and file.is_file()):
        raise BackupError(f"{file} exists: give another name, or --replace")
    engine = engine_for(url, "lode backup")
    try:
        program = find_client("pg_dump", check_server(engine), bin_dir)
        check_schema(engine)
    finally:
        engine.dispose()
    command = [str(program), "--format=custom", f"--lock-wait-timeout={WAIT_FOR_TABLE}"]
    with _draft(file) as descriptor:
        run_client([*command, "--no-owner", "--no-privileges", without_password(url)], url, descriptor)
    return file.stat().st_size


def restore(url: str, file: Path, *, bin_dir: Path | None = None) -> dict[str, int]:
    """Fill the empty registry at `url` from `file`, in one transaction; the number of rows in each table.

    An older schema is brought up to date. The tables of a fresh `lode init` are removed first, once the file is
    known to be whole, and made again if the server refuses it. Raises BackupError where the registry isn't empty or
    the file isn't a whole backup that this code and this server can read: nothing is changed then.
    """
    engine = engine_for(url, "lode restore")
    try:
        server = check_server(engine)
        with engine.connect() as connection:
            tables = _refuse_rows(connection)
        _check_file(file, server, bin_dir)
        command = [str(find_client("pg_restore", server, bin_dir)), "--single-transaction", "--exit-on-error"]
        options = ["--no-owner", "--no-privileges", f"--dbname={without_password(url)}"]
        with _tables_removed(engine) if tables else contextlib.nullcontext():
            run_client([*command, *options, str(file)], url)
        return _finish(engine)
    finally:
        engine.dispose()


@contextlib.contextmanager
def _tables_removed(engine: Engine) -> Iterator[None]:
    """Of an empty registry; made again on failure. pg_restore --clean stumbles over partitions."""
    from alembic import command

    try:
        with engine.connect() as connection:
            connection.execute(text("SET LOCAL lock_timeout = '5s'"))
            for table in connection.scalars(text(TABLES)).all():
                connection.execute(text(f'LOCK TABLE public."{table}"'))
            _refuse_rows(connection)  # once more: somebody may have written meanwhile
            command.downgrade(alembic_config(connection), "base")
            connection.execute(text("DROP TABLE alembic_version"))
            connection.commit()
    except DBAPIError as error:
        raise BackupError(f"the empty tables can't be replaced: {str(error.orig).splitlines()[0]}") from error
    try:
        yield
    except BackupError as error:
        upgrade(engine)
        raise BackupError(f"{error}; the registry is empty, run `lode init` to fill it as a new one") from error


def _finish(engine: Engine) -> dict[str, int]:
    """Newest schema, grants, statistics of the planner."""
    upgrade(engine)
    check_schema(engine)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("ANALYZE"))
        return count_rows(connection)


def count_rows(connection: Connection) -> dict[str, int]:
    """The number of rows in every table."""
    names = connection.scalars(text(TABLES)).all()
    return {name: connection.scalar(text(f'SELECT count(*) FROM public."{name}"')) or 0 for name in names}  # noqa: S608


def _refuse_rows(connection: Connection) -> list[str]:
    """The tables that are there. Raises BackupError where one holds more than `lode init` puts there."""
    counts = count_rows(connection)
    there = [f"{count} in {name}" for name, count in counts.items() if count > MADE_BY_INIT.get(name, 0)]
    if counts.keys() >= OURS:
        own = sorted(set(connection.scalars(text("SELECT name FROM level"))) - set(shipped_levels()))
        there += [f"level {name}" for name in own]
    strangers = [] if not counts or counts.keys() >= OURS else [f"table {name}" for name in counts]
    if there or strangers:
        raise BackupError(f"the database isn't empty ({', '.join(there or strangers)}): restore into a new one")
    return list(counts)


def _check_file(file: Path, server: int, bin_dir: Path | None) -> None:
    """Raises BackupError unless `file` is a backup of ours that fits the server and the code."""
    try:
        _check_seal(file)
    except OSError as error:
        raise BackupError(f"{file} can't be read: {error.strerror}") from error
    reader = str(_newest_reader(server, bin_dir))
    contents = run_client([reader, "--list", str(file)])
    _check_made_by(file, contents, server)
    if not set(re.findall(r" TABLE public (\w+) ", contents)) >= OURS:
        raise BackupError(f"{file} is a dump of PostgreSQL, but of no registry")
    _check_revision(file, run_client([reader, "--data-only", "--table=alembic_version", "--file=-", str(file)]))


def seal(file: Path) -> None:
    """Append SEAL and the SHA-256 of all before: pg_restore takes many a file that was cut off for a whole one."""
    with file.open("r+b") as opened:
        digest = hashlib.file_digest(opened, "sha256").digest()
        opened.write(SEAL + digest)
        opened.flush()
        os.fsync(opened.fileno())


def _check_seal(file: Path) -> None:
    with file.open("rb") as opened:
        size = file.stat().st_size - len(SEAL) - hashlib.sha256().digest_size
        if opened.read(len(MARK)) != MARK or size < len(MARK):
            raise BackupError(f"{file} is no backup of `lode backup`")
        opened.seek(0)
        digest, left = hashlib.sha256(), size
        while left and (block := opened.read(min(left, BLOCK))):
            digest.update(block)
            left -= len(block)
        if opened.read() != SEAL + digest.digest():
            raise BackupError(f"{file} is damaged, cut off or not of `lode backup`: take another backup")


def _newest_reader(server: int, bin_dir: Path | None) -> Path:
    """A file is told apart from garbage by the newest pg_restore: an older one calls a newer file damaged."""
    newest = find_client("pg_restore", server, bin_dir)
    with contextlib.suppress(DatabaseUnavailable):  # there is none newer
        while True:
            newest = find_client("pg_restore", major_of(newest) + 1, bin_dir)
    return newest


def _check_made_by(file: Path, contents: str, server: int) -> None:
    found = re.search(r"Dumped from database version: (\d+)", contents)
    if found is None or int(found[1]) > server:
        made_by = found[1] if found else "an unknown version"
        raise BackupError(f"{file} was made by PostgreSQL {made_by}, this server is {server}: use one as new")


def _check_revision(file: Path, data: str) -> None:
    found = re.search(r"^COPY .*\n(\w+)$", data, re.MULTILINE)
    revision, ours = found[1] if found else "", expected_revision() or ""
    if not revision or revision > ours:
        raise BackupError(
            f"{file} holds schema {revision or 'none'}, newer than this code ({ours}): install its version"
        )


@contextlib.contextmanager
def _draft(file: Path) -> Iterator[int]:
    """A descriptor to write to; the file gets its name when all is on disk.

    pg_dump inherits the lock with the descriptor: while one that lost its caller still writes, nobody else does. What a
    killed backup leaves is `FILE.draft`, which the next one overwrites.
    """
    draft = file.with_name(f"{file.name}.draft")
    try:
        descriptor = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise BackupError(f"{draft} can't be written: {error.strerror}") from error
    try:
        _lock(descriptor, draft)
        try:
            yield descriptor
            seal(draft)
            draft.replace(file)
            flush(file.parent)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise BackupError(f"{file} can't be written: {error.strerror}") from error
    finally:
        os.close(descriptor)


def _lock(descriptor: int, draft: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        same = draft.exists() and draft.stat().st_ino == os.fstat(descriptor).st_ino
    except BlockingIOError:
        same = False
    if not same:
        raise BackupError(f"another backup writes {draft}: wait until it has ended")
    os.fchmod(descriptor, 0o600)
    os.ftruncate(descriptor, 0)
