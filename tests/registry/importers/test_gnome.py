"""GNoME's table with its CIFs: rows come with their ids, energies and notes, and every trap has its reason."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from registry.crystal import Crystal
from registry.errors import BadRecord
from registry.importers import ImportedEnergy, ImportedRecord, Item, archive, read_file
from registry.importers.gnome import MP_SHIFTS, beside_gnome
from tests.registry.importers.gnome_release import cif, row, salt, write_folder, write_table, write_zip

ID, OTHER = "000006a8c4", "fffff156dc"
NACL = salt("Na", "Cl")


def read(tmp_path: Path, *rows: dict[str, Any], cifs: dict[str, str] | None = None) -> list[Item]:
    table = write_table(tmp_path / "stable_materials_summary.csv", rows)
    beside = write_zip(tmp_path / "by_id.zip", {ID: cif(NACL)} if cifs is None else cifs)
    return list(read_file(table, beside))


def only(items: list[Item]) -> ImportedRecord:
    (item,) = items
    assert isinstance(item, ImportedRecord), item
    return item


def test_a_row_with_its_cif(tmp_path: Path):
    found = only(read(tmp_path, row(NACL, ID)))
    assert (found.record, found.source) == ("stable_materials_summary.csv:0", "GNoME")
    assert found.external_ids == {"gnome": ID}
    assert (found.crystal.numbers.tolist(), found.crystal.volume) == ([11, 17], pytest.approx(64.0))
    assert found.energy is not None
    assert (found.energy.total, found.energy.correction) == (pytest.approx(-7.0), pytest.approx(-0.5))
    assert found.metadata == {
        "formation_energy_ev_per_atom": -1.2,
        "decomposition_energy_ev_per_atom": -0.05,
        "decomposition_energy_all_ev_per_atom": 0.0,
        "decomposition_energy_mp_ev_per_atom": -0.06,
        "decomposition_energy_mp_oqmd_ev_per_atom": -0.04,
        "density_g_per_cm3": pytest.approx(1.5164, abs=1e-3),
        "space_group": "Pm-3m",
        "space_group_number": 221,
        "point_group": "m-3m",
        "crystal_system": "cubic",
        "is_train": True,
    }


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, [("band_gap", 0.2022, "eV", "PBE(+U)"), ("dimensionality", 3.0, "1", "Cheon 2017")]),
        ({"Bandgap": 0.0, "Dimensionality_Cheon": ""}, [("band_gap", 0.0, "eV", "PBE(+U)")]),
        ({"Bandgap": "nan", "Dimensionality_Cheon": "nan"}, []),
        (
            {"Bandgap": "", "Dimensionality_Cheon": "intercalated ion"},
            [("dimensionality", "intercalated ion", "1", "Cheon 2017")],
        ),
    ],
)
def test_properties_are_what_the_table_tells(tmp_path: Path, changes: dict[str, Any], expected: list[tuple[Any, ...]]):
    found = only(read(tmp_path, row(NACL, ID, **changes)))
    assert [(one.name, one.value, one.unit, one.method) for one in found.properties] == expected


def test_a_total_energy_goes_with_the_cell_of_the_cif(tmp_path: Path):
    """The table tells of two formula units, the CIF holds one."""
    found = only(read(tmp_path, row(NACL * (2, 1, 1), ID)))
    assert found.crystal.nsites == 2
    assert found.energy is not None
    assert (found.energy.total, found.energy.correction) == (pytest.approx(-7.0), pytest.approx(-0.5))


@pytest.mark.parametrize("name", [ID, "NaCl", "Cl1Na1"], ids=["id", "reduced formula", "composition"])
@pytest.mark.parametrize("kept", ["zip", "folder"])
def test_cifs_by_any_of_their_names(tmp_path: Path, name: str, kept: str):
    table = write_table(tmp_path / "t.csv", [row(NACL, ID)])
    write = write_zip if kept == "zip" else write_folder
    beside = write(tmp_path / "cifs", {name: cif(NACL), "other": "no CIF at all"})
    assert only(list(read_file(table, beside))).external_ids == {"gnome": ID}


def test_a_cif_named_by_id_goes_before_one_of_its_formula(tmp_path: Path):
    cifs = {"NaCl": cif(salt("Na", "Cl", 4.02)), ID: cif(NACL)}
    assert only(read(tmp_path, row(NACL, ID), cifs=cifs)).crystal.volume == pytest.approx(64.0)


def test_rows_without_cif_are_counted(tmp_path: Path):
    lines = [row(salt("K", "Cl"), OTHER), row(NACL, ID), row(salt("Rb", "Cl"), "00014cac13")]
    found, told = read(tmp_path, *lines)
    assert isinstance(found, ImportedRecord)
    assert found.record == "stable_materials_summary.csv:1"
    assert str(told) == "stable_materials_summary.csv: 2 of 3 rows have no CIF in by_id.zip: not imported"


BAD: list[tuple[str, dict[str, Any], str]] = [
    ("other formula", {"Composition": "Cl1K1", "Elements": "['K', 'Cl']"}, "its CIF holds NaCl, the row says KCl"),
    ("other volume", {"Volume": 70.0}, r"its CIF has 32.00 A\^3/atom, the row says 35.00: another crystal"),
    ("spreadsheet", {"MaterialId": "6E+10"}, r"its MaterialId '6E\+10' isn't 10 hex digits"),
    ("formula", {"Composition": "NaCl!"}, "its Composition 'NaCl!' is no formula"),
    ("element", {"Composition": "Xx1Cl1"}, "its Composition 'Xx1Cl1' is no formula"),
    ("sites", {"NSites": 3}, "its Composition 'Na1Cl1' has 2 atoms, its NSites says otherwise"),
    ("no sites", {"NSites": ""}, "its NSites says otherwise"),
    ("elements", {"Elements": "['K', 'Cl']"}, "has other elements than its column Elements"),
    ("call", {"Elements": "__import__('os').system('true')"}, "its Elements .* is no list of symbols"),
    ("deep", {"Elements": "[" * 5000}, "its Elements .* is no list of symbols"),
    ("number", {"Bandgap": "wide"}, "its Bandgap 'wide' is no number"),
    ("unphysical", {"Formation Energy Per Atom": -9.8}, "Formation Energy Per Atom is -9.8 eV: no crystal has one"),
    ("decomposition", {"Decomposition Energy Per Atom MP": -10.4}, "is -10.4 eV: no crystal has one beyond 5"),
    ("no total", {"Corrected Energy": -2.4}, "its Corrected Energy of -2.4 eV is no total but a formation energy"),
    ("zero", {"Corrected Energy": 0.0, "Formation Energy Per Atom": ""}, "of 0 eV is no total but a formation energy"),
]


@pytest.mark.parametrize(("changes", "reason"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
def test_a_bad_row_stops_no_other(tmp_path: Path, changes: dict[str, Any], reason: str):
    bad = row(NACL, "975d473348", Composition="Na1Cl1") | changes
    cifs = {name: cif(NACL) for name in ("975d473348", ID, "KCl", "NaCl")}
    first, told, last = read(tmp_path, row(NACL, ID), bad, row(NACL, ID), cifs=cifs)
    assert isinstance(first, ImportedRecord)
    assert isinstance(last, ImportedRecord)
    with pytest.raises(BadRecord, match=reason) as raised:
        raise told  # type: ignore[misc]
    assert raised.value.record == "stable_materials_summary.csv:1"


def test_an_element_at_zero_beside_total_energies_is_refused(tmp_path: Path):
    """Some tables hold elements at 0.0 eV: on a hull of total energies nothing would be stable beside them."""
    sodium = salt("Na", "Na", 4.2)
    line = row(sodium, OTHER) | {"UnCorrected Energy": 0.0, "Corrected Energy": 0.0, "Formation Energy Per Atom": 0.0}
    (told,) = read(tmp_path, line, cifs={OTHER: cif(sodium)})
    assert "its Corrected Energy of 0 eV is no total but a formation energy" in str(told)
    total = line | {"UnCorrected Energy": -2.6, "Corrected Energy": -2.6}
    assert only(read(tmp_path, total, cifs={OTHER: cif(sodium)})).energy == ImportedEnergy(-2.6)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (cif(NACL).replace("0.50000000  0.50000000  0.50000000", "0.0  0.0  0.06"), "overlapping atoms: .* 0.24 A"),
        ("Dear colleague", "doesn't parse as CIF"),
        ("", "doesn't parse as CIF"),
        ("x" * (archive.LARGEST + 1), "the most allowed are"),
    ],
    ids=["overlap", "prose", "empty", "bomb"],
)
def test_a_bad_cif(tmp_path: Path, text: str, reason: str):
    assert "0.50000000  0.50000000  0.50000000" in cif(NACL)
    good, told = read(tmp_path, row(NACL, ID), row(NACL, OTHER), cifs={ID: cif(NACL), OTHER: text})
    assert isinstance(good, ImportedRecord)
    with pytest.raises(BadRecord, match=reason):
        raise told  # type: ignore[misc]


def test_a_damaged_member_of_the_archive(tmp_path: Path):
    table = write_table(tmp_path / "t.csv", [row(NACL, OTHER), row(NACL, ID)])
    beside = write_zip(tmp_path / "by_id.zip", {ID: cif(NACL), OTHER: cif(salt("Na", "Cl", 4.01))})
    content = bytearray(beside.read_bytes())
    with zipfile.ZipFile(beside) as members:
        second = members.infolist()[1]
    content[second.header_offset + 60 : second.header_offset + 90] = bytes(30)
    beside.write_bytes(content)
    told, good = read_file(table, beside)
    assert "t.csv:0: its CIF can't be read from by_id.zip" in str(told)
    assert isinstance(good, ImportedRecord)


def test_without_the_crystals(tmp_path: Path):
    table = write_table(tmp_path / "t.csv", [row(NACL, ID)])
    (tmp_path / "empty").mkdir()
    (tmp_path / "prose.zip").write_text("Dear colleague")
    told = {
        None: "t.csv: a table without crystals: say with --structures where the CIFs of its rows lie",
        "empty": "empty: holds no CIF",
        "prose.zip": "prose.zip: is neither a folder nor a zip archive of CIFs: File is not a zip file",
        "gone.zip": "gone.zip: is neither a folder nor a zip archive of CIFs: [Errno 2] No such file",
    }
    for name, reason in told.items():
        (item,) = read_file(table, tmp_path / name if name else None)
        assert str(item).startswith(reason)


def test_another_table(tmp_path: Path):
    (tmp_path / "t.csv").write_text("Composition,MaterialId,NSites,Corrected Energy\nAc4,98dee9c38d,4,-16.48\n")
    (item,) = read_file(tmp_path / "t.csv", write_zip(tmp_path / "z.zip", {ID: cif(NACL)}))
    assert str(item) == "t.csv: isn't GNoME's table of materials: it lacks the columns UnCorrected Energy"


def test_a_header_that_is_none(tmp_path: Path):
    (tmp_path / "t.csv").write_text("x" * 200_000)
    (item,) = read_file(tmp_path / "t.csv", write_zip(tmp_path / "z.zip", {ID: cif(NACL)}))
    assert str(item).startswith("t.csv: doesn't parse as CSV: field larger than field limit")


@pytest.mark.parametrize("packing", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_packings_that_unpack_at_one_go(tmp_path: Path, packing: int):
    table = write_table(tmp_path / "t.csv", [row(NACL, ID)])
    with zipfile.ZipFile(tmp_path / "z.zip", "w", packing) as shelf:
        shelf.writestr(f"{ID}.CIF", cif(NACL))
    (item,) = read_file(table, tmp_path / "z.zip")
    assert "pack it by deflate" in str(item)


def test_lines_that_are_no_rows(tmp_path: Path):
    table = write_table(tmp_path / "t.csv", [row(NACL, ID)] * 4)
    lines = table.read_text().splitlines()
    lines[2] = lines[2].replace('"', "")  # the list of elements falls apart into two cells
    lines[3] = "17,Na1Cl1," + "x" * 200_000
    items = list(read_file(_written(table, lines), write_zip(tmp_path / "z.zip", {ID: cif(NACL)})))
    assert [type(item) for item in items] == [ImportedRecord, BadRecord, BadRecord, ImportedRecord]
    assert "t.csv:1: has more cells than the table has columns" in str(items[1])
    assert "t.csv:2: doesn't parse as CSV: field larger than field limit" in str(items[2])


def _written(path: Path, lines: list[str]) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path


def test_what_an_archive_holds_is_told_apart(tmp_path: Path):
    one = write_zip(tmp_path / "one.zip", {ID: cif(NACL)})
    same = write_zip(tmp_path / "same.zip", {ID: cif(NACL)})
    more = write_zip(tmp_path / "more.zip", {ID: cif(NACL), OTHER: cif(NACL)})
    same.rename(tmp_path / "again.zip")
    folder = write_folder(tmp_path / "folder", {ID: cif(NACL)})
    first = archive.content_of(folder)
    assert archive.content_of(one) != archive.content_of(more)
    assert archive.content_of(folder) == first
    (folder / f"{OTHER}.CIF").write_text(cif(NACL))
    assert archive.content_of(folder) != first


def record(numbers: list[int], energy: ImportedEnergy | None) -> ImportedRecord:
    places = np.linspace(0, 1, len(numbers), endpoint=False)[:, None] * np.ones(3)
    return ImportedRecord(Crystal(np.eye(3) * 8, np.array(numbers), places), "r:0", "r", energy=energy)


def test_energies_of_the_materials_project_are_shifted_per_atom():
    found = beside_gnome(record([12, 12, 32, 8], ImportedEnergy(-10.0, -1.0, "GGA", {"hubbards": {}})))
    shift = 2 * MP_SHIFTS["Mg"] + MP_SHIFTS["Ge"]
    assert found.energy is not None
    assert (found.energy.total, found.energy.run_type) == (-10.0, "GGA")
    assert found.energy.correction == pytest.approx(-1.0 + shift)
    assert found.energy.parameters == {"hubbards": {}, "gnome_mp_shift": pytest.approx(shift)}
    assert MP_SHIFTS == {"Ga": -0.0028805, "Ge": 0.10417085, "Li": -0.00301278, "Mg": 0.0924014, "Na": -0.00447437}


def test_nothing_is_shifted_where_nothing_differs():
    for one in (record([26, 8], ImportedEnergy(-10.0)), record([12, 8], None)):
        assert beside_gnome(one) is one
