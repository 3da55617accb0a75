"""Zips of CIFs: each member a record, the bad ones refused for what they are."""

from __future__ import annotations

import struct
import tracemalloc
import zipfile
from pathlib import Path

import pytest

from registry.crystal import Crystal
from registry.errors import BadRecord
from registry.exporters import cif
from registry.exporters.record import ExportedRecord
from registry.identity.public_id import public_id
from registry.importers import read_file
from registry.importers.record import LARGEST, ImportedRecord


def block(*, number: int = 55) -> str:
    salt = Crystal([[4.1, 0, 0], [0, 4.1, 0], [0, 0, 4.1]], [number, 17], [[0, 0, 0], [0.5, 0.5, 0.5]])
    return cif.block(ExportedRecord(salt, public_id(salt), "CsCl", "user", "unknown", ""))


def zipped(folder: Path, members: dict[str, str], packing: int = zipfile.ZIP_DEFLATED) -> Path:
    path = folder / "all.zip"
    with zipfile.ZipFile(path, "w", packing) as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    return path


def refused(path: Path) -> list[str]:
    return [str(item) for item in read_file(path) if isinstance(item, BadRecord)]


def test_every_member_is_a_record(tmp_path: Path):
    members = {"a/x.cif": block(), "b/x.CIF": block(number=37), "README": "no CIF", "two.cif": block() + block()}
    items = list(read_file(zipped(tmp_path, members)))
    assert all(isinstance(item, ImportedRecord) for item in items)
    assert [item.record for item in items] == [
        "all.zip:a/x.cif:0", "all.zip:b/x.CIF:0", "all.zip:two.cif:0", "all.zip:two.cif:1"
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["../x.cif", "a/../../x.cif", "/etc/x.cif", "C:\\x.cif", "..\\x.cif"])
def test_a_name_that_leads_out_is_refused_alone(tmp_path: Path, name: str):
    path = zipped(tmp_path, {name: block(), "good.cif": block()})
    assert len(list(read_file(path))) == 2
    assert [reason.endswith("its name leads out of the archive") for reason in refused(path)] == [True]


def test_a_member_that_unpacks_to_too_much(tmp_path: Path):
    path = zipped(tmp_path, {"bomb.cif": " " * (LARGEST + 1), "good.cif": block()})
    assert len(list(read_file(path))) == 2
    assert "the most allowed are" in refused(path)[0]


@pytest.mark.parametrize("packing", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_packings_that_unpack_at_one_go(tmp_path: Path, packing: int):
    assert "pack it by deflate" in refused(zipped(tmp_path, {"x.cif": block()}, packing))[0]


def overwrite(path: Path, layout: str, value: int, *, local: int, central: int) -> None:
    """A field of the first member's headers, by its offset in each."""
    content = bytearray(path.read_bytes())
    for mark, offset in ((b"PK\3\4", local), (b"PK\1\2", central)):
        struct.pack_into(layout, content, content.index(mark) + offset, value)
    path.write_bytes(content)


def test_an_encrypted_member(tmp_path: Path):
    path = zipped(tmp_path, {"x.cif": block()})
    overwrite(path, "<H", 1, local=6, central=8)
    assert refused(path) == ["all.zip:x.cif: is encrypted: unpack it first"]


def test_a_member_that_lies_about_its_size_fills_no_memory(tmp_path: Path):
    path = zipped(tmp_path, {"bomb.cif": " " * (8 * LARGEST), "good.cif": block()})
    overwrite(path, "<I", 100, local=22, central=24)
    tracemalloc.start()
    assert "can't be read from all.zip" in refused(path)[0]
    _, highest = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert highest < LARGEST


def test_what_is_no_zip_or_holds_no_cif(tmp_path: Path):
    assert "holds no CIF" in refused(zipped(tmp_path, {"README": "nothing"}))[0]
    (tmp_path / "all.zip").write_text("no zip")
    assert "nor a zip archive" in refused(tmp_path / "all.zip")[0]


def test_a_member_without_a_structure(tmp_path: Path):
    assert len(refused(zipped(tmp_path, {"x.cif": "# nothing\n", "y.cif": ""}))) == 2


def test_a_block_of_ours_that_somebody_edited_is_refused(tmp_path: Path):
    broken = block().replace("_lode_lattice '4.1", "_lode_lattice 'four")
    moved = block().replace("_lode_lattice '4.1", "_lode_lattice '4.2")
    assert moved != block() != broken
    reasons = refused(zipped(tmp_path, {"x.cif": broken, "y.cif": moved, "z.cif": block()}))
    assert ["arrays aren't those of lode-" in reason for reason in reasons] == [False, True]
