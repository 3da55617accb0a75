"""What the programs of DFT codes share: a job goes in, ionic steps come out as they are done, and a result at the end.

Each runs in a folder of its own (workers/engines/process.py) with job.json in it. It writes frames.jsonl, a line per
ionic step, and result.json: a label, or the class of what went wrong.
"""

from __future__ import annotations

import errno
import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from registry.crystal import Crystal
from registry.errors import LabelFailure
from workers.engines.base import Engine, Frame, Machine, Trajectory
from workers.engines.process import DISK_FULL, Ended, class_of, run, scratch_folder

JOB, FRAMES, RESULT = "job.json", "frames.jsonl", "result.json"


class Steps:
    """The lines of frames.jsonl as they come."""

    def __init__(self, path: Path, crystal: Crystal, trajectory: Trajectory) -> None:
        self._path, self._crystal, self._trajectory = path, crystal, trajectory
        self._read = 0

    def look(self) -> None:
        """Keep what is new, and raise where it shall end."""
        self.keep()
        self._trajectory.check()

    def keep(self) -> None:
        """Keep what is new; half a line waits for its other half."""
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            file.seek(self._read)
            new = file.read()
        whole = new[: new.rfind(b"\n") + 1]
        self._read += len(whole)
        self._trajectory.frames += [frame_of(json.loads(line), self._crystal) for line in whole.splitlines()]


def job_of(task: str, crystal: Crystal, start: Crystal | None, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What a program reads: where it begins, and the cell that fixes the k-mesh."""
    begin = start or crystal
    return {
        "task": task,
        "lattice": begin.lattice.tolist(),
        "mesh_lattice": crystal.lattice.tolist(),
        "numbers": crystal.numbers.tolist(),
        "coords": begin.frac_coords.tolist(),
        "settings": dict(settings),
    }


def ends_well(work: Callable[[], None]) -> None:
    """Do a program's work; a full disk, to which nothing more can be written, is told by the exit code."""
    try:
        work()
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        os._exit(DISK_FULL)


@dataclass(frozen=True)
class Computed:
    """What a program has found: its whole result, the last step of it, and what every label says."""

    result: dict[str, Any]
    last: Frame
    common: dict[str, Any]


def compute(
    machine: Machine,
    module: str,
    job: Mapping[str, Any],
    crystal: Crystal,
    trajectory: Trajectory,
    environment: Mapping[str, str] | None = None,
) -> Computed:
    """Run a module of ours as a program in a folder of its own; each step goes into the trajectory as it comes.

    job["words"]: before Python's own, as MPI's; job["limit"]: bytes of each process, None: whatever there is.
    Raises LabelFailure, and what the trajectory's check raises.
    """
    wall, before = time.perf_counter(), len(trajectory.frames)
    name = module.rpartition(".")[2]
    with scratch_folder(machine, name) as folder:
        (folder / JOB).write_text(json.dumps(job))
        steps = Steps(folder / FRAMES, crystal, trajectory)
        command = [*job.get("words", ()), sys.executable, "-m", module]
        try:
            ended = run(command, folder, folder / "log", steps.look, environment, job.get("limit"))
        finally:
            steps.keep()
        result = read_result(folder, ended, name)
    last = frame_of(result, crystal)
    common = {
        "crystal": last.crystal,
        "energy": last.energy,
        "forces": last.forces,
        "stress": last.stress,
        "gap": result["gap"],
        "steps": max(0, len(trajectory.frames) - before - 1),
        "wall_seconds": time.perf_counter() - wall,
        "cpu_seconds": ended.cpu_seconds,
    }
    return Computed(result, last, common)


def single_energies(engine: Engine, crystals: Sequence[Crystal]) -> list[float]:
    """eV per cell of the crystals as they stand, one after the other; NaN for those that fail."""

    def energy(crystal: Crystal) -> float:
        try:
            return engine.static(crystal).energy
        except LabelFailure:
            return float("nan")

    return [energy(crystal) for crystal in crystals]


def write_result(result: Mapping[str, Any]) -> None:
    """Into this folder, whole or not at all."""
    Path(f"{RESULT}.new").write_text(json.dumps(result))
    Path(f"{RESULT}.new").replace(RESULT)


def read_result(folder: Path, ended: Ended, program: str) -> dict[str, Any]:
    """What a program wrote. Raise LabelFailure with the class of what it says, or of how it ended."""
    path = folder / RESULT
    if not path.exists():
        raise LabelFailure(class_of(ended), f"{program} {ended}", ended.signal, ended.tail)
    result: dict[str, Any] = json.loads(path.read_text())
    if "error_class" in result:
        said = result.get("log_tail", ended.tail) or ""
        raise LabelFailure(
            result["error_class"], result["error"], result.get("signal"), said or None, result.get("changes")
        )
    return result


def frame_of(told: Mapping[str, Any], start: Crystal) -> Frame:
    """From its lists; the atoms are those that it began with."""
    lattice, coords = np.array(told["lattice"]).reshape(3, 3), np.array(told["coords"]).reshape(-1, 3)
    return Frame(
        crystal=Crystal(lattice, start.numbers, coords),
        energy=float(told["energy"]),
        forces=np.array(told["forces"], dtype=np.float64).reshape(-1, 3),
        stress=np.array(told["stress"], dtype=np.float64),
    )
