"""ASE's databases: what was written through ase.db comes back, and the file is as it was."""

from __future__ import annotations

import gzip
import hashlib
import sqlite3
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms
from ase.db import connect

from registry.errors import BadRecord
from registry.importers import ImportedRecord, ase_db, read_file
from registry.properties import CrystalProperty

CELL = [[4.0, 0.1, 0.0], [0.0, 4.2, 0.3], [0.2, 0.0, 4.4]]


def salt(energy: float | None = -7.5, **changes: Any) -> Atoms:
    wanted = {"cell": CELL, "pbc": True, "scaled_positions": [[0, 0, 0], [0.5, 0.5, 0.5]]} | changes
    atoms = Atoms(["Cs", "Cl"], **wanted)
    if energy is not None:
        atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=np.zeros((2, 3)), magmom=1.5)
    return atoms


def write(path: Path, *rows: Atoms, **pairs: Any) -> Path:
    with connect(path, use_lock_file=False) as database:
        for atoms in rows:
            database.write(atoms, data={"large": list(range(100))}, **pairs)
    return path


def read(path: Path) -> list[ImportedRecord]:
    items = list(read_file(path))
    assert all(isinstance(item, ImportedRecord) for item in items), items
    return [item for item in items if isinstance(item, ImportedRecord)]


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("name", ["all.db", "all.json"])
def test_crystal_energy_and_key_value_pairs(tmp_path: Path, name: str):
    path = write(
        tmp_path / name, salt(), salt(None), gap=1.25, direct=True, layers=3, material_id="mp-22865", kind="b2"
    )
    first, second = read(path)
    assert (first.record, second.record) == (f"{name}:0", f"{name}:1")
    np.testing.assert_allclose(first.crystal.lattice, CELL, atol=1e-12)
    np.testing.assert_allclose(first.crystal.frac_coords, [[0, 0, 0], [0.5, 0.5, 0.5]], atol=1e-12)
    assert first.crystal.numbers.tolist() == [55, 17]
    assert first.metadata == {"gap": 1.25, "direct": True, "layers": 3, "kind": "b2"}
    assert first.external_ids["mp"] == "mp-22865"
    assert len(first.external_ids["ase"]) == 32
    assert first.energy is not None
    assert (first.energy.total, first.energy.correction) == (-7.5, 0.0)
    assert first.energy.parameters == {"calculator": "unknown", "magmom": 1.5}
    assert second.energy is None


@pytest.mark.parametrize(
    ("metadata", "gaps"),
    [
        ({"key_descriptions": {"gap": ["Gap", "Band gap", "eV"]}}, [1.25]),
        ({"key_descriptions": {"gap": ["Gap", "Band gap", "meV"]}}, []),
        ({"key_descriptions": {"gap": "Band gap"}}, []),
        ({"key_descriptions": [1]}, []),
        ({}, []),
    ],
)
def test_what_has_a_unit_is_a_property(tmp_path: Path, metadata: dict[str, Any], gaps: list[float]):
    path = write(tmp_path / "all.db", salt(), gap=1.25)
    connect(path).metadata = metadata
    (found,) = read(path)
    moment = CrystalProperty("magnetic_moment", 1.5, "mu_B", "unknown")
    assert found.properties == [
        moment,
        *(CrystalProperty("band_gap", gap, "eV", "unknown", {"key": "gap"}) for gap in gaps),
    ]
    assert found.metadata["gap"] == 1.25


def test_a_property_that_was_not_computed_is_none(tmp_path: Path):
    atoms = salt(None)
    atoms.calc = SinglePointCalculator(atoms, energy=-7.5, magmom=float("nan"))
    path = write(tmp_path / "all.db", atoms, gap=float("nan"))
    connect(path).metadata = {"key_descriptions": {"gap": ["Gap", "Band gap", "eV"]}}
    (found,) = read(path)
    assert found.properties == []


def test_a_gap_in_electronvolts_that_is_no_number(tmp_path: Path):
    path = write(tmp_path / "all.db", salt(), gap="wide")
    connect(path).metadata = {"key_descriptions": {"gap": ["Gap", "Band gap", "eV"]}}
    (bad,) = read_file(path)
    assert str(bad) == "all.db:0: its gap is no number, but 'wide'"


def test_the_calculator_and_its_parameters_describe_the_energy(tmp_path: Path):
    atoms = salt()
    assert atoms.calc is not None
    atoms.calc.name = "vasp"
    atoms.calc.parameters = {"xc": "pbe", "kpts": np.array([4, 4, 4]), "hubbard_u": {"Fe": np.float64(5.3)}}
    atoms.calc.todict = lambda: atoms.calc.parameters  # type: ignore[union-attr]
    for name in ("all.db", "all.json"):
        (found,) = read(write(tmp_path / name, atoms))
        assert found.energy is not None
        told = {"xc": "pbe", "kpts": [4, 4, 4], "hubbard_u": {"Fe": 5.3}}
        assert found.energy.parameters == {"calculator": "vasp", "calculator_parameters": told, "magmom": 1.5}


@pytest.mark.parametrize("name", ["all.db", "all.json"])
def test_a_packed_database(tmp_path: Path, name: str):
    path = write(tmp_path / name, salt())
    packed = tmp_path / f"{name}.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    (found,) = read(packed)
    assert found.record == f"{name}.gz:0"


@pytest.mark.parametrize("name", ["all.db", "all.json"])
def test_the_file_stays_as_it_is(tmp_path: Path, name: str):
    path = write(tmp_path / name, salt(), salt())
    before = digest(path)
    path.chmod(0o444)
    assert len(read(path)) == 2
    assert digest(path) == before
    assert [one.name for one in tmp_path.iterdir()] == [name]


def test_another_sqlite_file_gets_no_tables(tmp_path: Path):
    path = tmp_path / "notes #1.db"
    with sqlite3.connect(path) as notes:
        notes.execute("CREATE TABLE notes (text TEXT)")
    before = digest(path)
    (item,) = read_file(path)
    assert str(item) == "notes #1.db: is no ASE database: it has no table named systems"
    assert digest(path) == before


def test_what_is_no_database_at_all(tmp_path: Path):
    (tmp_path / "prose.db").write_text("Dear colleague,\n" * 100)
    (item,) = read_file(tmp_path / "prose.db")
    assert str(item) == "prose.db: is no ASE database: file is not a database"


@pytest.mark.parametrize("name", ["all.db", "all.json"])
@pytest.mark.parametrize(
    ("atoms", "reason"),
    [
        (salt(pbc=[True, True, False]), "no periodic cell"),
        (Atoms("Cs"), "no periodic cell"),
        (Atoms(), "no atoms"),
        (Atoms("Cs", cell=[[4, 0, 0], [0, 4, 0], [4, 4, 0]], pbc=True), "Singular matrix"),
        (salt(scaled_positions=[[0, 0, 0], [0, 0, 0.05]]), "overlapping atoms"),
        (Atoms("XCl", cell=CELL, pbc=True, positions=[[0, 0, 0], [2, 2, 2]]), "no element has the atomic number 0"),
    ],
    ids=["slab", "molecule", "empty", "flat", "close", "unknown"],
)
def test_one_bad_row_stops_no_other(tmp_path: Path, name: str, atoms: Atoms, reason: str):
    items = list(read_file(write(tmp_path / name, salt(), atoms, salt())))
    assert [type(item) for item in items] == [ImportedRecord, BadRecord, ImportedRecord]
    assert [item.record for item in items] == [f"{name}:{index}" for index in range(3)]
    with pytest.raises(BadRecord, match=reason):
        raise items[1]  # type: ignore[misc]


@pytest.mark.parametrize(
    ("column", "value"), [("positions", b"odd"), ("numbers", None), ("cell", b""), ("key_value_pairs", "{")]
)
def test_a_damaged_row_stops_no_other(tmp_path: Path, column: str, value: bytes | str | None):
    path = write(tmp_path / "all.db", salt(), salt(), salt())
    with sqlite3.connect(path) as database:
        database.execute(f"UPDATE systems SET {column} = ? WHERE id = 2", [value])
    items = list(read_file(path))
    assert [type(item) for item in items] == [ImportedRecord, BadRecord, ImportedRecord]


def test_a_damaged_page_is_told(tmp_path: Path):
    path = write(tmp_path / "all.db", *[salt() for _ in range(40)])
    content = path.read_bytes()
    path.write_bytes(content[:4096] + b"\xff" * (len(content) - 4096))
    *_, last = read_file(path)
    assert str(last).startswith("all.db: the database is damaged, the rest wasn't read: ")


def test_constraints_of_any_kind_are_passed_over(tmp_path: Path):
    atoms = salt()
    atoms.set_constraint(FixAtoms([0]))
    path = write(tmp_path / "all.db", atoms)
    with sqlite3.connect(path) as database:
        database.execute('UPDATE systems SET constraints = \'[{"name": "FromTheFuture"}]\'')
    assert len(read(path)) == 1


def test_a_json_database_cut_short(tmp_path: Path):
    path = write(tmp_path / "all.json", salt(), salt())
    text = path.read_text()
    path.write_text(text[: text.index('"2"') + 60])
    first, cut = read_file(path)
    assert isinstance(first, ImportedRecord)
    assert str(cut) == "all.json: can't be read: its JSON is broken or cut short"


def test_a_json_database_of_no_rows(tmp_path: Path):
    (tmp_path / "none.json").write_text('{"ids": [], "nextid": 1}')
    (item,) = read_file(tmp_path / "none.json")
    assert str(item) == "none.json: no structures in it"


@pytest.mark.parametrize("chunk", [1, 7, 100, 1000])
def test_json_longer_than_what_is_read_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int):
    monkeypatch.setattr(ase_db, "CHUNK", chunk)
    path = write(tmp_path / "all.json", salt(), salt(), note='a "quoted} {word"')
    assert [one.metadata["note"] for one in read(path)] == ['a "quoted} {word"'] * 2


def peak(path: Path) -> int:
    """Bytes that reading takes beyond what it leaves."""
    tracemalloc.start()
    count = sum(1 for _ in read_file(path))
    _, highest = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == (1000 if "many" in path.name else 100)
    return highest


@pytest.mark.parametrize("ending", ["db", "json"])
def test_ten_times_the_rows_take_no_more_memory(tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ase_db, "CHUNK", 10_000)
    few, many = tmp_path / f"few.{ending}", tmp_path / f"many.{ending}"
    for path, rows in ((few, 100), (many, 1000)):
        if ending == "db":
            write(path, *[salt()] * rows, note="x" * 1000)
        else:
            one = write(tmp_path / f"{path.name}.one.json", salt(), note="x" * 1000).read_text()
            row = one[one.index('"1":') + 4 : one.index('"ids"')]
            path.write_text("{" + "".join(f'"{key}":{row}' for key in range(1, rows + 1)) + '"nextid": 1}')
    peak(few)
    assert peak(many) < 2 * peak(few)  # the notes alone are a megabyte; cycles wait for the collector now and then
