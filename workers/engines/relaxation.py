"""The relaxation that every engine with an ASE calculator shares."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from registry.crystal import Crystal
from registry.errors import LabelFailure
from workers.engines.base import MAX_VOLUME_CHANGE, Beat, Frame, Label, Relaxation, check_plausible, check_start

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.calculator import Calculator

MAX_STEP = 0.1  # angstrom: larger ones made soft halides jump between structure types


def to_atoms(crystal: Crystal) -> Atoms:
    from ase import Atoms

    return Atoms(crystal.numbers, cell=crystal.lattice, scaled_positions=crystal.frac_coords, pbc=True)


def to_crystal(atoms: Atoms) -> Crystal:
    return Crystal(atoms.cell.array, atoms.numbers, atoms.get_scaled_positions(wrap=True))


def relax_with(calculator: Calculator, crystal: Crystal, settings: Relaxation, beat: Beat) -> Label:
    """Relax cell and sites. Raises LabelFailure: not_converged_ionic, geometry_exploded, unphysical_*.

    BFGS with its full Hessian: on small cells far from their volume LBFGS wandered for 100 steps where BFGS took 6.
    """
    from ase.filters import FrechetCellFilter
    from ase.optimize import BFGS

    check_start(crystal)
    wall, cpu = time.perf_counter(), time.process_time()
    atoms = to_atoms(crystal)
    atoms.calc = calculator
    moving: Any = FrechetCellFilter(atoms)  # ASE's annotations know optimizers of Atoms only
    optimizer: Any = BFGS(moving, maxstep=MAX_STEP, logfile=os.devnull)
    converged, frames = False, []
    for converged in optimizer.irun(fmax=settings.force_tolerance, steps=settings.max_steps):  # noqa: B007  (read after the loop)
        beat()
        frames.append(_frame(atoms))
        _stop_if_exploded(atoms, crystal.volume)
    if not converged:
        message = f"forces above {settings.force_tolerance} eV/A after {settings.max_steps} steps"
        raise LabelFailure("not_converged_ionic", message)
    allowed = {"force_tolerance": settings.force_tolerance, "max_steps": settings.max_steps}
    return _label(atoms, optimizer.nsteps, wall, cpu, tuple(frames), allowed)


def static_with(calculator: Calculator, crystal: Crystal) -> Label:
    wall, cpu = time.perf_counter(), time.process_time()
    atoms = to_atoms(crystal)
    atoms.calc = calculator
    return _label(atoms, 0, wall, cpu)


def _frame(atoms: Atoms) -> Frame:
    """The calculator holds the results of this very step: nothing is computed again."""
    return Frame(
        crystal=to_crystal(atoms),
        energy=float(atoms.get_potential_energy()),
        forces=np.array(atoms.get_forces(), dtype=np.float64),
        stress=np.array(atoms.get_stress(), dtype=np.float64),
    )


def _label(
    atoms: Atoms,
    steps: int,
    wall: float,
    cpu: float,
    frames: tuple[Frame, ...] = (),
    allowed: Mapping[str, object] | None = None,
) -> Label:
    last = _frame(atoms)
    check_plausible(last.crystal, last.energy)
    return Label(
        crystal=last.crystal,
        energy=last.energy,
        forces=last.forces,
        stress=last.stress,
        frames=frames,
        steps=steps,
        wall_seconds=time.perf_counter() - wall,
        cpu_seconds=time.process_time() - cpu,
        convergence=left_over(last) | dict(allowed or {}),
    )


def left_over(frame: Frame) -> dict[str, object]:
    """The largest force on an atom, eV/angstrom, and the largest component of the stress, eV/cubic angstrom."""
    largest = float(np.linalg.norm(frame.forces, axis=1).max())
    return {"max_force": largest, "max_stress": float(np.abs(frame.stress).max())}


def _stop_if_exploded(atoms: Atoms, start_volume: float) -> None:
    ratio = atoms.get_volume() / start_volume
    if not 1 / MAX_VOLUME_CHANGE < ratio < MAX_VOLUME_CHANGE:
        raise LabelFailure("geometry_exploded", f"volume changed {ratio:.2f}-fold")
