"""What every label engine gives: a relaxation, or an energy as it stands."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from predictors.potentials.named import POTENTIALS
from registry.crystal import Crystal, Floats
from registry.errors import LabelFailure
from registry.hull.levels import Level


@dataclass(frozen=True)
class Relaxation:
    """How far to relax. `force_tolerance` in eV/A, on forces and on the strain's generalised force alike."""

    force_tolerance: float = 0.03
    max_steps: int = 200


@dataclass(frozen=True)
class Frame:
    """One step of a relaxation; the atoms keep their order. Units as in Label."""

    crystal: Crystal
    energy: float
    forces: Floats
    stress: Floats


@dataclass(frozen=True)
class Label:
    """One finished attempt.

    energy: eV per cell, raw (no corrections)
    forces: (n, 3) eV/A of the final frame; stress: (6,) eV/A^3, Voigt order xx yy zz yz xz xy
    frames: every step of the relaxation, the first and the last included
    convergence: how it is known to be converged: what was left, and what was allowed; plain values
    datasets: element -> SHA-256 of the pseudopotential or dataset; gap: eV, 0 of a metal, None from an engine without
    """

    crystal: Crystal
    energy: float
    forces: Floats
    stress: Floats
    steps: int
    wall_seconds: float
    cpu_seconds: float
    frames: tuple[Frame, ...] = ()
    convergence: Mapping[str, object] = field(default_factory=dict)
    datasets: Mapping[str, str] = field(default_factory=dict)
    gap: float | None = None


Beat = Callable[[], None]


class Engine(Protocol):
    """A method that turns a crystal into an energy. Failures are raised as LabelFailure with their class."""

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> str: ...

    def relax(self, crystal: Crystal, settings: Relaxation, beat: Beat) -> Label:
        """Relax cell and sites; `beat` is called after every ionic step and may raise to stop."""
        ...

    def static(self, crystal: Crystal) -> Label:
        """Energy, forces and stress of the crystal as it stands."""
        ...

    def energies(self, crystals: Sequence[Crystal]) -> list[float]:
        """Raw energies in eV per cell of the crystals as they stand, in order; NaN where it can say nothing."""
        ...


@dataclass(frozen=True)
class Machine:
    """What is special where calculations run.

    mpi: the words before a parallel program, as ("mpirun", "-np", "4"); scratch: a folder for those of calculations,
    the system's where it is None
    """

    mpi: tuple[str, ...] = ()
    scratch: Path | None = None


def engine_of(level: Level, machine: Machine | None = None) -> Engine:
    """The engine that a level names, with the level's settings. Raise MissingExtra where it isn't installed,
    LabelFailure for one that isn't known."""
    if level.engine in POTENTIALS:
        from workers.engines.potential import PotentialEngine

        return PotentialEngine(level.engine)
    if level.engine == "gpaw":
        from workers.engines.gpaw import Gpaw

        return Gpaw(level.settings, machine or Machine())
    known = ", ".join([*POTENTIALS, "gpaw"])
    raise LabelFailure("missing_engine", f"no engine '{level.engine}' here; there are: {known}")


VOLUME_PER_ATOM = (2.0, 200.0)  # cubic angstrom
ENERGY_PER_ATOM = (-20.0, 20.0)  # eV; PBE energies with VASP's reference atoms lie between -15 and 5


MAX_VOLUME_CHANGE = 3.0
"""Times the volume; a cell that changes by more in a relaxation has exploded, or collapsed."""


def check_start(crystal: Crystal) -> None:
    """Raise LabelFailure for a cell from which no relaxation leads to matter, before it takes all time and memory."""
    volume = crystal.volume / crystal.nsites
    if not VOLUME_PER_ATOM[0] <= volume <= VOLUME_PER_ATOM[1] * MAX_VOLUME_CHANGE:
        raise LabelFailure("unphysical_volume", f"{volume:.2g} A^3 per atom before the first step")


def check_plausible(crystal: Crystal, energy: float) -> None:
    """Raise LabelFailure where a result can't be matter: guard rails, not judgement."""
    if not np.isfinite(energy) or not np.isfinite(crystal.lattice).all():
        raise LabelFailure("geometry_exploded", "energy or lattice is not a finite number")
    per_atom = energy / crystal.nsites
    if not ENERGY_PER_ATOM[0] < per_atom < ENERGY_PER_ATOM[1]:
        raise LabelFailure("unphysical_energy", f"{per_atom:.2f} eV/atom")
    volume = crystal.volume / crystal.nsites
    if not VOLUME_PER_ATOM[0] < volume < VOLUME_PER_ATOM[1]:
        raise LabelFailure("unphysical_volume", f"{volume:.1f} A^3 per atom")
