"""Which candidates are held against a hull, and how far from it they lie."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import event, text
from sqlalchemy.orm import Session

from registry.hull.candidates import CANDIDATES, candidates
from registry.hull.store import place
from registry.models import Level, Model
from registry.query.materials import hull_entries
from tests import factories as make
from tests.registry.hull.test_history import MANY, plan

REFERENCES = {"Na": 0.0, "Cl": 0.0, "K": 0.0}


@pytest.fixture
def level(session: Session) -> Level:
    """NaCl lies at -1 eV/atom; the elements are the level's own."""
    at = make.level(session, "fixed", references=REFERENCES)
    make.calculation(session, make.structure(session, "NaCl"), at, energy=-2.0)
    place(session, at.id)
    return at


@pytest.fixture
def model(session: Session, level: Level) -> Model:
    return make.model(session, level)


def guess(session: Session, by: Model, formula: str, energy: float, **columns: Any) -> str:
    row = make.structure(session, formula, origin="generated")
    make.prediction(session, row, by, energy, **columns)
    return row.public_id


def found(session: Session, chemsys: str = "Na-Cl", **limits: Any) -> list[dict[str, Any]]:
    return candidates(session, hull_entries(session, chemsys, "fixed"), **limits)


def test_distances_are_to_the_hull_that_was_found(session: Session, model: Model) -> None:
    below = guess(session, model, "NaCl3", -0.6, spread=0.04)  # the tie line lies at -0.5
    above = guess(session, model, "Na3Cl", -0.42, spread=None, out_of_domain=True)
    rows = found(session)
    assert [row["id"] for row in rows] == [below, above]
    assert [row["e_above_hull"] for row in rows] == pytest.approx([-0.1, 0.08])
    assert [row["spread"] for row in rows] == [0.04, None]
    assert [row["out_of_domain"] for row in rows] == [None, True]
    assert [row["reduced_formula"] for row in rows] == ["NaCl3", "Na3Cl"]


def test_only_what_is_near_and_only_so_many(session: Session, model: Model) -> None:
    near = guess(session, model, "NaCl3", -0.49)
    further = guess(session, model, "NaCl3", -0.45)
    guess(session, model, "NaCl3", -0.3)
    assert [row["id"] for row in found(session)] == [near, further]
    assert [row["id"] for row in found(session, most=1)] == [near]
    assert [row["id"] for row in found(session, window=0.02)] == [near]
    assert len(found(session, window=1.0)) == 3


def test_a_label_makes_an_end_of_a_candidate_and_a_failure_does_not(
    session: Session, model: Model, level: Level
) -> None:
    ids = [guess(session, model, "NaCl3", -0.5) for _ in range(3)]
    rows = [session.query(make.models.Structure).filter_by(public_id=one).one() for one in ids]
    make.calculation(session, rows[0], level)
    make.failure(session, rows[1], level)
    make.calculation(session, rows[2], make.level(session, "other"))
    assert {row["id"] for row in found(session)} == set(ids[1:])


def test_what_no_promoted_model_of_this_level_said_is_no_candidate(
    session: Session, model: Model, level: Level
) -> None:
    guess(session, make.model(session, level, "old", promoted=False), "NaCl3", -0.5)
    guess(session, make.model(session, make.level(session, "other"), "foreign"), "NaCl3", -0.5)
    make.structure(session, "NaCl3", origin="generated")
    known = make.structure(session, "NaCl3")
    make.prediction(session, known, model, -0.5)
    assert found(session) == []


def test_the_ensemble_is_believed_before_one_of_its_members(session: Session, model: Model) -> None:
    row = make.structure(session, "NaCl3", origin="generated")
    make.prediction(session, row, model, -0.9, stage="single", spread=None)
    make.prediction(session, row, model, -0.5)
    assert [one["formation_energy_per_atom"] for one in found(session)] == [-0.5]


def test_other_systems_and_elements_without_a_place_on_the_hull(session: Session, model: Model) -> None:
    salt = guess(session, model, "KCl", -0.5)
    guess(session, model, "NaBr", -0.5)
    assert found(session) == []
    assert [row["id"] for row in found(session, "Na-K-Cl")] == [salt]
    assert found(session, "Na-Br") == []


def test_one_statement_whatever_the_number(session: Session, model: Model) -> None:
    for _ in range(30):
        guess(session, model, "NaCl3", -0.5)
    hull, statements = hull_entries(session, "Na-Cl", "fixed"), list[str]()

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        statements.append(statement)

    event.listen(session.get_bind(), "before_cursor_execute", note)
    assert len(candidates(session, hull)) == 30
    event.remove(session.get_bind(), "before_cursor_execute", note)
    assert len(statements) == 2  # the first finds the level


def test_the_plan_reads_no_whole_table(session: Session, model: Model, level: Level) -> None:
    for statement in MANY.replace("'imported'", "'generated'").split(";\n"):
        session.execute(text(statement), {"level": level.id} if ":level" in statement else {})
    found_by = plan(session, CANDIDATES, {"level_id": level.id, "systems": ["Na", "Cl", "Cl-Na"]})
    assert "ix_structure_material_chemsys" in found_by
    for table in ("composition", "structure", "calculation"):
        assert f"Seq Scan on {table}" not in found_by
