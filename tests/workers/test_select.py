"""Selection on real rows: what is offered, and which models are refused."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import event, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from registry.crystal import Crystal
from registry.errors import LevelMismatch, NotFound, SettingsError
from registry.models import Level, Model, Round, Selection, Structure
from registry.states import Purpose, Stage
from tests import factories as make
from tests.registry.identity.test_invariance import caesium_chloride, rock_salt, supercell, zinc_blende
from workers.ranking import Rules
from workers.select import named_model, promoted_model, select_labels, select_recheck, select_references, select_refine

REFERENCES = {"Na": -1.0, "Cl": -2.0, "K": -1.5}
FAMILY = tuple(REFERENCES)


@pytest.fixture
def level(session: Session) -> Level:
    return make.level(session, "fixed", references=REFERENCES)


@pytest.fixture
def model(session: Session, level: Level) -> Model:
    return make.model(session, level)


@pytest.fixture
def turn(session: Session, level: Level) -> Round:
    return make.campaign_round(session, make.campaign(session, level))


def candidate(
    session: Session,
    model: Model,
    formula: str,
    energy: float,
    stage: Stage = Stage.ENSEMBLE,
    arrays: Crystal | None = None,
) -> int:
    row = make.structure(session, formula, origin="generated", arrays=arrays)
    make.prediction(session, row, model, energy, stage=stage.value)
    return row.id


def picked(session: Session, purpose: Purpose) -> list[Selection]:
    return list(session.scalars(select(Selection).where(Selection.purpose == purpose).order_by(Selection.rank)))


def test_labels_are_picked_by_predicted_decomposition_energy(session: Session, level: Level, model: Model, turn: Round):
    poor, best = candidate(session, model, "NaCl", -0.5), candidate(session, model, "KCl", -1.0)
    candidate(session, model, "NaKCl", +0.9)
    assert select_labels(session, turn.id, level.id, FAMILY, Rules(budget=5)) == 2
    rows = picked(session, Purpose.LABEL)
    assert [row.structure_id for row in rows] == [best, poor]
    assert [row.rank for row in rows] == [1, 2]
    assert [row.predicted_decomposition_energy for row in rows] == pytest.approx([-1.0, -0.5])
    assert {row.model_id for row in rows} == {model.id}


def doubtful(session: Session, model: Model, formula: str, energy: float, upper: float, **columns: Any) -> int:
    """A candidate out of the model's domain, whose interval reaches up to `upper`."""
    row = make.structure(session, formula, origin="generated")
    said = {"lower_90": energy - 1, "upper_90": upper, "out_of_domain": True, **columns}
    make.prediction(session, row, model, energy, **said)
    return row.id


def test_out_of_domain_a_candidate_ranks_by_the_upper_end_of_its_interval(
    session: Session, level: Level, model: Model, turn: Round
):
    """Its energy is told as predicted all the same; one whose interval reaches above the threshold isn't picked."""
    strange = doubtful(session, model, "NaCl", -1.2, upper=-0.3)
    known = candidate(session, model, "KCl", -0.9)
    doubtful(session, model, "NaKCl2", -3.0, upper=+0.2)
    select_labels(session, turn.id, level.id, FAMILY, Rules(budget=5))
    rows = picked(session, Purpose.LABEL)
    assert [row.structure_id for row in rows] == [known, strange]
    assert [row.predicted_decomposition_energy for row in rows] == pytest.approx([-0.9, -1.2])


def test_out_of_domain_a_candidate_buries_no_other(session: Session, level: Level, model: Model, turn: Round):
    """Taken at its word the ternary would push the binary, which competes with it, down to the last place."""
    salt, other = candidate(session, model, "NaCl", -1.0), candidate(session, model, "Na3Cl", -0.6)
    doubtful(session, model, "Na2Cl", -4.0, upper=+0.5)
    select_labels(session, turn.id, level.id, FAMILY, Rules(budget=5))
    assert [row.structure_id for row in picked(session, Purpose.LABEL)] == [salt, other]


def test_the_ensemble_looks_at_strangers_last(session: Session, level: Level, model: Model, turn: Round):
    strange = doubtful(session, model, "NaCl", -1.2, upper=-0.3, stage=Stage.SINGLE.value)
    known = candidate(session, model, "KCl", -0.9, Stage.SINGLE)
    select_refine(session, turn.id, level.id, FAMILY, 5)
    assert [row.structure_id for row in picked(session, Purpose.REFINE)] == [known, strange]


def test_the_least_probable_of_all_come_last(session: Session, level: Level, model: Model, turn: Round):
    known = make.structure(session, "KCl")
    never, unlikely = candidate(session, model, "NaCl", -1.0), candidate(session, model, "KCl", -0.9)
    for child, probability in ((never, 0.0), (unlikely, 0.01)):
        make.lineage(session, session.get_one(Structure, child), known).probability = probability
    select_labels(session, turn.id, level.id, FAMILY, Rules(budget=5))
    assert [row.structure_id for row in picked(session, Purpose.LABEL)] == [unlikely, never]


def test_other_families_are_left_to_other_campaigns(session: Session, level: Level, model: Model, turn: Round):
    candidate(session, model, "KCl", -1.0)
    candidate(session, model, "KCl", -0.9, Stage.SINGLE)
    assert select_labels(session, turn.id, level.id, ("Na", "Cl"), Rules(budget=5)) == 0
    assert select_refine(session, turn.id, level.id, ("Na", "Cl"), 5) == 0


def test_what_was_picked_is_not_offered_again(session: Session, level: Level, model: Model, turn: Round):
    candidate(session, model, "NaCl", -0.5)
    assert select_labels(session, turn.id, level.id, FAMILY, Rules(budget=5)) == 1
    assert select_labels(session, turn.id, level.id, FAMILY, Rules(budget=5)) == 0


def test_the_hull_as_it_stands_counts(session: Session, level: Level, model: Model, turn: Round):
    known = make.structure(session, "NaCl")
    make.hull_state(session, make.calculation(session, known, level, energy=-3.0 - 2.0), 0.0)
    candidate(session, model, "Na3Cl", -0.2)
    assert select_labels(session, turn.id, level.id, FAMILY, Rules(budget=5)) == 0


def labelled_salt(session: Session, level: Level, arrays: Crystal | None = None) -> int:
    """NaCl with a label of -1 eV/atom on the hull."""
    known = make.structure(session, "NaCl", arrays=arrays)
    make.hull_state(session, make.calculation(session, known, level, energy=-3.0 - 2.0), 0.0)
    return known.id


def test_a_second_model_looks_at_the_best_of_the_first_and_picks_by_its_own_energies(
    session: Session, level: Level, model: Model, turn: Round
):
    second = make.model(session, level, "second", promoted=False)
    ids = [
        candidate(session, model, formula, energy) for formula, energy in (("NaCl", -1.0), ("KCl", -0.8), ("NaK", 0.9))
    ]
    candidate(session, model, "NaKCl2", -2.0, Stage.SINGLE)  # the ensemble has not looked at it
    assert select_recheck(session, turn.id, level.id, FAMILY, 2, second) == 2
    rows = picked(session, Purpose.RECHECK)
    assert [row.structure_id for row in rows] == ids[:2]
    assert {row.model_id for row in rows} == {second.id}
    select_recheck(session, turn.id, level.id, FAMILY, 2, second)
    assert len(picked(session, Purpose.RECHECK)) == 2
    assert unrefined(session) == [(one, second.id, rank) for rank, one in enumerate(ids[:2], 1)]
    for one, energy in zip(ids, (-0.1, -0.5), strict=False):
        make.prediction(session, session.get_one(Structure, one), second, energy)
    assert unrefined(session) == []
    assert select_labels(session, turn.id, level.id, FAMILY, Rules(budget=5), second) == 2
    assert [row.structure_id for row in picked(session, Purpose.LABEL)] == [ids[1], ids[0]]


def unrefined(session: Session) -> list[tuple[int, int, int]]:
    query = text("SELECT subject_id, target_id, priority FROM unrefined ORDER BY priority")
    return [(row.subject_id, row.target_id, row.priority) for row in session.execute(query)]


def test_near_equal_candidates_never_share_a_batch(session: Session, level: Level, model: Model, turn: Round):
    labelled_salt(session, level, caesium_chloride())
    salts = [rock_salt(), rock_salt(5.8), zinc_blende(), supercell(rock_salt(), (1, 1, 2))]
    ids = [candidate(session, model, "NaCl", -0.99 + 0.01 * nth, arrays=salt) for nth, salt in enumerate(salts)]
    assert select_labels(session, turn.id, level.id, FAMILY, Rules(budget=5, per_composition=4)) == 2
    assert [row.structure_id for row in picked(session, Purpose.LABEL)] == [ids[0], ids[2]]


def test_what_is_labelled_has_twins_that_come_last(session: Session, level: Level, model: Model, turn: Round):
    labelled_salt(session, level, rock_salt(5.9))
    twin = candidate(session, model, "NaCl", -1.0, arrays=rock_salt())
    other = candidate(session, model, "NaCl", -0.95, arrays=zinc_blende())
    assert select_labels(session, turn.id, level.id, FAMILY, Rules(budget=1)) == 1
    assert [row.structure_id for row in picked(session, Purpose.LABEL)] == [other]
    assert select_labels(session, turn.id, level.id, FAMILY, Rules(budget=1)) == 1
    assert {row.structure_id for row in picked(session, Purpose.LABEL)} == {other, twin}


def test_crystals_are_read_of_contenders_alone_and_at_once(session: Session, level: Level, model: Model, turn: Round):
    known = labelled_salt(session, level, caesium_chloride())
    rivals = [candidate(session, model, "NaCl", -0.99, arrays=salt) for salt in (rock_salt(), zinc_blende())]
    for formula in ("KCl", "NaKCl2", "Na3Cl"):
        candidate(session, model, formula, -0.9)
    session.expire_all()
    with statements(session) as heard:
        select_labels(session, turn.id, level.id, FAMILY, Rules(budget=5))
    crystals = [bound for words, bound in heard if "structure.lattice" in words]
    assert [sorted(bound.values()) for bound in crystals] == [sorted([known, *rivals])]
    few = len(heard)
    for nth in range(20):
        candidate(session, model, "NaCl", -0.98, arrays=rock_salt(5 + 0.01 * nth))
    session.expire_all()
    with statements(session) as heard:
        select_labels(session, turn.id, level.id, FAMILY, Rules(budget=5))
    assert len(heard) == few


@contextmanager
def statements(session: Session) -> Iterator[list[tuple[str, dict[str, Any]]]]:
    """What is asked of the database meanwhile, with its parameters."""
    heard: list[tuple[str, dict[str, Any]]] = []

    def hear(_connection: Any, _cursor: Any, words: str, bound: Any, *_: Any) -> None:
        heard.append((words, bound))

    engine = session.get_bind().engine
    event.listen(engine, "before_cursor_execute", hear)
    try:
        yield heard
    finally:
        event.remove(engine, "before_cursor_execute", hear)


def test_refining_looks_at_single_scores_only(session: Session, level: Level, model: Model, turn: Round):
    single = candidate(session, model, "NaCl", -0.5, Stage.SINGLE)
    candidate(session, model, "KCl", -0.5, Stage.ENSEMBLE)
    assert select_refine(session, turn.id, level.id, FAMILY, 10) == 1
    assert [row.structure_id for row in picked(session, Purpose.REFINE)] == [single]


def test_references_are_the_imported_crystals_of_the_family(session: Session, level: Level, turn: Round):
    inside = make.structure(session, "NaCl")
    element = make.structure(session, "Na")
    make.structure(session, "LiCl")
    make.structure(session, "KCl", origin="generated")
    assert select_references(session, turn.id, level.id, ["Na", "K", "Cl"], 20) == 2
    rows = picked(session, Purpose.REFERENCE)
    assert [row.structure_id for row in rows] == [element.id, inside.id]
    assert {row.predicted_decomposition_energy for row in rows} == {None}
    assert select_references(session, turn.id, level.id, ["Na", "K", "Cl"], 1) == 1


def test_a_model_of_another_level_is_refused(session: Session, level: Level, turn: Round):
    stranger = make.model(session, make.level(session, "other"), "stranger")
    said = "'stranger' predicts at level 'other', the hull is of level 'fixed'"
    with pytest.raises(LevelMismatch, match=said):
        select_refine(session, turn.id, level.id, FAMILY, 5, stranger)
    with pytest.raises(LevelMismatch):
        select_recheck(session, turn.id, level.id, FAMILY, 5, stranger)
    with pytest.raises(LevelMismatch, match=said):
        select_labels(session, turn.id, level.id, FAMILY, Rules(budget=5), stranger)


def test_a_model_of_formulas_is_neither_asked_nor_chosen(session: Session, level: Level, model: Model, turn: Round):
    formulas = make.model(session, level, "formulas", needs_structure=False)
    assert formulas.promoted
    assert promoted_model(session, level.id) is model
    with pytest.raises(SettingsError, match="'formulas' predicts formulas"):
        select_recheck(session, turn.id, level.id, FAMILY, 5, formulas)


def test_the_database_refuses_it_too(session: Session, level: Level, turn: Round):
    stranger = make.model(session, make.level(session, "other"), "stranger")
    row = make.structure(session, "NaCl", origin="generated")
    mixed = Selection(round_id=turn.id, structure_id=row.id, level_id=level.id, model_id=stranger.id, rank=1)
    mixed.purpose = Purpose.LABEL
    with pytest.raises(IntegrityError, match="fk_selection_model_id_level_id"):
        make.added(session, mixed)


def test_without_a_promoted_model_nothing_is_picked(session: Session, level: Level, turn: Round):
    make.model(session, level, "resting", promoted=False)
    with pytest.raises(NotFound, match="lode model promote"):
        select_labels(session, turn.id, level.id, FAMILY, Rules(budget=5))
    with pytest.raises(NotFound, match="there are: resting"):
        named_model(session, "absent")


def test_one_promoted_model_a_level(session: Session, level: Level, model: Model):
    assert promoted_model(session, level.id).id == model.id
    with pytest.raises(IntegrityError, match="uq_model_promoted"):
        make.model(session, level, "second")
