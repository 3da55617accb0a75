"""Lineages through rounds, circles included."""

from __future__ import annotations

from itertools import pairwise

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from registry.errors import NotFound
from registry.models import Lineage, Structure
from registry.query.ancestors import ancestors
from tests import factories as make


def step(session: Session, child: Structure, parent: Structure, probability: float | None = 0.1) -> Lineage:
    row = make.lineage(session, child, parent)
    row.probability = probability
    session.flush()
    return row


def proposed(session: Session, formula: str) -> Structure:
    return make.structure(session, formula, origin="generated")


def test_a_lineage_goes_back_through_rounds_and_relaxations(session: Session) -> None:
    level = make.level(session)
    turn = make.campaign_round(session, make.campaign(session, level, "search"))
    known, first, second = make.structure(session, "NaCl"), proposed(session, "KCl"), proposed(session, "KBr")
    step(session, first, known).round_id = turn.id
    relaxed = session.get_one(Structure, make.calculation(session, first, level).final_structure_id)
    step(session, second, relaxed, 0.5)
    found = ancestors(session, second.public_id)
    assert (found["reduced_formula"], found["origin"]) == ("KBr", "generated")
    told = [(one["generation"], one["child"], one["operation"], one["parent"]) for one in found["steps"]]
    assert told == [
        (1, second.public_id, "ionic_substitution", relaxed.public_id),
        (2, relaxed.public_id, "relaxation", first.public_id),
        (3, first.public_id, "ionic_substitution", known.public_id),
    ]
    assert found["steps"][1]["arguments"] == {"level": level.name}
    assert (found["steps"][2]["campaign"], found["steps"][2]["round"]) == ("search", 1)
    assert found["likeliest"]["probability"] == pytest.approx(0.05)
    assert [one["parent"] for one in found["likeliest"]["steps"]][-1] == known.public_id


def test_circles_end_and_the_likeliest_way_is_none_of_them(session: Session) -> None:
    known, one, other = make.structure(session, "NaCl"), proposed(session, "KCl"), proposed(session, "KBr")
    step(session, one, other, 0.9)
    step(session, other, one, 0.9)
    step(session, other, known, 0.2)
    found = ancestors(session, one.public_id)
    assert len(found["steps"]) == 3
    assert found["likeliest"]["probability"] == pytest.approx(0.18)
    assert [each["child"] for each in found["likeliest"]["steps"]] == [one.public_id, other.public_id]


def test_a_longer_way_may_be_likelier(session: Session) -> None:
    known, between, child = make.structure(session, "NaCl"), proposed(session, "KCl"), proposed(session, "KBr")
    step(session, child, known, 0.1)
    step(session, child, between, 0.5)
    step(session, between, known, 0.5)
    found = ancestors(session, child.public_id)
    assert len(found["likeliest"]["steps"]) == 2
    assert found["likeliest"]["probability"] == pytest.approx(0.25)


def test_lineages_begin_at_imported_crystals(session: Session) -> None:
    """Candidates that equal a known crystal leave steps that lead to it; it came from elsewhere all the same."""
    known, other, child = make.structure(session, "NaCl"), make.structure(session, "KCl"), proposed(session, "KBr")
    step(session, known, other)
    step(session, child, known)
    assert [one["child"] for one in ancestors(session, child.public_id)["steps"]] == [child.public_id]
    alone = ancestors(session, known.public_id)
    assert (alone["steps"], alone["likeliest"]) == ([], None)


def test_only_circles_have_no_beginning(session: Session) -> None:
    one, other = proposed(session, "KCl"), proposed(session, "KBr")
    step(session, one, other)
    step(session, other, one)
    found = ancestors(session, one.public_id)
    assert (len(found["steps"]), found["likeliest"]) == (2, None)


def test_random_search_is_a_beginning_too(session: Session) -> None:
    found_at_random = make.random_structure(session, make.search(session, "KCl", make.level(session)))
    child = proposed(session, "KBr")
    step(session, child, found_at_random, 0.5)
    found = ancestors(session, child.public_id)
    assert [one["parent"] for one in found["likeliest"]["steps"]] == [found_at_random.public_id, None]
    assert found["likeliest"]["probability"] == pytest.approx(0.5)


def test_many_generations_are_one_statement(session: Session) -> None:
    chain = [make.structure(session, "NaCl"), *(proposed(session, "KCl") for _ in range(120))]
    for parent, child in pairwise(chain):
        step(session, child, parent, 1.0)
    rows = session.execute(text("SELECT * FROM analytics.ancestors(:one)"), {"one": chain[-1].public_id}).all()
    assert len(rows) == 120
    assert ancestors(session, chain[-1].public_id)["steps"][-1]["generation"] == 120


def test_an_unknown_structure_is_said_to_be_unknown(session: Session) -> None:
    with pytest.raises(NotFound, match="lode-nothing"):
        ancestors(session, "lode-nothing")
