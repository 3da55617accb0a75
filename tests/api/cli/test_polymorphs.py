"""`lode polymorphs` as people call it: one list, labels before predictions, and which structures are one crystal."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy.orm import Session

from registry.database import engine_for
from registry.errors import FilterError, NotFound
from registry.hull.store import place
from tests import factories as make
from tests.conftest import NewDatabase
from tests.registry.identity.test_invariance import caesium_chloride, rock_salt, supercell, zinc_blende

REFERENCES = {"Na": 0.0, "Cl": 0.0, "K": 0.0}


@pytest.fixture(scope="module")
def registry(new_database: NewDatabase) -> Iterator[str]:
    """NaCl labelled as rock salt and scored in four more cells; KCl scored only; its URL."""
    with new_database() as url:
        engine = engine_for(url)
        with Session(engine) as session, session.begin():
            level = make.level(session, "salts", references=REFERENCES)
            model = make.model(session, level, "guess")
            known = make.structure(session, "NaCl", arrays=rock_salt(), external_ids={"mp": "mp-1"})
            relaxed = make.structure(session, "NaCl", arrays=rock_salt(5.6), origin="relaxed")
            make.calculation(session, known, level, energy=-2.0, final=relaxed)
            make.prediction(session, known, model, -0.7)
            place(session, level.id)
            scored = [zinc_blende(), caesium_chloride(), supercell(rock_salt(), (1, 1, 2)), zinc_blende(6.0)]
            for arrays, energy in zip(scored, (-1.2, -0.9, -0.95, -0.8), strict=True):
                row = make.structure(session, "NaCl", origin="generated", arrays=arrays)
                make.prediction(session, row, model, -3.0, stage="single")
                make.prediction(session, row, model, energy, stage="ensemble")
            make.prediction(session, make.structure(session, "KCl", origin="generated"), model, -0.9)
            make.structure(session, "Na2Cl", origin="generated")
            make.level(session, "empty")
        engine.dispose()
        yield url


def answer(lode: Any, *arguments: str) -> dict[str, Any]:
    result = lode("polymorphs", *arguments, "--json")
    assert result.exit_code == 0, (result.output, result.exception)
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_structures_are_ranked_lowest_first_with_their_component(lode: Any) -> None:
    found = answer(lode, "ClNa")
    assert {key: found[key] for key in ("reduced_formula", "level", "count", "components")} == {
        "reduced_formula": "NaCl",
        "level": "salts",
        "count": 5,
        "components": 3,
    }
    assert [row["formation_energy_per_atom"] for row in found["data"]] == pytest.approx([-1.2, -1.0, -0.95, -0.9, -0.8])
    assert [row["component"] for row in found["data"]] == [1, 2, 2, 3, 1]
    assert [row["is_labelled"] for row in found["data"]] == [False, True, False, False, False]


def test_a_label_counts_before_its_prediction_and_names_the_hull(lode: Any) -> None:
    rows = answer(lode, "NaCl")["data"]
    assert rows[1]["predicted"] == pytest.approx(-0.7)
    assert rows[1]["relaxed_id"] is not None
    assert [row["e_above_hull"] for row in rows] == pytest.approx([-0.2, 0.0, 0.05, 0.1, 0.2])


def test_the_top_is_what_is_listed_and_clustered(lode: Any) -> None:
    found = answer(lode, "NaCl", "--top", "2")
    assert (found["count"], found["components"], len(found["data"])) == (5, 2, 2)


def test_without_a_label_the_hull_is_not_known(lode: Any) -> None:
    (row,) = answer(lode, "KCl", "--level", "salts")["data"]
    assert (row["component"], row["e_above_hull"], row["is_labelled"]) == (1, None, False)


def test_a_table_tells_it_to_people(lode: Any) -> None:
    result = lode("polymorphs", "NaCl")
    assert result.exit_code == 0
    assert "NaCl at level salts" in result.stdout
    assert "5 of 5 structures, 3 components" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (["Nacl2"], FilterError, "isn't a chemical element"),
        ([""], FilterError, "isn't a formula"),
        (["Na0Cl"], FilterError, "isn't a formula of whole numbers"),
        (["NaCl", "--level", "absent"], NotFound, "there is no level 'absent'"),
        (["NaCl", "--level", "empty"], NotFound, "no structure of NaCl is labelled or scored at level 'empty'"),
        (["Na2Cl"], NotFound, "no structure of Na2Cl is labelled or scored"),
    ],
)
def test_what_cant_be_answered_is_said_in_one_line(
    lode: Any, arguments: list[str], error: type[Exception], words: str
) -> None:
    result = lode("polymorphs", *arguments)
    assert isinstance(result.exception, error)
    assert words in str(result.exception)
    assert "\n" not in str(result.exception)


def test_a_top_of_none_is_a_wrong_call(lode: Any) -> None:
    assert lode("polymorphs", "NaCl", "--top", "0").exit_code == 2
