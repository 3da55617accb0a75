"""What is told of the past of entries: changes, who displaced whom, what isn't there, and what it costs to ask."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import event, text, update
from sqlalchemy.orm import Session

from registry.errors import FilterError, NotFound
from registry.hull.history import END_OF_TIME, EVENTS, changes_of, history, states_of
from registry.hull.history_asked import Kind, nearest, read, readings
from registry.hull.store import place
from registry.models import Calculation, HullEvent, HullState, Level
from tests import factories as make

REFERENCES = {"Na": 0.0, "Cl": 0.0, "K": 0.0}
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def level(session: Session) -> Level:
    return make.level(session, "fixed", references=REFERENCES)


def entry(session: Session, formula: str, formation_energy: float, at: Level, **columns: Any) -> Calculation:
    row = make.structure(session, formula, **columns)
    return make.calculation(session, row, at, energy=formation_energy * row.nsites)


def placed_on(session: Session, level: Level, day: int) -> None:
    """Place the level; what changes, changes on that day of 2026."""
    last = session.scalar(text("SELECT now()"))
    place(session, level.id)
    at = BEGAN + timedelta(days=day)
    session.execute(update(HullState).where(HullState.valid_from >= last).values(valid_from=at))
    session.execute(update(HullState).where(HullState.valid_to >= last).values(valid_to=at))
    session.execute(update(HullEvent).where(HullEvent.at >= last).values(at=at))
    session.expire_all()


@pytest.fixture
def three_days(session: Session, level: Level) -> dict[str, str]:
    """Day 0: NaCl3 is stable. Day 1: NaCl displaces it. Day 2: NaCl is withdrawn. Public ids by formula."""
    poor = entry(session, "NaCl3", -0.2, level)
    placed_on(session, level, 0)
    salt = entry(session, "NaCl", -1.0, level, external_ids={"mp": "mp-22862"})
    placed_on(session, level, 1)
    salt.off_hull = "withdrawn"
    session.flush()
    placed_on(session, level, 2)
    names = {one: session.get_one(make.models.Structure, row.initial_structure_id).public_id
             for one, row in (("NaCl3", poor), ("NaCl", salt))}  # fmt: skip
    return {**names, "relaxed NaCl": session.get_one(make.models.Structure, salt.final_structure_id).public_id}


def told(entry_of: dict[str, Any]) -> list[tuple[int, str, Any, Any]]:
    return [((one["at"] - BEGAN).days, one["change"], one["was"], one["e_above_hull"]) for one in entry_of["changes"]]


def test_who_entered_left_and_came_back(session: Session, three_days: dict[str, str]) -> None:
    found = history(session, "NaCl3")
    assert (found["asked"], found["kind"], found["level"], found["as_of"]) == ("NaCl3", Kind.FORMULA, "fixed", None)
    (poor,) = found["entries"]
    above = pytest.approx(0.3)
    assert told(poor) == [(0, "entered", None, 0.0), (1, "left", 0.0, above), (2, "entered", above, 0.0)]
    (fall,) = poor["displaced_by"]
    assert (fall["id"], fall["reduced_formula"], fall["fell_by"]) == (three_days["NaCl"], "NaCl", above)
    assert fall["at"] == BEGAN + timedelta(days=1)
    assert poor["displaced"] == []
    assert [state["valid_to"] for state in poor["states"]] == [*(BEGAN + timedelta(days=day) for day in (1, 2)), None]


def test_who_was_withdrawn_and_whom_it_had_displaced(session: Session, three_days: dict[str, str]) -> None:
    (salt,) = history(session, "ClNa")["entries"]
    assert told(salt) == [(1, "entered", None, 0.0), (2, "withdrawn", 0.0, None)]
    assert [(one["id"], one["reduced_formula"]) for one in salt["displaced"]] == [(three_days["NaCl3"], "NaCl3")]


@pytest.mark.parametrize("asked", ["NaCl", "Na2Cl2", " Cl Na ", "(NaCl)3", "Na₂Cl₂", "mp-22862", "id", "relaxed id"])
def test_every_spelling_and_every_id_finds_the_crystal(
    session: Session, three_days: dict[str, str], asked: str
) -> None:
    words = {"id": three_days["NaCl"], "relaxed id": three_days["relaxed NaCl"]}.get(asked, asked)
    assert [one["id"] for one in history(session, words)["entries"]] == [three_days["NaCl"]]


def test_a_system_is_told_with_its_subsystems_in_the_order_of_coming(
    session: Session, three_days: dict[str, str]
) -> None:
    found = history(session, "K-Cl-Na")
    assert (found["asked"], found["kind"]) == ("Cl-K-Na", Kind.SYSTEM)
    assert [one["reduced_formula"] for one in found["entries"]] == ["NaCl3", "NaCl"]


def test_as_of_a_day_nothing_later_is_known(session: Session, three_days: dict[str, str]) -> None:
    poor, salt = history(session, "Na-Cl", as_of=BEGAN + timedelta(days=1, hours=1))["entries"]
    assert [one["change"] for one in (*poor["changes"], *salt["changes"])] == ["entered", "left", "entered"]
    assert poor["states"][-1]["valid_to"] is None
    (poor,) = history(session, "Na-Cl", as_of=BEGAN)["entries"]
    assert (poor["displaced_by"], len(poor["states"])) == ([], 1)


def test_levels_are_told_apart(session: Session, three_days: dict[str, str]) -> None:
    other = make.level(session, "other", references=REFERENCES)
    entry(session, "NaCl", -0.5, other)
    place(session, other.id)
    with pytest.raises(FilterError, match="say which level"):
        history(session, "NaCl")
    assert [len(history(session, "NaCl3", "fixed")["entries"]), len(history(session, "NaCl", "other")["entries"])] == [
        1,
        1,
    ]


@pytest.mark.parametrize(
    ("asked", "error", "said"),
    [
        ("NaCl2", NotFound, "no NaCl2 in this registry; placed at level fixed are NaCl3, NaCl"),
        ("KBr", NotFound, "no KBr in this registry$"),
        ("KCl", NotFound, "no KCl has been placed on the hull at level fixed: none has a label"),
        ("nacl", FilterError, "did you mean NaCl"),
        ("Nacl3", FilterError, "did you mean NaCl3"),
        ("Xy2", FilterError, "'Xy' isn't a chemical element$"),
        ("Na-Xy", FilterError, "'Xy' isn't a chemical element"),
        ("na-cl", FilterError, "did you mean Na"),
        ("K-Br", NotFound, "no entry within Br-K has been placed on the hull at level fixed"),
        ("lode-nowhere", NotFound, "nothing is called 'lode-nowhere'"),
        ("mp-1", NotFound, "nothing is called 'mp-1'"),
        ("mp-77", NotFound, "mp-77 has never been placed on the hull at level fixed"),
        ("", FilterError, "give a formula"),
        ("Na\x00Cl", FilterError, "give a formula"),
        ("Na0.5Cl", FilterError, "isn't a chemical element"),
        ("H-He-Li-Be-B-C-N-O-F", FilterError, "at most 8 elements at once, not 9"),
    ],
)
def test_what_is_not_there_is_said_with_what_is(
    session: Session, three_days: dict[str, str], asked: str, error: type[Exception], said: str
) -> None:
    make.structure(session, "KCl", external_ids={"mp": "mp-77"})
    with pytest.raises(error, match=said):
        history(session, asked)


def test_an_unknown_level_and_no_level_at_all(session: Session) -> None:
    with pytest.raises(NotFound, match="no level has a hull yet"):
        history(session, "NaCl")
    with pytest.raises(NotFound, match="no level 'nowhere'"):
        history(session, "NaCl", "nowhere")


def test_before_it_was_placed_nothing_is_told(session: Session, three_days: dict[str, str]) -> None:
    with pytest.raises(NotFound, match="has been placed on the hull at level fixed as of 2025"):
        history(session, "NaCl", as_of=datetime(2025, 12, 31, tzinfo=UTC))


def state(day: int, until: int | None, above: float, *, stable: bool | None = None) -> dict[str, Any]:
    ends = None if until is None else BEGAN + timedelta(days=until)
    is_stable = above == 0 if stable is None else stable
    return {"valid_from": BEGAN + timedelta(days=day), "valid_to": ends, "e_above_hull": above, "is_stable": is_stable}


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ([], []),
        ([state(0, None, 0.0)], [(0, "entered", None, 0.0)]),
        ([state(0, None, 0.1)], [(0, "placed", None, 0.1)]),
        ([state(0, 1, 0.1), state(1, None, 0.2)], [(0, "placed", None, 0.1), (1, "moved", 0.1, 0.2)]),
        ([state(0, 1, 0.1), state(1, None, 0.1 + 1e-9)], [(0, "placed", None, 0.1)]),
        ([state(0, 1, 0.0), state(1, None, 0.0)], [(0, "entered", None, 0.0)]),
        # the second of two equal polymorphs: on the hull by energy, and not stable
        ([state(0, 1, 0.0), state(1, None, 0.0, stable=False)], [(0, "entered", None, 0.0), (1, "left", 0.0, 0.0)]),
        (
            [state(0, 1, 0.0), state(3, 4, 0.1)],
            [
                (0, "entered", None, 0.0),
                (1, "withdrawn", 0.0, None),
                (3, "placed", None, 0.1),
                (4, "withdrawn", 0.1, None),
            ],
        ),
    ],
)
def test_changes_follow_from_states(states: list[dict[str, Any]], expected: list[tuple[Any, ...]]) -> None:
    assert told({"changes": list(changes_of(states))}) == expected


@pytest.fixture
def statements(session: Session) -> Iterator[list[str]]:
    seen: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        seen.append(statement)

    event.listen(session.get_bind(), "before_cursor_execute", note)
    yield seen
    event.remove(session.get_bind(), "before_cursor_execute", note)


def test_two_statements_and_one_for_the_level(
    session: Session, three_days: dict[str, str], statements: list[str]
) -> None:
    for asked, entries in (("NaCl", 1), ("Na-Cl", 2), (three_days["NaCl"], 1)):
        statements.clear()
        assert len(history(session, asked, "fixed")["entries"]) == entries
        assert len(statements) == 3


MANY = """
INSERT INTO composition (reduced_formula, anonymous_formula, chemsys, elements, amounts, nelements)
SELECT 'Na' || number || 'Cl', 'A', CASE WHEN number < 9 THEN 'Cl-Na' ELSE 'Ag-' || number END, '{Cl,Na}', '{1,1}', 2
FROM generate_series(2, 4000) AS number;
INSERT INTO structure (public_id, composition_id, chemsys, source_id, origin, nsites, lattice, species, coords, volume)
SELECT 'many-' || composition.id || '-' || copy, composition.id, composition.chemsys, (SELECT min(id) FROM source),
       'imported', 1, array_fill(1.0, '{9}'), '{1}', decode(repeat('00', 24), 'hex'), 1.0
FROM composition, generate_series(1, 2) AS copy;
INSERT INTO calculation (level_id, source_id, initial_structure_id, final_structure_id, task, state, energy, correction,
                         settings, engine_version, attempt, node)
SELECT :level, source_id, id, id, 'relax', 'converged', -1, 0, '{}', '0', 1, 'here'
FROM structure WHERE public_id LIKE 'many-%';
INSERT INTO hull_state (level_id, calculation_id, structure_id, composition_id, chemsys, nelements, light_elements,
                        heavy_elements, formation_energy_per_atom, e_above_hull, is_stable, decomposition, valid_from)
SELECT level_id, calculation.id, structure.id, composition_id, chemsys, 2, 0, 0, -1, 0, true, '[]', now()
FROM calculation JOIN structure ON structure.id = initial_structure_id WHERE public_id LIKE 'many-%';
INSERT INTO hull_event (level_id, calculation_id, displaced_calculation_id, fell_by)
SELECT level_id, id, id + 1, 0.1 FROM calculation WHERE id + 1 IN (SELECT id FROM calculation);
ANALYZE composition, structure, calculation, hull_state, hull_event"""


def test_plans_read_no_whole_table(session: Session, level: Level) -> None:
    make.source(session)
    for statement in MANY.split(";\n"):
        session.execute(text(statement), {"level": level.id} if ":level" in statement else {})
    bound = {"level_id": level.id, "until": END_OF_TIME}
    plans = {
        asked: plan(session, states_of(read(asked).kind), {**bound, **read(asked).bound})
        for asked in ("Na7Cl", "Na-Cl", "mp-1")
    }
    plans["events"] = plan(session, EVENTS, {**bound, "ids": [1, 2, 3]})
    for asked, found in plans.items():
        for table in ("composition", "structure", "calculation", "hull_state", "hull_event"):
            assert f"Seq Scan on {table}" not in found, (asked, found)
    assert "ix_hull_state_structure_id_level_id_valid_from" in plans["Na7Cl"]
    assert "ix_structure_material_chemsys" in plans["Na-Cl"]
    assert "ix_hull_event_displaced_calculation_id" in plans["events"]


def plan(session: Session, statement: str, bound: dict[str, Any]) -> str:
    return "\n".join(session.scalars(text(f"EXPLAIN {statement}"), bound))


def test_letters_are_read_as_every_formula_they_may_spell() -> None:
    assert readings("lifepo4") == ["LiFePO4", "LiFePo4"]
    assert "CoO" in readings("coo")
    assert readings("xyz") == readings("") == []
    assert len(readings("coscnnoposnhoosicspb" * 3)) <= 50


def test_the_nearest_compositions_come_first() -> None:
    assert nearest("LiFePO5", ["Li3PO4", "LiFePO4", "LiFeP2O7", "FePO4"], 2) == ["LiFePO4", "LiFeP2O7"]
