"""Imports and exports of more rows take no more memory. `python -m benchmarks.memory` says the same of a million."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from registry import imports
from registry.crystal import Crystal
from registry.exporters import materials
from registry.exporters import parquet as exporters_parquet
from registry.exporters.files import writer
from registry.exporters.materials import Wanted, export
from registry.exporters.record import ExportedRecord
from registry.identity.public_id import public_id
from registry.importers import parquet, pymatgen_json
from registry.imports import import_file
from registry.terms import UNTOLD

FEW, MANY = 50, 300
LEAK = 500_000
"""Bytes. MANY crystals that stay in memory take more."""

COPIES = """
INSERT INTO structure (public_id, composition_id, chemsys, source_id, origin, nsites, lattice, species, coords, volume)
SELECT 'lode-' || :count || '-' || n, composition_id, chemsys, source_id, origin, nsites, lattice, species, coords,
       volume
FROM structure, generate_series(1, :count) AS n WHERE public_id = :id"""

GRID = np.stack(np.meshgrid(*[np.arange(3) / 3] * 3), axis=-1).reshape(-1, 3)
CATIONS = (3, 11, 12, 19, 20, 37, 38, 55, 56, 13, 31, 49, 39, 57, 22, 40, 72, 23, 41, 73, 24, 42, 74, 25, 26, 27)


def salts(count: int, anion: int) -> Iterator[ExportedRecord]:
    """Of ever other formulas, 27 atoms each."""
    numbers = np.random.default_rng(anion)
    for index in range(count):
        share, cation = 1 + index // len(CATIONS), CATIONS[index % len(CATIONS)]
        species = [cation] * share + [anion] * (27 - share)
        crystal = Crystal(7 * np.eye(3), species, GRID + numbers.uniform(-0.08, 0.08, GRID.shape))
        yield ExportedRecord(crystal, public_id(crystal), "as the arrays say", "somebody", "CC0-1.0", "")


def brought(engine: Engine, path: Path) -> None:
    with Session(engine) as session:
        assert not import_file(session, path, None, UNTOLD, lambda _count: None).refused


def taken(engine: Engine, name: str) -> None:
    with Session(engine) as session, Path("/dev/null").open("wb") as sink:
        export(session, Wanted(name), nullcontext(sink), lambda _done, _total: None)


def add_copies(engine: Engine, public_id: str, count: int) -> None:
    with engine.begin() as connection:
        connection.execute(sa.text(COPIES), {"count": count, "id": public_id})


def peak(task: Callable[[], None]) -> int:
    """Bytes of Python's own objects and numpy's arrays."""
    tracemalloc.start()
    try:
        task()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", ["parquet", "extxyz", "json"])
def test_memory_of_an_import_stays_flat(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str):
    for module in (imports, parquet):
        monkeypatch.setattr(module, "BATCH", 25)
    monkeypatch.setattr(pymatgen_json, "CHUNK", 1 << 16)
    peaks = []
    for anion, count in ((8, FEW), (9, FEW), (17, MANY)):  # the first brings modules along
        path = tmp_path / f"{anion}.{name}"
        with path.open("wb") as sink:
            writer(name)(salts(count, anion), sink)
        peaks.append(peak(lambda path=path: brought(engine, path)))
    assert peaks[2] < peaks[1] + LEAK


@pytest.mark.parametrize("name", ["parquet", "extxyz", "json", "cif"])
def test_memory_of_an_export_stays_flat(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str):
    monkeypatch.setattr(materials, "BATCH", 25)
    monkeypatch.setattr(exporters_parquet, "BATCH", 25)
    monkeypatch.setattr(exporters_parquet, "ROW_GROUP", 25)
    salt = next(salts(1, 8))
    with (tmp_path / "one.extxyz").open("wb") as sink:
        writer("extxyz")([salt], sink)
    brought(engine, tmp_path / "one.extxyz")
    taken(engine, name)  # brings modules along
    peaks = []
    for more in (FEW, MANY):
        add_copies(engine, salt.public_id, more)
        peaks.append(peak(lambda: taken(engine, name)))
    assert peaks[1] < peaks[0] + LEAK
