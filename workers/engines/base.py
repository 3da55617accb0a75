"""What every label engine gives: a relaxation, or an energy as it stands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from registry.crystal import Crystal, Floats
from registry.errors import LabelFailure


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
    """

    crystal: Crystal
    energy: float
    forces: Floats
    stress: Floats
    steps: int
    wall_seconds: float
    cpu_seconds: float
    frames: tuple[Frame, ...] = ()


Beat = Callable[[], None]


class Engine(Protocol):
    """A method that turns a crystal into an energy. Failures are raised as LabelFailure with their class."""

    name: str
    version: str

    def relax(self, crystal: Crystal, settings: Relaxation, beat: Beat) -> Label:
        """Relax cell and sites; `beat` is called after every ionic step and may raise to stop."""
        ...

    def static(self, crystal: Crystal) -> Label:
        """Energy, forces and stress of the crystal as it stands."""
        ...

    def energies(self, crystals: Sequence[Crystal]) -> list[float]:
        """Raw energies in eV per cell of the crystals as they stand, in order; NaN where it can say nothing."""
        ...


def engine_named(name: str) -> Engine:
    """The engine that a level names."""
    if name == "7net-0":
        from workers.engines.sevennet import SevenNet

        return SevenNet()
    if name == "chgnet":
        from workers.engines.chgnet import CHGNet

        return CHGNet()
    raise LabelFailure("missing_engine", f"no engine '{name}' here; there are: 7net-0, chgnet")


VOLUME_PER_ATOM = (2.0, 200.0)  # cubic angstrom
ENERGY_PER_ATOM = (-20.0, 20.0)  # eV; PBE energies with VASP's reference atoms lie between -15 and 5


def check_start(crystal: Crystal) -> None:
    """Raise LabelFailure for a cell squeezed flat: its neighbour lists alone would take minutes."""
    volume = crystal.volume / crystal.nsites
    if volume < VOLUME_PER_ATOM[0]:
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
