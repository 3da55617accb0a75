"""A file is there whole or not at all."""

from __future__ import annotations

import gzip
import os
import stat
from pathlib import Path

import pytest

from api.cli.exporting import FORMATS as OFFERED
from api.cli.exporting import TEXT
from registry.errors import LodeError, SettingsError
from registry.exporters.files import FORMATS, destination, writer
from registry.importers.files import format_of


def test_the_command_line_offers_every_format():
    assert tuple(FORMATS) == OFFERED
    assert tuple(name for name, one in FORMATS.items() if one.text) == TEXT
    assert all(callable(writer(name)) for name in FORMATS)


def test_a_file_takes_its_place_when_it_is_complete(tmp_path: Path):
    path = tmp_path / "all.json"
    path.write_text("the old one")
    with destination(path, "json") as sink:
        sink.write(b"[]")
        assert path.read_text() == "the old one"
    assert path.read_text() == "[]"
    assert names(tmp_path) == ["all.json"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~_umask()


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def break_off(path: Path, error: type[BaseException]) -> None:
    with destination(path, "json") as sink:
        sink.write(b"[")
        raise error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, GeneratorExit])
def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path: Path, error: type[BaseException]):
    path = tmp_path / "all.json"
    path.write_text("the old one")
    with pytest.raises(error):
        break_off(path, error)
    assert path.read_text() == "the old one"
    assert names(tmp_path) == ["all.json"]


def test_names_that_end_in_gz_are_packed_and_the_same_content_makes_the_same_bytes(tmp_path: Path):
    for name in ("one.json.gz", "two.json.gz"):
        with destination(tmp_path / name, "json") as sink:
            sink.write(b"[]")
        assert gzip.decompress((tmp_path / name).read_bytes()) == b"[]"
    assert (tmp_path / "one.json.gz").read_bytes() == (tmp_path / "two.json.gz").read_bytes()
    assert format_of(tmp_path / "one.json.gz") == "pymatgen_json"


@pytest.mark.parametrize("name", ["parquet", "cif"])
def test_what_is_packed_already_is_not_packed_again(tmp_path: Path, name: str):
    with pytest.raises(SettingsError, match="packed already"), destination(tmp_path / "all.gz", name):
        pass
    assert names(tmp_path) == []


def test_a_link_stays_a_link(tmp_path: Path):
    (tmp_path / "link").symlink_to(tmp_path / "target")
    with destination(tmp_path / "link", "json") as sink:
        sink.write(b"[]")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_bytes() == b"[]"


def test_a_device_is_written_to_and_not_replaced():
    with destination(Path("/dev/null"), "json") as sink:
        sink.write(b"[]")
    assert Path("/dev/null").is_char_device()


@pytest.mark.parametrize(("place", "said"), [(".", "is a folder"), ("gone/all.json", "can't be written: No such file")])
def test_a_place_that_takes_no_file(tmp_path: Path, place: str, said: str):
    with pytest.raises(LodeError, match=said), destination(tmp_path / place, "json"):
        pass


def test_a_full_disk_is_told(tmp_path: Path):
    with (
        pytest.raises(LodeError, match="/dev/full can't be written: No space"),
        destination(Path("/dev/full"), "json") as sink,
    ):
        sink.write(b"[]" * 100_000)
