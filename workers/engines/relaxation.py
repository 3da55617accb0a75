"""The relaxation that every engine with an ASE calculator shares."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from registry.crystal import Crystal
from registry.errors import LabelFailure
from registry.states import ErrorClass
from workers.engines.base import (
    MAX_VOLUME_CHANGE,
    Frame,
    Label,
    Relaxation,
    Remedies,
    Trajectory,
    check_plausible,
    check_start,
)

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.calculator import Calculator

MAX_STEP = 0.1  # angstrom: larger ones made soft halides jump between structure types

REMEDIES: Remedies = {ErrorClass.NOT_CONVERGED_IONIC: ({"optimizer": "FIRE"},)}
"""FIRE forgets: what BFGS has learnt of a flat landscape may lead it around in circles."""


def to_atoms(crystal: Crystal) -> Atoms:
    from ase import Atoms

    return Atoms(crystal.numbers, cell=crystal.lattice, scaled_positions=crystal.frac_coords, pbc=True)


def to_crystal(atoms: Atoms) -> Crystal:
    return Crystal(atoms.cell.array, atoms.numbers, atoms.get_scaled_positions(wrap=True))


def relax_with(
    calculator: Calculator, crystal: Crystal, relaxation: Relaxation, trajectory: Trajectory, zero: float = 0.0
) -> Label:
    """Relax cell and sites. Raises LabelFailure: not_converged_ionic, geometry_exploded, unphysical_*.

    zero: eV per cell that its energies count from, as against those of `check_plausible`
    BFGS with its full Hessian: on small cells far from their volume LBFGS wandered for 100 steps where BFGS took 6.
    """
    check_start(crystal)
    wall, cpu = time.perf_counter(), time.process_time()
    atoms = to_atoms(relaxation.start or crystal)
    atoms.calc = calculator
    optimizer = optimizer_of(atoms, relaxation.changes, MAX_STEP)
    converged = False
    for converged in optimizer.irun(fmax=relaxation.force_tolerance, steps=relaxation.max_steps):  # noqa: B007  (read after the loop)
        trajectory.add(_frame(atoms))
        _stop_if_exploded(atoms, crystal.volume)
    if not converged:
        message = f"forces above {relaxation.force_tolerance} eV/A after {relaxation.max_steps} steps"
        raise LabelFailure(ErrorClass.NOT_CONVERGED_IONIC, message)
    allowed = {"force_tolerance": relaxation.force_tolerance, "max_steps": relaxation.max_steps}
    return _label(atoms, optimizer.nsteps, wall, cpu, zero, allowed)


def optimizer_of(atoms: Atoms, changes: Mapping[str, Any], max_step: float) -> Any:
    """BFGS, or FIRE where the changes say so, on cell and sites together. max_step: angstrom."""
    from ase.filters import FrechetCellFilter
    from ase.optimize import BFGS, FIRE

    chosen: Any = FIRE if changes.get("optimizer") == "FIRE" else BFGS
    moving: Any = FrechetCellFilter(atoms)  # ASE's annotations know optimizers of Atoms only
    return chosen(moving, maxstep=changes.get("max_step", max_step), logfile=os.devnull)


def static_with(calculator: Calculator, crystal: Crystal, zero: float = 0.0) -> Label:
    """The crystal as it stands; `zero` as in `relax_with`. Raises LabelFailure: overlapping_atoms, unphysical_*."""
    check_start(crystal)
    wall, cpu = time.perf_counter(), time.process_time()
    atoms = to_atoms(crystal)
    atoms.calc = calculator
    return replace(_label(atoms, 0, wall, cpu, zero), crystal=crystal)


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
    zero: float,
    allowed: Mapping[str, object] | None = None,
) -> Label:
    last = _frame(atoms)
    check_plausible(last.crystal, last.energy - zero)
    return Label(
        crystal=last.crystal,
        energy=last.energy,
        forces=last.forces,
        stress=last.stress,
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
