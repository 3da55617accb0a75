"""kill -9 at every step of `lode upgrade`: one cluster works afterwards with all its rows, and a rerun ends well."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest

from registry import embedded
from registry.postgres_binaries import cluster_major, find_binaries
from registry.swap import PRIVATE
from registry.upgrade import kept_clusters, upgrade_cluster
from tests.registry.clusters import contents, copy_of, short_home

RANDOM_KILLS = 3
GLANCE_SECONDS = 0.0005
Seen = Callable[[Path], bool]
BEFORE_THE_SWAP: dict[str, Seen] = {
    "initdb runs": lambda root: any((root / "next").glob("initdb-*")),
    "the old server runs": lambda root: (root / "data/postmaster.pid").exists(),
    "the new server starts": lambda root: (root / "next/server.log").exists(),
    "roles are copied": lambda root: (root / "next/roles.sql").exists(),
    "a database is copied": lambda root: any((root / "next/data/base").glob("1[6-9]???")),
    "the old server ends": lambda root: (
        (root / "next/roles.sql").exists() and not (root / "data/postmaster.pid").exists()
    ),
    "both servers have ended": lambda root: (
        (root / "next/roles.sql").exists()
        and not (root / "data/postmaster.pid").exists()
        and not (root / "next/data/postmaster.pid").exists()
    ),
}
SWAP: dict[str, Seen] = {
    "the new cluster is ready": lambda root: (root / "ready").exists(),
    "the old cluster has moved": lambda root: any(root.glob("data-*")),
    "the new cluster is in its place": lambda root: any(root.glob("data-*")) and (root / "data").exists(),
}


@pytest.fixture
def home(older_cluster: Path) -> Iterator[Path]:
    with short_home(lambda place: copy_of(older_cluster, place)) as home:
        yield home
        embedded.stop(home)


def start_upgrade(home: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "api.cli.main", "upgrade"]
    return subprocess.Popen(command, env={**os.environ, "LODE_HOME": str(home)}, stderr=subprocess.DEVNULL)


def kill_when(home: Path, seen: Seen, glance: float = GLANCE_SECONDS) -> bool:
    """Whether it was killed before it ended by itself; `glance` is the time between two looks."""
    process, root = start_upgrade(home), home / "postgres"
    while not seen(root) and process.poll() is None:
        time.sleep(glance)
    process.send_signal(signal.SIGKILL)
    return process.wait() == -signal.SIGKILL


def survivor(home: Path, older: Path) -> str:
    """The URL of the cluster that the next `lode up` serves, with the binaries that are its own."""
    data, ready = home / "postgres/data", home / "postgres/ready/data"
    made_by = cluster_major(data if data.exists() else ready)
    return embedded.start(home, bin_dir=None if made_by == find_binaries().major() else older, durable=False)


def add_row(url: str, name: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("INSERT INTO source (name, licence, citation) VALUES (%s, 'CC0-1.0', 'none')", [name])


def private_servers(home: Path) -> list[Any]:
    mark = f"cluster_name={PRIVATE['cluster_name']}"
    found = [process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"])]
    return [command for command in found if mark in command and str(home) in " ".join(command)]


def nothing_is_left_over(home: Path) -> bool:
    leftovers = [home / "postgres" / name for name in ("next", "ready")]
    return not any(folder.exists() for folder in leftovers) and not private_servers(home)


def ends_well(home: Path, expected: dict[str, Any]) -> bool:
    embedded.stop(home)
    upgrade_cluster(home)
    assert contents(embedded.start(home, durable=False)) == expected
    assert cluster_major(home / "postgres/data") == find_binaries().major()
    assert len(kept_clusters(home)) == 1
    return nothing_is_left_over(home)


def test_every_step_before_the_swap_leaves_the_old_cluster_that_goes_on(home: Path, older: Path) -> None:
    """One cluster through all the kills, with a new row after each: none may be lost to a copy made before it."""
    for step, seen in BEFORE_THE_SWAP.items():
        assert kill_when(home, seen), step
        url = survivor(home, older)
        assert nothing_is_left_over(home), step
        add_row(url, step)
        expected = contents(url)
        embedded.stop(home)
    assert all(step in str(expected["source"]) for step in BEFORE_THE_SWAP)
    assert ends_well(home, expected)


@pytest.mark.parametrize("step", SWAP)
def test_a_step_of_the_swap_leaves_one_of_the_two(home: Path, older: Path, step: str) -> None:
    expected = contents(embedded.start(home, bin_dir=older, durable=False))
    embedded.stop(home)
    kill_when(home, SWAP[step], glance=0)
    url = survivor(home, older)
    assert contents(url) == expected
    assert nothing_is_left_over(home)
    add_row(url, step)
    assert ends_well(home, contents(url))


def test_random_moments(home: Path, older: Path) -> None:
    rng, expected = random.Random(0), contents(embedded.start(home, bin_dir=older, durable=False))
    embedded.stop(home)
    begun = time.monotonic()
    trial = copy_of(home, home.parent / "trial")
    assert start_upgrade(trial).wait() == 0
    seconds = time.monotonic() - begun
    for _ in range(RANDOM_KILLS):
        moment = time.monotonic() + rng.uniform(0.1, 1.0) * seconds
        kill_when(home, lambda _root, moment=moment: time.monotonic() > moment)
        assert contents(survivor(home, older)) == expected
        assert nothing_is_left_over(home)
        embedded.stop(home)
    assert ends_well(home, expected)


def test_a_rerun_right_after_a_kill_needs_no_other_command(home: Path, older: Path) -> None:
    """The servers of the killed one still run."""
    expected = contents(embedded.start(home, bin_dir=older, durable=False))
    embedded.stop(home)
    assert kill_when(home, BEFORE_THE_SWAP["a database is copied"])
    assert len(private_servers(home)) == 2
    assert upgrade_cluster(home) is not None
    assert ends_well(home, expected)


def test_every_state_between_the_renames(home: Path, older: Path) -> None:
    """The states that a kill is rarely quick enough for, made by the renames backwards; the last one first."""
    root, old = home / "postgres", cluster_major(home / "postgres/data")
    assert upgrade_cluster(home) is not None
    for moves in ([], [("data", "ready/data")], [("data", "ready/data"), (f"data-{old}", "data")]):
        (root / "ready").mkdir()
        for origin, place in moves:
            (root / origin).rename(root / place)
        url = survivor(home, older)
        assert (cluster_major(root / "data") == old) is (len(moves) == 2)
        assert nothing_is_left_over(home)
        add_row(url, f"after {len(moves)} moves")
        expected = contents(url)
        embedded.stop(home)
    assert ends_well(home, expected)
