"""What the views of schema `analytics` say of a campaign whose every row is known (tests/docs/salts.py)."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from registry.hull.store import place
from registry.models import Round, Selection
from registry.schema_page import view_comments
from tests import factories as make
from tests.docs.salts import CSCL, LEVEL, PREDICTED_TOO_LOW_BY, ROCK_SALT, ZINC_BLENDE, Salts, salts

VIEWS = """
SELECT CASE nspname WHEN 'public' THEN '' ELSE nspname || '.' END || relname AS view, coalesce(attname, '') AS part,
       coalesce(col_description(pg_class.oid, attnum), obj_description(pg_class.oid, 'pg_class')) AS comment,
       format_type(atttypid, atttypmod) AS type
FROM pg_class
JOIN pg_namespace ON pg_namespace.oid = relnamespace
CROSS JOIN LATERAL (
    SELECT NULL::name AS attname, NULL::int AS attnum, NULL::oid AS atttypid, NULL::int AS atttypmod
    UNION ALL
    SELECT attname, attnum, atttypid, atttypmod FROM pg_attribute WHERE attrelid = pg_class.oid AND attnum > 0) AS parts
WHERE relkind = 'v' AND nspname IN ('public', 'analytics')
"""
UNITS = ("eV/atom", "eV per cell", "angstrom^3", "0 to 1")


@pytest.fixture
def told(session: Session) -> Salts:
    return salts(session)


def rows(told: Salts, view: str, where: str = "true") -> list[dict[str, Any]]:
    query = text(f"SELECT * FROM analytics.{view} WHERE level = :level AND {where}")
    return [dict(row) for row in told.session.execute(query, {"level": LEVEL}).mappings()]


def named(told: Salts, found: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The rows by the names that salts.py gives their crystals."""
    names = {row.public_id: name for name, row in told.rows.items()}
    return {names[row["public_id"]]: row for row in found}


def test_every_view_says_what_it_holds(session: Session) -> None:
    """As the files say, which docs/schema.md shows; the views of what is missing need no word for their columns."""
    found = {(row.view, row.part): row for row in session.execute(text(VIEWS))}
    said = {(view, part): words for view, parts in view_comments().items() for part, words in parts.items()}
    assert {key: row.comment for key, row in found.items() if key in said} == said
    silent = {view for view, part in found.keys() - said.keys()}
    assert silent == {"unsearched", "unscored", "unrefined", "unlabelled"}
    for key, row in found.items():
        assert row.type != "double precision" or any(unit in row.comment for unit in UNITS), key


def test_stable_materials_are_on_the_hull_now(told: Salts) -> None:
    found = named(told, rows(told, "stable_materials"))
    assert set(found) == {"KCl again", "NaCl again"}
    salt = found["KCl again"]
    assert (salt["reduced_formula"], salt["prototype"], salt["spacegroup_number"]) == ("KCl", ZINC_BLENDE, 216)
    assert salt["formation_energy_per_atom"] == pytest.approx(-0.4)
    assert salt["decomposition_energy"] == pytest.approx(-0.1)
    assert salt["phase_separation_energy"] == pytest.approx(-0.4)


def test_stable_since_is_the_start_of_the_present_spell(session: Session) -> None:
    """Stable, displaced, stable again with one change of its state since."""
    salt = make.calculation(session, make.structure(session, "NaCl"), make.level(session, LEVEL))
    moments = (
        session.execute(text("SELECT now() + n * interval '1 day' FROM generate_series(0, 4) AS n")).scalars().all()
    )
    for number, above in enumerate((0.0, 0.1, 0.0, 0.0)):
        ends = moments[number + 1] if number < 3 else None
        make.hull_state(session, salt, above, valid_from=moments[number], valid_to=ends)
    since = session.scalars(text("SELECT stable_since FROM analytics.stable_materials")).all()
    assert since == [moments[2]]


def test_a_gap_between_hull_states_breaks_the_spell(session: Session) -> None:
    salt = make.calculation(session, make.structure(session, "NaCl"), make.level(session, LEVEL))
    moments = (
        session.execute(text("SELECT now() + n * interval '1 day' FROM generate_series(0, 2) AS n")).scalars().all()
    )
    make.hull_state(session, salt, valid_from=moments[0], valid_to=moments[1])
    make.hull_state(session, salt, valid_from=moments[2])
    assert session.scalars(text("SELECT stable_since FROM analytics.stable_materials")).all() == [moments[2]]


def test_round_labels_say_what_came_of_each_pick(told: Salts) -> None:
    found = named(told, rows(told, "round_labels"))
    columns = ("round", "outcome", "is_new", "is_hit", "is_stable")
    assert {name: tuple(row[column] for column in columns) for name, row in found.items()} == {
        "KCl": (1, "labelled", True, True, False),
        "NaCl": (1, "labelled", True, True, False),
        "Na3Cl": (1, "labelled", True, False, False),
        "NaCl3": (1, "labelled", True, False, False),
        "NaCl2": (1, "failed", None, False, None),
        "K3Cl": (1, "waiting", None, False, None),
        "KCl again": (2, "labelled", True, True, True),
        "NaCl again": (2, "labelled", False, False, True),
    }
    assert found["KCl"]["decomposition_energy"] == pytest.approx(-0.3)
    assert found["KCl"]["e_above_hull"] == 0
    assert found["K3Cl"]["decomposition_energy"] is None


def test_a_pick_that_relaxed_to_what_its_own_round_had_found_is_new(told: Salts) -> None:
    """Both are of one crystal, and the lower of the two is on the hull: the round has found it, once."""
    turn = told.session.query(Round).filter_by(number=1).one()
    told.session.query(Selection).filter_by(structure_id=told.rows["NaCl again"].id).update({"round_id": turn.id})
    turn.finished_at = None
    told.session.flush()
    found = named(told, rows(told, "round_labels", "round = 1 AND reduced_formula = 'NaCl'"))
    assert {name: (row["is_new"], row["is_hit"]) for name, row in found.items()} == {
        "NaCl": (True, False),
        "NaCl again": (True, True),
    }


def test_a_pick_that_relaxed_to_a_known_crystal_is_no_hit(told: Salts) -> None:
    turn = told.session.query(Round).filter_by(number=2).one()
    told.pick("rock salt, proposed", "NaCl", turn, 3, -0.9)
    told.label(
        "rock salt, proposed",
        -0.9,
        final=told.session.get_one(type(told.rows["KCl"]), told.labels["rock salt"].final_structure_id),
    )
    told.close(turn)
    found = named(told, rows(told, "round_labels"))["rock salt, proposed"]
    assert (found["is_new"], found["is_hit"], found["is_stable"]) == (False, False, True)


def test_a_label_that_came_after_the_round_is_judged_when_it_came(told: Salts) -> None:
    told.label("K3Cl", -0.5)
    place(told.session, told.level.id)
    found = named(told, rows(told, "round_labels"))["K3Cl"]
    assert (found["outcome"], found["is_hit"]) == ("labelled", True)
    assert rows(told, "hit_rate_per_round", "round = 1")[0]["hits"] == 3


def test_the_hit_rate_of_a_round_stays_when_later_rounds_displace_its_finds(told: Salts) -> None:
    first, second = sorted(rows(told, "hit_rate_per_round"), key=lambda row: row["round"])
    counts = ("selected", "labelled", "failed", "hits", "still_stable")
    assert [first[name] for name in counts] == [6, 4, 1, 2, 0]
    assert [second[name] for name in counts] == [2, 2, 0, 1, 1]
    assert (first["hit_rate"], first["composition_hit_rate"]) == (0.5, 0.5)
    assert (second["hit_rate"], second["composition_hit_rate"]) == (0.5, 0.5)
    assert first["mean_absolute_error"] == pytest.approx(PREDICTED_TOO_LOW_BY)


def test_a_round_without_labels_has_no_hit_rate(session: Session) -> None:
    make.campaign_round(session, make.campaign(session, make.level(session)))
    found = session.execute(text("SELECT * FROM analytics.hit_rate_per_round")).mappings().one()
    assert (found["selected"], found["labelled"], found["hits"]) == (0, 0, 0)
    assert (found["hit_rate"], found["composition_hit_rate"], found["mean_absolute_error"]) == (None, None, None)


def test_predictions_stand_beside_labels_of_their_own_level(told: Salts) -> None:
    other = make.level(told.session, "other", references={"Na": -1.0, "Cl": -2.0, "K": -1.5})
    make.hull_state(told.session, make.calculation(told.session, told.rows["KCl"], other))
    ensemble = named(told, rows(told, "prediction_vs_label", "stage = 'ensemble'"))
    scored = {name for name in told.labels if not name.startswith("random")}
    assert set(ensemble) == scored - {"rock salt"}
    errors = [row["error"] for row in ensemble.values()]
    assert errors == pytest.approx([-PREDICTED_TOO_LOW_BY] * len(ensemble), abs=1e-5)
    assert all(row["predicted_first"] for row in ensemble.values())
    single = rows(told, "prediction_vs_label", "stage = 'single'")
    errors = [row["error"] for row in single]
    assert errors == pytest.approx([0.1 - PREDICTED_TOO_LOW_BY] * len(ensemble), abs=1e-5)
    assert {row["spread"] for row in single} == {None}


def test_a_prediction_of_what_was_known_is_told_apart(told: Salts) -> None:
    make.prediction(
        told.session, told.rows["rock salt"], told.model, -0.5, created_at=told.labels["rock salt"].finished_at
    )
    found = named(told, rows(told, "prediction_vs_label", "origin = 'imported'"))
    assert found["rock salt"]["predicted_first"] is False


def test_displaced_phases_name_who_took_their_place(told: Salts) -> None:
    found = {row["displaced_by"]: row for row in rows(told, "displaced_phases")}
    by = {name: found[told.rows[name].public_id] for name in ("NaCl", "KCl again", "NaCl again")}
    assert len(found) == 3
    assert by["NaCl"]["public_id"] == told.rows["rock salt"].public_id
    assert (by["NaCl"]["origin"], by["NaCl"]["displaced_by_origin"]) == ("imported", "generated")
    assert by["NaCl"]["fell_by"] == pytest.approx(0.3)
    assert by["KCl again"]["public_id"] == told.rows["KCl"].public_id
    assert by["KCl again"]["fell_by"] == pytest.approx(0.1)
    assert {row["is_stable"] for row in by.values()} == {False}


def test_coverage_counts_each_crystal_once(told: Salts) -> None:
    make.structure(told.session, "Na")
    lines = {row["nelements"]: row for row in rows(told, "coverage_by_elements")}
    counts = ("structures", "generated", "labelled", "stable", "stable_generated")
    assert [lines[1][name] for name in counts] == [1, 0, 0, 0, 0]
    assert [lines[2][name] for name in counts] == [9, 8, 7, 2, 2]


def test_coverage_of_a_level_without_labels(told: Salts) -> None:
    make.level(told.session, "empty")
    query = text(
        "SELECT structures, labelled FROM analytics.coverage_by_elements WHERE level = 'empty' AND nelements = 2"
    )
    assert told.session.execute(query).all() == [(9, 0)]


def test_prototypes_count_materials_and_stable_ones(told: Salts) -> None:
    found = {row["prototype"]: row for row in rows(told, "prototypes")}
    counts = ("materials", "labelled", "stable", "is_known", "spacegroup_number", "pearson_symbol")
    assert {label: tuple(row[name] for name in counts) for label, row in found.items()} == {
        ROCK_SALT: (2, 2, 0, True, 225, "cF8"),
        CSCL: (2, 2, 1, False, 221, "cP2"),
        ZINC_BLENDE: (1, 1, 1, False, 216, "cF8"),
    }
    assert found[ROCK_SALT]["lowest_e_above_hull"] == pytest.approx(0.1)


def test_engine_failures_by_class_and_version(told: Salts) -> None:
    make.failure(
        told.session, told.rows["NaCl2"], told.level, "geometry_exploded", engine_version="1", error="flew apart"
    )
    make.failure(told.session, told.rows["NaCl2"], told.level, "out_of_memory", engine_version="2", node="n2")
    found = {(row["engine_version"], row["error_class"]): row for row in rows(told, "engine_failures")}
    assert set(found) == {("1", "geometry_exploded"), ("2", "out_of_memory")}
    exploded = found["1", "geometry_exploded"]
    assert (exploded["failures"], exploded["structures"], exploded["recovered"]) == (3, 2, 1)
    assert (exploded["attempts"], exploded["failure_rate"]) == (8, 3 / 8)
    assert exploded["last_error"] == "flew apart"
    assert (found["2", "out_of_memory"]["last_node"], found["2", "out_of_memory"]["engine"]) == ("n2", "stand-in")


def test_the_label_of_a_composition_is_the_lowest_of_ten_completed_runs(told: Salts) -> None:
    """Ten of twelve are; with one less there is no label, and the lowest is told all the same."""
    found = rows(told, "composition_labels")
    assert [row["reduced_formula"] for row in found] == ["KNaCl2"]
    counts = ("searches", "wanted", "stored", "completed", "failed", "waiting")
    assert [found[0][name] for name in counts] == [1, 12, 12, 10, 0, 2]
    assert found[0]["formation_energy_per_atom"] == pytest.approx(0.21)
    assert found[0]["e_above_hull"] > 0.21
    assert found[0]["public_id"] == told.rows["random 9"].public_id
    told.session.execute(text("UPDATE selection SET search_id = NULL, round_id = (SELECT min(id) FROM round)"
                              " WHERE structure_id = :id"), {"id": told.rows["random 9"].id})  # fmt: skip
    row = rows(told, "composition_labels")[0]
    assert (row["completed"], row["formation_energy_per_atom"]) == (9, None)
    assert row["lowest_formation_energy_per_atom"] == pytest.approx(0.22)


def test_failed_runs_don_t_keep_a_composition_from_its_label(told: Salts) -> None:
    for name in ("random 0", "random 10", "random 11"):
        make.failure(told.session, told.rows[name], told.level)
    row = rows(told, "composition_labels")[0]
    assert [row[name] for name in ("completed", "failed", "waiting")] == [10, 2, 0]
    assert row["formation_energy_per_atom"] == pytest.approx(0.21)


def test_a_search_without_structures_has_a_row(told: Salts) -> None:
    make.search(told.session, "LiF", told.level, structures=7)
    make.search(told.session, "LiF", told.level, structures=5, seed=1)
    row = rows(told, "composition_labels", "reduced_formula = 'LiF'")[0]
    assert (row["searches"], row["wanted"], row["stored"], row["completed"]) == (2, 12, 0, 0)
    assert (row["public_id"], row["formation_energy_per_atom"]) == (None, None)


def test_random_structures_are_no_picks_of_a_round(told: Salts) -> None:
    picked = {row["public_id"] for row in rows(told, "round_labels")}
    assert not picked & {row.public_id for name, row in told.rows.items() if name.startswith("random")}
