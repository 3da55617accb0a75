"""Asking for searches, and what the views make of them."""

from __future__ import annotations

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from registry.errors import LodeError
from registry.models import Lineage, Search, Selection
from registry.searches import Asked, ask, progress
from tests import factories as make

SALT = {11: 1, 17: 1}


def test_a_search_is_added_once_and_goes_on_where_more_is_wanted(session: Session):
    level = make.level(session)
    assert ask(session, {11: 2, 17: 2}, level.id, 50, 3, {"a": 1}) is Asked.ADDED
    assert ask(session, SALT, level.id, 50, 3, {"a": 1}) is Asked.KNOWN
    assert ask(session, SALT, level.id, 20, 3, {"a": 1}) is Asked.KNOWN
    row = session.scalars(select(Search)).one()
    assert (row.structures, row.seed, row.settings, row.finished_at) == (50, 3, {"a": 1}, None)
    assert row.asked_by == session.scalar(text("SELECT current_user"))
    row.finished_at = row.created_at
    session.flush()
    assert missing(session) == []
    assert ask(session, SALT, level.id, 60, 3, {"a": 1}) is Asked.EXTENDED
    assert missing(session) == [row.id]
    assert ask(session, SALT, level.id, 60, 4, {"a": 1}) is Asked.ADDED


def missing(session: Session) -> list[int]:
    return list(session.scalars(text("SELECT subject_id FROM unsearched")))


def test_a_seed_stands_for_one_set_of_structures(session: Session):
    level = make.level(session)
    ask(session, SALT, level.id, 50, 3, {"a": 1})
    with pytest.raises(LodeError, match="NaCl: seed 3 is that of a search with other settings"):
        ask(session, SALT, level.id, 50, 3, {"a": 2})


@pytest.mark.parametrize(
    ("structures", "seed", "reason"), [(0, 0, "0 structures"), (1, -1, "seed -1"), (1, 2**63, "seed")]
)
def test_impossible_numbers_are_refused(session: Session, structures: int, seed: int, reason: str):
    with pytest.raises(LodeError, match=reason):
        ask(session, SALT, make.level(session).id, structures, seed, {})


def test_a_level_of_imported_energies_has_no_engine(session: Session):
    with pytest.raises(LodeError, match="'theirs' holds imported energies"):
        ask(session, SALT, make.level(session, "theirs", engine="imported").id, 1, 0, {})


def test_progress_of_each_search(session: Session):
    level = make.level(session)
    asked = make.search(session, "NaCl", level, structures=12)
    made = [make.random_structure(session, asked) for _ in range(4)]
    make.calculation(session, made[0], level)
    make.failure(session, made[0], level)
    make.failure(session, made[1], level)
    make.failure(session, made[1], level)
    make.search(session, "LiF", level)
    make.search(session, "LiF", make.level(session, "other"))
    first, second, third = progress(session)
    assert [first[name] for name in ("wanted", "stored", "completed", "failed")] == [12, 4, 1, 1]
    assert (second["reduced_formula"], second["stored"], second["error"]) == ("LiF", 0, None)
    assert [row["level"] for row in progress(session, "other")] == [third["level"]] == ["other"]


def test_a_search_that_was_given_up_says_why(session: Session):
    level = make.level(session)
    asked = make.search(session, "NaCl", level)
    make.work(session, "search", "dead", subject_id=asked.id, target_id=level.id)
    assert progress(session)[0]["error"] == "it broke"


def test_random_structures_wait_for_labels_after_all_picks_and_not_for_scores(session: Session):
    level = make.level(session)
    model = make.model(session, level, promoted=True)
    turn = make.campaign_round(session, make.campaign(session, level))
    picked = make.child(session, make.structure(session))
    make.selection(session, picked, turn, model, rank=5000)
    random = make.random_structure(session, make.search(session, "NaCl", level))
    order = session.scalars(text("SELECT subject_id FROM unlabelled ORDER BY priority")).all()
    assert order == [picked.id, random.id]
    assert session.scalars(text("SELECT subject_id FROM unscored")).all() == [picked.id]


@pytest.mark.parametrize(("operation", "has_parent"), [("ionic_substitution", False), ("random_search", True)])
def test_only_random_structures_have_no_parent(session: Session, operation: str, has_parent: bool):
    parent, child = make.structure(session), make.structure(session, origin="generated")
    row = Lineage(child_id=child.id, parent_id=parent.id if has_parent else None, operation=operation, arguments={})
    with pytest.raises(IntegrityError, match="parent_unless_random"):
        make.added(session, row)


def test_one_way_from_nothing_is_stored_once(session: Session):
    child = make.structure(session, origin="generated")
    columns = {"child_id": child.id, "operation": "random_search", "arguments": {"seed": 0}}
    make.added(session, Lineage(**columns))
    with pytest.raises(IntegrityError, match="uq_lineage_way"):
        make.added(session, Lineage(**columns))


@pytest.mark.parametrize("both", [True, False])
def test_a_pick_is_a_rounds_or_a_searchs(session: Session, both: bool):
    level = make.level(session)
    asked, turn = make.search(session, "NaCl", level), make.campaign_round(session, make.campaign(session, level))
    ids = {"structure_id": make.structure(session).id, "level_id": level.id}
    owners = {"search_id": asked.id, "round_id": turn.id} if both else {}
    with pytest.raises(IntegrityError, match="round_or_search"):
        make.added(session, Selection(**ids, **owners, purpose="label", rank=1))
