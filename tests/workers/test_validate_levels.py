"""Two levels of the registry compared, and the labels asked for that the second one lacks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from registry.errors import FilterError, HullError, LevelMismatch, LodeError, NotFound, SettingsError
from registry.hull.store import place
from registry.models import Campaign, Level, Round, Selection, Structure, Validation
from tests import factories as make
from workers.ask_labels import ship
from workers.select_second import Picked, select_second
from workers.validate import last_round
from workers.validate_levels import Asked, asked_levels, compare, keep
from workers.validation.levels import MEASURES

ELEMENTS = {"Na": 0.0, "Cl": 0.0, "K": 0.0}
ASKED = Asked("pbe", "r2")

Crystals = dict[str, Structure]


def level(session: Session, name: str, **columns: Any) -> Level:
    return make.level(session, name, **{"references": ELEMENTS, "tabulated": list(ELEMENTS), **columns})


def label(session: Session, crystals: Crystals, at: Level, energies: Mapping[str, float]) -> None:
    """Formula -> formation energy, eV/atom, on the hull."""
    for formula, energy in energies.items():
        crystals[formula] = crystal = crystals.get(formula) or make.structure(session, formula)
        make.calculation(session, crystal, at, energy=energy * crystal.nsites)
    place(session, at.id)


@pytest.fixture
def crystals(session: Session) -> Crystals:
    """At level pbe NaCl, NaCl2 and KCl are stable; at r2 NaCl2 is no more, and KCl isn't labelled."""
    found: Crystals = {}
    pbe, r2 = level(session, "pbe"), level(session, "r2", functional="r2SCAN")
    label(session, found, pbe, {"NaCl": -2.0, "NaCl2": -1.6, "Na2Cl": -1.3, "Na3Cl": -0.2, "KCl": -2.0})
    label(session, found, r2, {"NaCl": -2.0, "NaCl2": -1.2, "Na2Cl": -1.5, "Na3Cl": -0.2})
    return found


def test_who_keeps_what(session: Session, crystals: Crystals):
    found = compare(session, ASKED)
    tally = found.tally("2")
    assert (tally.stable, tally.unlabelled, tally.compared, tally.lacking_competitors) == (3, 1, 2, 0)
    assert {name: tally.kept[name].count for name in MEASURES} == dict.fromkeys(MEASURES, 1)
    assert [row.id for row in found.left] == [crystals["NaCl2"].public_id]
    assert [row.id for row in found.entered] == [crystals["Na2Cl"].public_id]
    assert found.left[0].second.decomposition_energy == pytest.approx(-1.2 + 2 / 3 * 2.0)
    assert (found.first_entries, found.second_entries, found.common_entries) == (5, 4, 4)


def test_places_are_those_that_the_registry_tells(session: Session, crystals: Crystals):
    """Where each level has all its entries."""
    found = compare(session, Asked("pbe", "r2", own_hulls=True))
    (left,) = found.left
    query = "SELECT e_above_hull, decomposition_energy, phase_separation_energy, is_stable FROM hull_state"
    query += " JOIN level ON level.id = level_id WHERE structure_id = :crystal AND level.name = :level"
    for name, there in (("pbe", left.first), ("r2", left.second)):
        (row,) = session.execute(sa.text(query), {"crystal": crystals["NaCl2"].id, "level": name}).all()
        assert (there.e_above_hull, there.decomposition_energy, there.phase_separation_energy) == row[:3]
        assert there.is_stable == row.is_stable


def test_former_states_and_what_is_not_placed_have_no_part(session: Session, crystals: Crystals):
    session.execute(sa.text("UPDATE hull_state SET valid_to = clock_timestamp() WHERE chemsys = 'Cl-Na'"))
    with pytest.raises(HullError, match="level 'r2' has no hull: label crystals at it"):
        compare(session, ASKED)


def test_a_system_and_a_filter(session: Session, crystals: Crystals):
    assert compare(session, Asked("pbe", "r2", chemsys="Na-Cl")).tally().stable == 2
    assert compare(session, Asked("pbe", "r2", filter="nsites=3")).tally().compared == 1
    assert compare(session, Asked("pbe", "r2", filter='reduced_formula="KCl"')).tally().unlabelled == 1
    with pytest.raises(FilterError):
        compare(session, Asked("pbe", "r2", filter="nsites=="))
    with pytest.raises(FilterError):
        compare(session, Asked("pbe", "r2", chemsys="Na-Nothing"))
    with pytest.raises(HullError, match="'r2' has no hull within K-Cl"):
        compare(session, Asked("pbe", "r2", chemsys="K-Cl"))


def test_without_a_common_compound_there_is_nothing_to_compare(session: Session, crystals: Crystals):
    label(session, {}, level(session, "third"), {"NaCl": -2.0, "Na": 0.1})
    with pytest.raises(HullError, match="no compound is labelled at both 'pbe' and 'third': ask for labels"):
        compare(session, Asked("pbe", "third"))
    with pytest.raises(NotFound, match="no level 'nowhere'"):
        compare(session, Asked("pbe", "nowhere"))


def test_which_levels(session: Session, crystals: Crystals):
    assert asked_levels(session, None, None) == asked_levels(session, "pbe", None) == ("pbe", "r2")
    level(session, "empty", functional="r2scan")
    assert asked_levels(session, None, None) == ("pbe", "r2")  # the other one has no hull
    assert asked_levels(session, "r2", "pbe") == ("r2", "pbe")
    refused: list[tuple[str | None, str | None, type[LodeError], str]] = [
        ("pbe", "pbe", SettingsError, "can't be held against itself"),
        ("pbe", "nowhere", NotFound, "no level 'nowhere'"),
        ("nowhere", None, NotFound, "no level 'nowhere'"),
    ]
    for first, second, error, reason in refused:
        with pytest.raises(error, match=reason):
            asked_levels(session, first, second)
    label(session, {}, level(session, "r2-too", functional="r2SCAN"), {"NaCl": -2.0})
    with pytest.raises(SettingsError, match=r"more than one level is of r2SCAN \(r2, r2-too\): choose one with --ag"):
        asked_levels(session, "pbe", None)
    with pytest.raises(SettingsError, match="more than one level has a hull"):
        asked_levels(session, None, "r2")


def test_a_registry_without_r2scan(session: Session):
    level(session, "pbe")
    with pytest.raises(NotFound, match=r"name one with --against .*gpaw-r2scan.* ship with Motherlode"):
        asked_levels(session, "pbe", None)


def test_labels_that_the_second_level_lacks_are_asked_for(session: Session, crystals: Crystals):
    """KCl is stable and unlabelled; the others are there. Small cells first, and each but once."""
    more = make.structure(session, "K2Cl")
    make.calculation(session, more, make.level(session, "pbe"), energy=-1.3 * 3)
    place(session, make.level(session, "pbe").id)
    assert select_second(session, ASKED, within=0.1) == Picked(3, 2, 0, 3, 0, 2, ())
    rows = session.execute(sa.select(Selection.structure_id, Selection.purpose).order_by(Selection.rank)).all()
    assert [tuple(row) for row in rows] == [(crystals["KCl"].id, "reference"), (more.id, "reference")]
    waiting = session.scalars(sa.text("SELECT subject_id FROM unlabelled ORDER BY priority")).all()
    assert waiting == [crystals["KCl"].id, more.id]
    assert select_second(session, ASKED, within=0.1) == Picked(3, 2, 0, 3, 2, 0, ())
    turn = session.scalars(sa.select(Round)).one()
    assert turn.finished_at is not None
    assert (turn.settings["validated_level"], turn.settings["family"]) == ("pbe", ["Cl", "K", "Na"])
    assert session.scalars(sa.select(Campaign.name)).one() == "r2scan of pbe at r2"


@pytest.mark.parametrize(
    ("asked", "within", "expected"),
    [
        (Asked("pbe", "r2", filter='reduced_formula="KCl"'), 0.05, Picked(1, 0, 0, 0, 0, 1, ())),
        (Asked("pbe", "r2", chemsys="Cl-Na"), 0.0, Picked(2, 0, 0, 2, 0, 0, ())),
        (Asked("pbe", "r2", chemsys="Cl-Na"), 9.0, Picked(2, 2, 0, 4, 0, 0, ())),
    ],
)
def test_which_labels(session: Session, crystals: Crystals, asked: Asked, within: float, expected: Picked):
    assert select_second(session, asked, within) == expected


def test_elements_are_asked_for_where_the_level_takes_them_from_its_entries(session: Session, crystals: Crystals):
    sodium = [make.structure(session, "Na") for _ in range(2)]
    make.duplicate(session, sodium[1], sodium[0])
    make.level(session, "own", functional="r2SCAN")
    found = select_second(session, Asked("pbe", "own", chemsys="Na-Cl"), within=0.0)
    assert found == Picked(2, 0, 1, 0, 0, 3, ("Cl",))
    first = session.scalars(sa.select(Selection.structure_id).order_by(Selection.rank)).first()
    assert first == sodium[0].id


def test_what_can_not_be_asked_for(session: Session, crystals: Crystals):
    make.level(session, "theirs", engine="imported")
    with pytest.raises(LevelMismatch, match="'theirs' holds imported energies: nothing is labelled at it"):
        select_second(session, Asked("pbe", "theirs"))
    with pytest.raises(HullError, match="nothing of what is asked for is stable at level 'pbe'"):
        select_second(session, Asked("pbe", "r2", filter='reduced_formula="Na3Cl"'))
    with pytest.raises(NotFound, match="no level 'gpaw-r2scan'"):
        select_second(session, Asked("pbe", "gpaw-r2scan"))
    ship(session, "gpaw-r2scan")
    assert select_second(session, Asked("pbe", "gpaw-r2scan")).asked > 0


def test_a_report_is_kept_with_the_round_that_asked(session: Session, crystals: Crystals):
    """And that round isn't taken for one that proposed candidates."""
    found = compare(session, ASKED)
    assert keep(session, ASKED, found) is None
    select_second(session, ASKED)
    turn = session.scalars(sa.select(Round.id)).one()
    assert keep(session, ASKED, found) == turn
    session.flush()
    row = session.scalars(sa.select(Validation)).one()
    session.expire(row)
    assert (row.name, row.summary["level"], row.summary["hulls"]) == ("r2scan", "pbe", "common")
    assert [(one["reduced_formula"], one["left"]) for one in row.rows] == [("NaCl2", True), ("Na2Cl", False)]
    with pytest.raises(NotFound, match="no campaign has run yet"):
        last_round(session)
    assert last_round(session, "r2scan of pbe at r2") == turn
    later = make.campaign_round(session, make.campaign(session, make.level(session, "pbe")))
    assert last_round(session) == later.id
