"""A newer cluster takes the place of the old one, by renames: a kill at any moment leaves the one or the other.

    postgres/next       a cluster in the making; what a killed upgrade leaves of it is removed
    postgres/ready      a whole one: taken into use where `data` is gone, removed where it isn't, since then somebody
                        may have written to the old cluster in the meantime
    postgres/data-15    the old cluster, kept until its owner removes it

Every start, stop and upgrade settles first what it finds, under the lock.
"""

from __future__ import annotations

import contextlib
import fcntl
import re
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from registry.cluster import POLL_SECONDS, Folders
from registry.disk import flush
from registry.errors import DatabaseUnavailable

PATIENCE_SECONDS = 10.0  # for the initdb of a killed upgrade, which keeps the lock
END_SECONDS = 120.0
PRIVATE = {"cluster_name": "lode_upgrade"}
"""Setting of a server that only an upgrade speaks to: its command line tells it from one that everybody uses."""


@contextlib.contextmanager
def lock(folders: Folders) -> Iterator[int]:
    """One start, stop or upgrade at a time; gives the lock's descriptor. The kernel frees the lock of a killed process.

    Raises DatabaseUnavailable while an upgrade runs, which takes longer than anybody waits for; a start is waited for.
    """
    folders.root.mkdir(parents=True, exist_ok=True)
    with (folders.root / "lock").open("w") as file:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not _locked(file.fileno()):
            if time.monotonic() > deadline and next_of(folders).root.exists():
                raise DatabaseUnavailable(f"another `lode` upgrades {folders.data}: wait until it has ended")
            time.sleep(POLL_SECONDS)
        yield file.fileno()


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def next_of(folders: Folders) -> Folders:
    """Where an upgrade makes the new cluster."""
    return Folders(folders.root / "next")


def _ready(folders: Folders) -> Folders:
    return Folders(folders.root / "ready")


def kept_of(folders: Folders, major: int) -> Path:
    """Where the cluster of that major version is kept after an upgrade."""
    return folders.root / f"data-{major}"


def kept_clusters(folders: Folders) -> list[Path]:
    """Those that upgrades have left, which only their owner removes."""
    return sorted(path for path in folders.root.glob("data-*") if re.fullmatch(r"data-\d+", path.name))


def swap(folders: Folders, major: int) -> None:
    """Put the new cluster, whole and on disk and not served, in the place of the old one of version `major`."""
    next_of(folders).root.rename(_ready(folders).root)
    flush(folders.root)
    folders.data.rename(kept_of(folders, major))
    flush(folders.root)
    settle(folders)


def settle(folders: Folders) -> None:
    """Finish the swap that a killed upgrade began, or clear away what it left; the caller holds the lock."""
    ready = _ready(folders)
    if not folders.data.exists() and ready.data.exists():
        ready.data.rename(folders.data)
        flush(folders.root)
    draft = next_of(folders)
    if draft.root.exists():
        _end_private_servers([str(folders.data), str(draft.data)])
    for leftover in (ready.root, draft.root):
        if leftover.exists():
            shutil.rmtree(leftover)


def _end_private_servers(clusters: list[str]) -> None:
    """Found among all processes, since one that has just begun is in no postmaster.pid yet."""
    import psutil

    mark = f"cluster_name={PRIVATE['cluster_name']}"
    servers = [
        process
        for process in psutil.process_iter(["cmdline"])
        if mark in (command := process.info["cmdline"] or []) and any(cluster in command for cluster in clusters)
    ]
    for server in servers:
        with contextlib.suppress(psutil.NoSuchProcess):
            server.send_signal(signal.SIGINT)
    _, alive = psutil.wait_procs(servers, timeout=END_SECONDS)
    if alive:
        raise DatabaseUnavailable(
            f"a server that a killed upgrade left doesn't end: kill {alive[0].pid}, then try again"
        )
