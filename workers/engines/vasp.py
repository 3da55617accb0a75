"""VASP by the Materials Project's workflows, with custodian around it (docs/vasp.md). VASP and its potentials are the
user's own.

Each calculation is a program of its own (workers/engines/vasp_run.py), which runs VASP once or more for every stage.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from registry.crystal import Crystal
from registry.errors import LabelFailure, MissingExtra
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
from workers.engines.vasp_inputs import FUNCTIONALS, MP, R2SCAN, datasets, functional_of, potcar_files, potentials_of

PROOF = ("stages", "vasp", "hubbards", "moment")
"""What a result says besides of how it was converged, and by what."""

DEFAULTS: Mapping[str, Any] = {
    "workflow": MP,
    "force_tolerance": 0.5,  # eV/angstrom
    "max_steps": 99,  # of each relaxation
    "incar": {},  # tag -> value, over those of the workflow's sets
    "potcars": {},  # element -> symbol, over those of the workflow's sets
    "band_path": False,
    "max_errors": 10,  # corrections by custodian in each stage
    "frozen_seconds": 21_600.0,  # without a word, after which VASP hangs
    "poll_seconds": 2.0,
    "polls_per_check": 15,
}
"""What a level may say otherwise, and `potcar_functional`."""

ENERGIES = {MP: ENERGY_PER_ATOM, R2SCAN: (-100.0, 20.0)}
"""Workflow -> eV per atom that can be; r2SCAN's own are near -86 for plutonium (MatPES-r2SCAN's elements)."""

REMEDIES: Remedies = {
    ErrorClass.NOT_CONVERGED_ELECTRONIC: (
        {"ALGO": "Normal", "NELM": 200},
        {"ALGO": "Normal", "NELM": 400, "AMIX": 0.1, "BMIX": 0.01},
    ),
    ErrorClass.NOT_CONVERGED_IONIC: ({"IBRION": 1},),
    ErrorClass.GEOMETRY_EXPLODED: ({"POTIM": 0.1},),
}
"""Tags of INCAR that go another way to the same place."""


@dataclass(frozen=True)
class Vasp:
    """settings: of the level, over DEFAULTS."""

    settings: Mapping[str, Any] = field(default_factory=dict)
    machine: Machine = field(default_factory=Machine)
    name: str = "vasp"
    remedies: Remedies = field(default_factory=lambda: REMEDIES)
    _seen: dict[str, str] = field(default_factory=dict, init=False, compare=False)

    def __post_init__(self) -> None:
        """Raise MissingExtra where custodian isn't installed, LabelFailure for a workflow that isn't known."""
        installed()
        if (workflow := self._settings["workflow"]) not in FUNCTIONALS:
            raise LabelFailure(
                ErrorClass.MISSING_ENGINE,
                f"VASP has no workflow {workflow!r} here; there are: {', '.join(FUNCTIONALS)}",
            )

    @property
    def version(self) -> str:
        """VASP's own is known once it has run."""
        return f"vasp {self._seen.get('vasp', 'not run yet')}, {installed()}"

    @property
    def _settings(self) -> dict[str, Any]:
        return {**DEFAULTS, **self.settings}

    def relax(self, crystal: Crystal, relaxation: Relaxation, trajectory: Trajectory) -> Label:
        asked = {"force_tolerance": self._tolerance(relaxation), "max_steps": relaxation.max_steps}
        job = job_of("relax", crystal, relaxation.start, {**self._settings, **asked})
        return self._calculated(crystal, {**job, "changes": dict(relaxation.changes)}, asked, trajectory)

    def _tolerance(self, relaxation: Relaxation) -> float:
        """eV/angstrom. MPRelaxSet's relaxations end by the energy: what is left is held against the level's own."""
        settings = self._settings
        return float(settings["force_tolerance"]) if settings["workflow"] == MP else relaxation.force_tolerance

    def static(
        self, crystal: Crystal, trajectory: Trajectory | None = None, changes: Mapping[str, object] | None = None
    ) -> Label:
        job = job_of("static", crystal, None, self._settings)
        return self._calculated(crystal, {**job, "changes": dict(changes or {})}, {}, trajectory or Trajectory())

    def energies(self, crystals: Sequence[Crystal]) -> list[float]:
        """NaN for those that fail."""
        return single_energies(self, crystals)

    def _calculated(
        self, crystal: Crystal, job: dict[str, Any], asked: Mapping[str, Any], trajectory: Trajectory
    ) -> Label:
        check_start(crystal)
        check_program(self.machine)
        settings = job["settings"]
        symbols = potentials_of([SYMBOLS[number] for number in crystal.amounts], settings)
        files = potcar_files(symbols, functional_of(settings), self.machine.potcars)
        job |= {
            "command": [*self.machine.mpi, *self.machine.vasp],
            "machine_tags": dict(self.machine.vasp_incar),
            "potcars": {element: str(path) for element, path in files.items()},
            "mesh_coords": crystal.frac_coords.tolist(),
            "resumed": job["coords"] != crystal.frac_coords.tolist() or job["lattice"] != crystal.lattice.tolist(),
        }
        job |= {"limit": self.machine.memory}  # custodian, who parses it all, has as much as VASP
        found = compute(self.machine, "workers.engines.vasp_run", job, crystal, trajectory)
        self._seen["vasp"] = found.result["vasp"]
        check_plausible(found.last.crystal, found.last.energy, ENERGIES[settings["workflow"]])
        proof = {name: found.result[name] for name in PROOF}
        return Label(
            **found.common,
            convergence={**left_over(found.last), **asked, "potentials": symbols, **proof},
            datasets=datasets(files),
            changes=found.result["changes"],
            incompatible=found.result["incompatible"],
        )


@cache
def installed() -> str:
    """The versions of custodian and pymatgen. Raise MissingExtra where custodian isn't installed."""
    try:
        return f"custodian {version('custodian')}, pymatgen {version('pymatgen')}"
    except PackageNotFoundError as missing:
        raise MissingExtra(missing.name or "custodian", "dft") from missing


def check_program(machine: Machine) -> None:
    """Raise LabelFailure where VASP, or what starts it in parallel, isn't here."""
    words = [*machine.mpi[:1], *(machine.vasp[:1] or ("",))]
    if missing := [word or "of VASP" for word in words if shutil.which(word) is None]:
        message = (
            f"no program {', '.join(missing)} here; LODE_VASP holds the words of VASP's command, LODE_MPI those before"
        )
        raise LabelFailure(ErrorClass.MISSING_ENGINE, message)
