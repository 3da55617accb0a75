"""Bridges in the registry."""

from __future__ import annotations

import numpy as np
import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from predictors.bridge import Bridge, fit_bridge
from predictors.errors import BadCheckpoint
from registry.errors import NotFound
from registry.models import LevelBridge
from tests import factories as make
from workers.bridge import bridges, energies_of_both, store_bridge, stored_bridge

CATIONS, ANIONS = ("Li", "Na", "K", "Rb", "Cs", "Mg", "Ca", "Sr"), ("O", "S", "Cl", "Br")
FORMULAS = [f"{cation}{number}{anion}" for cation in CATIONS for anion in ANIONS for number in (1, 3)]


def fitted(by: float = 0.1) -> Bridge:
    return fit_bridge(("old", "new"), FORMULAS, np.zeros(len(FORMULAS)), np.full(len(FORMULAS), by))


@pytest.fixture
def levels(session: Session) -> None:
    for name in ("old", "new"):
        make.level(session, name)


@pytest.mark.usefixtures("levels")
def test_the_last_bridge_between_two_levels_counts(session: Session):
    assert store_bridge(session, fitted())
    assert not store_bridge(session, fitted())
    assert stored_bridge(session, "old", "new") == fitted()
    assert store_bridge(session, fitted(0.2))
    assert stored_bridge(session, "old", "new").residuals["raw"]["mean"] == pytest.approx(0.2)
    rows = bridges(session)
    assert [(row["from"], row["to"], row["rows"]) for row in rows] == [("old", "new", len(FORMULAS))] * 2
    assert rows[0]["sha256"] == fitted(0.2).sha256
    with pytest.raises(NotFound, match="no bridge from 'new' to 'old'"):
        stored_bridge(session, "new", "old")
    with pytest.raises(NotFound, match="no level 'nowhere'"):
        stored_bridge(session, "old", "nowhere")


@pytest.mark.usefixtures("levels")
@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("coefficients", {"ridge": 1.0}, "can't be read"),
        ("residuals", {"held_out": {"std": 0.0}}, "isn't what was stored"),
    ],
)
def test_a_damaged_row_is_refused(session: Session, column: str, value: object, reason: str):
    store_bridge(session, fitted())
    session.execute(sa.update(LevelBridge).values({column: value}))
    with pytest.raises(BadCheckpoint, match=f"bridge from old to new {reason}"):
        stored_bridge(session, "old", "new")


@pytest.mark.usefixtures("levels")
def test_what_both_levels_hold_is_asked_for(session: Session):
    old, new = make.level(session, "old"), make.level(session, "new")
    both = make.structure(session, "NaCl")
    for level, energy in ((old, -1.0), (new, -1.2)):
        make.hull_state(session, make.calculation(session, both, level), formation_energy_per_atom=energy)
    make.material(session, "KCl", at=old)
    make.material(session, "LiCl", at=new)
    assert [tuple(row) for row in energies_of_both(session, "old", "new")] == [("NaCl", -1.0, -1.2)]
    assert [tuple(row) for row in energies_of_both(session, "new", "old")] == [("NaCl", -1.2, -1.0)]
