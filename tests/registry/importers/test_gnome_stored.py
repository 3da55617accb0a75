"""GNoME's table in the registry: on its own terms, at a level of its own, beside entries of the Materials Project."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result
from pymatgen.core import Structure
from pymatgen.entries.computed_entries import ComputedStructureEntry
from sqlalchemy.orm import Session

from api.cli.importing import import_
from registry.errors import LodeError
from registry.hull.store import place
from registry.importers.gnome import MP_SHIFTS
from registry.imports import ImportReport, Reading, import_file
from registry.models import Calculation, Composition, ExternalId, HullState, Import, Level, Property, Source
from registry.models import Structure as StructureRow
from registry.query.materials import search
from registry.terms import SourceTerms
from tests.registry.importers.gnome_release import cif, row, salt, write_table, write_zip

SALTS = {"000006a8c4": salt("Na", "Cl"), "fffff156dc": salt("K", "Cl", 4.3), "00014cac13": salt("Mg", "O", 3.6)}


def bring(session: Session, path: Path, reading: Reading, level: str | None = "gnome-mp2020") -> ImportReport:
    return import_file(session, path, level, SourceTerms("user"), lambda _count: None, reading)


def released(folder: Path, ids: list[str]) -> tuple[Path, Reading]:
    """The table of all salts, and the CIFs of some."""
    table = write_table(folder / "stable.csv", [row(structure, name) for name, structure in SALTS.items()])
    return table, Reading(write_zip(folder / f"{len(ids)}.zip", {name: cif(SALTS[name]) for name in ids}))


def test_rows_keep_ids_terms_and_energies(session: Session, tmp_path: Path):
    table, reading = released(tmp_path, list(SALTS)[:2])
    report = bring(session, table, reading)
    assert (report.read, report.imported, len(report.refused)) == (3, 2, 1)
    assert report.refused[0].reason == "1 of 3 rows have no CIF in 2.zip: not imported"
    source = session.scalars(sa.select(Source)).one()
    assert (source.name, source.licence, source.non_commercial) == ("GNoME", "CC BY-NC 4.0", True)
    assert source.citation.startswith("Merchant et al.")
    ids = session.execute(sa.select(ExternalId.scheme, ExternalId.value).order_by(ExternalId.value)).all()
    assert [tuple(one) for one in ids] == [("gnome", "000006a8c4"), ("gnome", "fffff156dc")]
    energies = session.execute(sa.select(Calculation.energy, Calculation.correction)).all()
    assert [tuple(one) for one in energies] == [(-7.0, -0.5), (-7.0, -0.5)]
    assert session.scalars(sa.select(Level.name)).all() == ["gnome-mp2020"]
    kept = session.scalars(sa.select(StructureRow.attributes)).first()
    assert kept is not None
    assert kept["is_train"] is True


def test_band_gaps_and_dimensionalities_are_properties_that_filters_find(session: Session, tmp_path: Path):
    table, reading = released(tmp_path, list(SALTS)[:2])
    bring(session, table, reading)
    page = search(session, "band_gap>0.2 AND band_gap<0.3 AND dimensionality=3", fields=["id"])
    assert len(page.data) == 2
    stored = session.execute(sa.select(Property.name, Source.name, Property.method).join(Source)).all()
    assert {tuple(one) for one in stored} == {
        ("band_gap", "GNoME", "PBE(+U)"),
        ("dimensionality", "GNoME", "Cheon 2017"),
    }
    _, more = released(tmp_path, list(SALTS))
    assert bring(session, table, more).refused == []
    assert session.scalar(sa.select(sa.func.count()).select_from(Property)) == 6


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"Bandgap": -0.1}, "its band_gap is -0.1: 0 to 100 are allowed"),
        ({"Bandgap": "inf"}, "its band_gap is inf eV: give a finite number"),
        ({"Dimensionality_Cheon": "7D"}, "its dimensionality is 7: 0 to 3 are allowed"),
    ],
)
def test_a_property_that_is_nonsense_is_a_bad_record(
    session: Session, tmp_path: Path, changes: dict[str, Any], reason: str
):
    rows = [row(structure, name, **changes if name == "000006a8c4" else {}) for name, structure in SALTS.items()]
    table = write_table(tmp_path / "stable.csv", rows)
    beside = write_zip(tmp_path / "all.zip", {name: cif(structure) for name, structure in SALTS.items()})
    report = bring(session, table, Reading(beside))
    assert (report.imported, [bad.reason for bad in report.refused]) == (2, [reason])
    assert session.scalar(sa.select(sa.func.count()).select_from(Property)) == 4


def test_more_cifs_bring_the_rest_in(session: Session, tmp_path: Path):
    table, few = released(tmp_path, list(SALTS)[:2])
    _, all_of_them = released(tmp_path, list(SALTS))
    bring(session, table, few)
    with pytest.raises(LodeError, match="imported before"):
        bring(session, table, few)
    report = bring(session, table, all_of_them)
    assert (report.read, report.imported, report.duplicates, report.refused) == (3, 1, 2, [])
    assert session.scalar(sa.select(sa.func.count()).select_from(Import)) == 2


def test_a_table_without_its_crystals_leaves_no_trace(session: Session, tmp_path: Path):
    table, _ = released(tmp_path, list(SALTS))
    for reading in (Reading(), Reading(tmp_path / "gone.zip")):
        report = bring(session, table, reading)
        assert (report.read, report.imported, len(report.refused)) == (1, 0, 1)
    assert session.scalar(sa.select(sa.func.count()).select_from(Source)) == 0


def entries(path: Path, *told: tuple[Structure, float]) -> Path:
    documents = [ComputedStructureEntry(structure, energy, entry_id="mp-1").as_dict() for structure, energy in told]
    path.write_text(json.dumps(documents))
    return path


def test_entries_of_the_materials_project_stand_beside_gnomes_when_shifted(session: Session, tmp_path: Path):
    """Mg and O of the Materials Project, MgO of GNoME: magnesium's newer potential moves the formation energy."""
    table, reading = released(tmp_path, ["00014cac13"])
    bring(session, table, reading)
    elements = entries(tmp_path / "mp.json", (salt("Mg", "Mg", 3.6), -3.0), (salt("O", "O", 3.0), -10.0))
    bring(session, elements, Reading(mp_shifts=True))
    level = session.scalars(sa.select(Level.id)).one()
    place(session, level)
    found = session.scalars(
        sa.select(HullState.formation_energy_per_atom)
        .join(Calculation, Calculation.id == HullState.calculation_id)
        .join(StructureRow, StructureRow.id == Calculation.initial_structure_id)
        .join(Composition, Composition.id == StructureRow.composition_id)
        .where(Composition.reduced_formula == "MgO")
    ).one()
    assert found == pytest.approx(-3.75 - (-1.5 + MP_SHIFTS["Mg"] - 5.0) / 2)
    settings = session.scalars(sa.select(Calculation.settings).where(Calculation.energy == -3.0)).one()
    assert settings["gnome_mp_shift"] == pytest.approx(2 * MP_SHIFTS["Mg"])


def test_unshifted_entries_are_other_energies(session: Session, tmp_path: Path):
    path = entries(tmp_path / "mp.json", (salt("Mg", "Mg", 3.6), -3.0), (salt("O", "O", 3.0), -10.0))
    bring(session, path, Reading(mp_shifts=True))
    report = bring(session, path, Reading())
    assert (report.duplicates, len(report.refused)) == (1, 1)
    assert "another energy (-3.0 eV, corrected by 0.18" in report.refused[0].reason


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["a.cif", "--structures", "z.zip"], "--structures goes with GNoME's table: name the .csv"),
        (["t.csv", "--structures", "z.zip", "--source", "me"], "t.csv comes in on GNoME's own terms"),
        (["t.csv", "--structures", "z.zip", "--licence", "CC0-1.0"], "t.csv comes in on GNoME's own terms"),
        (["a.cif", "t.csv", "--mp-shifts", "--level", "x"], "--mp-shifts is for energies of the Materials Project"),
        (["a.json", "--mp-shifts"], "--mp-shifts changes energies: say with --level"),
    ],
)
def test_options_that_would_go_unheard_are_refused(arguments: list[str], reason: str):
    done = CliRunner().invoke(import_, arguments)
    assert isinstance(done.exception, LodeError)
    assert str(done.exception).startswith(reason)


def test_the_command(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LODE_DATABASE_URL", database_url)
    monkeypatch.setenv("LODE_HOME", str(tmp_path / "home"))
    table, _ = released(tmp_path, list(SALTS)[:2])
    call = [str(table), "--structures", str(tmp_path / "2.zip"), "--level", "gnome-mp2020", "--json"]
    done: Result = CliRunner().invoke(import_, call)
    assert done.exit_code == 1
    found = json.loads(done.stdout)
    assert (found["read"], found["imported"], found["duplicates"]) == (3, 2, 0)
    assert found["refused"] == [{"record": "stable.csv", "reason": "1 of 3 rows have no CIF in 2.zip: not imported"}]
