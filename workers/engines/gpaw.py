"""GPAW: DFT with projector augmented waves, from PyPI and apt (Enkovaara et al., J. Phys.: Condens. Matter 22, 253202).

Each calculation is a program of its own (workers/engines/gpaw_run.py): whatever happens to it happens to it alone.
"""

from __future__ import annotations

import hashlib
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
    ENERGY_PER_ATOM,
    Label,
    Machine,
    Relaxation,
    Remedies,
    Trajectory,
    check_plausible,
    check_start,
)
from workers.engines.program import compute, job_of, single_energies
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


OF_META_GGA = (-100.0, 20.0)
"""eV per atom: counted from atoms at PBE, cores included, another functional's energies lie far lower."""

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
        return single_energies(self, crystals)

    def _calculated(
        self, crystal: Crystal, job: Mapping[str, Any], asked: Mapping[str, Any], trajectory: Trajectory
    ) -> Label:
        check_start(crystal)
        check_elements(crystal)
        memory = {"memory": self.machine.memory, "limit": self.machine.memory_of_one}
        job = {**job, **memory, "words": self.machine.mpi}
        parallel = PARALLEL if self.machine.mpi else {}
        found = compute(self.machine, "workers.engines.gpaw_run", job, crystal, trajectory, parallel)
        functional = job["settings"]["xc"]
        check_plausible(found.last.crystal, found.last.energy, ENERGY_PER_ATOM if functional == "PBE" else OF_META_GGA)
        proof = {name: found.result[name] for name in PROOF}
        convergence = {**left_over(found.last), **asked, **proof}
        return Label(**found.common, convergence=convergence, datasets=datasets(crystal))


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
