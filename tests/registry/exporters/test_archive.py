"""Zip files that others can read, of any number of members, in constant memory."""

from __future__ import annotations

import io
import tracemalloc
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.exporters.archive import Archive


@given(st.dictionaries(st.text("abcäöü/._", min_size=1), st.binary(max_size=200), max_size=5))
def test_members_come_back(members: dict[str, bytes]):
    sink = io.BytesIO()
    with Archive(sink) as archive:
        for name, content in members.items():
            archive.add(name, content)
    with zipfile.ZipFile(sink) as found:
        assert found.testzip() is None
        assert {name: found.read(name) for name in found.namelist()} == members
    assert archive.members == len(members)


def test_more_members_than_the_short_count_holds_in_constant_memory(tmp_path: Path):
    path = tmp_path / "many.zip"
    with path.open("wb") as sink, Archive(sink) as archive:
        add(archive, 0, 30_000)
        tracemalloc.start()
        add(archive, 30_000, 70_000)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 2_000_000
    with zipfile.ZipFile(path) as found:
        assert len(found.namelist()) == 70_000
        assert found.read("69999.cif") == b"data_x"


def add(archive: Archive, first: int, last: int) -> None:
    for number in range(first, last):
        archive.add(f"{number}.cif", b"data_x")


def test_a_member_beyond_four_gigabytes(tmp_path: Path):
    path = tmp_path / "large.zip"
    with path.open("wb") as sink, Archive(sink) as archive:
        archive.add("near", b"1")
        archive._offset = sink.seek(5 << 30)  # a hole in place of other members
        archive.add("far", b"2")
    with zipfile.ZipFile(path) as found:
        assert (found.read("near"), found.read("far")) == (b"1", b"2")


def test_what_breaks_off_is_no_zip():
    sink = io.BytesIO()
    with pytest.raises(TypeError), Archive(sink) as archive:
        archive.add("a", None)  # type: ignore[arg-type]
    assert not zipfile.is_zipfile(sink)
