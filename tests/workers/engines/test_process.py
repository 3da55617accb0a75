"""Programs under watch: whatever ends them or us, none is left over, and how they ended is known."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from workers.engines.base import Machine
from workers.engines.process import HOST, TAIL, run, scratch_folder
from workers.engines.watched import processes_of

FAMILY = """
import os, subprocess, sys, time
grandchild = subprocess.Popen([sys.executable, "-c", "import os, time; os.setpgid(0, 0); time.sleep(600)"])
open("pids", "w").write(f"{os.getpid()} {grandchild.pid}")
os.rename("pids", "family")
time.sleep(600)
"""


def nothing() -> None:
    pass


def python(text: str) -> list[str]:
    return [sys.executable, "-c", text]


def family(folder: Path) -> list[int]:
    return [int(pid) for pid in (folder / "family").read_text().split()]


def alive(pids: list[int]) -> list[int]:
    found = []
    for pid in pids:
        try:
            if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                found.append(pid)
        except psutil.NoSuchProcess:
            continue
    return found


def until(true: Callable[[], object], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_program_ends_with_its_code_and_its_words(tmp_path: Path) -> None:
    ended = run(python("print('step 1'); print('no more'); raise SystemExit(7)"), tmp_path, tmp_path / "log", nothing)
    assert (ended.code, ended.signal, ended.missing) == (7, None, False)
    assert ended.tail == "step 1\nno more\n"
    assert str(ended) == "ended with code 7: no more"


def test_it_runs_in_its_folder_and_its_time_is_counted(tmp_path: Path) -> None:
    work = "import time\nopen('here', 'w')\nwhile time.process_time() < 0.3: pass"
    ended = run(python(work), tmp_path, tmp_path / "log", nothing)
    assert (tmp_path / "here").exists()
    assert 0.3 <= ended.cpu_seconds < 5.0


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGKILL", "SIGTERM", "SIGABRT"])
def test_the_signal_that_ended_it_is_known(tmp_path: Path, name: str) -> None:
    ended = run(python(f"import os, signal; os.kill(os.getpid(), signal.{name})"), tmp_path, tmp_path / "log", nothing)
    assert (ended.code, ended.signal) == (None, name)


def test_a_program_that_is_not_here_is_missing(tmp_path: Path) -> None:
    ended = run(["vasp_of_the_moon"], tmp_path, tmp_path / "log", nothing)
    assert ended.missing
    assert "vasp_of_the_moon: No such file" in str(ended)


def test_of_much_that_it_said_the_end_is_kept(tmp_path: Path) -> None:
    ended = run(python("for line in range(9999): print('line', line)"), tmp_path, tmp_path / "log", nothing)
    assert len(ended.tail) <= TAIL
    assert ended.tail.startswith("line ")
    assert ended.tail.endswith("line 9998\n")


def test_what_the_watch_raises_ends_all_processes(tmp_path: Path) -> None:
    class Enough(Exception):
        pass

    def watch() -> None:
        if (tmp_path / "family").exists():
            raise Enough

    with pytest.raises(Enough):
        run(python(FAMILY), tmp_path, tmp_path / "log", watch)
    assert alive(family(tmp_path)) == []


def test_a_program_that_ends_takes_its_processes_along(tmp_path: Path) -> None:
    ended = run(python(FAMILY.replace("time.sleep(600)\n", "")), tmp_path, tmp_path / "log", nothing)
    assert ended.code == 0
    assert alive(family(tmp_path)) == []


STARTER = """
import pathlib, sys
from workers.engines.process import run
folder = pathlib.Path(sys.argv[1])
run([sys.executable, "-c", sys.argv[2]], folder, folder / "log", lambda: None)
"""


@pytest.mark.parametrize("victim", ["starter", "watcher"])
def test_kill_9_leaves_no_orphan(tmp_path: Path, victim: str) -> None:
    """Of the daemon, or of the process between it and the program, as the kernel does where memory is short."""
    starter = subprocess.Popen([sys.executable, "-c", STARTER, str(tmp_path), FAMILY])
    until((tmp_path / "family").exists)
    pids = family(tmp_path)
    session = os.getsid(pids[0])
    assert set(pids) < set(processes_of(session))
    os.kill(starter.pid if victim == "starter" else session, signal.SIGKILL)
    starter.wait(60)
    until(lambda: not alive(pids))


@pytest.mark.parametrize(
    ("words", "ranks"),
    [
        ((), 1),
        (("mpirun", "-np", "4"), 4),
        (("srun", "-n8", "--mem=0"), 8),
        (("srun", "--ntasks=16"), 16),
        (("mpiexec", "-n", "2", "-x", "A"), 2),
        (("srun",), 3),
    ],
)
def test_ranks_share_the_memory(monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], ranks: int):
    monkeypatch.setenv("SLURM_NTASKS", "3")
    machine = Machine(mpi=words, memory=4800)
    assert (machine.ranks, machine.memory_of_one) == (ranks, 4800 // ranks)


def test_a_folder_that_a_killed_process_left_is_swept_away(tmp_path: Path):
    dead = subprocess.Popen(["true"])
    dead.wait()
    left = tmp_path / f"lode-gpaw-{HOST}-{dead.pid}-abc"
    others = tmp_path / "lode-gpaw-elsewhere-1-abc", tmp_path / f"lode-gpaw-{HOST}-{os.getpid()}-abc", tmp_path / "mine"
    for folder in (left, *others):
        folder.mkdir()
    with scratch_folder(Machine(scratch=tmp_path), "vasp") as own:
        assert not left.exists()
        assert all(folder.exists() for folder in (own, *others))
    assert not own.exists()
