"""Labels that a person asks for with a filter."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from registry.errors import FilterError, LevelMismatch, NotFound
from registry.models import Level, Round, Selection
from registry.states import Purpose
from tests import factories as make
from workers.ask_labels import Wanted, ask_matching, ship


@pytest.fixture
def level(session: Session) -> Level:
    """A level, and four crystals of which one is a duplicate."""
    first = make.structure(session, "NaCl")
    make.structure(session, "Na3Cl")
    make.structure(session, "Na")
    make.duplicate(session, make.structure(session, "NaCl"), first)
    return make.level(session, "ours", engine="7net-0")


def picked(session: Session) -> list[tuple[str, int]]:
    query = sa.text(
        "SELECT reduced_formula, rank FROM selection JOIN structure ON structure.id = structure_id"
        " JOIN composition ON composition.id = composition_id ORDER BY selection.id"
    )
    return [(row.reduced_formula, row.rank) for row in session.execute(query)]


def test_what_passes_is_asked_for_once_the_small_ones_first(session: Session, level: Level):
    filter_ = 'elements HAS "Na"'
    assert ask_matching(session, "ours", filter_, "ours") == Wanted(labelled=0, waiting=0, asked=3)
    assert [formula for formula, _ in picked(session)] == ["Na", "NaCl", "Na3Cl"]
    assert ask_matching(session, "ours", filter_, "ours") == Wanted(labelled=0, waiting=3, asked=0)
    assert {row.purpose for row in session.scalars(sa.select(Selection))} == {Purpose.REFERENCE}
    (turn,) = session.scalars(sa.select(Round))
    assert turn.finished_at is not None
    assert turn.settings["filter"] == filter_


def test_what_has_a_label_is_left_alone(session: Session, level: Level):
    make.calculation(session, make.structure(session, "NaCl2"), level)
    assert ask_matching(session, "ours", "", "ours") == Wanted(labelled=1, waiting=0, asked=3)


def test_what_was_given_up_is_told_apart(session: Session, level: Level):
    ask_matching(session, "ours", "", "ours")
    picked = session.scalars(sa.select(Selection)).first()
    assert picked is not None
    given_up = {"subject_id": picked.structure_id, "target_id": level.id, "error_class": "bug", "error": "no"}
    make.work(session, state="dead", **given_up)
    assert ask_matching(session, "ours", "", "ours") == Wanted(labelled=0, waiting=2, asked=0, given_up=1)


def test_a_limit_is_of_what_is_new(session: Session, level: Level):
    assert ask_matching(session, "ours", "", "ours", limit=1).asked == 1
    assert ask_matching(session, "ours", "", "ours", limit=1) == Wanted(labelled=0, waiting=1, asked=1)
    assert [formula for formula, _ in picked(session)] == ["Na", "NaCl"]


def test_nothing_is_asked_for_in_vain(session: Session, level: Level):
    make.level(session, "theirs", engine="imported")
    with pytest.raises(LevelMismatch, match="imported"):
        ask_matching(session, "theirs", "", "ours")
    with pytest.raises(NotFound, match="no crystal"):
        ask_matching(session, "ours", 'elements HAS "Xe"', "ours")
    with pytest.raises(NotFound, match="no level 'nowhere'"):
        ask_matching(session, "nowhere", "", "ours")
    with pytest.raises(FilterError):
        ask_matching(session, "ours", "elements HAS", "ours")
    assert picked(session) == []


def test_a_level_that_ships_is_made_where_it_is_missing(session: Session):
    ship(session, "gpaw-pbe")
    ship(session, "gpaw-pbe")
    ship(session, "no such level")
    assert [row.name for row in session.scalars(sa.select(Level))] == ["gpaw-pbe"]
