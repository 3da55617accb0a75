"""import(export(x)) == x on a real registry, as far as the importers read what the files say."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select
from sqlalchemy.orm import Session

from registry.crystal import Crystal
from registry.exporters.cell import right_handed
from registry.exporters.files import destination
from registry.exporters.materials import Wanted, export
from registry.imports import import_file
from registry.ingest import SourceTerms, crystal_of, public_id
from registry.models import Calculation, ExternalId, Structure
from tests import factories as make
from tests.registry.exporters.records import crystals, energies, formula

TERMS = SourceTerms("somebody", "CC-BY-4.0", "Somebody (2020)")
LEVEL = "theirs"
SUFFIX = {"parquet": "parquet", "extxyz": "extxyz", "json": "json", "entries": "json.gz"}
PARAMETERS = {"run_type": "GGA+U", "hubbards": {"Fe": 5.3}}

many = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@dataclass(frozen=True, eq=False)
class Held:
    """What a registry holds of one material: the arrays, its names, and (raw energy, correction)."""

    crystal: Crystal
    names: dict[str, str] = field(default_factory=dict)
    energy: tuple[float, float] | None = None


def numbers(scheme: str, form: str) -> st.SearchStrategy[dict[str, str]]:
    return st.integers(0, 10**7).map(lambda number: {scheme: form.format(number)})


mp, icsd = numbers("mp", "mp-{}"), numbers("icsd", "{:06}")
entry = numbers("entry", "agm{:09}")
run = st.integers(0, 10**7).map(lambda number: {"mp": f"mp-{number}", "entry": f"mp-{number}-GGA+U"})
NAMES = {
    "parquet": st.just({}) | mp | entry,
    "extxyz": st.just({}) | mp | icsd | st.builds(lambda one, other: one | other, mp, icsd),
    "json": st.just({}) | mp | entry,
    "entries": st.just({}) | mp | entry | run,
    "cif": st.just({}) | icsd,
}
"""Names that the importers read back at all."""


def held(format_: str) -> st.SearchStrategy[list[Held]]:
    one = st.builds(Held, crystals(), NAMES[format_], st.tuples(energies, energies))
    return st.lists(one, min_size=1, max_size=3, unique_by=lambda one: public_id(one.crystal))


@contextmanager
def undone(session: Session) -> Iterator[None]:
    """What happens within leaves no trace."""
    with session.begin_nested() as savepoint:
        yield
        savepoint.rollback()
    session.expunge_all()


def fill(session: Session, materials: list[Held]) -> None:
    at = make.level(session, LEVEL)
    make.source(session, TERMS.name, licence=TERMS.licence, citation=TERMS.citation)
    for one in materials:
        row = make.structure(
            session, formula(one.crystal), arrays=one.crystal, external_ids=one.names, source_name=TERMS.name
        )
        if one.energy:
            make.calculation(
                session, row, at, energy=one.energy[0], correction=one.energy[1], final=row, settings=PARAMETERS
            )


def carried(session: Session, format_: str, materials: list[Held], folder: Path) -> list[Held]:
    """Export them from one registry and import them into another."""
    path = folder / f"all.{SUFFIX.get(format_, 'zip')}"
    with undone(session):
        fill(session, materials)
        export(session, Wanted(format_, level=LEVEL), destination(path, format_), lambda _done, _total: None)
    with undone(session):
        for part in unpacked(path, folder) if format_ == "cif" else [path]:
            report = import_file(session, part, LEVEL, TERMS, lambda _count: None)
            assert not report.refused
        return stored(session)


def unpacked(path: Path, folder: Path) -> list[Path]:
    with zipfile.ZipFile(path) as archive:
        return [Path(archive.extract(name, folder)) for name in archive.namelist()]


def stored(session: Session) -> list[Held]:
    """In the order of their coming. That the importer calls our own id a foreign one is no difference."""
    found = []
    for row in session.scalars(select(Structure).order_by(Structure.id)):
        ids = session.scalars(select(ExternalId).where(ExternalId.structure_id == row.id))
        names = {one.scheme: one.value for one in ids if not one.value.startswith("lode-")}
        label = session.scalar(select(Calculation).where(Calculation.initial_structure_id == row.id))
        energy = (label.energy, label.correction) if label else None
        found.append(Held(crystal_of(row), names, energy))  # type: ignore[arg-type]
    return found


def assert_exact(found: Crystal, expected: Crystal) -> None:
    assert public_id(found) == public_id(expected)


def assert_close(found: Crystal, expected: Crystal) -> None:
    """Up to rounding, turning and mirroring: what lengths and angles can say."""
    assert np.array_equal(found.numbers, expected.numbers)
    np.testing.assert_allclose(found.frac_coords, expected.frac_coords, atol=1e-9)
    np.testing.assert_allclose(
        found.lattice @ found.lattice.T, expected.lattice @ expected.lattice.T, rtol=1e-9, atol=1e-9
    )


def assert_one_crystal(found: Crystal, expected: Crystal) -> None:
    """Sites in any order, fractional coordinates as pymatgen's parser rounds them."""
    turned = right_handed(expected)
    np.testing.assert_allclose(found.lattice @ found.lattice.T, turned.lattice @ turned.lattice.T, atol=1e-6)
    assert len(found.numbers) == len(turned.numbers)
    for number, place in zip(turned.numbers, turned.frac_coords, strict=True):
        apart = found.frac_coords - place
        near = np.abs(apart - np.rint(apart)).max(axis=1) < 2e-4
        assert found.numbers[near].tolist() == [number]


ALIKE = {"parquet": assert_close, "extxyz": assert_close, "cif": assert_one_crystal}
"""Bit for bit elsewhere. The files of the first two hold the arrays exactly (see test_writers.py), under names that the
importers don't read: `lattice` and `frac_coords`.
"""


@pytest.mark.parametrize("format_", NAMES)
def test_crystals_and_their_names(session: Session, tmp_path: Path, format_: str):
    @given(held(format_))
    @many
    def check(materials: list[Held]) -> None:
        found = carried(session, format_, materials, tmp_path)
        for one, expected in zip(found, materials, strict=True):
            ALIKE.get(format_, assert_exact)(one.crystal, expected.crystal)
            assert one.names == expected.names

    check()


@given(held("entries"))
@many
def test_entries_keep_energy_and_correction(session: Session, tmp_path: Path, materials: list[Held]):
    found = carried(session, "entries", materials, tmp_path)
    assert [one.energy for one in found] == [one.energy for one in materials]


@given(held("extxyz"))
@many
def test_extxyz_keeps_the_raw_energy(session: Session, tmp_path: Path, materials: list[Held]):
    found = carried(session, "extxyz", materials, tmp_path)
    assert [one.energy and one.energy[0] for one in found] == [one.energy and one.energy[0] for one in materials]
