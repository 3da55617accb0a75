"""GPAW: DFT with projector augmented waves, from PyPI and apt (Enkovaara et al., J. Phys.: Condens. Matter 22, 253202).

Each calculation is a program of its own (workers/engines/gpaw_run.py): whatever happens to it happens to it alone.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from registry.crystal import Crystal
from registry.errors import UNPRINTABLE, LabelFailure, MissingExtra
from registry.identity.composition import SYMBOLS
from workers.engines.base import Beat, Frame, Label, Machine, Relaxation, check_plausible, check_start
from workers.engines.gpaw_run import FRAMES, JOB, RESULT
from workers.engines.process import Ended, run
from workers.engines.relaxation import left_over

PROOF = ("cutoff", "kpoints", "metal", "electronic_steps")
"""What a result says besides of how it was converged."""

DEFAULTS: Mapping[str, Any] = {
    "xc": "PBE",
    "cutoff": 500.0,  # eV
    "cutoffs": {"O": 800.0, "F": 800.0, "N": 800.0},
    "look_share": 0.6,  # of the cutoff, for the look at whether it is a metal
    "density_metal": 4.0,  # k-points per reciprocal angstrom, over 2 pi
    "density_insulator": 2.5,
    "width_metal": 0.2,  # eV
    "width_insulator": 0.02,
    "energy": 1e-5,  # eV per valence electron
    "density": 1e-4,  # electrons per valence electron
    "max_electronic": 200,
    "max_step": 0.1,  # angstrom
    "stress_slack": 3.0,  # times the force tolerance
    "moments": {"Cr": 3.0, "Mn": 4.0, "Fe": 4.0, "Co": 3.0, "Ni": 2.0, "Gd": 7.0, "Eu": 7.0},  # Bohr magnetons
}
"""What a level may say otherwise."""


@dataclass(frozen=True)
class Gpaw:
    """settings: of the level, over DEFAULTS."""

    settings: Mapping[str, Any] = field(default_factory=dict)
    machine: Machine = field(default_factory=Machine)
    name: str = "gpaw"

    def __post_init__(self) -> None:
        """Raise MissingExtra where GPAW isn't installed."""
        installed()

    @property
    def version(self) -> str:
        return f"gpaw {installed()}, datasets {version('gpaw-data')}"

    def relax(self, crystal: Crystal, settings: Relaxation, beat: Beat) -> Label:
        return self._calculate("relax", crystal, asdict(settings), beat)

    def static(self, crystal: Crystal) -> Label:
        return self._calculate("static", crystal, {}, lambda: None)

    def energies(self, crystals: Sequence[Crystal]) -> list[float]:
        """NaN for those that fail."""
        return [self._energy(crystal) for crystal in crystals]

    def _energy(self, crystal: Crystal) -> float:
        try:
            return self.static(crystal).energy
        except LabelFailure:
            return float("nan")

    def _calculate(self, task: str, crystal: Crystal, asked: Mapping[str, Any], beat: Beat) -> Label:
        check_start(crystal)
        check_elements(crystal)
        wall = time.perf_counter()
        with self._folder() as folder:
            write_job(folder, task, crystal, {**DEFAULTS, **self.settings, **asked})
            ended = run(
                [*self.machine.mpi, sys.executable, "-m", "workers.engines.gpaw_run"], folder, folder / "log", beat
            )
            result = read_result(folder, ended)
            frames = tuple(frame_of(json.loads(line), crystal) for line in lines_of(folder / FRAMES))
        last = frame_of(result, crystal)
        check_plausible(last.crystal, last.energy)
        return Label(
            crystal=last.crystal,
            energy=last.energy,
            forces=last.forces,
            stress=last.stress,
            steps=max(0, len(frames) - 1),
            wall_seconds=time.perf_counter() - wall,
            cpu_seconds=ended.cpu_seconds,
            frames=frames,
            convergence={**left_over(last), **asked, **{name: result[name] for name in PROOF}},
            datasets=datasets(crystal),
            gap=result["gap"],
        )

    @contextmanager
    def _folder(self) -> Iterator[Path]:
        if self.machine.scratch is not None:
            self.machine.scratch.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix="lode-gpaw-", dir=self.machine.scratch))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@cache
def installed() -> str:
    """The version of GPAW. Raise MissingExtra where it, or its datasets, aren't installed."""
    try:
        version("gpaw-data")
        return version("gpaw")
    except PackageNotFoundError as missing:
        raise MissingExtra(missing.name or "gpaw", "dft") from missing


@cache
def elements() -> frozenset[str]:
    """Those with a PBE dataset."""
    package = find_spec("gpaw_data")
    assert package is not None
    assert package.origin is not None
    return frozenset(path.name.split(".")[0] for path in Path(package.origin).parent.rglob("*.PBE.gz"))


@cache
def dataset_of(element: str) -> str:
    """SHA-256 of the file that holds it."""
    import gpaw_data

    path = next(Path(gpaw_data.__file__).parent.rglob(f"{element}.PBE.gz"))
    return hashlib.sha256(path.read_bytes()).hexdigest()


def datasets(crystal: Crystal) -> dict[str, str]:
    """Element -> SHA-256 of its dataset."""
    return {SYMBOLS[number]: dataset_of(SYMBOLS[number]) for number in crystal.amounts}


def check_elements(crystal: Crystal) -> None:
    """Raise LabelFailure for elements without dataset."""
    if missing := sorted({SYMBOLS[number] for number in crystal.amounts} - elements()):
        raise LabelFailure("unsupported_element", f"GPAW has no dataset of {', '.join(missing)}")


def write_job(folder: Path, task: str, crystal: Crystal, settings: Mapping[str, Any]) -> None:
    """What gpaw_run reads."""
    job = {
        "task": task,
        "lattice": crystal.lattice.tolist(),
        "mesh_lattice": crystal.lattice.tolist(),
        "numbers": crystal.numbers.tolist(),
        "coords": crystal.frac_coords.tolist(),
        "settings": dict(settings),
    }
    (folder / JOB).write_text(json.dumps(job))


def read_result(folder: Path, ended: Ended) -> dict[str, Any]:
    """What gpaw_run wrote. Raise LabelFailure with the class of what it says, or of how it ended."""
    path = folder / RESULT
    if not path.exists():
        raise LabelFailure(class_of(ended), f"gpaw {ended}", ended.signal, printable(ended.tail))
    result: dict[str, Any] = json.loads(path.read_text())
    if "error_class" in result:
        raise LabelFailure(result["error_class"], result["error"])
    return result


def printable(text: str) -> str:
    """The lines of a log as a database takes them."""
    return "\n".join(UNPRINTABLE.sub("?", line) for line in text.splitlines())


def class_of(ended: Ended) -> str:
    """Of a program that left no result."""
    said = ended.tail.lower()
    if ended.missing:
        return "missing_engine"
    if "memoryerror" in said or "bad_alloc" in said or "out of memory" in said:
        return "out_of_memory"
    if "no space left on device" in said:
        return "disk_full"
    return "killed" if ended.signal in ("SIGKILL", "SIGTERM") else "bug"


def frame_of(told: Mapping[str, Any], start: Crystal) -> Frame:
    """From its lists; the atoms are those that it began with."""
    lattice, coords = np.array(told["lattice"]).reshape(3, 3), np.array(told["coords"]).reshape(-1, 3)
    return Frame(
        crystal=Crystal(lattice, start.numbers, coords),
        energy=float(told["energy"]),
        forces=np.array(told["forces"], dtype=np.float64).reshape(-1, 3),
        stress=np.array(told["stress"], dtype=np.float64),
    )


def lines_of(path: Path) -> list[str]:
    """Whole ones; none where there is no file."""
    text = path.read_text() if path.exists() else ""
    return text[: text.rfind("\n") + 1].splitlines()
