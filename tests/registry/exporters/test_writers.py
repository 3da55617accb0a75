"""Every fact and every number that a writer is given stands in its file, as other people's readers find it."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import Structure
from pymatgen.entries.computed_entries import ComputedStructureEntry
from pymatgen.io.cif import CifParser

from registry.crystal import Crystal
from registry.exporters import parquet
from registry.exporters.cell import right_handed
from registry.exporters.extxyz import ID_KEYS
from registry.exporters.files import FORMATS, writer
from registry.exporters.pymatgen_entries import entry_id
from registry.exporters.record import ExportedEnergy, ExportedRecord, facts, first_id, material_id
from registry.identity.composition import SYMBOLS
from tests.registry.exporters.records import crystals, exported_records

some = given(st.lists(exported_records(), max_size=3, unique_by=lambda one: one.public_id))
often = settings(max_examples=60, deadline=None)
JSON_TEXT = ("external_ids", "metadata", "crystal_properties", "parameters")
NUMBERS = ("energy", "correction", "formation_energy_per_atom", "e_above_hull")
SALT = ExportedRecord(
    Crystal(np.eye(3) * 4, np.array([11, 17]), np.array([[0, 0, 0], [0.5, 0.5, 0.5]])), "lode-a", "NaCl", "s", "l", "c"
)


def written(name: str, records: list[ExportedRecord]) -> io.BytesIO:
    sink = io.BytesIO()
    entries = [one for one in records if one.energy is not None]
    assert writer(name)(iter(records), sink) == len(entries if name == "entries" else records)
    return io.BytesIO(sink.getvalue())


@some
@often
def test_parquet(records: list[ExportedRecord]):
    rows = pq.read_table(written("parquet", records)).to_pylist()
    for row, record in zip(rows, records, strict=True):
        told = {name: json.loads(value) if name in JSON_TEXT and value else value for name, value in row.items()}
        expected = facts(record)
        assert {name: value for name, value in told.items() if name in expected} == expected
        assert row["material_id"] == material_id(record)
        assert np.array_equal(np.reshape(row["lattice"], (3, 3)), record.crystal.lattice)
        assert np.array_equal(np.reshape(row["frac_coords"], (-1, 3)), record.crystal.frac_coords)
        assert row["species"].split() == [SYMBOLS[number] for number in record.crystal.numbers]


def test_parquet_in_row_groups(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(parquet, "BATCH", 2)
    monkeypatch.setattr(parquet, "ROW_GROUP", 4)
    file = pq.ParquetFile(written("parquet", [SALT] * 7))
    assert (file.metadata.num_rows, file.metadata.num_row_groups) == (7, 2)


def test_duckdb_reads_the_table(tmp_path: Path):
    duckdb = pytest.importorskip("duckdb")
    record = replace(SALT, external_ids={"mp": "mp-22862"}, metadata={"tags": ["a", "b"]})
    (tmp_path / "all.parquet").write_bytes(written("parquet", [record]).read())
    columns = "external_ids->>'mp', metadata->>'$.tags[1]', lattice[5], len(frac_coords), nsites, energy"
    found = duckdb.sql(f"SELECT {columns} FROM '{tmp_path}/all.parquet' WHERE reduced_formula = 'NaCl'")
    assert found.fetchall() == [("mp-22862", "b", 4.0, 6, 2, None)]


@some
@often
def test_extxyz(records: list[ExportedRecord]):
    file = written("extxyz", records)
    frames: list[Any] = ase.io.read(io.StringIO(file.read().decode()), index=":", format="extxyz") if records else []
    for atoms, record in zip(frames, records, strict=True):
        told, expected = atoms.info | (atoms.calc.results if atoms.calc else {}), facts(record)
        if record.energy and record.energy.of != record.public_id:
            expected["relaxed_energy"] = expected.pop("energy")
        named = {key: first_id(record, scheme) for scheme, key in ID_KEYS.items()}
        assert told == expected | {key: name for key, name in named.items() if name is not None}
        assert atoms.pbc.all()
        assert np.array_equal(atoms.cell, record.crystal.lattice)
        assert np.array_equal(atoms.numbers, record.crystal.numbers)
        assert np.array_equal(atoms.positions, record.crystal.frac_coords @ record.crystal.lattice)
        assert np.array_equal(atoms.arrays["frac_coords"], record.crystal.frac_coords)


@some
@often
def test_json(records: list[ExportedRecord]):
    documents = json.load(written("json", records))
    for document, record in zip(documents, records, strict=True):
        structure = Structure.from_dict(document)
        assert np.array_equal(structure.lattice.matrix, record.crystal.lattice)
        assert np.array_equal(structure.atomic_numbers, record.crystal.numbers)
        assert np.array_equal(structure.frac_coords, record.crystal.frac_coords)
        assert structure.properties == facts(record)
        assert document.pop("material_id", None) == (material_id(record) or None)
        assert_like_pymatgens(document, json.loads(json.dumps(structure.as_dict())))


def assert_like_pymatgens(document: dict[str, Any], theirs: dict[str, Any]) -> None:
    """The same keys, and the same numbers up to rounding."""
    assert set(document) == set(theirs)
    cell, their_cell = document["lattice"], theirs["lattice"]
    assert cell == {
        **their_cell,
        **{key: pytest.approx(their_cell[key]) for key in cell if isinstance(cell[key], float)},
    }
    for site, other in zip(document["sites"], theirs["sites"], strict=True):
        assert site == {**other, "xyz": pytest.approx(other["xyz"])}


@some
@often
def test_entries(records: list[ExportedRecord]):
    labelled = [record for record in records if record.energy is not None]
    for document, record in zip(json.load(written("entries", records)), labelled, strict=True):
        entry = ComputedStructureEntry.from_dict(document)
        assert record.energy is not None
        assert np.array_equal(entry.structure.frac_coords, record.crystal.frac_coords)
        assert (entry.uncorrected_energy, entry.correction) == (record.energy.total, record.energy.correction or 0.0)
        assert (entry.entry_id, entry.parameters) == (entry_id(record), record.energy.parameters)
        elsewhere = {"energy", "correction", "parameters"}
        assert entry.data == {name: value for name, value in facts(record).items() if name not in elsewhere}
        assert document["composition"] == record.crystal.to_pymatgen().composition.as_dict()


@some
@often
def test_cif(records: list[ExportedRecord]):
    with zipfile.ZipFile(written("cif", records)) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == [f"{record.relaxed_from or record.public_id}.cif" for record in records]
        for member, record in zip(archive.infolist(), records, strict=True):
            parser = CifParser.from_str(archive.read(member).decode(), frac_tolerance=0)
            (tags,) = parser.as_dict().values()
            assert {name: told_in_cif(name, tags) for name in facts(record)} == facts(record)
            assert_one_crystal(parser.parse_structures(primitive=False)[0], record.crystal)


def told_in_cif(name: str, tags: dict[str, str]) -> Any:
    said = tags[f"_lode_{name.removeprefix('lode_')}"]
    if name in NUMBERS:
        return float(said)
    return json.loads(said) if said.startswith(('"', "{", "[")) or name.endswith("non_commercial") else said


def assert_one_crystal(found: Structure, crystal: Crystal) -> None:
    """In the order of its own, and turned in space."""
    expected = right_handed(crystal).to_pymatgen()
    assert found.lattice.parameters == pytest.approx(expected.lattice.parameters)
    assert len(found) == len(expected)
    for site in expected:
        near = [
            other
            for other in found
            if expected.lattice.get_distance_and_image(other.frac_coords, site.frac_coords)[0] < 1e-6
        ]
        assert [other.specie for other in near] == [site.specie]


@given(crystals())
@often
def test_a_left_handed_cell_becomes_another_cell_of_the_same_crystal(crystal: Crystal):
    turned = right_handed(crystal)
    assert np.linalg.det(turned.lattice) > 0
    assert np.array_equal(np.abs(turned.lattice), np.abs(crystal.lattice))
    np.testing.assert_allclose(turned.frac_coords @ turned.lattice, crystal.frac_coords @ crystal.lattice)


def test_extxyz_calls_only_the_frames_own_energy_by_that_name():
    own = ExportedEnergy("PBE", "lode-a", -3.0)
    for energy, keys in ((own, {"energy"}), (replace(own, of="lode-b"), {"relaxed_energy"})):
        text = written("extxyz", [replace(SALT, energy=energy)]).read().decode()
        (atoms,) = ase.io.read(io.StringIO(text), index=":", format="extxyz")
        assert {
            key for key in {**atoms.info, **(atoms.calc.results if atoms.calc else {})} if "energy" in key
        } == keys | {"energy_of"}


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ({}, "lode-a"),
        ({"icsd": "7"}, "lode-a"),
        ({"mp": "mp-149"}, "mp-149"),
        ({"mp": ["mp-149", "mp-165"]}, "mp-149"),
        ({"entry": "a-7"}, "a-7"),
        ({"mp": "mp-149", "entry": "mp-149-GGA"}, "mp-149-GGA"),
        ({"mp": "mp-149", "entry": "a-7"}, "mp-149"),
    ],
)
def test_an_entry_has_the_most_telling_id(names: dict[str, Any], expected: str):
    assert entry_id(replace(SALT, external_ids=names)) == expected


@pytest.mark.parametrize("name", FORMATS)
def test_the_same_records_make_the_same_bytes(name: str):
    records = [replace(SALT, energy=ExportedEnergy("PBE", "lode-a", -3.0))] * 3
    assert written(name, records).read() == written(name, records).read()
