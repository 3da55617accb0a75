"""Hull states on a real PostgreSQL: validity in time, who displaced whom, one level at a time."""

from __future__ import annotations

import threading

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from registry.errors import NotFound
from registry.hull.entries import current_hull, level_entries
from registry.hull.level_rows import ensure_level, level_id, stored_level
from registry.hull.store import place
from registry.identity.composition import ATOMIC_NUMBERS
from registry.models import Calculation, HullEvent, HullState, Level, Prototype, Structure
from registry.query.values import formula_amounts
from tests import factories as make

REFERENCES = {"Na": -1.0, "Cl": -2.0, "K": -1.5}


@pytest.fixture
def level(session: Session) -> Level:
    return make.level(session, "fixed", references=REFERENCES)


def entry(session: Session, formula: str, formation_energy: float, at: Level) -> Calculation:
    """A label with that formation energy in eV/atom at a level of REFERENCES."""
    amounts = formula_amounts(formula)
    elements = sum(REFERENCES.get(element, 0.0) * count for element, count in amounts.items())
    energy = elements + formation_energy * sum(amounts.values())
    return make.calculation(session, make.structure(session, formula), at, energy=energy)


def current(session: Session, of: Calculation) -> HullState:
    query = select(HullState).where(HullState.calculation_id == of.id, HullState.valid_to.is_(None))
    return session.scalars(query).one()


def history(session: Session, of: Calculation) -> list[HullState]:
    query = select(HullState).where(HullState.calculation_id == of.id).order_by(HullState.valid_from, HullState.id)
    return list(session.scalars(query))


def test_the_first_placing(session: Session, level: Level):
    salt, poor = entry(session, "NaCl", -1.0, level), entry(session, "NaCl3", -0.1, level)
    placed = place(session, level.id)
    assert (placed.entries, placed.changed, placed.displaced, placed.refused) == (2, 2, 0, {})
    best, worst = current(session, salt), current(session, poor)
    assert (best.formation_energy_per_atom, best.e_above_hull, best.is_stable) == (pytest.approx(-1.0), 0.0, True)
    assert best.decomposition_energy == pytest.approx(-1.0 + 0.1 * 2 / 3)  # against NaCl3 and Na
    assert best.phase_separation_energy == pytest.approx(-1.0 + 0.1 * 2 / 3)
    assert worst.e_above_hull == pytest.approx(-0.1 + 0.5)
    shares = {share["reduced_formula"]: share["amount"] for share in worst.decomposition}
    assert shares == {"NaCl": pytest.approx(0.5), "Cl": pytest.approx(0.5)}
    assert {share["calculation_id"] for share in worst.decomposition} == {salt.id, None}


def test_the_elements_of_a_level_stand_in_for_themselves(session: Session, level: Level):
    """References are entries -Z at zero; they get no state, since nobody calculated them."""
    salt = entry(session, "NaCl", -1.0, level)
    found = level_entries(session, level.id)
    assert {int(one.key) for one in found.entries} == {salt.id, -11, -17, -19}
    place(session, level.id)
    assert {state.calculation_id for state in session.scalars(select(HullState))} == {salt.id}


def test_a_correction_counts(session: Session, level: Level):
    salt = entry(session, "NaCl", -1.0, level)
    salt.correction = -0.4
    place(session, level.id)
    assert current(session, salt).formation_energy_per_atom == pytest.approx(-1.2)


def test_placing_twice_changes_nothing(session: Session, level: Level):
    salt = entry(session, "NaCl", -1.0, level)
    place(session, level.id)
    assert place(session, level.id).changed == 0
    assert len(history(session, salt)) == 1


def test_a_better_phase_closes_the_old_state_and_says_who_displaced_it(session: Session, level: Level):
    middle = entry(session, "NaCl3", -0.2, level)
    place(session, level.id)
    assert current(session, middle).is_stable
    salt = entry(session, "NaCl", -1.0, level)
    placed = place(session, level.id)
    assert (placed.changed, placed.displaced) == (2, 1)
    before, now = history(session, middle)
    assert (before.is_stable, now.is_stable) == (True, False)
    assert before.valid_to == now.valid_from
    assert now.valid_to is None
    event = session.scalars(select(HullEvent)).one()
    assert (event.calculation_id, event.displaced_calculation_id) == (salt.id, middle.id)
    assert event.fell_by == pytest.approx(0.3)


def test_a_worse_phase_moves_only_itself(session: Session, level: Level):
    salt = entry(session, "NaCl", -1.0, level)
    place(session, level.id)
    entry(session, "NaCl", -0.9, level)
    assert place(session, level.id).displaced == 0
    states = history(session, salt)
    assert states[-1].is_stable
    assert states[-1].decomposition_energy == pytest.approx(-0.1)
    assert states[-1].phase_separation_energy == pytest.approx(-1.0)


def test_an_entry_taken_off_the_hull_has_no_present_state(session: Session, level: Level):
    salt, poor = entry(session, "NaCl", -1.0, level), entry(session, "NaCl3", -0.1, level)
    place(session, level.id)
    salt.off_hull = "withdrawn"
    session.flush()
    place(session, level.id)
    assert [state.valid_to is None for state in history(session, salt)] == [False]
    assert current(session, poor).is_stable


def test_levels_do_not_meet(session: Session, level: Level):
    other = make.level(session, "other", references=REFERENCES)
    here, there = entry(session, "NaCl", -0.5, level), entry(session, "NaCl", -1.0, other)
    place(session, level.id)
    place(session, other.id)
    assert current(session, here).is_stable
    assert current(session, here).e_above_hull == 0.0
    assert current(session, there).level_id == other.id


def test_the_database_refuses_a_state_at_another_level(session: Session, level: Level):
    salt = entry(session, "NaCl", -1.0, level)
    other = make.level(session, "other")
    with pytest.raises(IntegrityError, match="fk_hull_state_calculation_id_level_id"):
        make.hull_state(session, salt, level_id=other.id)


def test_the_database_refuses_two_present_states(session: Session, level: Level):
    salt = entry(session, "NaCl", -1.0, level)
    make.hull_state(session, salt)
    with pytest.raises(IntegrityError, match="uq_hull_state_current"):
        make.hull_state(session, salt)


def test_an_element_without_reference_keeps_its_compounds_off(session: Session, level: Level):
    strange = entry(session, "LiCl", -3.0, level)
    placed = place(session, level.id)
    assert placed.entries == 0
    assert "no reference energy for Li" in str(placed.refused[strange.id])


def test_without_fixed_references_the_lowest_elements_are_taken(session: Session):
    level = make.level(session, "imported")
    sodium = [make.calculation(session, make.structure(session, "Na"), level, energy=energy) for energy in (-1.0, -1.3)]
    salt = make.calculation(session, make.structure(session, "NaCl"), level, energy=-7.0)
    refused = place(session, level.id).refused
    assert list(refused) == [salt.id]
    assert "no reference energy for Cl" in str(refused[salt.id])
    make.calculation(session, make.structure(session, "Cl"), level, energy=-1.7)
    assert place(session, level.id).refused == {}
    assert current(session, salt).formation_energy_per_atom == pytest.approx(-2.0)
    assert current(session, sodium[0]).e_above_hull == pytest.approx(0.3)
    assert current(session, sodium[1]).decomposition_energy == pytest.approx(-0.3)


def test_a_candidate_is_held_against_formation_energies_at_any_level(session: Session):
    """All-electron totals of thousands of eV are no matter, and a predicted formation energy finds its like."""
    level = make.level(session, "imported")
    for formula, energy in (("Na", -4400.0), ("Cl", -12500.0), ("NaCl", -16902.0)):
        make.calculation(session, make.structure(session, formula), level, energy=energy)
    amounts = {ATOMIC_NUMBERS["Na"]: 1, ATOMIC_NUMBERS["Cl"]: 1}
    assert current_hull(session, level.id).energy_at(amounts).energy == pytest.approx(-1.0)
    assert place(session, level.id).entries == 3


def test_a_level_as_stored(session: Session, level: Level):
    kept = stored_level(session, level.id)
    assert (kept.name, dict(kept.references)) == ("fixed", REFERENCES)
    assert ensure_level(session, kept) == level_id(session, "fixed") == level.id
    with pytest.raises(NotFound, match="there are: fixed"):
        level_id(session, "nowhere")


def test_two_sessions_take_turns(engine: Engine):
    """The second waits for the first, sees what it wrote, and changes nothing."""
    with Session(engine) as session, session.begin():
        level = make.level(session, "fixed", references=REFERENCES).id
        entry(session, "NaCl", -1.0, session.get_one(Level, level))
    changed: list[int] = []

    def second() -> None:
        with Session(engine) as session, session.begin():
            changed.append(place(session, level).changed)

    with Session(engine) as first, first.begin():
        assert place(first, level).changed == 1
        thread = threading.Thread(target=second)
        thread.start()
        thread.join(0.5)
        assert thread.is_alive()
    thread.join(30)
    assert changed == [0]


def test_a_state_repeats_the_keys_that_it_is_searched_by(session: Session, level: Level):
    relaxed = make.calculation(
        session, make.structure(session, "NaCl", label="AB_cF8_225_a_b"), level, energy=-8.0, label="AB_tP2_123_a_d"
    )
    unknown = make.calculation(session, make.structure(session, "KCl", label="AB_cF8_225_a_b"), level, energy=-8.0)
    place(session, level.id)
    for one, label in ((relaxed, "AB_tP2_123_a_d"), (unknown, "AB_cF8_225_a_b")):
        state, initial = current(session, one), session.get_one(Structure, one.initial_structure_id)
        assert (state.structure_id, state.composition_id) == (initial.id, initial.composition_id)
        assert session.get_one(Prototype, state.prototype_id).label == label
