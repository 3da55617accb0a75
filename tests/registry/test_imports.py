"""Files into the registry: what is good goes in, what is bad is named, nothing is half-written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from registry import imports
from registry.errors import BadRecord, LevelMismatch, LodeError
from registry.hull.levels import shipped_levels
from registry.hull.store import place
from registry.imports import ImportReport, counted, import_file
from registry.ingest import SourceTerms
from registry.models import Calculation, Composition, Duplicate, HullState, Import, Level, Source, Structure
from tests.registry.importers.test_bad_files import CIF

TERMS = SourceTerms("somebody", "CC0-1.0", "Somebody (2020)")
FRAME = '{n}\nLattice="{a} 0 0 0 {a} 0 0 0 {a}" Properties=species:S:1:pos:R:3 {energy} pbc="T T T"\n{atoms}\n'
COUNTED = (Structure, Composition, Calculation, Duplicate, Import, Source, Level)


def frame(atoms: str, edge: float = 4.0, energy: float | None = None) -> str:
    """Cells of two or one atoms: "Cs 0 0 0;Cl 2 2 2"."""
    lines = atoms.split(";")
    told = "" if energy is None else f"energy={energy}"
    return FRAME.format(n=len(lines), a=edge, atoms="\n".join(lines), energy=told)


def bring(session: Session, path: Path, level: str | None = None) -> ImportReport:
    return import_file(session, path, level, TERMS, lambda _count: None)


def written(tmp_path: Path, text: str, name: str = "crystals.extxyz") -> Path:
    path = tmp_path / name
    path.write_text(text)
    return path


def rows(session: Session) -> dict[str, int]:
    return {
        table.__tablename__: session.scalars(sa.select(sa.func.count()).select_from(table)).one() for table in COUNTED
    }


def test_a_file_with_good_and_bad_records(session: Session, tmp_path: Path):
    good, close = frame("Cs 0 0 0;Cl 2 2 2"), frame("K 0 0 0;Cl 0 0 0.2")
    report = bring(session, written(tmp_path, good + close + frame("Na 0 0 0;Cl 2 2 2")))
    assert (report.read, report.imported, report.duplicates) == (3, 2, 0)
    assert [bad.record for bad in report.refused] == ["crystals.extxyz:1"]
    assert "overlapping atoms" in report.refused[0].reason
    assert rows(session)["structure"] == 2
    assert set(session.scalars(sa.select(Composition.reduced_formula))) == {"CsCl", "NaCl"}
    kept = session.scalars(sa.select(Import)).one()
    assert kept.counts == {"read": 3, "imported": 2, "duplicates": 0, "refused": 1}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Dear colleague,\n", "doesn't parse as CIF"),
        (CIF.replace("0.5 0.5 0.5", "0 0 0.05"), "overlapping atoms"),
        (CIF.replace("0.5 1", "0.5 0.7"), "partial occupancy"),
        (CIF.replace("Cl1 Cl", "Xx1 Xx"), "unknown element"),
        ("", "the file is empty"),
    ],
    ids=["prose", "overlap", "partial", "unknown", "empty"],
)
def test_a_bad_file_writes_nothing(session: Session, tmp_path: Path, text: str, reason: str):
    before = rows(session)
    report = bring(session, written(tmp_path, text, "bad.cif"), level="theirs")
    assert [report.read, report.imported] == [1, 0]
    assert report.refused[0].record.startswith("bad.cif")
    assert reason in report.refused[0].reason
    assert rows(session) == before
    repaired = bring(session, written(tmp_path, CIF, "bad.cif"))
    assert repaired.imported == 1


def test_a_missing_file_is_one_bad_record(session: Session, tmp_path: Path):
    assert str(bring(session, tmp_path / "gone.cif").refused[0]) == "gone.cif: no such file"


def test_the_same_file_again_is_refused_by_its_content(session: Session, tmp_path: Path):
    bring(session, written(tmp_path, CIF, "one.cif"))
    before = rows(session)
    with pytest.raises(LodeError, match=r"two\.cif: imported before, as one\.cif"):
        bring(session, written(tmp_path, CIF, "two.cif"))
    assert rows(session) == before


def test_the_same_file_at_another_level_goes_in(session: Session, tmp_path: Path):
    path = written(tmp_path, frame("Cs 0 0 0;Cl 2 2 2", energy=-7.0))
    assert bring(session, path).imported == 1
    report = bring(session, path, level="theirs")
    assert (report.imported, report.duplicates) == (0, 1)
    assert session.scalars(sa.select(Calculation)).one().energy == -7.0


def test_another_cell_of_a_known_crystal_is_linked_with_its_rule(session: Session, tmp_path: Path):
    one = frame("Cs 0 0 0;Cl 2 2 2")
    other = frame("Cl 0 0 0;Cs 2.1 2.1 2.1", edge=4.2)
    report = bring(session, written(tmp_path, one + other))
    assert (report.read, report.imported, report.duplicates) == (2, 1, 1)
    link = session.scalars(sa.select(Duplicate)).one()
    assert (link.rule, link.structure_id > link.same_as_id) == ("label+fingerprint", True)
    assert rows(session)["structure"] == 2


def test_the_same_record_twice_in_one_file_is_one_structure(session: Session, tmp_path: Path):
    report = bring(session, written(tmp_path, 3 * frame("Cs 0 0 0;Cl 2 2 2")))
    assert (report.read, report.imported, report.duplicates) == (3, 1, 2)
    assert (rows(session)["structure"], rows(session)["duplicate"]) == (1, 0)


def test_a_third_description_is_linked_to_the_first(session: Session, tmp_path: Path):
    frames = [frame("Cs 0 0 0;Cl 2 2 2", edge) for edge in (4.0, 4.1, 4.2)]
    bring(session, written(tmp_path, frames[0] + frames[1]))
    bring(session, written(tmp_path, frames[2], "later.extxyz"))
    first = session.scalars(sa.select(sa.func.min(Structure.id))).one()
    assert set(session.scalars(sa.select(Duplicate.same_as_id))) == {first}


def test_batches_see_what_came_before(session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(imports, "BATCH", 2)
    frames = [frame("Cs 0 0 0;Cl 2 2 2", 4.0 + 0.01 * number) for number in range(5)]
    report = bring(session, written(tmp_path, "".join(frames)))
    assert (report.imported, report.duplicates) == (1, 4)


@pytest.mark.parametrize("name", shipped_levels())
def test_a_level_that_is_computed_here_takes_no_imported_energies(session: Session, tmp_path: Path, name: str):
    before = rows(session)
    with pytest.raises(LevelMismatch, match="choose another --level"):
        bring(session, written(tmp_path, frame("Cs 0 0 0;Cl 2 2 2", energy=-7.0)), level=name)
    assert rows(session) == before


def test_imported_energies_make_a_hull_of_their_own_elements(session: Session, tmp_path: Path):
    frames = frame("Na 0 0 0", 3.4, -1.3) + frame("K 0 0 0", 4.3, -1.1) + frame("Na 0 0 0;K 2 2 2", 4.0, -2.2)
    bring(session, written(tmp_path, frames), level="theirs")
    level = session.scalars(sa.select(Level.id).where(Level.name == "theirs")).one()
    assert place(session, level).entries == 3
    states = session.scalars(sa.select(HullState).order_by(HullState.formation_energy_per_atom)).all()
    assert [state.formation_energy_per_atom for state in states] == pytest.approx([0.0, 0.0, 0.1])
    assert [state.is_stable for state in states] == [True, True, False]


def test_a_record_without_energy_is_only_a_structure(session: Session, tmp_path: Path):
    bring(session, written(tmp_path, frame("Cs 0 0 0;Cl 2 2 2")), level="theirs")
    assert rows(session)["calculation"] == 0


def test_the_report_in_json_words():
    report = ImportReport(3, 1, 1, [BadRecord("a.cif", "the file is empty")])
    found = counted(report)
    assert json.loads(json.dumps(found)) == {
        "read": 3, "imported": 1, "duplicates": 1, "refused": [{"record": "a.cif", "reason": "the file is empty"}]
    }  # fmt: skip
