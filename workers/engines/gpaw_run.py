"""One calculation with GPAW, as a program: python -m workers.engines.gpaw_run, in a folder that holds job.json.

It writes frames.jsonl, a line per ionic step as it comes, and at the end result.json: a label, or the class of what
went wrong. With MPI all ranks run it, the first one writes. The choices follow what was measured:

- Cutoffs per element: at 500 eV MgO "converges" to a cell of 4.105 A, 3 % too small.
- k-meshes are integers, fixed by the starting cell: a density is evaluated anew as the cell moves, never to settle.
- A relaxation keeps the plane waves of its starting cell, so the stress that it ends with may be false. Each ends with
  a single point on a fresh basis of a higher cutoff; where that finds more stress than is allowed, it goes on there.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from registry.states import ErrorClass
from workers.engines.base import MAX_VOLUME_CHANGE
from workers.engines.program import FRAMES, JOB, ends_well, write_result
from workers.engines.relaxation import optimizer_of

METAL_GAP = 0.05  # eV; below, occupations are smeared as a metal's
FINER = 1.2  # times the cutoff, of the check
BOHR, HARTREE = 0.529177, 27.2114  # angstrom, eV
BANDS_TO_SPARE = 1.2  # times those that are occupied
COPIES = 4  # of the wave functions, held at once: 4 to 10 were measured
PATH_DENSITY = 10.0  # points * angstrom, along the bands
RESTARTS = 3  # relaxations on a fresh basis, before the cell is taken to have no rest


class Failed(Exception):
    """error_class: of registry.states.ErrorClass."""

    def __init__(self, error_class: str, message: str) -> None:
        super().__init__(message)
        self.error_class = error_class


def main() -> None:
    """Do the job of this folder. What goes wrong is written down, and the program ends well; but for a full disk."""
    ends_well(_main)


def _main() -> None:
    job = json.loads(Path(JOB).read_text())
    try:
        result = label(job)
    except Failed as failure:
        result = {"error_class": failure.error_class, "error": str(failure)}
    if _leads():
        write_result(result)


def label(job: dict[str, Any]) -> dict[str, Any]:
    """job: lattice, numbers, coords, mesh_lattice (3x3, of the cell that fixes the k-mesh), task, settings."""
    from ase import Atoms

    atoms = Atoms(job["numbers"], cell=job["lattice"], scaled_positions=job["coords"], pbc=True)
    moments = [job["settings"]["moments"].get(symbol, 0.0) for symbol in atoms.get_chemical_symbols()]
    atoms.set_initial_magnetic_moments(moments)
    plan = Plan(job["settings"], atoms, np.array(job["mesh_lattice"]), job.get("memory"))
    plan.metal = _gap(plan.static(atoms, plan.cutoff * plan.settings["look_share"])) < METAL_GAP
    if job["task"] == "relax":
        relax(atoms, plan)
    final = plan.static(atoms, plan.cutoff)
    return {
        **_frame(final),
        "gap": min(_gap(final), _gap_of_path(final)) if plan.settings["band_path"] else _gap(final),
        "metal": plan.metal,
        "kpoints": plan.mesh.tolist(),
        "cutoff": plan.cutoff,
        "electronic_steps": int(final.calc.get_number_of_iterations()),
        "moment": float(final.get_magnetic_moment()) if plan.spin else 0.0,
    }


class Plan:
    """What stays the same through a job: functional, cutoff (eV), k-mesh, spin; `metal` once it is known."""

    def __init__(
        self, settings: dict[str, Any], atoms: Any, mesh_lattice: np.ndarray, memory: int | None = None
    ) -> None:
        """memory: bytes; None: what is free now."""
        self.settings = settings
        self._memory = memory or psutil.virtual_memory().available
        self._bands = sum(_valence(number) for number in atoms.numbers) / 2 * BANDS_TO_SPARE
        symbols = set(atoms.get_chemical_symbols())
        self.cutoff = max(settings["cutoffs"].get(symbol, settings["cutoff"]) for symbol in symbols)
        self.spin = bool(np.any(atoms.get_initial_magnetic_moments()))
        self._mesh_lattice = mesh_lattice
        self.start_volume = abs(float(np.linalg.det(mesh_lattice)))
        self.metal = True

    @property
    def mesh(self) -> np.ndarray:
        """(3,) k-points along each reciprocal vector, Gamma among them."""
        density = self.settings["density_metal" if self.metal else "density_insulator"]  # k-points * angstrom
        lengths = 2 * np.pi * np.linalg.norm(np.linalg.inv(self._mesh_lattice).T, axis=1)
        mesh: np.ndarray = np.maximum(1, np.ceil(density * lengths - 1e-9)).astype(int)
        return mesh

    def ensure_memory(self, cutoff: float) -> None:
        """Raise Failed where the wave functions alone, and what is computed with them, take more than there is.

        Plane waves below the cutoff, in atomic units: V (2 E)^(3/2) / (6 pi^2).
        """
        waves = self.start_volume / BOHR**3 * (2 * cutoff / HARTREE) ** 1.5 / (6 * np.pi**2)
        points = min(int(np.prod(self.mesh)), (int(np.prod(self.mesh)) + 8) // 2)  # k and -k are one
        needed = COPIES * 16 * waves * self._bands * points * (1 + self.spin)
        if needed > self._memory:
            told = f"needs {needed / 2**30:.1f} GiB at least ({self._bands:.0f} bands, {waves:.0f} waves)"
            raise Failed(ErrorClass.OUT_OF_MEMORY, f"{told}, and {self._memory / 2**30:.1f} are free")

    def calculator(self, cutoff: float, log: str) -> Any:
        """A fresh one, with a basis for the cell that it is first asked about."""
        from gpaw import GPAW, PW

        self.ensure_memory(cutoff)
        settings = self.settings
        smearing = (
            {"name": "methfessel-paxton", "width": settings["width_metal"], "order": 1}
            if self.metal
            else {"name": "fermi-dirac", "width": settings["width_insulator"]}
        )
        return GPAW(
            mode=PW(cutoff),
            xc=settings["xc"],
            kpts={"size": tuple(int(k) for k in self.mesh), "gamma": True},
            occupations=smearing,
            spinpol=self.spin,
            convergence={"energy": settings["energy"], "density": settings["density"]},
            maxiter=settings["max_electronic"],
            mixer=settings.get("mixer", {}),
            eigensolver=settings.get("eigensolver", {}),
            symmetry={"point_group": True},
            txt=log,
        )

    def static(self, atoms: Any, cutoff: float) -> Any:
        """A copy of the atoms with their energy, forces and stress."""
        copy = atoms.copy()
        copy.calc = self.calculator(cutoff, "gpaw.txt")
        _computed(copy)
        return copy


def relax(atoms: Any, plan: Plan) -> None:
    """Move atoms and cell to rest, in place."""
    settings, left, volume = plan.settings, plan.settings["max_steps"], plan.start_volume
    for _ in range(1 + RESTARTS):
        atoms.calc = plan.calculator(plan.cutoff, "gpaw.txt")
        optimizer = optimizer_of(atoms, settings, settings["max_step"])
        converged = False
        for converged in _steps(optimizer, settings["force_tolerance"], left):  # noqa: B007 -- read after the loop
            _note(atoms)
            _ensure_whole(atoms, volume)
        left -= optimizer.nsteps
        if not converged:
            raise Failed(
                ErrorClass.NOT_CONVERGED_IONIC, f"forces above {settings['force_tolerance']} eV/A at the last step"
            )
        if _rest(plan.static(atoms, FINER * plan.cutoff), settings):
            return
    raise Failed(
        ErrorClass.NOT_CONVERGED_IONIC, "the stress of a finer basis is never gone: the cutoff is too low for this cell"
    )


def _ensure_whole(atoms: Any, start_volume: float) -> None:
    ratio = atoms.get_volume() / start_volume
    if not 1 / MAX_VOLUME_CHANGE < ratio < MAX_VOLUME_CHANGE:
        raise Failed(ErrorClass.GEOMETRY_EXPLODED, f"volume changed {ratio:.2f}-fold")


def _steps(optimizer: Any, force_tolerance: float, most: int) -> Any:
    try:
        yield from optimizer.irun(fmax=force_tolerance, steps=most)
    except Exception as error:
        raise _told(error) from error


def _rest(finer: Any, settings: dict[str, Any]) -> bool:
    """Whether a check leaves no more force on the cell than a relaxation does: stress times the volume, per atom."""
    generalised = np.abs(finer.get_stress()).max() * finer.get_volume()
    return bool(generalised <= settings["stress_slack"] * settings["force_tolerance"] * len(finer) ** 0.5)


def _computed(atoms: Any) -> None:
    try:
        atoms.get_potential_energy()
        atoms.get_forces()
        atoms.get_stress()
    except Exception as error:
        raise _told(error) from error


def _told(error: Exception) -> Exception:
    """The class of what GPAW raises, where it is known."""
    name = type(error).__name__
    if name == "KohnShamConvergenceError":
        told = " ".join(str(error).split())[:500] or "no self-consistent density within the electronic steps"
        return Failed(ErrorClass.NOT_CONVERGED_ELECTRONIC, told)
    if name == "AtomsTooClose":
        return Failed(ErrorClass.GEOMETRY_EXPLODED, str(error))
    if isinstance(error, FileNotFoundError) or "setup" in str(error).lower():
        return Failed(ErrorClass.MISSING_DATASET, " ".join(str(error).split())[:500])
    if isinstance(error, MemoryError):
        return Failed(ErrorClass.OUT_OF_MEMORY, str(error) or "out of memory")
    return error


@cache
def _valence(number: int) -> float:
    """Electrons of an element that its dataset does not freeze."""
    from ase.data import chemical_symbols
    from gpaw.setup_data import SetupData

    electrons: float = SetupData(chemical_symbols[number], "PBE").Nv  # type: ignore[assignment]  # None in older files
    return electrons


def _gap(atoms: Any) -> float:
    """eV; 0 of a metal."""
    return _gap_of(atoms.calc)


def _gap_of(calculator: Any) -> float:
    from ase.dft.bandgap import bandgap

    return max(0.0, float(bandgap(calculator)[0]))


def _gap_of_path(atoms: Any) -> float:
    """eV, along the lines between points of high symmetry (Setyawan & Curtarolo, Comp. Mater. Sci. 49, 299), at the
    density of the mesh: band edges often lie between the points of a mesh."""
    path = atoms.cell.bandpath(density=PATH_DENSITY)
    bands = atoms.calc.fixed_density(
        kpts={"path": path.path, "npoints": len(path.kpts)}, symmetry="off", txt="bands.txt"
    )
    return _gap_of(bands)


def _frame(atoms: Any) -> dict[str, Any]:
    return {
        "lattice": atoms.cell.array.ravel().tolist(),
        "coords": atoms.get_scaled_positions(wrap=True).ravel().tolist(),
        "energy": float(atoms.get_potential_energy(force_consistent=False)),
        "forces": atoms.get_forces().ravel().tolist(),
        "stress": atoms.get_stress().tolist(),
    }


def _note(atoms: Any) -> None:
    line = json.dumps(_frame(atoms))
    if _leads():
        with Path(FRAMES).open("a") as file:
            file.write(line + "\n")


def _leads() -> bool:
    from gpaw.mpi import world

    return bool(world.rank == 0)


if __name__ == "__main__":
    main()
