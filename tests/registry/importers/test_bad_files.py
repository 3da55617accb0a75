"""Every bad file gives one BadRecord that names the file and the reason; the good records beside it come through."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from registry.crystal import Crystal
from registry.errors import BadRecord
from registry.importers import ImportedRecord, Item, read_file
from registry.importers.record import LARGEST, checked

CIF = """data_salt
_cell_length_a 4
_cell_length_b 4
_cell_length_c 4
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_symmetry_space_group_name_H-M 'P 1'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
Cs1 Cs 0 0 0 1
Cl1 Cl 0.5 0.5 0.5 1
"""
POSCAR = "CsCl\n1.0\n4 0 0\n0 4 0\n0 0 4\nCs Cl\n1 1\ndirect\n0 0 0\n.5 .5 .5\n"
XYZ = '2\nLattice="4 0 0 0 4 0 0 0 4" Properties=species:S:1:pos:R:3 pbc="T T T"\nCs 0 0 0\nCl 2 2 2\n'
STRUCTURE = {
    "lattice": {"matrix": [[4, 0, 0], [0, 4, 0], [0, 0, 4]]},
    "sites": [
        {"species": [{"element": "Cs", "occu": 1}], "abc": [0, 0, 0]},
        {"species": [{"element": "Cl", "occu": 1}], "abc": [0.5, 0.5, 0.5]},
    ],
}

BAD = [
    ("empty.cif", "", "the file is empty"),
    ("prose.cif", "Dear colleague,\n", "doesn't parse as CIF: no atoms listed"),
    ("short.cif", CIF[:60], "doesn't parse as CIF: no atoms listed"),
    ("cut.cif", CIF[:-8], "doesn't parse as CIF"),
    ("nan.cif", CIF.replace("0.5 0.5 0.5", "nan 0.5 0.5"), "doesn.t parse as CIF: .*NaN"),
    ("flat.cif", CIF.replace("_a 4", "_a 0"), "doesn't parse as CIF"),
    ("partial.cif", CIF.replace("0.5 1", "0.5 0.7"), "partial occupancy: site 1 holds Cl:0.7"),
    ("mixed.cif", CIF.replace("Cl1 Cl", "Xx1 Xx"), "unknown element Xx"),
    ("near.cif", CIF.replace("0.5 0.5 0.5", "0 0 0.05"), "overlapping atoms: .* 0.20 A apart"),
    ("image.cif", CIF.replace("0.5 0.5 0.5", "0 0 0.96"), "overlapping atoms: .* 0.16 A apart"),
    ("stacked.cif", CIF.replace("0.5 0.5 0.5", "0 0 0"), "doesn't parse as CIF: .*[Oo]ccupancy"),
    ("POSCAR", "hello\nworld\n", "doesn't parse as POSCAR"),
    ("cut.vasp", POSCAR[:-10], "doesn't parse as POSCAR"),
    ("CONTCAR", POSCAR.replace("Cs Cl\n", "", 1), "no line names the elements"),
    ("POSCAR_nan", POSCAR.replace(".5 .5 .5", "nan 0 0"), "aren't finite"),
    ("POSCAR_flat", POSCAR.replace("4 0 0", "0 0 4"), "volume of 0"),
    ("POSCAR_same", POSCAR.replace(".5 .5 .5", "0 0 0"), "overlapping atoms: .* 0.00 A apart"),
    ("POSCAR_odd", POSCAR.replace("Cs Cl\n", "Cs Xx\n"), "unknown element Xx"),
    ("molecule.xyz", "2\nwater\nO 0 0 0\nH 0 0 1\n", "no periodic cell"),
    ("slab.extxyz", XYZ.replace("T T T", "T T F"), "no periodic cell"),
    ("odd.extxyz", XYZ.replace("Cl 2", "Xx 2"), "doesn't parse as extended XYZ"),
    ("columns.extxyz", XYZ.replace("Cl 2 2 2", "Cl 2 2"), "doesn't parse as extended XYZ"),
    ("cut.extxyz", XYZ[:-9], "ends within the 2 atoms"),
    ("count.extxyz", "two\n" + XYZ, "'two' is no number of atoms"),
    ("none.json", "[]", "no structures in it"),
    ("prose.json", "{'a': 1}", "doesn't parse as JSON"),
    ("cut.json", json.dumps([STRUCTURE])[:-20], "doesn't parse as JSON"),
    ("other.json", '{"a": 1}', "holds no structure"),
    ("number.json", "[3]", "holds no structure"),
    ("sites.json", json.dumps(STRUCTURE | {"sites": []}), "doesn't parse|no atoms"),
    ("holes.json", json.dumps({"lattice": {}, "sites": [{}]}), "doesn't parse as a pymatgen structure"),
    ("table.parquet", "not parquet at all", "doesn't parse as parquet"),
    ("notes.txt", "hello", "unknown format: known are"),
    ("deep.json", "[" * 100_000, "can't be read: maximum recursion depth"),
    ("number.extxyz", "\u00b2\n" + XYZ[2:], "is no number of atoms"),
    ("huge.extxyz", "9" * 5000 + "\n", "can't be read: "),
    ("nul.json", json.dumps(STRUCTURE | {"material_id": "mp-1\0"}), "holds NUL"),
    ("half.json", json.dumps([STRUCTURE | {"name": "\ud800"}]), "half a character"),
    ("key.json", json.dumps([STRUCTURE | {"tags": [{"a\0": 1}]}]), "holds NUL"),
    ("id.json", json.dumps(STRUCTURE | {"material_id": "x" * 3000}), "longer than 500 characters"),
    ("setting.json", json.dumps(STRUCTURE | {"energy": 1, "parameters": {"potcar": "a\0"}}), "holds NUL"),
    ("nul.xyz", XYZ.replace("pbc=", 'name="a\0b" pbc='), "holds NUL"),
    ("POSCAR_box", POSCAR.replace("0 0 4", "0 0 400"), "0.1 to 1000 A\\^3 per atom"),
    ("POSCAR_long", POSCAR.replace("4 0 0", "4 0 1e4"), "a lattice vector of 1e\\+04 A"),
    ("POSCAR_slanted", POSCAR.replace("0 4 0\n0 0 4", "2e3 4 0\n0 2e3 4"), "too slanted, .*: reduce it"),
    ("POSCAR_thin", POSCAR.replace("4 0 0\n0 4 0", "0.9 0 0\n0 20 0"), "0.90 A apart, the least allowed is 1.0 A"),
    ("POSCAR_hidden", POSCAR.replace("4 0 0\n0 4 0", "80 0 0\n80 0.6 0"), "0.60 A apart"),
    ("bytes.cif.gz", "not gzip", "can't be read"),
]


def only(items: list[Item]) -> BadRecord:
    assert len(items) == 1
    assert isinstance(items[0], BadRecord)
    return items[0]


@pytest.mark.parametrize(("name", "text", "reason"), BAD, ids=[row[0] for row in BAD])
def test_a_bad_file_is_one_clear_line(tmp_path: Path, name: str, text: str, reason: str):
    (tmp_path / name).write_text(text)
    error = only(list(read_file(tmp_path / name)))
    assert error.record.startswith(name)
    with pytest.raises(BadRecord, match=reason):
        raise error
    assert "\n" not in str(error)


def test_a_missing_file_and_a_folder(tmp_path: Path):
    assert str(only(list(read_file(tmp_path / "gone.cif")))) == "gone.cif: no such file"
    assert "is a folder" in str(only(list(read_file(tmp_path))))


def test_bytes_that_are_no_text(tmp_path: Path):
    for name, reason in (("picture.cif", "no atoms listed"), ("POSCAR", "can't be read")):
        (tmp_path / name).write_bytes(b"\x89PNG\xff\xfe\x00")
        assert reason in str(only(list(read_file(tmp_path / name))))


def test_more_atoms_than_the_database_counts():
    edge = np.eye(3) * 600
    many = Crystal(edge, np.full(32_768, 11), np.zeros((32_768, 3)))
    with pytest.raises(BadRecord, match="32768 atoms in the cell, the most allowed are 32767"):
        checked(many, "many:0")


def test_a_gzip_cut_short(tmp_path: Path):
    (tmp_path / "cut.cif.gz").write_bytes(gzip.compress(CIF.encode())[:-12])
    assert "can't be read" in str(only(list(read_file(tmp_path / "cut.cif.gz"))))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("many.cif", CIF + CIF.replace("0.5 0.5 0.5", "0 0 0.05") + CIF),
        ("many.extxyz", XYZ + XYZ.replace("2 2 2", "0 0 0.2") + XYZ),
        ("many.json", json.dumps([STRUCTURE, {"lattice": 1, "sites": 2}, STRUCTURE])),
        ("texts.json", json.dumps([STRUCTURE, STRUCTURE | {"name": "a\0"}, STRUCTURE])),
    ],
)
def test_one_bad_record_stops_no_other(tmp_path: Path, name: str, text: str):
    (tmp_path / name).write_text(text)
    items = list(read_file(tmp_path / name))
    assert [type(item) for item in items] == [ImportedRecord, BadRecord, ImportedRecord]
    assert [item.record for item in items] == [f"{name}:{index}" for index in range(3)]


def test_one_bad_text_of_a_parquet_table_stops_no_other(tmp_path: Path):
    cell = {"a": 4.0, "b": 4.0, "c": 4.0, "alpha": 90.0, "beta": 90.0, "gamma": 90.0}
    row = cell | {"species": "Cs", "frac_coords": [0.0, 0.0, 0.0]}
    rows = [row | {"material_id": name} for name in ("mp-1", "mp-2\0", "mp-3")]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "all.parquet")
    items = list(read_file(tmp_path / "all.parquet"))
    assert [type(item) for item in items] == [ImportedRecord, BadRecord, ImportedRecord]


def test_what_was_read_before_the_reader_broke_comes_through(tmp_path: Path):
    (tmp_path / "deep.json").write_text(json.dumps([STRUCTURE])[:-1] + "," + "[" * 100_000)
    items = list(read_file(tmp_path / "deep.json"))
    assert [type(item) for item in items] == [ImportedRecord, BadRecord]


@pytest.mark.parametrize(
    ("name", "text"),
    [("POSCARs.json", json.dumps([STRUCTURE])), ("contcars.extxyz", XYZ), ("POSCAR.cif", CIF), ("POSCAR_1", POSCAR)],
)
@pytest.mark.parametrize("packed", ["", ".gz", ".GZ"])
def test_the_ending_of_a_name_goes_before_its_beginning(tmp_path: Path, name: str, text: str, packed: str):
    path = tmp_path / f"{name}{packed}"
    path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    (item,) = read_file(path)
    assert isinstance(item, ImportedRecord), item


def test_a_file_imports_no_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """pymatgen would, for the properties of a site."""
    (tmp_path / "trap.py").write_text("raise SystemExit('sprung')")
    monkeypatch.syspath_prepend(tmp_path)
    sites = [site | {"properties": {"magmom": {"@module": "trap", "@class": "Trap"}}} for site in STRUCTURE["sites"]]
    (tmp_path / "salt.json").write_text(json.dumps(STRUCTURE | {"sites": sites}))
    (item,) = read_file(tmp_path / "salt.json")
    assert isinstance(item, ImportedRecord)


def test_reasons_hold_nothing_that_steers_a_terminal_or_breaks_the_database(tmp_path: Path):
    cell = {"a": 4.0, "b": 4.0, "c": 4.0, "alpha": 90.0, "beta": 90.0, "gamma": 90.0}
    rows = [cell | {"species": "Q\0\x1b[2J", "frac_coords": [0.0, 0.0, 0.0]}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "all.parquet")
    error = only(list(read_file(tmp_path / "all.parquet")))
    assert error.reason == "unknown element Q??[2J"
    assert str(BadRecord("\udcff.cif:0", "a\nb")) == "?.cif:0: a?b"


@pytest.mark.parametrize(
    ("name", "long", "good"),
    [("bomb.cif", CIF + "#" + " " * (LARGEST + 1) + "\n", CIF), ("bomb.extxyz", "40000\n" + "H 0 0 0\n" * 40_001, XYZ)],
)
def test_a_text_without_end_is_passed_over(tmp_path: Path, name: str, long: str, good: str):
    (tmp_path / f"{name}.gz").write_bytes(gzip.compress((long + good).encode()))
    bad, one = read_file(tmp_path / f"{name}.gz")
    assert isinstance(one, ImportedRecord), one
    with pytest.raises(BadRecord, match=r"has more than \d+ bytes|more than 32767 atoms"):
        raise bad  # type: ignore[misc]


def test_a_poscar_without_end(tmp_path: Path):
    (tmp_path / "POSCAR.gz").write_bytes(gzip.compress((POSCAR + " " * LARGEST).encode()))
    assert "the text of one crystal has more than" in str(only(list(read_file(tmp_path / "POSCAR.gz"))))


def test_what_is_packed_twice(tmp_path: Path):
    for name in ("all.parquet.gz", "all.zip.gz"):
        (tmp_path / name).write_bytes(gzip.compress(b"anything"))
        assert str(only(list(read_file(tmp_path / name)))) == f"{name}: is packed twice: unpack the .gz first"
