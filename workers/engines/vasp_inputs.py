"""What VASP is given: the stages of a workflow, and INCAR, KPOINTS, POSCAR and POTCAR of each, by pymatgen's sets.

- mp: two relaxations and a static run at PBE(+U), by MPRelaxSet and MPStaticSet (Jain et al., APL Mater. 1, 011002).
- r2scan: a relaxation at PBE, then one and a static run at r2SCAN, by MPScanRelaxSet and MPScanStaticSet (Kingsbury
  et al., Phys. Rev. Materials 6, 013801). The gap at PBE decides the k-points and the smearing of what follows.

The last of them is what the energy is of; one along the bands may follow, for the gap.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from registry.crystal import Crystal
from registry.errors import LabelFailure
from registry.hull.mp2020 import mp_pseudopotentials
from registry.states import ErrorClass

MP, R2SCAN = "mp", "r2scan"
FUNCTIONALS = {MP: "PBE", R2SCAN: "PBE_54"}
"""Workflow -> set of potentials, as pymatgen names it."""

IONIC = frozenset({"NSW", "IBRION", "ISIF", "POTIM", "EDIFFG", "SMASS", "NFREE"})
"""Tags that mean nothing where the atoms stay."""

AT_PBE = {"METAGGA": None, "LMIXTAU": None, "GGA": "PE", "EDIFFG": -0.05}
"""What the relaxation before that of r2SCAN has otherwise; None: not that tag."""

PATH_DENSITY = 10.0  # points * angstrom, along the bands
MORE_BANDS = 1.2  # times those of the static run, along the bands


@dataclass(frozen=True)
class Stage:
    """One run of VASP. first: at the functional before the level's own, so that its steps are none of the level's."""

    name: str
    relaxes: bool = False
    first: bool = False

    @property
    def along_bands(self) -> bool:
        return self.name == "bands"


@dataclass(frozen=True)
class Known:
    """What earlier stages found: gap in eV, bands, and (n,) magnetic moments in Bohr magnetons, None where unknown."""

    gap: float | None = None
    bands: int | None = None
    moments: Sequence[float] | None = None


def stages_of(settings: Mapping[str, Any], task: str, resumed: bool) -> list[Stage]:
    """The runs of a task, relax or static.

    An attempt that goes on where another had come to doesn't relax at PBE again: that would lead away from there.
    """
    relax = task == "relax"
    if settings["workflow"] == MP:
        before = [Stage("relax1", relaxes=True), Stage("relax2", relaxes=True)] if relax else []
    else:
        before = [Stage("pbe", relaxes=relax and not resumed, first=True)]
        before += [Stage("relax", relaxes=True)] if relax else []
    return [*before, Stage("static"), *([Stage("bands")] if settings["band_path"] else [])]


def input_set(
    stage: Stage, crystal: Crystal, mesh_of: Crystal, settings: Mapping[str, Any], known: Known | None = None
) -> Any:
    """Pymatgen's set: `incar`, `kpoints` (None where INCAR has KSPACING) and `poscar` are what VASP is given.

    crystal: its atoms sorted as `sorted_order` has them; mesh_of: the crystal whose cell fixes the k-mesh of MPRelaxSet
    """
    make = _mp_set if settings["workflow"] == MP else _r2scan_set
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it advises against metals with ISMEAR -5, which is what these sets give them
        return make(stage, crystal, mesh_of, settings, known or Known())


def _mp_set(stage: Stage, crystal: Crystal, mesh_of: Crystal, settings: Mapping[str, Any], known: Known) -> Any:
    from pymatgen.io.vasp.sets import MPNonSCFSet, MPRelaxSet, MPStaticSet

    tags, structure = _tags(stage, settings), _structure(crystal, known)
    mesh: Any = MPRelaxSet(mesh_of.to_pymatgen(), user_incar_settings=tags, sort_structure=False).kpoints
    relaxing = {**tags, "NSW": settings["max_steps"]} if stage.relaxes else tags
    relaxation = MPRelaxSet(
        structure, user_incar_settings=relaxing, user_kpoints_settings=mesh or {}, sort_structure=False
    )
    if stage.relaxes:
        return relaxation
    static = MPStaticSet(
        structure, user_incar_settings=tags, prev_incar=dict(relaxation.incar), prev_kpoints=mesh, sort_structure=False
    )
    if not stage.along_bands:
        return static
    bands = {} if known.bands is None else {"NBANDS": int(np.ceil(MORE_BANDS * known.bands))}
    return MPNonSCFSet(
        structure,
        mode="line",
        bandgap=known.gap,
        user_incar_settings={**tags, **bands},
        prev_incar=dict(static.incar),
        user_kpoints_settings=_path(crystal),
        sort_structure=False,
    )


def _r2scan_set(stage: Stage, crystal: Crystal, _mesh_of: Crystal, settings: Mapping[str, Any], known: Known) -> Any:
    """Its mesh is by KSPACING: that of the cell that each run begins with."""
    from pymatgen.io.vasp.sets import MPScanRelaxSet, MPScanStaticSet

    tags, structure = _tags(stage, settings), _structure(crystal, known)
    steps = {"NSW": settings["max_steps"]} if stage.relaxes else {"NSW": 0}
    if stage.first:
        return MPScanRelaxSet(structure, user_incar_settings={**tags, **AT_PBE, **steps}, sort_structure=False)
    rest = {"EDIFFG": -settings["force_tolerance"], **tags, **steps}
    relaxation = MPScanRelaxSet(structure, bandgap=known.gap, user_incar_settings=rest, sort_structure=False)
    if stage.relaxes:
        return relaxation
    points = {}
    if stage.along_bands:
        points = {"user_kpoints_settings": _weightless_path(crystal, float(relaxation.incar["KSPACING"]))}
        tags = {**tags, "ISMEAR": 0, "SIGMA": 0.05, "KSPACING": None}
    return MPScanStaticSet(
        structure,
        bandgap=known.gap,
        user_incar_settings=tags,
        prev_incar=dict(relaxation.incar),
        sort_structure=False,
        **points,
    )


def _tags(stage: Stage, settings: Mapping[str, Any]) -> dict[str, Any]:
    return {tag: value for tag, value in settings["incar"].items() if stage.relaxes or tag not in IONIC}


def _structure(crystal: Crystal, known: Known) -> Any:
    structure = crystal.to_pymatgen()
    if known.moments is not None:
        structure.add_site_property("magmom", [float(moment) for moment in known.moments])
    return structure


def _path(crystal: Crystal) -> Any:
    """Along the lines between points of high symmetry of this very cell (Setyawan & Curtarolo, Comp. Mater. Sci. 49,
    299)."""
    from pymatgen.io.vasp.inputs import Kpoints

    points = _points(crystal)
    return Kpoints(
        comment="along the bands",
        style=Kpoints.supported_modes.Reciprocal,
        num_kpts=len(points),
        kpts=points,
        kpts_weights=[1] * len(points),
    )


def _weightless_path(crystal: Crystal, spacing: float) -> Any:
    """The same after a Gamma-centred mesh, without weight: a density alone does not define the bands of a meta-GGA."""
    from pymatgen.io.vasp.inputs import Kpoints
    from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

    mesh = SpacegroupAnalyzer(crystal.to_pymatgen(), symprec=1e-5).get_ir_reciprocal_mesh(divisions(crystal, spacing))
    points = _points(crystal)
    return Kpoints(
        comment="a mesh, and along the bands",
        style=Kpoints.supported_modes.Reciprocal,
        num_kpts=len(mesh) + len(points),
        kpts=[*(tuple(point) for point, _ in mesh), *points],
        kpts_weights=[*(int(weight) for _, weight in mesh), *[0] * len(points)],
    )


def _points(crystal: Crystal) -> list[tuple[float, ...]]:
    from ase.cell import Cell

    path = Cell(crystal.lattice).bandpath(density=PATH_DENSITY)
    return [tuple(float(part) for part in point) for point in path.kpts]


def divisions(crystal: Crystal, spacing: float) -> tuple[int, int, int]:
    """(3,) k-points along each reciprocal vector, as VASP has them from KSPACING, 1/angstrom times 2 pi."""
    lengths = 2 * np.pi * np.linalg.norm(np.linalg.inv(crystal.lattice).T, axis=1)
    first, second, third = (int(number) for number in np.maximum(1, np.ceil(lengths / spacing - 1e-9)))
    return first, second, third


def sorted_order(crystal: Crystal) -> list[int]:
    """The places of the atoms in the order that VASP has them in: by electronegativity, each element together."""
    from pymatgen.core import Element

    def key(place: int) -> tuple[float, int]:
        number = int(crystal.numbers[place])
        negativity = float(Element.from_Z(number).X)
        return (negativity if np.isfinite(negativity) else 0.0, number)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # noble gases have none
        return sorted(range(crystal.nsites), key=key)


def hand_of(crystal: Crystal) -> int:
    """1 of a right-handed cell, the only one that VASP takes, -1 of a left-handed one."""
    return 1 if np.linalg.det(crystal.lattice) > 0 else -1


def turned(crystal: Crystal, hand: int) -> Crystal:
    """The same atoms at the same places; where hand is -1, by vectors and coordinates the other way.

    Pymatgen's POSCAR would turn the vectors of a left-handed cell alone, which is the mirror image.
    """
    return crystal if hand == 1 else Crystal(-crystal.lattice, crystal.numbers, -crystal.frac_coords)


def reordered(crystal: Crystal, order: Sequence[int]) -> Crystal:
    """The same crystal, its atoms in another order."""
    return Crystal(crystal.lattice, crystal.numbers[list(order)], crystal.frac_coords[list(order)])


def potentials_of(elements: Sequence[str], settings: Mapping[str, Any]) -> dict[str, str]:
    """Element -> symbol of its potential, Fe -> Fe_pv. Raise LabelFailure for elements without one."""
    table = {**_table(settings["workflow"], functional_of(settings)), **settings["potcars"]}
    if missing := sorted(set(elements) - table.keys()):
        raise LabelFailure(
            ErrorClass.UNSUPPORTED_ELEMENT, f"{_set_name(settings)} has no potential of {', '.join(missing)}"
        )
    return {element: str(table[element]) for element in elements}


def functional_of(settings: Mapping[str, Any]) -> str:
    """The set of potentials: PBE, PBE_52, PBE_54, PBE_64."""
    return str(settings.get("potcar_functional") or FUNCTIONALS[settings["workflow"]])


def _table(workflow: str, functional: str) -> dict[str, str]:
    from pymatgen.io.vasp.sets import MPScanRelaxSet

    table = mp_pseudopotentials() if workflow == MP else MPScanRelaxSet.CONFIG["POTCAR"]
    return {**table, **({"W": "W_sv"} if functional != "PBE" else {})}  # newer sets have no W_pv


def _set_name(settings: Mapping[str, Any]) -> str:
    return "MPRelaxSet" if settings["workflow"] == MP else "MPScanRelaxSet"


def potcar_files(symbols: Mapping[str, str], functional: str, folder: Path | None) -> dict[str, Path]:
    """Element -> file of its potential. Raise LabelFailure naming the elements whose file isn't here.

    folder: in pymatgen's layout, as `pmg config -p` makes it; None: what pymatgen is configured to take
    """
    from pymatgen.core import SETTINGS
    from pymatgen.io.vasp.inputs import PotcarSingle

    names = {**PotcarSingle.functional_dir, **SETTINGS.get("PMG_VASP_PSP_SUB_DIRS", {})}
    wanted = ", ".join(f"{symbol} for {element}" for element, symbol in sorted(symbols.items()))
    within = potcar_folder(folder, f" ({wanted})") / names.get(functional, functional)
    found = {element: _file(within, symbol) for element, symbol in symbols.items()}
    if missing := sorted(f"{symbols[element]} for {element}" for element, path in found.items() if path is None):
        message = f"no potential in {within}: {', '.join(missing)}; LODE_POTCARS names the folder of potentials"
        raise LabelFailure(ErrorClass.MISSING_DATASET, message)
    return {element: path for element, path in found.items() if path is not None}


def potcar_folder(folder: Path | None, wanted: str = "") -> Path:
    """The folder of VASP's potentials. Raise LabelFailure where none is set. wanted: which, in words for that."""
    from pymatgen.core import SETTINGS

    here = folder or SETTINGS.get("PMG_VASP_PSP_DIR")
    if here is None:
        message = f"no folder of VASP's potentials{wanted}: set LODE_POTCARS, or potcars in lode.toml"
        raise LabelFailure(ErrorClass.MISSING_DATASET, message)
    return Path(here).expanduser()


def _file(folder: Path, symbol: str) -> Path | None:
    names = [f"POTCAR.{symbol}", f"{symbol}/POTCAR"]
    paths = [folder / f"{name}{packed}" for name in names for packed in ("", ".gz", ".bz2", ".xz")]
    return next((path for path in paths if path.is_file()), None)


def potcar_bytes(path: Path) -> bytes:
    """The potential itself, unpacked."""
    from monty.io import zopen

    with zopen(path, "rb") as file:
        return bytes(file.read())


def datasets(files: Mapping[str, Path]) -> dict[str, str]:
    """Element -> SHA-256 of its potential, unpacked."""
    return {element: sha256(potcar_bytes(path)).hexdigest() for element, path in files.items()}


def write_inputs(folder: Path, given: Any, files: Mapping[str, str], changes: Mapping[str, Any]) -> None:
    """Into a new folder. given: pymatgen's set; files: element -> path; changes: tags over those of the set."""
    folder.mkdir()
    poscar = given.poscar
    incar = given.incar
    incar.update(changes)
    incar.write_file(folder / "INCAR")
    poscar.write_file(folder / "POSCAR")
    if (kpoints := given.kpoints) is not None:
        kpoints.write_file(folder / "KPOINTS")
    parts = [potcar_bytes(Path(files[element])).rstrip(b"\n") + b"\n" for element in poscar.site_symbols]
    text = b"".join(parts).decode("utf-8", errors="replace")  # custodian reads no other, of names in comments
    (folder / "POTCAR").write_text(text)
