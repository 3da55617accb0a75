"""From a formula to its structure with the real label engine: lithium fluoride out of fourteen random cells."""

from __future__ import annotations

from dataclasses import asdict

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

pytest.importorskip("sevenn", reason="the extra `potentials` isn't installed")

from registry.hull.level_rows import ensure_level
from registry.hull.levels import load_level
from registry.searches import ask, progress
from workers.candidates.random_search import Settings
from workers.label import LabelDaemon
from workers.loop import Loop
from workers.place import PlaceDaemon
from workers.search import SearchDaemon

STRUCTURES = 14


def test_random_search_finds_rock_salt(engine: Engine):
    """One formula unit a cell, so that a relaxation takes a second; some fail, and that is no matter."""
    with Session(engine) as session, session.begin():
        level = ensure_level(session, load_level("7net-0"))
        ask(session, {3: 1, 9: 1}, level, STRUCTURES, 0, asdict(Settings(most_atoms=2)))
    Loop(engine, [SearchDaemon(), LabelDaemon(), PlaceDaemon()], drain=True).run()
    with Session(engine) as session:
        (row,) = progress(session)
        label = session.execute(text("SELECT * FROM analytics.composition_labels")).mappings().one()
    assert (row["stored"], row["completed"] + row["failed"]) == (STRUCTURES, STRUCTURES)
    assert row["completed"] >= 10
    assert label["prototype"] == "AB_cF8_225_a_b"
    assert label["formation_energy_per_atom"] == pytest.approx(-3.15, abs=0.05)
    assert label["e_above_hull"] == 0
