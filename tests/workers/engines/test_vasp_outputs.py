"""Reading what VASP has written, finished or not, against what ASE and pymatgen read of the same genuine files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.workers.engines.standin_vasp import LUTETIUM, PHOSPHATE, SILICON, laid_out
from workers.engines.vasp_outputs import (
    EV_PER_A3,
    Notes,
    as_frame,
    energy_of,
    gap_at,
    gap_of,
    magnetism_in,
    steps_in,
    stress_of,
)


@pytest.fixture(scope="module")
def genuine(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return laid_out(tmp_path_factory.mktemp("vasp"))


def test_stress_changes_sign_and_unit_and_order():
    """VASP's 10 kB of pressure outward is -1 GPa of stress; 1 GPa is 1/160.2 eV/cubic angstrom."""
    kilobar = np.array([[10.0, 4.0, 6.0], [4.0, 20.0, 5.0], [6.0, 5.0, 30.0]])
    assert stress_of(kilobar) == pytest.approx(-np.array([1.0, 2.0, 3.0, 0.5, 0.6, 0.4]) / 160.21766208)


@pytest.mark.parametrize("elements", [SILICON, LUTETIUM, PHOSPHATE])
def test_every_step_is_as_ase_reads_it(genuine: Mapping[str, str], elements: str):
    import ase.io

    path = Path(genuine[elements]) / "vasprun.xml"
    steps = [step for step, _ in steps_in(path.read_bytes())]
    images = ase.io.read(path, index=":")
    assert len(steps) == len(images) > 2
    for step, image in zip(steps, images, strict=True):
        assert step["lattice"] == pytest.approx(image.cell.array)
        assert step["coords"] == pytest.approx(image.get_scaled_positions(wrap=True) % 1.0)
        assert step["forces"] == pytest.approx(image.get_forces())
        assert step["stress"] == pytest.approx(image.get_stress(), abs=1e-9)
        assert step["energy"] == pytest.approx(image.get_potential_energy(), abs=1e-6)


@pytest.mark.parametrize("elements", [SILICON, LUTETIUM, PHOSPHATE])
def test_the_last_energy_is_that_which_the_materials_project_takes(genuine: Mapping[str, str], elements: str):
    """LiFePO4's is of a version that writes something else as e_0_energy of a step."""
    from pymatgen.io.vasp.outputs import Vasprun

    path = Path(genuine[elements]) / "vasprun.xml"
    vasprun = Vasprun(path, parse_potcar_file=False)
    assert [*steps_in(path.read_bytes())][-1][0]["energy"] == float(vasprun.final_energy)


def test_the_gap_is_that_of_the_band_structure(genuine: Mapping[str, str]):
    from pymatgen.io.vasp.outputs import Vasprun

    for elements in (SILICON, LUTETIUM, PHOSPHATE):
        vasprun = Vasprun(Path(genuine[elements]) / "vasprun.xml", parse_potcar_file=False)
        bands = vasprun.get_band_structure(efermi="smart")
        expected = 0.0 if bands.is_metal() else bands.get_band_gap()["energy"]
        assert gap_of(vasprun) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.1, 0.5, 0.9, 1.0])
def test_of_half_a_file_the_whole_steps_are_read(genuine: Mapping[str, str], share: float):
    text = (Path(genuine[PHOSPHATE]) / "vasprun.xml").read_bytes()
    whole, part = ([step["energy"] for step, _ in steps_in(piece)] for piece in (text, text[: int(share * len(text))]))
    assert part == whole[: len(part)]


def test_steps_with_numbers_that_vasp_could_not_write_are_left_out(genuine: Mapping[str, str]):
    text = (Path(genuine[SILICON]) / "vasprun.xml").read_bytes()
    head, first, *rest = text.split(b'<varray name="forces" >')
    damaged = head + b'<varray name="forces" >' + b"<v> ************** 0.0 0.0 </v>" + first.split(b"</v>", 1)[1]
    assert len([*steps_in(b'<varray name="forces" >'.join([damaged, *rest]))]) == 2


def test_notes_are_taken_while_it_is_written(genuine: Mapping[str, str], tmp_path: Path):
    """In pieces of any size, each step once; what another run has left is not noted."""
    text = (Path(genuine[SILICON]) / "vasprun.xml").read_bytes()
    path = tmp_path / "relax1" / "vasprun.xml"
    path.parent.mkdir()
    (path.parent / "begun.INCAR").write_text("NSW = 99\nENCUT = 680\n")
    write_poscar(genuine, path.parent / "begun.POSCAR")
    notes = Notes(tmp_path, [0, 1])
    notes.follow(path)
    for end in range(0, len(text) + 90_000, 90_000):
        path.write_bytes(text[:end])
        notes.look()
    assert energies(tmp_path) == [step["energy"] for step, _ in steps_in(text)]
    (path.parent / "begun.INCAR").write_text("NSW = 99\nENCUT = 520\n")
    notes.follow(path)
    notes.look()
    assert len(energies(tmp_path)) == 3


def write_poscar(genuine: Mapping[str, str], path: Path) -> None:
    from pymatgen.io.vasp.inputs import Poscar
    from pymatgen.io.vasp.outputs import Vasprun

    vasprun = Path(genuine[SILICON]) / "vasprun.xml"
    Poscar(Vasprun(vasprun, parse_potcar_file=False, parse_dos=False, parse_eigen=False).initial_structure).write_file(
        path
    )


def energies(folder: Path) -> list[float]:
    return [json.loads(line)["energy"] for line in (folder / "frames.jsonl").read_text().splitlines()]


def test_atoms_get_their_old_order_back():
    step = {
        "lattice": np.eye(3),
        "stress": np.zeros(6),
        "energy": -1.0,
        "coords": np.array([[0.1] * 3, [0.2] * 3, [0.3] * 3]),
        "forces": np.array([[1.0] * 3, [2.0] * 3, [3.0] * 3]),
    }
    frame = as_frame(step, [2, 0, 1])  # the third atom stood first
    assert frame["coords"][::3] == [0.2, 0.3, 0.1]
    assert frame["forces"][::3] == [2.0, 3.0, 1.0]


@pytest.mark.parametrize(("elements", "atoms"), [(LUTETIUM, 3), (SILICON, 2)])
def test_moments_are_as_pymatgen_reads_them(genuine: Mapping[str, str], elements: str, atoms: int):
    from pymatgen.io.vasp.outputs import Outcar

    path = Path(genuine[elements]) / "OUTCAR"
    expected = Outcar(path)
    assert magnetism_in(path, atoms) == (expected.total_mag, [site["tot"] for site in expected.magnetization])


def test_no_moments_where_outcar_tells_none(genuine: Mapping[str, str], tmp_path: Path):
    assert magnetism_in(Path(genuine[LUTETIUM]) / "OUTCAR", 50)[1] is None
    (tmp_path / "OUTCAR").write_text(" vasp.6.4.1\n")
    assert magnetism_in(tmp_path / "OUTCAR", 3) == magnetism_in(tmp_path / "none", 3) == (None, None)


@given(st.floats(-100, -1), st.floats(-0.1, 0.0))
def test_energy_at_zero_broadening(free: float, entropy: float):
    electronic = {"e_fr_energy": free, "e_0_energy": free - entropy / 2}
    assert energy_of({"e_fr_energy": free, "e_0_energy": entropy}, electronic) == pytest.approx(
        free - entropy / 2, abs=1e-6
    )
    assert energy_of({"e_fr_energy": free, "e_0_energy": free}, {}) == free


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=6, unique=True), st.floats(0, 1))
def test_a_gap_lies_between_the_bands_beside_the_fermi_energy(levels: list[float], share: float):
    flat = sorted(levels)
    bands = {1: np.array([[[level, 0.0] for level in flat]] * 2)}
    fermi = flat[0] + share * (flat[1] - flat[0]) * 0.999
    assert gap_at(bands, fermi) == pytest.approx(flat[1] - flat[0])


def test_a_band_across_the_fermi_energy_leaves_no_gap():
    crossing = {1: np.array([[[-1.0, 1.0], [3.0, 0.0]], [[1.0, 0.0], [4.0, 0.0]]])}
    assert gap_at(crossing, 0.0) == 0.0
    assert gap_at(crossing, 2.0) == pytest.approx(2.0)
    assert gap_at(crossing, 9.0) == 0.0


def test_a_kilobar_in_electronvolts():
    from ase.units import GPa

    assert pytest.approx(0.1 * GPa, rel=1e-6) == EV_PER_A3
