"""What befalls real labels: the database restarts, the engine is killed, the disk is full, the node is too small."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from threading import Thread

import numpy as np
import psutil
import pytest
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from registry import embedded, queue
from registry.crystal import Crystal
from registry.database import engine_for
from registry.hull.level_rows import ensure_level
from registry.hull.levels import Level, load_level
from registry.models import Calculation, Frame, Work
from registry.schema import upgrade
from registry.states import CalculationState, ErrorClass, WorkState
from tests.faults.processes import daemon, until
from tests.faults.test_label_kill import SALT, SLOW
from tests.registry.test_queue import other_host
from tests.workers.standin import standin_level
from tests.workers.test_label import calculations, select_for_label
from workers.engines.base import Machine, engine_of
from workers.label import LabelDaemon
from workers.loop import Loop

gpaw = pytest.mark.skipif(find_spec("gpaw") is None, reason="GPAW isn't installed: make dft")
COARSE = {"cutoff": 200.0, "density_insulator": 1.2, "density_metal": 1.2, "stress_slack": 1000.0}
SILICON = Crystal(np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]) * 2.76, [14, 14], [[0, 0, 0], [0.26, 0.25, 0.25]])


@pytest.fixture
def own_server() -> Iterator[tuple[Path, str]]:
    """A server that may be stopped, with one candidate that waits for its label."""
    with tempfile.TemporaryDirectory(prefix="lode-") as folder:
        Path(folder).chmod(0o755)
        home = Path(folder) / "home"
        url = embedded.start(home, durable=False)
        try:
            upgrade(engine_for(url))
            yield home, url
        finally:
            embedded.stop(home)


def rows(engine: Engine) -> list[Work]:
    with Session(engine, expire_on_commit=False) as session:
        return list(session.scalars(select(Work)))


def test_a_result_is_delivered_after_the_server_was_away(own_server: tuple[Path, str]):
    """Longer than a lease, in the midst of a relaxation, and still away when that has ended."""
    home, url = own_server
    engine = engine_for(url)
    with Session(engine) as session, session.begin():
        level_id = ensure_level(session, standin_level())
    select_for_label(engine, level_id, SALT)
    with daemon("labelling", url, 2.0, SLOW) as process:
        until(lambda: [row.state for row in rows(engine)] == [WorkState.RUNNING])
        time.sleep(1.5)  # it has read its row, and relaxes
        engine.dispose()
        embedded.stop(home)
        time.sleep(12.0)
        assert process.poll() is None
        embedded.start(home, durable=False)
        engine = engine_for(url)
        until(lambda: calculations(engine) != [])
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    (row,) = calculations(engine)
    assert (row.state, row.attempt) == (CalculationState.CONVERGED, 1)
    assert rows(engine) == []
    engine.dispose()


def silicon_level(engine: Engine) -> Level:
    shipped = load_level("gpaw-pbe")
    level = replace(shipped, name="coarse", settings={**shipped.settings, **COARSE})
    with Session(engine) as session, session.begin():
        select_id = ensure_level(session, level)
    select_for_label(engine, select_id, SILICON, formula="Si")
    return level


def one_outcome(engine: Engine, machine: Machine) -> Calculation:
    loop = Loop(engine, [LabelDaemon(lambda level: engine_of(level, machine))], on_outcome=lambda _told: loop.stop())
    loop.run()
    return calculations(engine)[-1]


def programs() -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter(["cmdline", "ppid"]):
        words = process.info["cmdline"] or []
        if "workers.engines.gpaw_run" in words and "workers.engines.watched" not in words:
            found.append(process)
    return [one for one in found if os.getpid() in [parent.pid for parent in one.parents()]]


@gpaw
def test_an_engine_that_is_killed_goes_on_from_its_last_step(engine: Engine, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("workers.loop.retry_delay", lambda *_told: 0.0)
    silicon_level(engine)
    frames = Path(tempfile.mkdtemp(prefix="lode-frames-"))

    def kill_after_two_steps() -> None:
        def ready() -> bool:
            return any(path.read_text().count("\n") >= 2 for path in frames.glob("*/frames.jsonl"))

        until(ready)
        for process in programs():
            process.kill()

    killer = Thread(target=kill_after_two_steps)
    killer.start()
    killed = one_outcome(engine, Machine(scratch=frames))
    killer.join()
    assert (killed.error_class, killed.signal) == (ErrorClass.KILLED, "SIGKILL")
    with Session(engine) as session:
        kept = session.scalars(select(Frame).where(Frame.calculation_id == killed.id)).all()
    assert len(kept) >= 2
    after = one_outcome(engine, Machine(scratch=frames))
    assert (after.state, after.attempt) == (CalculationState.CONVERGED, 2)
    assert str(after.changes["start"]).endswith("of attempt 1")
    assert list(frames.iterdir()) == []


@contextmanager
def full_disk() -> Iterator[Path]:
    """A file system of two pages."""
    with tempfile.TemporaryDirectory(prefix="lode-full-") as folder:
        command = ["mount", "-t", "tmpfs", "-o", "size=8k", "tmpfs", folder]
        if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("only root, where it may, can make a small file system")
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", folder], check=True)


@gpaw
def test_a_full_disk_is_told_as_such_and_left_to_other_nodes(engine: Engine):
    silicon_level(engine)
    other_host(engine, ["label"])
    with full_disk() as scratch:
        assert one_outcome(engine, Machine(scratch=scratch)).error_class == ErrorClass.DISK_FULL
        assert list(scratch.iterdir()) == []
    assert [(row.state, row.failed_on) for row in rows(engine)] == [(WorkState.WAITING, [queue.HOST])]


@gpaw
def test_a_cell_of_300_sites_on_a_small_node_is_left_to_larger_ones(engine: Engine):
    shipped = load_level("gpaw-pbe")
    with Session(engine) as session, session.begin():
        level_id = ensure_level(session, shipped)
    cells = np.stack(np.meshgrid(range(5), range(5), range(6), indexing="ij"), -1).reshape(-1, 1, 3)
    coords = ((cells + SILICON.frac_coords) / [5, 5, 6]).reshape(-1, 3)
    large = Crystal(SILICON.lattice * [[5], [5], [6]], [14] * 300, coords)
    select_for_label(engine, level_id, large, formula="Si")
    other_host(engine, ["label"])
    row = one_outcome(engine, Machine(memory=2**30))
    assert row.error_class == ErrorClass.OUT_OF_MEMORY
    assert "GiB at least" in str(row.error)
    assert [(work.state, work.failed_on) for work in rows(engine)] == [(WorkState.WAITING, [queue.HOST])]


@gpaw
def test_a_program_that_is_not_there_is_a_missing_engine(engine: Engine):
    silicon_level(engine)
    row = one_outcome(engine, Machine(mpi=("no-such-mpirun", "-np", "2")))
    assert row.error_class == ErrorClass.MISSING_ENGINE
    assert "no-such-mpirun" in str(row.error)


@gpaw
def test_two_ranks_find_the_energy_of_one():
    if shutil.which("mpirun") is None:
        pytest.skip("no mpirun: apt-get install openmpi-bin")
    shipped = load_level("gpaw-pbe")
    level = replace(shipped, settings={**shipped.settings, **COARSE})
    words = ("mpirun", *(("--allow-run-as-root",) if os.geteuid() == 0 else ()), "--oversubscribe", "-np", "2")
    alone, shared = (engine_of(level, Machine(mpi=mpi)).static(SILICON) for mpi in ((), words))
    assert shared.energy == pytest.approx(alone.energy, abs=1e-4)
    assert shared.forces == pytest.approx(alone.forces, abs=1e-3)


@gpaw
def test_no_density_within_the_steps_is_mended_by_another_way(engine: Engine):
    shipped = load_level("gpaw-pbe")
    level = replace(shipped, name="short", settings={**shipped.settings, **COARSE, "max_electronic": 3})
    with Session(engine) as session, session.begin():
        level_id = ensure_level(session, level)
    select_for_label(engine, level_id, SILICON, formula="Si")
    assert one_outcome(engine, Machine()).error_class == ErrorClass.NOT_CONVERGED_ELECTRONIC
    row = one_outcome(engine, Machine())
    assert (row.state, row.off_hull) == (CalculationState.CONVERGED, None)
    assert row.changes["asked"]["max_electronic"] == 400
