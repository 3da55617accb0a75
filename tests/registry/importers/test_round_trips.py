"""What is written in a format comes back as the same crystal, with its ids, energies and notes."""

from __future__ import annotations

import gzip
import json
import time
from pathlib import Path

import ase.io
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core.lattice import Lattice
from pymatgen.core.structure import Structure
from pymatgen.entries.computed_entries import ComputedStructureEntry, ManualEnergyAdjustment
from pymatgen.io.cif import CifWriter
from pymatgen.io.vasp import Poscar

from registry.crystal import Crystal
from registry.identity.composition import SYMBOLS
from registry.importers import ImportedRecord, files, parquet, read_file
from registry.importers.overlap import overlap
from registry.importers.prototypes import read_prototypes
from registry.importers.record import ImportedEnergy, bad_energy, checked

LATTICE = Lattice.from_parameters(4.1, 5.2, 6.3, 80, 95, 103)
STRUCTURE = Structure(LATTICE, ["Li", "Fe", "O", "O"], [[0, 0, 0], [0.5, 0.5, 0.5], [0.3, 0.1, 0.7], [0.7, 0.9, 0.3]])


def read(path: Path) -> list[ImportedRecord]:
    items = list(read_file(path))
    assert all(isinstance(item, ImportedRecord) for item in items), items
    return [item for item in items if isinstance(item, ImportedRecord)]


def assert_same(found: Crystal, expected: Structure = STRUCTURE, atol: float = 1e-6) -> None:
    """Up to the orientation of the cell and the order of the atoms."""
    got = found.to_pymatgen()
    assert got.lattice.parameters == pytest.approx(expected.lattice.parameters, abs=10 * atol)
    assert got.composition == expected.composition
    for site in expected:
        near = [abs(other.lattice.get_distance_and_image(other.frac_coords, site.frac_coords)[0]) for other in got]
        assert min(near) < 10 * atol
        assert got[int(np.argmin(near))].specie == site.specie


def test_cif_with_bibliography_and_text_fields(tmp_path: Path):
    block = str(CifWriter(STRUCTURE))
    text = f"# a comment\ndata_global\n_publ_author 'A'\n{block}\n_note\n;\ndata_not_a_block\n;\n{block}"
    (tmp_path / "two.cif").write_text(text)
    found = read(tmp_path / "two.cif")
    assert [one.record for one in found] == ["two.cif:0", "two.cif:1"]
    for one in found:
        assert_same(one.crystal)
        assert one.metadata["block"] == "LiFeO2"


@pytest.mark.parametrize("name", ["names.cif", "names.cif.gz"])
@pytest.mark.parametrize("encoding", ["latin-1", "utf-8-sig"])
def test_cif_of_other_encodings(tmp_path: Path, name: str, encoding: str):
    written = f"{CifWriter(STRUCTURE)}\n_publ_author_name 'Müller'\n".encode(encoding)
    (tmp_path / name).write_bytes(gzip.compress(written) if name.endswith(".gz") else written)
    (found,) = read(tmp_path / name)
    assert_same(found.crystal)
    assert found.metadata["block"] == "LiFeO2"


@pytest.mark.parametrize("name", ["POSCAR", "all.extxyz", "one.json"])
def test_a_byte_order_mark_is_passed_over(tmp_path: Path, name: str):
    ase.io.write(tmp_path / "all.extxyz", Atoms("Cs", cell=[4.0] * 3, pbc=True))
    text = {
        "POSCAR": Poscar(STRUCTURE).get_str(),
        "all.extxyz": (tmp_path / "all.extxyz").read_text(),
        "one.json": json.dumps(STRUCTURE.as_dict()),
    }[name]
    (tmp_path / name).write_text(text, encoding="utf-8-sig")
    assert len(read(tmp_path / name)) == 1


def test_cif_that_leaves_out_the_hydrogens_is_refused(tmp_path: Path):
    text = str(CifWriter(STRUCTURE)).replace("'Li1 Fe1 O2'", "'Li1 Fe1 O2 H4'")
    (tmp_path / "water.cif").write_text(text)
    (item,) = read_file(tmp_path / "water.cif")
    assert str(item).startswith("water.cif:0: doesn't parse as CIF: its atoms don't add up to its formula: Missing")


@pytest.mark.parametrize("name", ["POSCAR", "POSCAR.gz", "CONTCAR-relaxed", "li.vasp", "li.poscar"])
def test_poscar_by_any_of_its_names(tmp_path: Path, name: str):
    text = Poscar(STRUCTURE, comment="from the oven").get_str(significant_figures=12)
    (tmp_path / name).write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    (found,) = read(tmp_path / name)
    assert_same(found.crystal)
    assert found.metadata == {"comment": "from the oven"}


def test_extxyz_keeps_energy_ids_and_notes(tmp_path: Path):
    atoms = Atoms(["Cs", "Cl"], scaled_positions=[[0, 0, 0], [0.5, 0.5, 0.5]], cell=[4.1] * 3, pbc=True)
    atoms.calc = SinglePointCalculator(atoms, energy=-6.5, forces=np.zeros((2, 3)))
    atoms.info |= {"material_id": "mp-22865", "source": "Materials Project", "temperature": 300}
    ase.io.write(tmp_path / "all.extxyz", [atoms, atoms])
    first, second = read(tmp_path / "all.extxyz")
    assert (first.record, second.record) == ("all.extxyz:0", "all.extxyz:1")
    assert first.energy is not None
    assert first.energy.total == -6.5
    assert (first.source, first.external_ids) == ("Materials Project", {"mp": "mp-22865"})
    assert first.metadata == {"temperature": 300}


def test_notes_that_are_no_numbers_are_dropped(tmp_path: Path):
    atoms = Atoms("Cs", cell=[4.0] * 3, pbc=True, info={"bandgap": np.nan, "gap": np.inf, "temperature": 300})
    ase.io.write(tmp_path / "all.extxyz", atoms)
    (found,) = read(tmp_path / "all.extxyz")
    assert found.metadata == {"temperature": 300}
    document = STRUCTURE.as_dict() | {"tags": {"a": float("nan"), "b": [1.0, float("inf")]}}
    (tmp_path / "one.json").write_text(json.dumps(document))
    assert read(tmp_path / "one.json")[0].metadata == {"tags": {"b": [1.0, None]}}


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf"), 1e6, -1e6])
def test_an_energy_that_is_none_is_told_to_those_who_keep_it(bad: float):
    crystal = Crystal(np.eye(3) * 4, np.array([55]), np.zeros((1, 3)))
    for energy, word in ((ImportedEnergy(bad), "energy"), (ImportedEnergy(-1.0, bad), "correction")):
        complaint = bad_energy(ImportedRecord(crystal, "a:0", "a", energy=energy))
        assert complaint is not None
        assert f"its {word} is " in complaint.reason
    assert bad_energy(ImportedRecord(crystal, "a:0", "a", energy=ImportedEnergy(-9e5, 1.0))) is None
    assert bad_energy(ImportedRecord(crystal, "a:0", "a")) is None


def test_json_of_one_structure_a_list_lines_and_a_wrapped_list(tmp_path: Path):
    one = STRUCTURE.as_dict()
    texts = {
        "one.json": json.dumps(one),
        "list.json": json.dumps([one, one], indent=1),
        "lines.json": json.dumps(one) + "\n" + json.dumps(one) + "\n",
        "wrapped.json": json.dumps({"entries": [one, one]}),
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
        found = read(tmp_path / name)
        assert len(found) == (1 if name == "one.json" else 2)
        assert_same(found[0].crystal)


def test_json_longer_than_what_is_read_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("registry.importers.pymatgen_json.CHUNK", 7)
    (tmp_path / "list.json").write_text(json.dumps([STRUCTURE.as_dict()] * 3))
    assert len(read(tmp_path / "list.json")) == 3


def test_computed_structure_entries_keep_energy_and_correction_apart(tmp_path: Path):
    entry = ComputedStructureEntry(
        STRUCTURE,
        -20.0,
        energy_adjustments=[ManualEnergyAdjustment(-1.5)],
        parameters={"run_type": "GGA+U", "hubbards": {"Fe": 5.3}},
        entry_id="mp-19017-GGA+U",
    )
    (tmp_path / "entries.json.gz").write_bytes(gzip.compress(json.dumps([entry.as_dict()]).encode()))
    (found,) = read(tmp_path / "entries.json.gz")
    assert found.energy is not None
    assert (found.energy.total, found.energy.correction, found.energy.run_type) == (-20.0, -1.5, "GGA+U")
    assert found.energy.parameters["hubbards"] == {"Fe": 5.3}
    assert found.external_ids == {"mp": "mp-19017", "entry": "mp-19017-GGA+U"}


def test_parquet_in_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(parquet, "BATCH", 2)
    row = dict(zip(parquet.PARAMETERS, LATTICE.parameters, strict=True)) | {
        "material_id": "mp-1",
        "species": "Li Fe O O",
        "frac_coords": STRUCTURE.frac_coords.ravel().tolist(),
        "e_form": -1.25,
        "missing": float("nan"),
    }
    rows = [row, row, row | {"species": "Li Fe O Q"}, row | {"alpha": 179.0}, row | {"frac_coords": [0.0]}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "all.parquet")
    items = list(read_file(tmp_path / "all.parquet"))
    assert isinstance(items[0], ImportedRecord)
    assert_same(items[0].crystal)
    assert (items[0].external_ids, items[0].metadata) == ({"mp": "mp-1"}, {"e_form": -1.25})
    assert [str(item).split(":", 1)[1] for item in items[2:]] == [
        "2: unknown element Q",
        "3: no cell has the angles 179, 95.0001, 103".replace("95.0001", "95"),
        "4: cannot reshape array of size 1 into shape (3)",
    ]


def test_parquet_of_cif_text(tmp_path: Path):
    pq.write_table(pa.table({"cif": [str(CifWriter(STRUCTURE))], "material_id": ["mp-2"]}), tmp_path / "c.parquet")
    (found,) = read(tmp_path / "c.parquet")
    assert_same(found.crystal)
    assert found.external_ids == {"mp": "mp-2"}


def test_parquet_without_the_columns(tmp_path: Path):
    pq.write_table(pa.table({"a": [1.0], "species": ["Li"]}), tmp_path / "c.parquet")
    (item,) = read_file(tmp_path / "c.parquet")
    assert str(item).startswith("c.parquet: lacks the columns b, c, alpha, beta, gamma, frac_coords")


@given(
    st.lists(st.floats(3, 9), min_size=3, max_size=3),
    st.lists(st.floats(75, 105), min_size=3, max_size=3),
    st.integers(1, 118),
)
@settings(max_examples=25, deadline=None)
def test_any_cell_survives_parquets_lattice_parameters(lengths: list[float], angles: list[float], number: int):
    row = dict(zip(parquet.PARAMETERS, lengths + angles, strict=True)) | {
        "species": SYMBOLS[number],
        "frac_coords": [0.25, 0.5, 0.75],
    }
    item = parquet.read_row(row, "r:0", "r")
    assert isinstance(item, ImportedRecord)
    np.testing.assert_allclose(item.crystal.lattice, Lattice.from_parameters(*lengths, *angles).matrix, atol=1e-9)


def test_every_shipped_prototype_comes_in():
    items = list(read_prototypes())
    found = [item for item in items if isinstance(item, ImportedRecord)]
    assert (len(items), len(found)) == (288, 288)
    assert len({one.external_ids["aflow"] for one in found}) == 288
    minerals = {one.metadata.get("mineral") for one in found}
    assert {"Cinnabar", "Fluorite", "Spinel"} <= minerals


def test_every_reader_of_the_table_can_be_loaded():
    for pattern, module in files.READERS.items():
        name = Path(pattern.replace("*", "x"))
        assert files.format_of(name) == module
        assert files.format_of(Path(f"{name}.gz")) == module


STEPS = st.lists(st.tuples(st.permutations([0, 1, 2]), st.integers(-30, 30)), max_size=3)


def slanted(crystal: Crystal, steps: list[tuple[list[int], int]]) -> Crystal:
    """The same crystal in another cell: multiples of one lattice vector added to another."""
    basis = np.eye(3)
    for (one, other, _), times in steps:
        basis[one] += times * basis[other]
    return Crystal(basis @ crystal.lattice, crystal.numbers, crystal.frac_coords @ np.linalg.inv(basis))


@given(STEPS, st.floats(0.2, 0.49) | st.floats(0.51, 0.8))
@settings(max_examples=100, deadline=None)
def test_an_overlap_is_seen_in_any_cell(steps: list[tuple[list[int], int]], apart: float):
    numbers = np.array([55, 17])
    crystal = Crystal(np.diag([4.0, 5.0, 6.0]), numbers, np.array([[0.01, 0, 0], [0.01 - apart / 4, 0, 0]]))
    found = overlap(slanted(crystal, steps))
    assert (found is not None) == (apart < 0.5)
    assert found is None or found == (0, 1, pytest.approx(apart))


def test_a_long_cell_that_lies_askew_takes_little():
    turned, _ = np.linalg.qr(np.array([[1.0, 1, 1], [1, -1, 0], [1, 1, -2]]).T)
    lattice = np.diag([2900.0, 2.0, 2.0]) @ turned.T  # its bounding box holds 4e10 cubes of 0.5 A
    places = np.zeros((12, 3)) + np.arange(12)[:, None] * [0.08, 0, 0]
    assert checked(Crystal(lattice, np.full(12, 11), places), "long:0").nsites == 12
    places[1] = places[0] + [0.1 / 2900, 0, 0]
    assert overlap(Crystal(lattice, np.full(12, 11), places)) == (0, 1, pytest.approx(0.1))


def test_the_check_of_real_crystals_is_quick(lode_test_data: Path):
    """Ordinary cells are searched as they are: 2000 took 0.27 s before slanted ones were reduced, 0.29 s after."""
    items = list(read_file(lode_test_data / "flla_2015" / "flla_3938.parquet"))
    crystals = [item.crystal for item in items if isinstance(item, ImportedRecord)][:2000]
    began = time.monotonic()
    for crystal in crystals:
        checked(crystal, "r:0")
    assert time.monotonic() - began < 2.0
