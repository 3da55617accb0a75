"""The files that VASP writes, in its own shapes, of steps that the computing stand-in has made."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

KILOBAR = 1602.1766208  # of one eV/cubic angstrom
FLOATS = frozenset({"ENCUT", "ENAUG", "EDIFF", "EDIFFG", "SIGMA", "POTIM", "KSPACING", "AMIX", "BMIX", "TIME"})
LISTS = frozenset({"MAGMOM", "LDAUU", "LDAUJ", "LDAUL"})
DEFAULTS = {
    "NELM": "60",
    "NSW": "0",
    "IBRION": "-1",
    "ISIF": "2",
    "ISPIN": "1",
    "ISMEAR": "1",
    "SIGMA": "0.2",
    "EDIFF": "1e-4",
    "POTIM": "0.5",
    "ISYM": "2",
    "NEDOS": "301",
    "LORBIT": "0",
    "KSPACING": "0.5",
}
"""VASP's own, of the tags that it tells among its parameters."""


@dataclass(frozen=True)
class Step:
    """One ionic step.

    lattice (3, 3) angstrom, coords (n, 3), energy eV at zero broadening, forces (n, 3) eV/angstrom, stress (3, 3)
    eV/cubic angstrom, negative where the cell pushes outward
    electronic: eV after each electronic step
    smearing: eV that the free energy, and that without entropy, are above the energy
    """

    lattice: Floats
    coords: Floats
    energy: float
    forces: Floats
    stress: Floats
    electronic: Sequence[float]
    smearing: tuple[float, float]


@dataclass(frozen=True)
class Bands:
    """energies, occupied: (k-points, bands), alike for each of the spins; fermi: eV."""

    energies: Floats
    occupied: Floats
    weights: Floats
    fermi: float
    spins: int


class Outputs:
    """vasprun.xml, OUTCAR, OSZICAR, CONTCAR and CHGCAR, as they grow.

    mesh: tests.workers.engines.computing_vasp.Mesh; symbols: of the atoms; moments: (n,) Bohr magnetons
    """

    def __init__(
        self,
        tags: Mapping[str, str],
        symbols: Sequence[str],
        electrons: float,
        mesh: Any,
        bands: Bands,
        moments: Sequence[float],
    ) -> None:
        self.tags, self.symbols, self.electrons = tags, symbols, electrons
        self.mesh, self.bands, self.moments = mesh, bands, moments
        self.steps: list[Step] = []
        for name in ("vasprun.xml", "OUTCAR", "OSZICAR"):
            Path(name).write_text("")

    def add(self, step: Step) -> None:
        if not self.steps:
            _append("vasprun.xml", self._head(step))
            _append("OUTCAR", self._outcar_head())
        self.steps.append(step)
        _append("OUTCAR", self._outcar_step(step))
        _append("OSZICAR", self._oszicar_step(step))
        whole = [" </calculation>"] if len(self.steps) > 1 else []
        _append("vasprun.xml", [*whole, " <calculation>", *_electronic(step), *_ionic(step)])
        lines = Path("POSCAR").read_text().splitlines()
        rows = [*lines[:2], *_poscar_rows(step.lattice), *lines[5:8], *_poscar_rows(step.coords)]
        Path("CONTCAR").write_text("\n".join(rows) + "\n")

    def end(self) -> None:
        """What follows the last step: bands and states within it, and the structure."""
        last = self.steps[-1]
        _append("vasprun.xml", [*_eigenvalues(self.bands), *_states(self.bands, self.tags), " </calculation>"])
        _append("vasprun.xml", [*_structure(last, ' name="finalpos"'), "</modeling>"])
        _append("OUTCAR", [" General timing and accounting informations for this job:", *_TIMES])
        Path("CHGCAR").write_text("a density\n")

    def _head(self, first: Step) -> list[str]:
        return [
            '<?xml version="1.0" encoding="ISO-8859-1"?>',
            "<modeling>",
            *_GENERATOR,
            " <incar>",
            *(_tag(name, value) for name, value in self.tags.items()),
            " </incar>",
            *_kpoints(self.mesh),
            " <parameters>",
            '  <separator name="electronic" >',
            *(_tag(name, value) for name, value in self._parameters().items()),
            "  </separator>",
            " </parameters>",
            *_atoms(self.symbols),
            *_structure(first, ' name="initialpos"'),
        ]

    def _parameters(self) -> dict[str, str]:
        told = {**DEFAULTS, **{name: value for name, value in self.tags.items() if name not in LISTS}}
        counted = {"NBANDS": str(self.bands.energies.shape[1]), "NELECT": f"{self.electrons:.8f}"}
        return {"EDIFFG": f"{10 * float(told['EDIFF']):.8f}", **told, **counted}

    def _outcar_head(self) -> list[str]:
        points, bands = self.bands.energies.shape
        return [
            " vasp.6.4.2 of pairs, complex",
            *(f"   TITEL  = {title}" for title in _titles()),
            f"   k-points           NKPTS = {points:6d}   number of bands    NBANDS= {bands:6d}",
            f"   number of dos      NEDOS =    301   number of ions     NIONS = {len(self.symbols):6d}",
            f"   NELECT = {self.electrons:12.4f}    total number of electrons",
        ]

    def _outcar_step(self, step: Step) -> list[str]:
        lines = []
        for number, energy in enumerate(step.electronic, 1):
            lines += [
                f"----- Iteration {len(self.steps):6d}({number:4d})  -----",
                *self._outcar_electronic(step, energy),
            ]
        rows = np.hstack([step.coords @ step.lattice, step.forces])
        moments = [f"{place:5d} {0:11.3f}{0:8.3f}{one:8.3f}{one:8.3f}" for place, one in enumerate(self.moments, 1)]
        return [
            *lines,
            f" E-fermi : {self.bands.fermi:8.4f}     XC(G=0):  -9.8445     alpha+bet :-11.9469",
            "----- aborting loop because EDIFF is reached -----",
            *("", " magnetization (x)", "", "# of ion       s       p       d       tot", "-" * 42, *moments),
            *("-" * 50, f"tot   {0:11.3f}{0:8.3f}{sum(self.moments):8.3f}{sum(self.moments):8.3f}", ""),
            f"  in kB  {''.join(f'{part:12.5f}' for part in _kilobar(step)[[0, 1, 2, 0, 1, 2], [0, 1, 2, 1, 2, 0]])}",
            " POSITION                                       TOTAL-FORCE (eV/Angst)",
            " " + "-" * 83,
            *("".join(f"{part:13.5f}" for part in row) for row in rows),
            " " + "-" * 83,
            f"  free  energy   TOTEN  = {step.energy + step.smearing[0]:18.8f} eV",
            "",
            f"  energy  without entropy={step.energy + step.smearing[1]:18.8f}  energy(sigma->0) ={step.energy:18.8f}",
        ]

    def _outcar_electronic(self, step: Step, energy: float) -> list[str]:
        free, without = (energy + above for above in step.smearing)
        return [
            f" number of electron {self.electrons:15.7f} magnetization {sum(self.moments):15.7f}",
            f"  entropy T*S    EENTRO = {free - without:18.8f}",
            f"  free energy    TOTEN  = {free:18.8f} eV",
            "",
            f"  energy without entropy = {without:18.8f}  energy(sigma->0) = {energy:18.8f}",
        ]

    def _oszicar_step(self, step: Step) -> list[str]:
        before = 0.0
        lines = ["       N       E                     dE             d eps       ncg     rms          rms(c)"]
        for number, energy in enumerate(step.electronic, 1):
            change = fortran(energy - before, 5)
            lines.append(f"DAV: {number:3d}    {fortran(energy, 12)}   {change}   {change}  1024   0.100E-01")
            before = energy
        free = step.energy + step.smearing[0]
        earlier = self.steps[-2].energy + self.steps[-2].smearing[0] if len(self.steps) > 1 else 0.0
        told = f"F= {fortran(free)} E0= {fortran(step.energy)}  d E ={fortran(free - earlier, 6)}"
        return [*lines, f"{len(self.steps):4d} {told}  mag= {sum(self.moments):10.4f}"]


def fortran(value: float, digits: int = 8) -> str:
    """As Fortran's E format has it, -.17549519E+02."""
    power = math.floor(math.log10(abs(value))) + 1 if value else 0
    mantissa = f"{abs(value) / 10**power:.{digits}f}"
    if mantissa.startswith("1"):  # rounded up
        mantissa, power = f"{0.1:.{digits}f}", power + 1
    return f"{'-' if value < 0 else '0'}{mantissa[1:]}E{power:+03d}"


_GENERATOR = [
    " <generator>",
    '  <i name="program" type="string">vasp </i>',
    '  <i name="version" type="string">6.4.2  </i>',
    '  <i name="subversion" type="string">pairs of atoms, complex </i>',
    '  <i name="platform" type="string">tests </i>',
    " </generator>",
]
_TIMES = [
    "                  Total CPU time used (sec):        0.250",
    "                            User time (sec):        0.240",
    "                          System time (sec):        0.010",
    "                         Elapsed time (sec):        0.300",
    "                   Maximum memory used (kb):       50000.",
    "                   Average memory used (kb):          N/A",
]


def _append(name: str, lines: Iterable[str]) -> None:
    with Path(name).open("a") as file:
        file.write("\n".join([*lines, ""]))


def _tag(name: str, value: str) -> str:
    """As VASP echoes it."""
    if name == "LDAUL":
        return f'  <v type="int" name="{name}">{"".join(f"{int(one):6d}" for one in value.split())}</v>'
    if name in LISTS:
        return f'  <v name="{name}">{"".join(f"{one:16.8f}" for one in _expanded(value))}</v>'
    if value in ("True", "False"):
        return f'  <i type="logical" name="{name}"> {value[0]}  </i>'
    if name not in FLOATS and re.fullmatch(r"[-+]?\d+", value):
        return f'  <i type="int" name="{name}">{int(value):6d}</i>'
    if re.fullmatch(r"[-+]?\d*\.?\d+(e[-+]?\d+)?", value):
        return f'  <i name="{name}">{float(value):16.8f}</i>'
    return f'  <i type="string" name="{name}">{value}</i>'


def _expanded(value: str) -> list[float]:
    pairs = [word.rpartition("*") for word in value.split()]
    return [float(one) for count, _, one in pairs for _ in range(int(count or 1))]


def _rows(name: str, rows: Floats, indent: int) -> list[str]:
    start = " " * indent
    inner = (f"{start} <v>{''.join(f'{part:16.8f} ' for part in np.atleast_1d(row))}</v>" for row in rows)
    return [f'{start}<varray name="{name}" >', *inner, f"{start}</varray>"]


def _poscar_rows(rows: Floats) -> list[str]:
    return ["".join(f"{part:20.16f}" for part in row) for row in rows]


def _kpoints(mesh: Any) -> list[str]:
    how: list[str] = []
    if mesh.divisions is not None:
        how = [
            f'  <generation param="{mesh.style}">',
            f'   <v type="int" name="divisions">{"".join(f"{number:8d} " for number in mesh.divisions)}</v>',
            '   <v name="usershift">      0.00000000       0.00000000       0.00000000 </v>',
            "  </generation>",
        ]
    return [" <kpoints>", *how, *_rows("kpointlist", mesh.points, 2), *_rows("weights", mesh.weights, 2), " </kpoints>"]


def _titles() -> list[str]:
    return re.findall(r"TITEL\s*=\s*(.*?)\s*$", Path("POTCAR").read_text(), re.MULTILINE)


def _atoms(symbols: Sequence[str]) -> list[str]:
    kinds = list(dict.fromkeys(symbols))
    rows = [f"    <rc><c>{symbol:2s}</c><c>{kinds.index(symbol) + 1:4d}</c></rc>" for symbol in symbols]
    types = [
        f"    <rc><c>{symbols.count(kind):4d}</c><c>{kind:2s}</c><c>     10.00000000</c><c>      4.00000000</c>"
        f"<c>  {title:38s}</c></rc>"
        for kind, title in zip(kinds, _titles(), strict=True)
    ]
    return [
        " <atominfo>",
        f"  <atoms>{len(symbols):8d} </atoms>",
        f"  <types>{len(kinds):8d} </types>",
        '  <array name="atoms" >',
        '   <dimension dim="1">ion</dimension>',
        *('   <field type="string">element</field>', '   <field type="int">atomtype</field>'),
        *("   <set>", *rows, "   </set>", "  </array>"),
        '  <array name="atomtypes" >',
        '   <dimension dim="1">type</dimension>',
        *('   <field type="int">atomspertype</field>', '   <field type="string">element</field>'),
        *("   <field>mass</field>", "   <field>valence</field>"),
        '   <field type="string">pseudopotential</field>',
        *("   <set>", *types, "   </set>", "  </array>"),
        " </atominfo>",
    ]


def _structure(step: Step, name: str = "") -> list[str]:
    return [
        f" <structure{name} >" if name else " <structure>",
        "  <crystal>",
        *_rows("basis", step.lattice, 3),
        f'   <i name="volume">{abs(np.linalg.det(step.lattice)):16.8f} </i>',
        *_rows("rec_basis", np.linalg.inv(step.lattice).T, 3),
        "  </crystal>",
        *_rows("positions", step.coords, 2),
        " </structure>",
    ]


def _kilobar(step: Step) -> Floats:
    pushed: Floats = -KILOBAR * step.stress
    return pushed


def _energy(step: Step, energy: float) -> list[str]:
    free, without = (energy + above for above in step.smearing)
    named = {"e_fr_energy": free, "e_wo_entrp": without, "e_0_energy": energy}
    return ["  <energy>", *(f'   <i name="{name}">{value:16.8f} </i>' for name, value in named.items()), "  </energy>"]


def _electronic(step: Step) -> list[str]:
    runs = [["  <scstep>", *_energy(step, energy), "  </scstep>"] for energy in step.electronic]
    return [line for run in runs for line in run]


def _ionic(step: Step) -> list[str]:
    return [
        *_structure(step),
        *_rows("forces", step.forces, 2),
        *_rows("stress", _kilobar(step), 2),
        *_energy(step, step.electronic[-1]),
        '  <time name="totalsc">    0.10    0.10</time>',
    ]


def _sets(blocks: Sequence[Sequence[str]], named: str) -> list[str]:
    inner = [[f'<set comment="{named} {place}">', *block, "</set>"] for place, block in enumerate(blocks, 1)]
    return [line for block in inner for line in block]


def _table(dimensions: Sequence[str], fields: Sequence[str], content: Sequence[str]) -> list[str]:
    named = [f'<dimension dim="{place}">{name}</dimension>' for place, name in enumerate(dimensions, 1)]
    return ["<array>", *named, *(f"<field>{name}</field>" for name in fields), "<set>", *content, "</set>", "</array>"]


def _eigenvalues(bands: Bands) -> list[str]:
    points = [
        [f"<r>{energy:10.4f}{occupied:10.4f} </r>" for energy, occupied in zip(*point, strict=True)]
        for point in zip(bands.energies, bands.occupied, strict=True)
    ]
    spins = _sets([_sets(points, "kpoint")] * bands.spins, "spin")
    return ["<eigenvalues>", *_table(("band", "kpoint", "spin"), ("eigene", "occ"), spins), "</eigenvalues>"]


def _states(bands: Bands, tags: Mapping[str, str]) -> list[str]:
    """Their number by energy, of each spin."""
    edges = np.linspace(bands.energies.min() - 1, bands.energies.max() + 1, int(tags.get("NEDOS", "301")) + 1)
    weights = np.broadcast_to(bands.weights[:, None], bands.energies.shape) * 2 / bands.spins
    counts, _ = np.histogram(bands.energies, edges, weights=weights)
    rows = zip(edges[1:], counts / np.diff(edges), np.cumsum(counts), strict=True)
    lines = ["<r>" + "".join(f"{part:11.4f}" for part in row) + " </r>" for row in rows]
    table = _table(("gridpoints", "spin"), ("energy", "total", "integrated"), _sets([lines] * bands.spins, "spin"))
    return ["<dos>", f'<i name="efermi">{bands.fermi:16.8f} </i>', "<total>", *table, "</total>", "</dos>"]
