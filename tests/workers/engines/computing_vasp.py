"""A stand-in for VASP that computes: pairs of atoms bind by tests/workers/standin.py, and all else is as VASP has it.

It reads the four inputs of its folder, relaxes sites and cell as NSW, IBRION, ISIF and EDIFFG say, and writes what VASP
writes, step by step (tests/workers/engines/computing_vasp_files.py). No pymatgen: it starts in a fifth of a second.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from tests.workers.engines.computing_vasp_files import Bands, Outputs, Step
from tests.workers.engines.vasp_std import SAYS, check_kpoints, check_potcar, incar, poscar
from tests.workers.standin import PairPotential

Floats = NDArray[np.float64]

GAP, SPACING, WIDTH = 2.6, 0.5, 0.2  # eV, of compounds; between bands; of each of them
METAL_WIDTH = 1.0  # eV
ENTROPY = 1e-3  # eV per atom and square of SIGMA in eV
FIRST_ERROR, BETTER = 1.0, 0.02  # eV of the first electronic step; of each one to that before
MAGNETIC = range(23, 29)  # keep the moments that they begin with


@dataclass(frozen=True)
class Mesh:
    """points: (n, 3) fractional; weights: (n,), their sum is 1; divisions: None of a list of points."""

    points: Floats
    weights: Floats
    divisions: tuple[int, ...] | None
    style: str


def read_mesh(tags: Mapping[str, str], lattice: Floats) -> Mesh:
    if not Path("KPOINTS").exists():
        lengths = 2 * np.pi * np.linalg.norm(np.linalg.inv(lattice), axis=0)
        return mesh_of(np.maximum(1, np.ceil(lengths / float(tags["KSPACING"]) - 1e-9)).astype(int), "Gamma")
    lines = Path("KPOINTS").read_text().splitlines()
    number, style = int(lines[1]), lines[2].strip()
    if number == 0:
        return mesh_of(np.array(lines[3].split()[:3], dtype=int), "Gamma" if style[0] in "gG" else "Monkhorst-Pack")
    rows = np.array([line.split()[:4] for line in lines[3 : 3 + number]], dtype=float)
    return Mesh(rows[:, :3], rows[:, 3] / rows[:, 3].sum(), None, "listgenerated")


def mesh_of(divisions: NDArray[np.int64], style: str) -> Mesh:
    """Reduced by inversion alone."""
    shift = [0.5 if style != "Gamma" and number % 2 == 0 else 0.0 for number in divisions]
    grid = (np.indices(divisions).reshape(3, -1).T + shift) / divisions
    grid -= np.round(grid)
    counts: dict[tuple[float, ...], int] = {}
    for point in np.round(grid, 8) + 0.0:
        pair = {tuple(point.tolist()), tuple((np.round(-point - np.round(-point), 8) + 0.0).tolist())}
        name = max(pair)
        counts[name] = counts.get(name, 0) + 1
    weights = np.array(list(counts.values()), dtype=float)
    return Mesh(np.array(list(counts)), weights / weights.sum(), tuple(int(number) for number in divisions), style)


def bands_of(mesh: Mesh, electrons: float, insulates: bool, tags: Mapping[str, str]) -> Bands:
    """Cosines: filled ones below a gap at Gamma, or those of a metal, which cross.

    How far from the Fermi energy bands are half filled differs between k-points, as it does with tetrahedra.
    """
    filled = round(electrons / 2)
    number = int(tags.get("NBANDS", filled + max(4, filled // 2)))
    places = SPACING * np.arange(number)
    away = np.cos(2 * np.pi * mesh.points).mean(axis=1)
    if insulates:
        signs = np.where(np.arange(number) < filled, 1.0, -1.0)
        places = places + np.where(signs > 0, 0.0, GAP + 2 * WIDTH - SPACING)
        energies = places + WIDTH * signs * away[:, None]
    else:
        energies = places + METAL_WIDTH * away[:, None]
    fermi = fermi_of(energies, mesh.weights, electrons)
    width = max(0.05, float(tags.get("SIGMA", 0.2))) * (1 + np.arange(len(energies)) % 2)
    occupied = np.vectorize(lambda away: 0.5 * math.erfc(away))((energies - fermi) / width[:, None])
    return Bands(energies, occupied, mesh.weights, fermi, 2 if tags.get("ISPIN") == "2" else 1)


def fermi_of(energies: Floats, weights: Floats, electrons: float) -> float:
    """Between the highest that is filled and the next."""
    order = np.argsort(energies, axis=None)
    filled = 2 * np.cumsum(np.broadcast_to(weights[:, None], energies.shape).ravel()[order])
    next_one = int(np.searchsorted(filled, electrons + 1e-6))
    levels = energies.ravel()[order]
    return float(levels[max(0, next_one - 1) : next_one + 1].mean())


def read_atoms() -> Atoms:
    lattice, symbols, counts, coords = poscar()
    names = [symbol for symbol, count in zip(symbols, counts, strict=True) for _ in range(count)]
    atoms = Atoms(names, cell=lattice, scaled_positions=coords, pbc=True)
    atoms.calc = PairPotential()
    return atoms


def steps(atoms: Atoms, tags: Mapping[str, str]) -> Iterator[Step]:
    """Every ionic step, until EDIFFG is reached or NSW are done."""
    most, before = int(tags.get("NSW", "0")), math.inf
    if most == 0 or tags.get("IBRION") == "-1":
        yield step_of(atoms, tags)
        return
    for _ in path(atoms, tags, most):
        step = step_of(atoms, tags)
        yield step
        if at_rest(atoms, tags, before - step.energy):
            return
        before = step.energy


def path(atoms: Atoms, tags: Mapping[str, str], most: int) -> Iterator[object]:
    """Moves the atoms, and the cell where ISIF says so."""
    # imported here: half a second, which static runs do without
    from ase.filters import FrechetCellFilter
    from ase.optimize import BFGS, FIRE

    assert tags["ISIF"] in ("2", "3")
    moved = FrechetCellFilter(atoms) if tags["ISIF"] == "3" else atoms
    optimizer = {"1": BFGS, "2": BFGS, "3": FIRE}[tags["IBRION"]]
    yield from optimizer(moved, logfile=None).irun(fmax=0.0, steps=most - 1)


def at_rest(atoms: Atoms, tags: Mapping[str, str], gained: float) -> bool:
    """EDIFFG: of energies where positive, ten times EDIFF if not given; of forces, those on the cell too, else."""
    allowed = float(tags.get("EDIFFG", 10 * float(tags.get("EDIFF", "1e-4"))))
    if allowed > 0:
        return abs(gained) < allowed
    on_cell = atoms.get_stress(voigt=False) * atoms.get_volume() / len(atoms) if tags["ISIF"] == "3" else np.zeros(3)
    return bool(max(np.linalg.norm(atoms.get_forces(), axis=1).max(), np.abs(on_cell).max()) < -allowed)


def step_of(atoms: Atoms, tags: Mapping[str, str]) -> Step:
    energy = float(atoms.get_potential_energy())
    return Step(
        lattice=atoms.cell.array.copy(),
        coords=atoms.get_scaled_positions(),
        energy=energy,
        forces=atoms.get_forces(),
        stress=atoms.get_stress(voigt=False),
        electronic=energies_until(energy, tags),
        smearing=smearing_of(atoms, tags),
    )


def energies_until(energy: float, tags: Mapping[str, str]) -> list[float]:
    """eV of each electronic step: they come nearer, as far as EDIFF asks or NELM lets them."""
    error, found = FIRST_ERROR, list[float]()
    for _ in range(int(tags.get("NELM", "60"))):
        found.append(energy + error)
        if error < float(tags.get("EDIFF", "1e-4")):
            return [*found, energy]
        error *= BETTER
    return found


def smearing_of(atoms: Atoms, tags: Mapping[str, str]) -> tuple[float, float]:
    """eV that the free energy, and that without entropy, are above the energy at zero broadening."""
    order = int(tags.get("ISMEAR", "1"))
    if order < 0 or is_insulator(atoms):
        return 0.0, 0.0
    below = ENTROPY * len(atoms) * float(tags.get("SIGMA", "0.2")) ** 2
    return -below, (order + 1) * below


def is_insulator(atoms: Atoms) -> bool:
    return len(set(atoms.numbers)) > 1 and round(electrons_of(atoms)) % 2 == 0


def electrons_of(atoms: Atoms) -> float:
    """As many as the potentials have."""
    text = Path("POTCAR").read_text()
    valences = dict(zip(poscar()[1], re.findall(r"ZVAL\s*=\s*([\d.]+)", text), strict=True))
    return sum(float(valences[symbol]) for symbol in atoms.get_chemical_symbols())


def moments_of(atoms: Atoms, tags: Mapping[str, str]) -> list[float]:
    """Bohr magnetons; MAGMOM as pymatgen writes it, 2*5.0 1*0.6."""
    pairs = [word.rpartition("*") for word in tags.get("MAGMOM", "").split()]
    begun = [float(moment) for count, _, moment in pairs for _ in range(int(count or 1))] or [0.0] * len(atoms)
    return [moment if number in MAGNETIC else 0.0 for number, moment in zip(atoms.numbers, begun, strict=True)]


def main() -> None:
    tags, atoms = incar(), read_atoms()
    check_kpoints(tags)
    check_potcar(poscar()[1])
    assert tags.get("ICHARG") != "11" or Path("CHGCAR").exists()
    mesh = read_mesh(tags, atoms.cell.array)
    if np.linalg.det(atoms.cell.array) < 0:
        print("ERROR: the triple product of the basis vectors is negative exchange two basis vectors", flush=True)
        sys.exit(1)
    print(" running    1 mpi-ranks, on    1 nodes\n entering main loop", flush=True)
    if tags.get("ISMEAR") == "-5" and len(mesh.points) < 4:
        print(SAYS["tet"], flush=True)
        sys.exit(1)
    bands = bands_of(mesh, electrons_of(atoms), is_insulator(atoms), tags)
    outputs = Outputs(tags, atoms.get_chemical_symbols(), electrons_of(atoms), mesh, bands, moments_of(atoms, tags))
    for step in steps(atoms, tags):
        outputs.add(step)
    outputs.end()
    print(" reached required accuracy - stopping structural energy minimisation", flush=True)


if __name__ == "__main__":
    main()
