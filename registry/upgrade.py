"""The embedded cluster, brought to the major version of the binaries in use: copied, compared, swapped.

The old cluster is only read, by its own older binaries, and kept. Where both servers listen only the upgrade knows.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psycopg

from registry import swap
from registry.accounts import Account, account_for
from registry.cluster import (
    Folders,
    bring_up,
    create_cluster,
    end_server,
    environment,
    server_pid,
    url_of,
    write_private,
)
from registry.cluster_copy import MAINTENANCE, Copied, Programs, copy_cluster
from registry.embedded import folders_of, refusing
from registry.errors import BackupError, UpgradeError
from registry.postgres_binaries import Binaries, cluster_major, find_binaries, find_client, find_older

FRESH_BYTES = 128 * 1024 * 1024  # what an empty cluster takes, and some room
WAL_BYTES = 1024 * 1024 * 1024
CLIENTS = """
SELECT coalesce(nullif(application_name, ''), usename::text) FROM pg_stat_activity
WHERE backend_type IN ('client backend', 'walsender') AND pid <> pg_backend_pid() ORDER BY 1
"""
READ_ONLY = {**swap.PRIVATE, "default_transaction_read_only": "on", "autovacuum": "off"}
UNSAFE = {
    **swap.PRIVATE,
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "1GB",
    "autovacuum": "off",
}
"""Of a cluster that is thrown away unless it becomes whole, and is flushed to disk then."""


@dataclass(frozen=True)
class Upgrade:
    """What was done: from and to which major version, how much, and where the old cluster is kept."""

    old: int
    new: int
    copied: Copied
    kept: Path


@dataclass(frozen=True)
class _Job:
    """The cluster, both versions' binaries, the account that they run as, and the descriptor of the lock."""

    folders: Folders
    old: Binaries
    new: Binaries
    account: Account
    lock: int
    timeout: float


def upgrade_cluster(
    home: Path,
    *,
    bin_dir: Path | None = None,
    old_bin_dir: Path | None = None,
    timeout: float = 600.0,
    tell: Callable[[str], None] = lambda _step: None,
) -> Upgrade | None:
    """Bring the cluster of `home` to the version of the binaries in `bin_dir` (the wheel's when None).

    None where it has that version, or there is no cluster yet. `old_bin_dir` holds binaries of the cluster's version,
    looked for when None; `timeout` is the patience with a server that starts, in seconds; `tell` hears of every step.
    Raises UpgradeError, DatabaseUnavailable: the old cluster is in its place then, and not served.
    """
    folders = folders_of(home)
    if not folders.root.exists():
        return None
    with refusing(home), swap.lock(folders) as lock:
        swap.settle(folders)
        new = find_binaries(bin_dir)
        if not folders.data.exists() or cluster_major(folders.data) == new.major():
            return None
        old = _older(folders, new, old_bin_dir)
        account = account_for(folders.data, home, needs=[old.postgres, new.postgres, folders.root])
        return _upgrade(_Job(folders, old, new, account, lock, timeout), tell)


def kept_clusters(home: Path) -> dict[Path, int]:
    """The clusters that upgrades have left in `home`, and their sizes in bytes."""
    return {path: _size(path) for path in swap.kept_clusters(folders_of(home))}


def _older(folders: Folders, new: Binaries, old_bin_dir: Path | None) -> Binaries:
    """The binaries to read the old cluster with, once nothing speaks against an upgrade."""
    major = cluster_major(folders.data)
    if major > new.major():
        new.check_version(folders.data)
    kept = swap.kept_of(folders, major)
    if kept.exists():
        raise UpgradeError(f"{kept} of an earlier upgrade is still there: remove it, or move it away")
    old = find_older(major, old_bin_dir)
    _check_space(folders)
    _stop(folders)
    return old


def _check_space(folders: Folders) -> None:
    size = sum(_size(folders.data / part) for part in ("base", "global"))
    needed, free = size + min(size, WAL_BYTES) + FRESH_BYTES, shutil.disk_usage(folders.root).free
    if free < needed:
        raise UpgradeError(
            f"{folders.root} has {free >> 20} MB free and the new cluster may need {needed >> 20}: make room first"
        )


def _size(folder: Path) -> int:
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):  # a server that runs removes files
                total += (Path(place) / name).lstat().st_size
    return total


def _stop(folders: Folders) -> None:
    """Stop the server, where one runs. Raises UpgradeError while somebody works with it."""
    if server_pid(folders) is None:
        return
    try:
        with psycopg.connect(url_of(folders, MAINTENANCE), connect_timeout=10) as connection:
            clients = [name for (name,) in connection.execute(CLIENTS)]
    except psycopg.OperationalError as error:
        raise UpgradeError(f"the server can't be asked who works with it: {' '.join(str(error).split())}") from error
    if clients:
        raise UpgradeError(f"{len(clients)} client(s) work with the server ({', '.join(clients)}): stop them first")
    end_server(folders)


def _upgrade(job: _Job, tell: Callable[[str], None]) -> Upgrade:
    old, new = job.old.major(), job.new.major()
    tell(f"from PostgreSQL {old} ({job.old.folder}) to {new} ({job.new.folder})")
    try:
        copied = _made_next(job, tell)
        swap.swap(job.folders, old)
    finally:
        swap.settle(job.folders)
    return Upgrade(old, new, copied, swap.kept_of(job.folders, old))


def _made_next(job: _Job, tell: Callable[[str], None]) -> Copied:
    """One line for whatever a server or a program of PostgreSQL says."""
    try:
        return _make_next(job, tell)
    except (BackupError, psycopg.Error) as error:
        raise UpgradeError(f"{' '.join(str(error).split())}; the old cluster is as it was") from error


def _make_next(job: _Job, tell: Callable[[str], None]) -> Copied:
    """The new cluster, whole and on disk and not served."""
    target = swap.next_of(job.folders)
    source = Folders(target.root / "old", cluster=job.folders.data)
    source.root.mkdir(parents=True)
    password = job.folders.password.read_text()
    write_private(source.password, password)
    create_cluster(target, job.new, job.account, job.lock, durable=False, password=password)
    bring_up(source, job.old, job.account, READ_ONLY, job.timeout)
    bring_up(target, job.new, job.account, UNSAFE, job.timeout)
    copied = copy_cluster(source, target, _programs(job.new), tell)
    end_server(source)
    end_server(target)
    _flush(job, target)
    return copied


def _programs(new: Binaries) -> Programs:
    names = ("pg_dump", "pg_dumpall", "pg_restore", "psql")
    return Programs(*(find_client(name, new.major(), new.folder) for name in names))


def _flush(job: _Job, target: Folders) -> None:
    """Have the new cluster on disk, and see it start with the settings that it will have."""
    command = [str(job.new.initdb), "--sync-only", f"--pgdata={target.data}"]
    done = job.account.run(command, environment=environment(), cwd=target.data, keep_open=[job.lock])
    if done.returncode:
        raise UpgradeError(f"the new cluster can't be flushed to disk: {done.stdout.strip()}")
    bring_up(target, job.new, job.account, swap.PRIVATE, job.timeout)
    end_server(target)
