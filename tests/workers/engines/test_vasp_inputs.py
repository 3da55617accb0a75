"""The stages of the workflows, and what VASP is given in each."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from registry.crystal import Crystal
from registry.errors import LabelFailure
from registry.hull.levels import load_level
from registry.hull.mp2020 import mp_pseudopotentials
from registry.states import ErrorClass
from tests.workers.engines.standin_vasp import write_potcars
from workers.engines.vasp import DEFAULTS
from workers.engines.vasp_inputs import (
    Known,
    Stage,
    datasets,
    divisions,
    functional_of,
    input_set,
    potcar_files,
    potentials_of,
    reordered,
    sorted_order,
    stages_of,
    write_inputs,
)

pytestmark = pytest.mark.filterwarnings("ignore")  # pymatgen's, of potentials that it doesn't know

CUBE = np.eye(3) * 4.2
SITES = [[0, 0, 0], [0.5, 0.5, 0.5]]
FE_O, FE_F, FE_S = (Crystal(CUBE, [26, other], SITES) for other in (8, 9, 16))
MG_O = Crystal(CUBE, [12, 8], SITES)
HEXAGONAL = Crystal(
    [[3.2, 0, 0], [-1.6, 1.6 * 3**0.5, 0], [0, 0, 5.2]], [12, 12], [[1 / 3, 2 / 3, 0.25], [2 / 3, 1 / 3, 0.75]]
)
RELAX, STATIC, BANDS = Stage("relax1", relaxes=True), Stage("static"), Stage("bands")
PBE, R2_RELAX = Stage("pbe", relaxes=True, first=True), Stage("relax", relaxes=True)


def settings(level: str = "vasp-mp", **other: Any) -> dict[str, Any]:
    return {**DEFAULTS, **load_level(level).settings, **other}


def incar(
    stage: Stage, crystal: Crystal, level: str = "vasp-mp", known: Known | None = None, **other: Any
) -> dict[str, Any]:
    return dict(input_set(stage, crystal, crystal, settings(level, **other), known).incar)


def names(level: str, task: str, resumed: bool = False, **other: Any) -> list[tuple[str, bool]]:
    return [(stage.name, stage.relaxes) for stage in stages_of(settings(level, **other), task, resumed)]


def test_two_relaxations_and_a_static_run():
    assert names("vasp-mp", "relax") == [("relax1", True), ("relax2", True), ("static", False)]
    assert names("vasp-mp", "static") == [("static", False)]
    assert names("vasp-mp", "static", band_path=True) == [("static", False), ("bands", False)]


def test_pbe_before_r2scan():
    assert names("vasp-r2scan", "relax") == [("pbe", True), ("relax", True), ("static", False)]
    assert names("vasp-r2scan", "relax", resumed=True) == [("pbe", False), ("relax", True), ("static", False)]
    assert names("vasp-r2scan", "static") == [("pbe", False), ("static", False)]


def test_the_tags_of_a_relaxation_and_of_a_static_run():
    relax, static = incar(RELAX, MG_O), incar(STATIC, MG_O)
    assert {relax[tag] for tag in ("ENCUT",)} == {static["ENCUT"]} == {520}
    assert (relax["NSW"], relax["ISIF"], relax["IBRION"], relax["LREAL"]) == (99, 3, 2, "Auto")
    assert (static["NSW"], static["ISMEAR"], static["LREAL"], static["LCHARG"]) == (0, -5, False, True)
    assert "IBRION" not in static
    assert relax["EDIFF"] == static["EDIFF"] == pytest.approx(1e-4)  # 5e-5 an atom
    assert "METAGGA" not in relax
    assert incar(RELAX, MG_O, max_steps=7)["NSW"] == 7


@pytest.mark.parametrize(("crystal", "u"), [(FE_O, 5.3), (FE_F, 5.3), (FE_S, 0.0), (MG_O, 0.0)])
@pytest.mark.parametrize("stage", [RELAX, STATIC])
def test_u_only_where_the_materials_project_has_it(crystal: Crystal, u: float, stage: Stage):
    ordered = reordered(crystal, sorted_order(crystal))
    assert max(incar(stage, ordered).get("LDAUU", [0.0])) == u


def test_a_static_run_has_half_as_many_k_points_again_on_the_cell_that_it_has():
    relax, static = (input_set(stage, MG_O, MG_O, settings()).kpoints for stage in (RELAX, STATIC))
    assert np.prod(static.kpts[0]) > np.prod(relax.kpts[0])
    assert input_set(RELAX, HEXAGONAL, HEXAGONAL, settings()).kpoints.style.name == "Gamma"


def test_the_mesh_of_a_relaxation_is_that_of_the_crystal_not_of_where_it_goes_on():
    begun = MG_O.scaled(MG_O.volume * 2.5)
    kept = input_set(RELAX, begun, MG_O, settings()).kpoints
    assert kept.kpts == input_set(RELAX, MG_O, MG_O, settings()).kpoints.kpts
    assert kept.kpts != input_set(RELAX, begun, begun, settings()).kpoints.kpts


def test_the_functional_of_each_stage_of_r2scan():
    first, relax, static = (incar(stage, MG_O, "vasp-r2scan", Known(gap=4.5)) for stage in (PBE, R2_RELAX, STATIC))
    assert "METAGGA" not in first
    assert first["GGA"].upper() == "PE"
    assert relax["METAGGA"].upper() == static["METAGGA"].upper() == "R2SCAN"
    assert not {"GGA"} & (relax.keys() | static.keys())
    assert (relax["EDIFFG"], relax["ENCUT"], relax["NSW"], static["NSW"]) == (-0.02, 680, 99, 0)
    assert first["NSW"] == 99


def test_the_gap_at_pbe_decides_k_points_and_smearing_of_r2scan():
    metal, insulator = (incar(R2_RELAX, MG_O, "vasp-r2scan", Known(gap=gap)) for gap in (0.0, 4.5))
    assert (metal["KSPACING"], metal["ISMEAR"], metal["SIGMA"]) == (0.22, 2, 0.2)
    assert insulator["KSPACING"] > 0.3
    assert insulator["ISMEAR"] == -5
    static = incar(STATIC, MG_O, "vasp-r2scan", Known(gap=4.5))
    assert (static["KSPACING"], static["ISMEAR"]) == (insulator["KSPACING"], -5)


def test_a_level_may_have_other_tags():
    own = {"ENCUT": 600, "IBRION": 1}
    assert (incar(RELAX, MG_O, incar=own)["ENCUT"], incar(RELAX, MG_O, incar=own)["IBRION"]) == (600, 1)
    static = incar(STATIC, MG_O, incar=own)
    assert static["ENCUT"] == 600
    assert "IBRION" not in static


def test_magnetic_moments_go_on_from_stage_to_stage():
    assert incar(STATIC, FE_S, known=Known(moments=[3.7, 0.02]))["MAGMOM"] == [3.7, 0.02]
    assert incar(RELAX, FE_S)["MAGMOM"] == [5.0, 0.6]


@pytest.mark.parametrize("level", ["vasp-mp", "vasp-r2scan"])
def test_along_the_bands(level: str):
    given = input_set(BANDS, MG_O, MG_O, settings(level), Known(gap=4.5, bands=20))
    kpoints, tags = given.kpoints, dict(given.incar)
    assert kpoints.style.name == "Reciprocal"
    assert tags["ISMEAR"] == 0
    assert "KSPACING" not in tags
    on_path = [weight for weight in kpoints.kpts_weights if weight == (1 if level == "vasp-mp" else 0)]
    assert len(on_path) > 20
    if level == "vasp-mp":
        assert (tags["ICHARG"], tags["NBANDS"]) == (11, 24)
    else:  # no density alone defines the bands of a meta-GGA
        assert tags.get("ICHARG", 2) < 10
        assert sum(kpoints.kpts_weights) == np.prod(
            divisions(MG_O, incar(R2_RELAX, MG_O, level, Known(gap=4.5))["KSPACING"])
        )


def test_atoms_of_an_element_stand_together_and_keep_their_order():
    crystal = Crystal(np.eye(3) * 5, [8, 26, 8, 26, 2], np.linspace(0, 0.8, 15).reshape(5, 3))
    order = sorted_order(crystal)
    assert order == [4, 1, 3, 0, 2]
    assert np.array_equal(reordered(crystal, order).frac_coords, crystal.frac_coords[order])


def test_potentials_are_those_of_the_set_or_of_the_level():
    assert potentials_of(["Li", "Fe"], settings()) == {"Li": "Li_sv", "Fe": "Fe_pv"}
    assert potentials_of(["Li"], settings(potcars={"Li": "Li"})) == {"Li": "Li"}
    assert potentials_of(["W"], settings()) == {"W": mp_pseudopotentials()["W"]} == {"W": "W_pv"}
    assert potentials_of(["W"], settings("vasp-r2scan")) == {"W": "W_sv"}
    assert (functional_of(settings()), functional_of(settings("vasp-r2scan"))) == ("PBE", "PBE_54")


def test_an_element_without_a_potential_is_named():
    with pytest.raises(LabelFailure, match="MPRelaxSet has no potential of Po, Rn") as failure:
        potentials_of(["Si", "Po", "Rn"], settings())
    assert failure.value.error_class == ErrorClass.UNSUPPORTED_ELEMENT


def test_the_hash_of_a_potential_is_that_of_its_text(tmp_path: Path):
    import gzip

    write_potcars(tmp_path, ["Si"])
    files = potcar_files({"Si": "Si"}, "PBE", tmp_path)
    plain = datasets(files)
    assert plain == {"Si": hashlib.sha256(files["Si"].read_bytes()).hexdigest()}
    packed = files["Si"].with_name("POTCAR.Si.gz")
    packed.write_bytes(gzip.compress(files["Si"].read_bytes()))
    files["Si"].unlink()
    assert datasets(potcar_files({"Si": "Si"}, "PBE", tmp_path)) == plain


def test_a_folder_for_each_potential_is_found_too(tmp_path: Path):
    (tmp_path / "POT_GGA_PAW_PBE" / "Si").mkdir(parents=True)
    (tmp_path / "POT_GGA_PAW_PBE" / "Si" / "POTCAR").write_text("of silicon")
    assert potcar_files({"Si": "Si"}, "PBE", tmp_path)["Si"].read_text() == "of silicon"


def test_missing_potentials_are_named_with_what_to_do(tmp_path: Path):
    write_potcars(tmp_path, ["Si"])
    with pytest.raises(LabelFailure, match="Fe_pv for Fe; LODE_POTCARS") as failure:
        potcar_files({"Si": "Si", "Fe": "Fe_pv"}, "PBE", tmp_path)
    assert failure.value.error_class == ErrorClass.MISSING_DATASET


def test_without_a_folder_the_message_says_how_to_name_one(monkeypatch: pytest.MonkeyPatch):
    from pymatgen.core import SETTINGS

    monkeypatch.delitem(SETTINGS, "PMG_VASP_PSP_DIR", raising=False)
    with pytest.raises(LabelFailure, match=r"potentials \(Si for Si\): set LODE_POTCARS") as failure:
        potcar_files({"Si": "Si"}, "PBE", None)
    assert failure.value.error_class == ErrorClass.MISSING_DATASET


def test_the_four_inputs_of_a_stage(tmp_path: Path):
    from pymatgen.io.vasp.inputs import Incar, Kpoints, Poscar, Potcar

    write_potcars(tmp_path / "psp")
    crystal = Crystal(CUBE, [26, 8], SITES)
    files = potcar_files({"Fe": "Fe_pv", "O": "O"}, "PBE", tmp_path / "psp")
    given = input_set(RELAX, crystal, crystal, settings())
    folder = tmp_path / "relax1"
    write_inputs(folder, given, {element: str(path) for element, path in files.items()}, {"ALGO": "Normal"})
    assert Incar.from_file(folder / "INCAR")["ALGO"] == "Normal"
    assert Kpoints.from_file(folder / "KPOINTS").kpts == given.kpoints.kpts
    assert Poscar.from_file(folder / "POSCAR").site_symbols == ["Fe", "O"]
    assert [one.symbol for one in Potcar.from_file(folder / "POTCAR")] == ["Fe_pv", "O"]


def test_gases_of_the_level_are_the_materials_projects():
    level, potential = load_level("vasp-mp"), load_level("7net-0")
    assert set(level.tabulated) == level.references.keys() == {"H", "N", "O", "F", "Cl"}
    assert all(potential.references[element] == energy for element, energy in level.references.items())
    assert (level.bars({8: 2}), level.bars({26: 1, 8: 1})) == (load_level("7net-0").bars({8: 2}), None)
    assert not load_level("vasp-r2scan").references
