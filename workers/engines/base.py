"""What every label engine gives: a relaxation, or an energy as it stands."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from predictors.potentials.named import POTENTIALS
from registry.crystal import Crystal, Floats
from registry.errors import LabelFailure, MissingExtra
from registry.hull.levels import OWN_POTENTIAL, Level, load_level
from registry.states import ErrorClass


@dataclass(frozen=True)
class Relaxation:
    """How far to relax, and how to go on where an earlier attempt failed.

    force_tolerance: eV/A, on forces and on the strain's generalised force alike
    start: where an earlier attempt had come to; what depends on the cell (a k-mesh) is of the crystal itself
    changes: what this attempt does otherwise than the level says, as one of the engine's `remedies`
    """

    force_tolerance: float = 0.03
    max_steps: int = 200
    start: Crystal | None = None
    changes: Mapping[str, object] = field(default_factory=dict)


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
    convergence: how it is known to be converged: what was left, and what was allowed; plain values
    datasets: element -> SHA-256 of the pseudopotential or dataset; gap: eV, 0 of a metal, None from an engine without
    changes: what the engine itself did otherwise on the way, as custodian does; incompatible: why, for that or another
        reason, the energy may not stand beside others of the level
    """

    crystal: Crystal
    energy: float
    forces: Floats
    stress: Floats
    steps: int
    wall_seconds: float
    cpu_seconds: float
    convergence: Mapping[str, object] = field(default_factory=dict)
    datasets: Mapping[str, str] = field(default_factory=dict)
    gap: float | None = None
    changes: Mapping[str, object] = field(default_factory=dict)
    incompatible: str | None = None


def go_on() -> None:
    """The check of what nobody wants to stop."""


@dataclass
class Trajectory:
    """The steps of one attempt as they come: what is kept of it, whether it ends well or not.

    check: raises where the attempt shall end (LeaseLost, Drained); engines call it several times a second where they
        wait for a program, and after every step
    """

    check: Callable[[], None] = go_on
    frames: list[Frame] = field(default_factory=list)

    def add(self, frame: Frame) -> None:
        """Keep a step, the first one included; may raise as `check` does."""
        self.frames.append(frame)
        self.check()


Remedies = Mapping[str, Sequence[Mapping[str, object]]]
"""Error class -> what an attempt after such a failure does otherwise: first this, then that. None loosens accuracy."""


class Engine(Protocol):
    """A method that turns a crystal into an energy. Failures are raised as LabelFailure with their class."""

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> str: ...
    @property
    def remedies(self) -> Remedies: ...

    def relax(self, crystal: Crystal, relaxation: Relaxation, trajectory: Trajectory) -> Label:
        """Relax cell and sites."""
        ...

    def static(
        self, crystal: Crystal, trajectory: Trajectory | None = None, changes: Mapping[str, object] | None = None
    ) -> Label:
        """Energy, forces and stress of the crystal as it stands. changes: as in Relaxation."""
        ...

    def energies(self, crystals: Sequence[Crystal]) -> list[float]:
        """Raw energies in eV per cell of the crystals as they stand, in order; NaN where it can say nothing."""
        ...


@dataclass(frozen=True)
class Machine:
    """What is special where calculations run.

    mpi: the words before a parallel program, as ("mpirun", "-np", "4"); scratch: a folder for those of calculations,
    the system's where it is None; memory: bytes that one calculation may have in all, None: whatever there is
    vasp: the words of VASP's command; potcars: the folder of its potentials, pymatgen's own setting where it is None
    vasp_incar: tags of INCAR that say in which parallel parts VASP works here, and decide no energy
    """

    mpi: tuple[str, ...] = ()
    scratch: Path | None = None
    memory: int | None = None
    vasp: tuple[str, ...] = ("vasp_std",)
    potcars: Path | None = None
    vasp_incar: Mapping[str, str] = field(default_factory=dict)

    @property
    def ranks(self) -> int:
        """Processes of a parallel program, as its words tell, or Slurm where they don't."""
        told = re.search(r"(?:^| )(?:-np?|--np|--ntasks)[ =]?(\d+)(?: |$)", " ".join(self.mpi))
        slurm = os.environ.get("SLURM_NTASKS", "1") if self.mpi else "1"
        return max(1, int(told[1] if told else slurm))

    @property
    def memory_of_one(self) -> int | None:
        """Bytes that each of them may have."""
        return None if self.memory is None else self.memory // self.ranks


def engine_of(level: Level, machine: Machine | None = None) -> Engine:
    """The engine that a level names, with the level's settings, and what relaxes before it where the level says so.

    Raise MissingExtra where it isn't installed, LabelFailure for one that isn't known.
    """
    first = level.settings.get("prerelax")
    if first is None:
        return _engine_of(level, machine)
    from workers.engines.prerelaxed import Prerelaxed

    before = load_level(str(first))
    return Prerelaxed(_engine_of(level, machine), _engine_of(before, machine), relaxation_of(before))


def relaxation_of(level: Level) -> Relaxation:
    """How far the level's labels are relaxed."""
    defaults, settings = Relaxation(), level.settings
    return Relaxation(
        float(str(settings.get("force_tolerance", defaults.force_tolerance))),
        int(str(settings.get("max_steps", defaults.max_steps))),
    )


def _engine_of(level: Level, machine: Machine | None) -> Engine:
    if level.engine in POTENTIALS:
        from workers.engines.potential import PotentialEngine

        return PotentialEngine(level.engine)
    if level.engine == OWN_POTENTIAL:
        return _own_potential(level)
    if level.engine == "gpaw":
        from workers.engines.gpaw import Gpaw

        return Gpaw(level.settings, machine or Machine())
    if level.engine == "vasp":
        from workers.engines.vasp import Vasp

        return Vasp(level.settings, machine or Machine())
    known = ", ".join([*POTENTIALS, OWN_POTENTIAL, "gpaw", "vasp"])
    raise LabelFailure(ErrorClass.MISSING_ENGINE, f"no engine '{level.engine}' here; there are: {known}")


def _own_potential(level: Level) -> Engine:
    """A model that somebody has trained, which not every node may have."""
    from predictors.errors import BadCheckpoint, PotentialMissing
    from predictors.potentials.trained import load_trained
    from workers.engines.potential import PotentialEngine

    try:
        potential = load_trained(Path(str(level.settings["model"])), str(level.settings["sha256"]))
    except PotentialMissing as missing:
        raise MissingExtra(missing.package, "potentials") from missing
    except (BadCheckpoint, OSError) as error:
        raise LabelFailure(ErrorClass.MISSING_ENGINE, str(error)) from error
    return PotentialEngine(potential)


VOLUME_PER_ATOM = (2.0, 200.0)  # cubic angstrom
ENERGY_PER_ATOM = (-20.0, 20.0)  # eV; PBE energies with VASP's reference atoms lie between -15 and 5


SHORTEST = 0.5  # angstrom between two atoms; those of a hydrogen molecule are 0.74 apart
MAX_VOLUME_CHANGE = 3.0
"""Times the volume; a cell that changes by more in a relaxation has exploded, or collapsed."""


def check_start(crystal: Crystal) -> None:
    """Raise LabelFailure for a cell from which no relaxation leads to matter, before it takes all time and memory."""
    if not np.isfinite(crystal.lattice).all() or not np.isfinite(crystal.frac_coords).all():
        raise LabelFailure(ErrorClass.GEOMETRY_EXPLODED, "the lattice or a coordinate is no finite number")
    volume = crystal.volume / crystal.nsites
    if not VOLUME_PER_ATOM[0] <= volume <= VOLUME_PER_ATOM[1] * MAX_VOLUME_CHANGE:
        raise LabelFailure(ErrorClass.UNPHYSICAL_VOLUME, f"{volume:.2g} A^3 per atom before the first step")
    if (shortest := shortest_distance(crystal, SHORTEST)) is not None:
        raise LabelFailure(ErrorClass.OVERLAPPING_ATOMS, f"two atoms lie {shortest:.2g} A apart before the first step")


def shortest_distance(crystal: Crystal, within: float) -> float | None:
    """The shortest distance between atoms, periodic images included, in angstrom; None where all are farther apart."""
    from pymatgen.optimization.neighbors import find_points_in_spheres

    lattice = np.ascontiguousarray(crystal.lattice)
    points = np.ascontiguousarray((crystal.frac_coords % 1.0) @ lattice)
    found = find_points_in_spheres(points, points, within, np.ones(3, dtype=np.int64), lattice, 1e-8)
    centres, others, images, distances = found
    apart = (centres != others) | images.any(axis=1)
    return float(distances[apart].min()) if apart.any() else None


def check_plausible(crystal: Crystal, energy: float, per_atom: tuple[float, float] = ENERGY_PER_ATOM) -> None:
    """Raise LabelFailure where a result can't be matter: guard rails, not judgement. per_atom: eV, between which."""
    if not np.isfinite(energy) or not np.isfinite(crystal.lattice).all():
        raise LabelFailure(ErrorClass.GEOMETRY_EXPLODED, "energy or lattice is not a finite number")
    if not per_atom[0] < energy / crystal.nsites < per_atom[1]:
        raise LabelFailure(ErrorClass.UNPHYSICAL_ENERGY, f"{energy / crystal.nsites:.2f} eV/atom")
    volume = crystal.volume / crystal.nsites
    if not VOLUME_PER_ATOM[0] < volume < VOLUME_PER_ATOM[1]:
        raise LabelFailure(ErrorClass.UNPHYSICAL_VOLUME, f"{volume:.1f} A^3 per atom")
