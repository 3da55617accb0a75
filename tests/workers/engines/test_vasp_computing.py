"""VASP's engine on crystals of any kind: a stand-in for the program computes, and what comes back is compared."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms

from registry.crystal import Crystal
from registry.hull.levels import load_level
from registry.states import ErrorClass
from tests.workers.engines.standin_vasp import chain_of, computing_vasp
from tests.workers.standin import PairPotential
from workers.engines.base import Machine
from workers.engines.vasp import Vasp
from workers.engines.vasp_changes import parallel_tags

pytestmark = [
    pytest.mark.skipif(find_spec("custodian") is None, reason="custodian isn't installed: make dft"),
    pytest.mark.filterwarnings("ignore"),  # pymatgen's, of potentials that it doesn't know
]

QUICK = {"poll_seconds": 0.05}
LATTICE = 1.2 * np.array([[4.2, 0.3, 0.1], [-0.2, 6.1, 0.4], [0.5, -0.3, 5.2]])
OXIDE = Crystal(
    LATTICE,
    [8, 26, 17, 11, 8, 26],
    [[0.02, 0, 0], [0.5, 0, 0.03], [-0.5, 0.26, 0.5], [1.0, 0.25, 0.48], [0.01, 0.52, 1.0], [0.5, 0.75, -0.5]],
)
LITHIUM = Crystal(np.eye(3) * 3.6, [3, 3], [[0, 0, 0], [0.5, 0.5, 0.52]])
SALT = Crystal(np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]) * 2.8, [11, 17], [[0, 0, 0], [0.5, 0.5, 0.5]])


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return computing_vasp(tmp_path)


def left_handed(crystal: Crystal) -> Crystal:
    return Crystal(crystal.lattice[[1, 0, 2]], crystal.numbers, crystal.frac_coords[:, [1, 0, 2]])


def result(
    machine: Machine, crystal: Crystal, task: str = "static", level: str = "vasp-mp", folder: str = "work", **other: Any
) -> dict[str, Any]:
    settings = {**load_level(level).settings, **QUICK, **other.pop("settings", {})}
    chain = chain_of(machine, Path(machine.vasp[0]).parent / folder, crystal, task, settings, **other)
    with chain.notes:
        found: dict[str, Any] = chain.run()
    return found


def frames(machine: Machine, folder: str = "work") -> list[dict[str, Any]]:
    path = Path(machine.vasp[0]).parent / folder / "frames.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()]


def tags(machine: Machine, stage: str, folder: str = "work") -> dict[str, str]:
    text = (Path(machine.vasp[0]).parent / folder / stage / "INCAR").read_text()
    return dict(line.split(" = ", 1) for line in text.splitlines())


def crystal_of(told: Mapping[str, Any], numbers: Any) -> Crystal:
    return Crystal(np.reshape(told["lattice"], (3, 3)), numbers, np.reshape(told["coords"], (-1, 3)))


def check_computed(told: Mapping[str, Any], numbers: Any) -> None:
    """Energy, forces and stress are those of the atoms that it says; VASP writes eight places."""
    crystal = crystal_of(told, numbers)
    atoms = Atoms(numbers, cell=crystal.lattice, scaled_positions=crystal.frac_coords, pbc=True)
    atoms.calc = PairPotential()
    assert told["energy"] == pytest.approx(atoms.get_potential_energy(), abs=1e-5)
    assert np.reshape(told["forces"], (-1, 3)) == pytest.approx(atoms.get_forces(), abs=1e-5)
    assert told["stress"] == pytest.approx(atoms.get_stress(), abs=1e-5)


@pytest.mark.parametrize("crystal", [OXIDE, left_handed(OXIDE)], ids=["right-handed", "left-handed"])
def test_a_static_run_gives_back_the_very_crystal_with_what_was_computed_of_it(machine: Machine, crystal: Crystal):
    """Atoms in any order, coordinates beyond the cell, vectors of either hand: VASP takes right-handed ones alone."""
    found = result(machine, crystal)
    check_computed(found, crystal.numbers)
    back = crystal_of(found, crystal.numbers)
    assert back.lattice == pytest.approx(crystal.lattice, abs=1e-7)
    apart = back.frac_coords - crystal.frac_coords
    assert apart == pytest.approx(np.round(apart), abs=1e-7)


@pytest.mark.parametrize(
    ("crystal", "level"), [(OXIDE, "vasp-mp"), (left_handed(OXIDE), "vasp-mp"), (OXIDE, "vasp-r2scan")]
)
def test_every_step_of_a_relaxation_is_of_its_own_atoms(machine: Machine, crystal: Crystal, level: str):
    found = result(machine, crystal, "relax", level)
    steps = frames(machine)
    for step in [*steps, found]:
        check_computed(step, crystal.numbers)
        assert np.linalg.det(np.reshape(step["lattice"], (3, 3))) * np.linalg.det(crystal.lattice) > 0
    assert steps[-1]["energy"] == pytest.approx(found["energy"], abs=1e-5)
    if level == "vasp-mp":
        assert crystal_of(steps[0], crystal.numbers).lattice == pytest.approx(crystal.lattice, abs=1e-7)
    else:
        force_tolerance = float(str(load_level(level).settings["force_tolerance"]))
        assert np.linalg.norm(np.reshape(found["forces"], (-1, 3)), axis=1).max() < force_tolerance


def test_moments_go_from_stage_to_stage_in_the_order_of_the_sites(machine: Machine):
    """Sodium, iron, chlorine, oxygen: as electronegativity has them."""
    found = result(machine, OXIDE, level="vasp-r2scan")
    assert tags(machine, "static")["MAGMOM"] == "1*0.0 2*5.0 3*0.0"
    assert found["moment"] == 10.0


def test_another_attempt_goes_on_from_the_last_step(machine: Machine):
    from workers.engines.vasp_faults import Failed

    with pytest.raises(Failed, match="relax1: ") as failed:
        result(machine, OXIDE, "relax", settings={"max_steps": 3, "max_errors": 1})
    assert failed.value.error_class == ErrorClass.NOT_CONVERGED_IONIC
    last = frames(machine)[-1]
    result(machine, OXIDE, "relax", start=crystal_of(last, OXIDE.numbers), changes={"IBRION": 1}, folder="again")
    assert tags(machine, "relax1", "again")["IBRION"] == "1"
    first = frames(machine, "again")[0]
    assert first["energy"] == pytest.approx(last["energy"], abs=1e-5)
    assert first["coords"] == pytest.approx(last["coords"], abs=1e-7)


def test_a_metal_has_no_gap_and_its_own_smearing(machine: Machine):
    found = result(machine, LITHIUM, "relax")
    assert (found["gap"], found["incompatible"]) == (0.0, None)
    assert found["changes"]["relax2"]["tags"] == {"ISMEAR": (-5, 2), "SIGMA": (0.05, 0.2)}
    assert tags(machine, "static")["ISMEAR"] == "-5"


@pytest.mark.parametrize("level", ["vasp-mp", "vasp-r2scan"])
def test_the_gap_along_the_bands_is_no_wider_than_that_of_the_mesh(machine: Machine, level: str):
    """Its edges lie at Gamma."""
    found = result(machine, SALT, level=level, settings={"band_path": True})
    assert found["stages"]["bands"]["converged"] is True
    assert found["gap"] == pytest.approx(2.6)


def test_a_static_run_above_zero_is_tried_twice(machine: Machine):
    from workers.engines.vasp_faults import Failed

    with pytest.raises(Failed, match="gave up on Positive energy after 2 corrections") as failed:
        result(machine, SALT.scaled(16.0))
    assert failed.value.error_class == ErrorClass.UNPHYSICAL_ENERGY
    assert tags(machine, "static")["ALGO"] == "Normal"
    assert "POTIM" not in tags(machine, "static")


def test_the_tags_of_a_machine_are_in_every_stage_and_among_the_changes_of_a_label(machine: Machine):
    here = replace(machine, vasp_incar=parallel_tags("NCORE=4 KPAR=2 LPLANE=.FALSE."))
    label = Vasp({**load_level("vasp-mp").settings, **QUICK, "incar": {"NCORE": 8}}, here).static(SALT)
    assert label.changes == {
        "static": {"tags": {"KPAR": [None, 2], "LPLANE": [None, False], "NCORE": [8, 4]}, "corrections": []}
    }
    assert label.incompatible is None
    assert "NCORE" not in json.dumps(dict(label.convergence))
