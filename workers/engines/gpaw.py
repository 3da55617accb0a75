"""GPAW: DFT with projector augmented waves, from PyPI and apt (Enkovaara et al., J. Phys.: Condens. Matter 22, 253202).

Each calculation is a program of its own (workers/engines/gpaw_run.py): whatever happens to it happens to it alone.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from registry.crystal import Crystal
from registry.errors import LabelFailure, MissingExtra
from registry.hull.levels import load_level
from registry.identity.composition import SYMBOLS
from registry.states import ErrorClass
from workers.engines.base import (
    Label,
    Machine,
    Relaxation,
    Remedies,
    Trajectory,
    check_plausible,
    check_start,
)
from workers.engines.process import run, scratch_folder
from workers.engines.program import FRAMES, JOB, Steps, frame_of, job_of, read_result
from workers.engines.relaxation import left_over

PROOF = ("cutoff", "kpoints", "metal", "electronic_steps")
"""What a result says besides of how it was converged."""

DEFAULTS: Mapping[str, Any] = {
    "xc": "PBE",
    "cutoff": 500.0,  # eV
    "cutoffs": load_level("gpaw-pbe").settings["cutoffs"],
    "look_share": 0.6,  # of the cutoff, for the look at whether it is a metal
    "density_metal": 4.0,  # k-points per reciprocal angstrom, over 2 pi
    "density_insulator": 2.5,
    "width_metal": 0.2,  # eV
    "width_insulator": 0.02,
    "energy": 1e-5,  # eV per valence electron
    "density": 1e-4,  # electrons per valence electron
    "max_electronic": 200,
    "max_step": 0.1,  # angstrom
    "optimizer": "BFGS",
    "band_path": False,  # whether the gap is looked for along the bands too, not only on the mesh
    "stress_slack": 3.0,  # times the force tolerance
    "moments": {"Cr": 3.0, "Mn": 4.0, "Fe": 4.0, "Co": 3.0, "Ni": 2.0, "Gd": 7.0, "Eu": 7.0},  # Bohr magnetons
}
"""What a level may say otherwise."""


PARALLEL = {"GPAW_MPI_BACKEND": "cgpaw"}
"""Without this word GPAW refuses to run under MPI where Python itself, not `gpaw python`, is what MPI starts."""

REMEDIES: Remedies = {
    ErrorClass.NOT_CONVERGED_ELECTRONIC: (
        {"mixer": {"name": "pulay", "beta": 0.05, "nmaxold": 5, "weight": 100.0}, "max_electronic": 400},
        {"mixer": {"name": "pulay", "beta": 0.02, "nmaxold": 8, "weight": 100.0}, "max_electronic": 800},
    ),
    ErrorClass.NOT_CONVERGED_IONIC: ({"optimizer": "FIRE"},),
    ErrorClass.GEOMETRY_EXPLODED: ({"max_step": 0.03},),
}
"""How to get there, never what it is that is got."""


@dataclass(frozen=True)
class Gpaw:
    """settings: of the level, over DEFAULTS."""

    settings: Mapping[str, Any] = field(default_factory=dict)
    machine: Machine = field(default_factory=Machine)
    name: str = "gpaw"
    remedies: Remedies = field(default_factory=lambda: REMEDIES)

    def __post_init__(self) -> None:
        """Raise MissingExtra where GPAW isn't installed."""
        installed()

    @property
    def version(self) -> str:
        return f"gpaw {installed()}, datasets {version('gpaw-data')}"

    def relax(self, crystal: Crystal, relaxation: Relaxation, trajectory: Trajectory) -> Label:
        asked = {"force_tolerance": relaxation.force_tolerance, "max_steps": relaxation.max_steps}
        job = job_of("relax", crystal, relaxation.start, {**DEFAULTS, **self.settings, **asked, **relaxation.changes})
        return self._calculated(crystal, job, asked, trajectory)

    def static(
        self, crystal: Crystal, trajectory: Trajectory | None = None, changes: Mapping[str, object] | None = None
    ) -> Label:
        job = job_of("static", crystal, None, {**DEFAULTS, **self.settings, **(changes or {})})
        return replace(self._calculated(crystal, job, {}, trajectory or Trajectory()), crystal=crystal)

    def energies(self, crystals: Sequence[Crystal]) -> list[float]:
        """NaN for those that fail."""
        return [self._energy(crystal) for crystal in crystals]

    def _energy(self, crystal: Crystal) -> float:
        try:
            return self.static(crystal).energy
        except LabelFailure:
            return float("nan")

    def _calculated(
        self, crystal: Crystal, job: Mapping[str, Any], asked: Mapping[str, Any], trajectory: Trajectory
    ) -> Label:
        check_start(crystal)
        check_elements(crystal)
        wall, before = time.perf_counter(), len(trajectory.frames)
        with scratch_folder(self.machine, "gpaw") as folder:
            (folder / JOB).write_text(json.dumps({**job, "memory": self.machine.memory}))
            steps = Steps(folder / FRAMES, crystal, trajectory)
            command = [*self.machine.mpi, sys.executable, "-m", "workers.engines.gpaw_run"]
            parallel = PARALLEL if self.machine.mpi else {}
            try:
                ended = run(command, folder, folder / "log", steps.look, parallel, self.machine.memory_of_one)
            finally:
                steps.keep()
            result = read_result(folder, ended, "gpaw")
        last = frame_of(result, crystal)
        check_plausible(last.crystal, last.energy)
        return Label(
            crystal=last.crystal,
            energy=last.energy,
            forces=last.forces,
            stress=last.stress,
            steps=max(0, len(trajectory.frames) - before - 1),
            wall_seconds=time.perf_counter() - wall,
            cpu_seconds=ended.cpu_seconds,
            convergence={**left_over(last), **asked, **{name: result[name] for name in PROOF}},
            datasets=datasets(crystal),
            gap=result["gap"],
        )


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
