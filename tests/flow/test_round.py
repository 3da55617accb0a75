"""The whole loop on real rows: import, generate, score, select, label, place, judge; with an engine of milliseconds."""

from __future__ import annotations

import ast
import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy import Engine
from sqlalchemy.orm import Session

pytest.importorskip("torch", reason="the extra `predictors` isn't installed")

from api.cli.campaign import REPORT
from registry.database import engine_for
from registry.errors import LevelMismatch, NotFound, SettingsError
from registry.hull.entries import level_entries
from registry.hull.geometry import compute_hull
from registry.hull.level_rows import ensure_level
from registry.hull.levels import Level
from registry.importers.prototypes import CITATION, SOURCE, read_prototypes
from registry.importers.record import ImportedRecord
from registry.imports import Importer
from registry.states import Stage
from registry.terms import SourceTerms
from tests.conftest import NewDatabase
from tests.workers.models import save_tiny_model
from tests.workers.standin import standin_engine, standin_level
from workers.campaign import CampaignSettings, Outcome, run_round
from workers.candidates.generation import Settings
from workers.fused import Fused
from workers.label import LabelDaemon
from workers.loop import Loop
from workers.place import PlaceDaemon
from workers.ranking import Rules
from workers.score import ScoreDaemon
from workers.train import promote, register
from workers.validate import validate_textbook, within
from workers.validation import textbook

FAMILY = ("Na", "K", "Ca", "Cl", "Br", "S")
LABELS = 8
PARENTS = ("NaCl", "CsCl", "ZnS", "CaF2", "TiO2", "SiO2", "Na", "Mg", "CdI2", "CaTiO3")
SETTINGS = CampaignSettings(
    "flow", FAMILY, labels=LABELS, batches=2, refine=20,
    candidates=Settings(max_sites=6, per_parent=20, partial_per_parent=4), rules=Rules(budget=0, threshold=10.0),
)  # fmt: skip
SELECTED = """
SELECT purpose, rank, public_id, predicted_decomposition_energy
FROM selection JOIN structure ON structure.id = structure_id ORDER BY purpose, selection.id, rank
"""


@dataclass(frozen=True)
class Run:
    """A finished round, and what to ask it with."""

    engine: Engine
    level_id: int
    outcome: Outcome

    def rows(self, query: str, **values: object) -> list[sa.Row[tuple[object, ...]]]:
        with Session(self.engine) as session:
            return list(session.execute(sa.text(query), values).all())

    def count(self, query: str, **values: object) -> int:
        return int(str(self.rows(f"SELECT count(*) FROM {query}", **values)[0][0]))


@contextlib.contextmanager
def daemons(engine: Engine) -> Iterator[None]:
    """All four kinds in a thread of this process."""
    served = [
        ScoreDaemon(Stage.SINGLE),
        ScoreDaemon(Stage.ENSEMBLE),
        LabelDaemon(standin_engine),
        PlaceDaemon(),
    ]
    loop = Loop(engine, served, poll_seconds=0.05)
    thread = threading.Thread(target=loop.run)
    thread.start()
    try:
        yield
    finally:
        loop.stop()
        thread.join()


def import_parents(session: Session) -> None:
    """The smallest prototype of each of ten formulas."""
    records = [one for one in read_prototypes() if isinstance(one, ImportedRecord)]
    smallest: dict[str, ImportedRecord] = {}
    for record in sorted(records, key=lambda one: one.crystal.nsites):
        smallest.setdefault(str(record.crystal.to_pymatgen().composition.reduced_formula), record)
    chosen = [smallest[formula] for formula in PARENTS if formula in smallest]
    Importer(session, SourceTerms(SOURCE, "MIT", CITATION)).store(chosen, lambda _count: None)


def run(engine: Engine, model: Path, level: Level, settings: CampaignSettings = SETTINGS) -> Run:
    with Session(engine) as session, session.begin():
        level_id = ensure_level(session, level)
        import_parents(session)
        register(session, "tiny", model)
        promote(session, "tiny")
    with daemons(engine):
        outcome = run_round(engine, level_id, settings, lambda _title, _done, _total: None)
    return Run(engine, level_id, outcome)


@pytest.fixture(scope="module")
def finished(new_database: NewDatabase, tiny_model: Path) -> Iterator[Run]:
    with new_database() as url:
        engine = engine_for(url, "pytest")
        yield run(engine, tiny_model, standin_level())
        engine.dispose()


def test_every_step_did_something(finished: Run):
    outcome = finished.outcome
    assert outcome.references > 0
    assert outcome.generated > 20
    assert outcome.refined == 20
    assert outcome.selected == LABELS
    assert finished.count("round WHERE finished_at IS NOT NULL") == 1


def test_nothing_is_left_over(finished: Run):
    for view in ("unscored", "unrefined", "unlabelled", "unplaced", "work WHERE state <> 'dead'"):
        assert finished.count(view) == 0, view


def test_every_candidate_has_a_parent_and_a_score(finished: Run):
    orphans = "structure WHERE origin = 'generated' AND NOT EXISTS (SELECT FROM lineage WHERE child_id = structure.id)"
    assert finished.count(orphans) == 0
    generated = finished.count("structure WHERE origin = 'generated'")
    assert generated == finished.outcome.generated
    assert finished.count("prediction WHERE stage = 'single'") == generated
    assert finished.count("prediction WHERE stage = 'ensemble'") == finished.outcome.refined


def test_no_crystal_is_stored_twice(finished: Run):
    assert finished.count("(SELECT public_id FROM structure GROUP BY public_id HAVING count(*) > 1) AS doubled") == 0


def test_every_selection_has_a_calculation_and_every_label_a_place(finished: Run):
    calculated = (
        "selection WHERE purpose IN ('label', 'reference') AND NOT EXISTS (SELECT FROM calculation"
        " WHERE initial_structure_id = structure_id AND calculation.level_id = selection.level_id)"
    )
    assert finished.count(calculated) == 0
    assert finished.count("entry WHERE NOT EXISTS (SELECT FROM hull_state AS one WHERE one.valid_to IS NULL"
                          " AND one.calculation_id = entry.calculation_id)") == 0  # fmt: skip


def test_the_hull_states_are_those_of_a_hull_built_from_nothing(finished: Run):
    with Session(finished.engine) as session:
        solution = compute_hull(level_entries(session, finished.level_id).entries)
    rows = finished.rows("SELECT calculation_id, e_above_hull, is_stable FROM hull_state WHERE valid_to IS NULL")
    assert len(rows) > 0
    for row in rows:
        placed = solution[int(str(row[0]))]
        assert row[1] == pytest.approx(placed.e_above_hull, abs=1e-8)
        assert row[2] == placed.is_stable


def test_the_report_has_a_row_for_each_converged_label(finished: Run):
    rows = finished.rows(REPORT, round=finished.outcome.round_id)
    labelled = finished.count(
        "selection JOIN calculation ON initial_structure_id = structure_id"
        " WHERE state = 'converged' AND purpose = 'label'"
    )
    assert len(rows) == labelled > 0
    for row in rows:
        assert row.parent is not None
        assert row.predicted is not None
        assert row.spread >= 0


def test_the_judge_reads_what_the_round_left(finished: Run):
    with Session(finished.engine) as session, session.begin():
        found = validate_textbook(session, finished.outcome.round_id).as_dict()
    assert found["asked"] == len(within(textbook.load_textbook(), list(FAMILY))) > 3
    assert 0 <= found["found"] <= LABELS
    assert finished.count("validation WHERE name = 'textbook'") == 1


def test_without_the_textbook_every_selection_is_the_same(
    finished: Run, engine: Engine, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The same run in a fresh registry, with the table gone."""
    monkeypatch.setattr(textbook, "__file__", str(tmp_path / "textbook.py"))  # the table lies beside it
    assert textbook.load_textbook() == []
    without = run(engine, tiny_model, standin_level())
    chosen, blind = finished.rows(SELECTED), without.rows(SELECTED)
    assert [row[:3] for row in blind] == [row[:3] for row in chosen]
    for one, other in zip(blind, chosen, strict=True):
        assert one[3] == (None if other[3] is None else pytest.approx(other[3], abs=1e-9))


def test_a_fused_round_ends_like_any_other(engine: Engine, tiny_model: Path, finished: Run):
    """Scored while generated; so wide a margin writes the same candidates."""
    fused = run(engine, tiny_model, standin_level(), replace(SETTINGS, name="fused", fused=Fused(margin=10.0)))
    assert fused.outcome == replace(finished.outcome, round_id=fused.outcome.round_id)
    assert fused.count("prediction WHERE stage = 'single'") == fused.outcome.generated
    assert fused.count("unscored") == 0


def test_a_second_model_looks_again_and_picks_the_labels(engine: Engine, tiny_model: Path, tmp_path: Path):
    with Session(engine) as session, session.begin():
        ensure_level(session, standin_level())
        register(session, "second", save_tiny_model(tmp_path / "second", members=1))
    found = run(engine, tiny_model, standin_level(), replace(SETTINGS, name="twice", second="second", rechecks=6))
    assert found.outcome.rechecked == found.count("selection WHERE purpose = 'recheck'") == 6
    assert found.count("unrefined") == 0
    again = "prediction JOIN model ON model.id = prediction.model_id AND name = 'second'"
    assert found.count(again) == 6
    where = "prediction AS first ON first.structure_id = prediction.structure_id AND first.stage = 'ensemble'"
    where += " AND first.model_id <> prediction.model_id AND first.volume_factor = prediction.volume_factor"
    assert found.count(f"{again} JOIN {where}") == 6
    assert 0 < found.outcome.selected <= 6
    assert found.count("selection JOIN model ON model.id = model_id WHERE purpose = 'label' AND name <> 'second'") == 0


def test_a_second_model_that_could_add_nothing_is_refused_before_anything_is_made(
    engine: Engine, tiny_model: Path, tmp_path: Path
):
    with Session(engine) as session, session.begin():
        level_id = ensure_level(session, standin_level())
        import_parents(session)
        ensure_level(session, standin_level("other"))
        register(session, "tiny", tiny_model)
        promote(session, "tiny")
        register(session, "stranger", save_tiny_model(tmp_path / "stranger", level="other"))
        register(session, "twin", tiny_model)
    refusals = {"stranger": LevelMismatch, "nobody": NotFound, "tiny": SettingsError, "twin": SettingsError}
    for name, error in refusals.items():
        with pytest.raises(error, match=name):
            run_round(engine, level_id, replace(SETTINGS, second=name), lambda _title, _done, _total: None)
    with Session(engine) as session:
        assert session.scalar(sa.text("SELECT count(*) FROM round")) == 0


READERS = {
    "workers/validate.py",  # the judge
    "workers/validation/textbook.py",
    "api/cli/validate.py",  # prints the formulas that training leaves out
}


def test_only_the_judge_reads_the_textbook():
    """By the source itself: who names the table or imports its reader."""
    root = Path(__file__).parents[2]
    packages = ("registry", "predictors", "workers", "api", "migrations")
    files = [file for package in packages for file in (root / package).rglob("*.py")]
    naming = {str(file.relative_to(root)) for file in files if _names_the_textbook(file)}
    assert naming <= READERS


def _names_the_textbook(file: Path) -> bool:
    """Whether it imports the reader, or writes the table's file name in a string that is no docstring."""
    tree = ast.parse(file.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("workers.validation.textbook"):
            return True
        if isinstance(node, ast.Import) and any("validation.textbook" in one.name for one in node.names):
            return True
        if isinstance(node, ast.Constant) and node.value == "textbook.json":
            return True
    return False
