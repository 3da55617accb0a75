"""Files into the registry: what is good goes in, what is bad is named, nothing is half-written."""

from __future__ import annotations

import json
import threading
import time
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from registry import database, imports
from registry.errors import BadRecord, LevelMismatch, LodeError
from registry.hull.levels import shipped_levels
from registry.hull.store import place
from registry.identity.duplicates import DuplicateIndex, Identity
from registry.imports import PLAIN, ImportReport, counted, import_file
from registry.ingest import source_id
from registry.models import Calculation, Composition, Duplicate, HullState, Import, Level, Source, Structure
from registry.terms import SourceTerms
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


def test_what_a_calculation_ended_with_is_a_material_once_it_is_imported(session: Session, tmp_path: Path):
    """Relaxed structures that were exported come back with the energies of another level."""
    path = written(tmp_path, frame("Cs 0 0 0;Cl 2 2 2", energy=-7.0))
    bring(session, path)
    session.execute(sa.update(Structure).values(origin="relaxed"))
    assert session.scalars(sa.text("SELECT public_id FROM material")).all() == []
    report = bring(session, path, level="theirs")
    assert (report.imported, report.duplicates) == (1, 0)
    assert session.scalars(sa.text("SELECT level FROM material")).all() == ["theirs"]


def test_links_of_what_a_calculation_ended_with_stay(session: Session, tmp_path: Path):
    texts = [frame("Cs 0 0 0;Cl 2 2 2", edge) for edge in (4.0, 4.1, 4.2)]
    bring(session, written(tmp_path, texts[0] + texts[1]))
    session.execute(sa.update(Structure).values(origin="relaxed"))
    report = bring(session, written(tmp_path, "".join(texts), "again.extxyz"))
    assert (report.imported, report.duplicates) == (2, 1)
    first = session.scalars(sa.select(sa.func.min(Structure.id))).one()
    assert list(session.scalars(sa.select(Duplicate.same_as_id))) == [first, first]


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


def test_a_new_crystal_is_compared_once_and_a_known_one_never(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    compared = []
    find = DuplicateIndex.find_identity

    def counting(index: DuplicateIndex[int], identity: Identity) -> object:
        compared.append(identity.formula)
        return find(index, identity)

    monkeypatch.setattr(DuplicateIndex, "find_identity", counting)
    path = written(tmp_path, frame("Cs 0 0 0;Cl 2 2 2", energy=-7.0) + 2 * frame("Na 0 0 0;Cl 2 2 2", energy=-6.0))
    bring(session, path)
    assert compared == ["CsCl", "NaCl"]
    assert bring(session, path, level="theirs").duplicates == 3
    assert compared == ["CsCl", "NaCl"]


def test_the_energies_of_a_batch_go_in_together(session: Session, tmp_path: Path):
    statements: list[str] = []
    connection = session.connection()

    def note(_connection: object, _cursor: object, statement: str, *_others: object) -> None:
        statements.append(statement)

    sa.event.listen(connection, "before_cursor_execute", note)
    frames = [frame("Cs 0 0 0;Cl 2 2 2", 4.0 + 0.001 * number, energy=-7.0 - number) for number in range(40)]
    bring(session, written(tmp_path, "".join(frames)), level="theirs")
    sa.event.remove(connection, "before_cursor_execute", note)
    assert rows(session)["calculation"] == 40
    assert len([one for one in statements if "calculation" in one]) == 2


def test_a_file_that_no_memory_holds_is_digested_piece_by_piece(tmp_path: Path):
    path = tmp_path / "long.db"
    with path.open("wb") as file:
        file.truncate(1 << 26)
    tracemalloc.start()
    digest = PLAIN.digest(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (digest is not None, peak < 1 << 22) == (True, True)


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


@pytest.mark.parametrize("energy", [float("nan"), float("inf"), 1e6, -2e9])
def test_an_energy_that_is_none_is_refused_where_energies_are_kept(session: Session, tmp_path: Path, energy: float):
    bad, good = frame("Cs 0 0 0;Cl 2 2 2", energy=energy), frame("Na 0 0 0;Cl 2 2 2", energy=-7.0)
    report = bring(session, written(tmp_path, bad + good), level="theirs")
    assert (report.read, report.imported) == (2, 1)
    assert [bad.record for bad in report.refused] == ["crystals.extxyz:0"]
    assert "its energy is" in report.refused[0].reason
    assert session.scalars(sa.select(Calculation.energy)).all() == [-7.0]


def test_an_energy_that_is_none_doesnt_matter_where_none_are_kept(session: Session, tmp_path: Path):
    assert bring(session, written(tmp_path, frame("Cs 0 0 0;Cl 2 2 2", energy=float("nan")))).imported == 1


def test_values_that_the_database_cant_hold_end_no_import(session: Session, tmp_path: Path):
    """A gap that isn't there is left out; NUL refuses its record alone."""
    plain = frame("Na 0 0 0;Cl 2 2 2")
    gap = frame("Cs 0 0 0;Cl 2 2 2").replace("pbc=", "bandgap=nan pbc=")
    nul = frame("K 0 0 0;Cl 2 2 2").replace("pbc=", 'material_id="mp-1\0" pbc=')
    report = bring(session, written(tmp_path, plain + nul + gap))
    assert (report.read, report.imported, len(report.refused)) == (3, 2, 1)
    assert session.scalars(sa.select(Structure.attributes)).all() == [{}, {}]


def test_another_energy_of_a_known_structure_is_refused(session: Session, tmp_path: Path):
    first = frame("Cs 0 0 0;Cl 2 2 2", energy=-7.0)
    bring(session, written(tmp_path, first), level="theirs")
    other, near = (frame("Cs 0 0 0;Cl 2 2 2", energy=energy) for energy in (-6.5, -7.0000001))
    report = bring(session, written(tmp_path, near + other + first, "later.extxyz"), level="theirs")
    assert (report.read, report.imported, report.duplicates) == (3, 0, 2)
    assert [str(bad) for bad in report.refused] == [
        "later.extxyz:1: another energy (-7.0 eV) of this structure is stored at this level"
    ]
    assert session.scalars(sa.select(Calculation.energy)).all() == [-7.0]
    assert bring(session, written(tmp_path, other, "last.extxyz"), level="of others").duplicates == 1


def test_another_correction_is_another_energy(session: Session, tmp_path: Path):
    def entries(*corrections: float) -> Path:
        lattice = {"matrix": [[4, 0, 0], [0, 4, 0], [0, 0, 4]]}
        sites = [{"species": [{"element": "Cs", "occu": 1}], "abc": [0, 0, 0]}]
        entry = {"structure": {"lattice": lattice, "sites": sites}, "energy": -1.0}
        text = json.dumps([entry | {"correction": correction} for correction in corrections])
        return written(tmp_path, text, f"{len(corrections)}.json")

    report = bring(session, entries(-0.5, -0.5, -0.25), level="theirs")
    assert (report.imported, report.duplicates) == (1, 1)
    assert "another energy (-1.0 eV, corrected by -0.5 eV)" in report.refused[0].reason


def at_once(engine: Engine, paths: list[Path], progress: Callable[[int], None]) -> list[ImportReport | LodeError]:
    """Import each of the files in a transaction and a thread of its own.

    Their source is there before: the first to write it would keep the others waiting.
    """
    with Session(engine) as session, session.begin():
        source_id(session, TERMS)

    def run(path: Path) -> ImportReport | LodeError:
        try:
            with Session(engine) as session:
                return import_file(session, path, None, TERMS, progress)
        except LodeError as error:
            return error

    with ThreadPoolExecutor(len(paths)) as pool:
        return list(pool.map(run, paths))


def meeting() -> Callable[[int], None]:
    """Hold an import in its middle until another one is there as well, or half a second has shown that none comes."""
    barrier = threading.Barrier(2)

    def wait(_count: int) -> None:
        try:
            barrier.wait(timeout=0.5)
        except threading.BrokenBarrierError:
            return

    return wait


def test_the_same_file_twice_at_once_goes_in_once(engine: Engine, tmp_path: Path):
    path = written(tmp_path, frame("Cs 0 0 0;Cl 2 2 2"))
    told = at_once(engine, [path, path], meeting())
    errors = [one for one in told if isinstance(one, LodeError)]
    assert [one.imported for one in told if isinstance(one, ImportReport)] == [1]
    assert "imported before" in str(errors[0])
    with Session(engine) as session:
        assert (rows(session)["structure"], rows(session)["import"]) == (1, 1)


def test_the_same_crystal_in_two_files_at_once_is_linked(engine: Engine, tmp_path: Path):
    one = written(tmp_path, frame("Cs 0 0 0;Cl 2 2 2"), "one.extxyz")
    other = written(tmp_path, frame("Cl 0 0 0;Cs 2.1 2.1 2.1", edge=4.2), "other.extxyz")
    told = at_once(engine, [one, other], meeting())
    assert sorted(one.duplicates for one in told if isinstance(one, ImportReport)) == [0, 1]
    with Session(engine) as session:
        assert (rows(session)["structure"], rows(session)["duplicate"]) == (2, 1)


def test_files_in_opposite_order_wait_for_each_other_without_a_deadlock(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(imports, "BATCH", 1)
    frames = [frame("Cs 0 0 0;Cl 2 2 2"), frame("Po 0 0 0")]  # of two prototypes, so that neither waits for the other
    forth, back = written(tmp_path, "".join(frames), "a.extxyz"), written(tmp_path, "".join(frames[::-1]), "b.extxyz")
    told = at_once(engine, [forth, back], meeting())
    assert sum(one.imported for one in told if isinstance(one, ImportReport)) == 2
    assert sum(one.duplicates for one in told if isinstance(one, ImportReport)) == 2


def test_an_import_may_think_for_longer_than_other_transactions(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(database, "IDLE_IN_TRANSACTION_SECONDS", 0.2)
    engine = database.engine_for(database_url)
    with Session(engine) as session:
        path = written(tmp_path, frame("Cs 0 0 0;Cl 2 2 2"))
        report = import_file(session, path, None, TERMS, lambda _count: time.sleep(0.6))
    assert report.imported == 1
    with engine.connect() as connection:
        assert connection.scalar(sa.text("SHOW idle_in_transaction_session_timeout")) == "200ms"
    engine.dispose()


@pytest.mark.parametrize("stored", [1, 2, 3])
def test_an_import_that_broke_off_goes_on_after_its_last_batch(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stored: int
):
    """The fifth crystal is the first in another cell; the third is none."""
    monkeypatch.setattr(imports, "BATCH", 1)
    crystals = ["Cs 0 0 0;Cl 2 2 2", "Po 0 0 0", "Po 0 0 0;Po 0.1 0 0", "K 0 0 0;Br 2 2 2"]
    again = frame("Cl 0 0 0;Cs 2.1 2.1 2.1", edge=4.2)
    path = written(tmp_path, "".join(map(frame, crystals)) + again)

    def broken(_count: int, calls: list[int] = []) -> None:  # noqa: B006  (it counts its calls)
        calls.append(1)
        if len(calls) > 2 * stored:  # each batch tells twice
            raise RuntimeError("the plug was pulled")

    with Session(engine) as session, pytest.raises(RuntimeError):
        import_file(session, path, None, TERMS, broken)
    with Session(engine) as session:
        report = import_file(session, path, None, TERMS, lambda _count: None)
        assert (report.read, report.imported, report.duplicates, report.resumed) == (5, 3, 1, stored)
        assert [bad.record for bad in report.refused] == ["crystals.extxyz:2"]
        assert (rows(session)["structure"], rows(session)["duplicate"], rows(session)["import"]) == (4, 1, 1)
        with pytest.raises(LodeError, match="imported before"):
            import_file(session, path, None, TERMS, lambda _count: None)


def test_of_many_complaints_the_first_outlive_a_kill(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(imports, "BATCH", 1)
    monkeypatch.setattr(imports, "KEPT", 1)
    bad = "Po 0 0 0;Po 0.1 0 0"
    path = written(tmp_path, "".join(map(frame, ["Cs 0 0 0;Cl 2 2 2", bad, bad, bad, bad, "Po 0 0 0"])))

    def broken(_count: int, calls: list[int] = []) -> None:  # noqa: B006  (it counts its calls)
        calls.append(1)
        if len(calls) > 5:  # each batch tells at least once
            raise RuntimeError("the plug was pulled")

    with Session(engine) as session, pytest.raises(RuntimeError):
        import_file(session, path, None, TERMS, broken)
    with Session(engine) as session:
        report = import_file(session, path, None, TERMS, lambda _count: None)
        assert (report.read, report.imported, len(report.refused), report.forgotten) == (6, 2, 2, 2)
        assert counted(report)["forgotten"] == 2
        kept = session.scalars(sa.select(Import)).one()
        assert (kept.counts["refused"], [one["record"] for one in kept.complaints]) == (4, ["crystals.extxyz:1"])


def test_complaints_hold_no_crystals(session: Session, tmp_path: Path):
    """An error that was raised holds its frames, and these the row and the atoms."""
    report = bring(session, written(tmp_path, frame("Cs 0 0 0;Cl 2 2 2") + frame("K 0 0 0;Cl 0 0 0.2")))
    assert [bad.__traceback__ for bad in report.refused] == [None]


def test_the_report_in_json_words():
    report = ImportReport(3, 1, 1, [BadRecord("a.cif", "the file is empty")])
    found = counted(report)
    assert json.loads(json.dumps(found)) == {
        "read": 3, "imported": 1, "duplicates": 1, "refused": [{"record": "a.cif", "reason": "the file is empty"}],
    }  # fmt: skip
