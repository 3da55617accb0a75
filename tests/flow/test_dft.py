"""Real DFT through the registry: a row that was selected, the daemon, the frames, the hull."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from registry.crystal import Crystal
from registry.hull.level_rows import ensure_level
from registry.hull.levels import load_level
from registry.models import Calculation, Campaign, Frame, HullState, Selection, Structure
from registry.states import CalculationState
from tests import factories as make
from workers.engines.base import engine_of
from workers.label import LabelDaemon
from workers.loop import Loop
from workers.place import PlaceDaemon

pytestmark = pytest.mark.skipif(find_spec("gpaw") is None, reason="GPAW isn't installed: make dft")

PBE_LATTICE = 5.469  # angstrom, of silicon
SILICON = Crystal(np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]) * 2.76, [14, 14], [[0, 0, 0], [0.26, 0.25, 0.25]])

FCC = np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]) / 2
SALT_AND_ELEMENTS = {
    "Na": Crystal(4.19 / 2 * np.array([[-1, 1, 1], [1, -1, 1], [1, 1, -1]]), [11], [[0, 0, 0]]),
    "Cl": Crystal(
        [[3.0725, -2.1975, 0], [3.0725, 2.1975, 0], [0, 0, 8.154]],
        [17] * 4,
        [[0.8827, 0.1173, 0.1019], [0.6173, 0.3827, 0.6019], [0.3827, 0.6173, 0.3981], [0.1173, 0.8827, 0.8981]],
    ),
    "NaCl": Crystal(5.69 * FCC, [11, 17], [[0, 0, 0], [0.5, 0.5, 0.5]]),
}


def test_rock_salt_forms_from_its_elements(engine: Engine) -> None:
    """As they stand, at lattice constants of PBE; chlorine as the crystal of its molecules."""
    level = load_level("gpaw-pbe")
    settings = {**level.settings, "cutoff": 400.0, "cutoffs": {}, "task": "static"}
    with Session(engine) as session, session.begin():
        level_id = ensure_level(session, replace(level, name="salt", settings=settings))
        turn = make.campaign_round(session, make.added(session, Campaign(name="dft", level_id=level_id)), number=1)
        for rank, (formula, crystal) in enumerate(SALT_AND_ELEMENTS.items(), 1):
            structure = make.structure(session, formula, origin="imported", arrays=crystal)
            picked = {"structure_id": structure.id, "level_id": level_id, "purpose": "reference", "rank": rank}
            make.added(session, Selection(round_id=turn.id, **picked))
    Loop(engine, [LabelDaemon(engine_of), PlaceDaemon()], drain=True).run()
    with Session(engine) as session:
        rows = session.scalars(select(Calculation)).all()
        assert [(row.state, row.task, row.correction) for row in rows] == [("converged", "static", 0.0)] * 3
        current = select(HullState).where(HullState.valid_to.is_(None))
        states = {state.chemsys: state for state in session.scalars(current)}
    assert [state.is_stable for state in states.values()] == [True] * 3
    assert 2 * states["Cl-Na"].formation_energy_per_atom == pytest.approx(-3.7, abs=0.25)  # measured: -4.26
    gaps = {tuple(row.datasets): row.gap for row in rows}
    assert gaps[("Na",)] == 0.0
    assert gaps[("Cl", "Na")] == pytest.approx(5.0, abs=0.5)


def test_silicon_relaxes_to_its_lattice_constant(engine: Engine) -> None:
    level = load_level("gpaw-pbe")
    level = replace(level, name="silicon", settings={**level.settings, "cutoff": 400.0})
    with Session(engine) as session, session.begin():
        level_id = ensure_level(session, level)
        structure = make.structure(session, "Si", origin="generated", arrays=SILICON)
        turn = make.campaign_round(session, make.added(session, Campaign(name="dft", level_id=level_id)), number=1)
        make.added(
            session,
            Selection(round_id=turn.id, structure_id=structure.id, level_id=level_id, purpose="label", rank=1),
        )
    Loop(engine, [LabelDaemon(engine_of), PlaceDaemon()], drain=True).run()
    with Session(engine) as session:
        row = session.scalars(select(Calculation)).one()
        assert (row.state, row.error) == (CalculationState.CONVERGED, None)
        assert row.engine_version.startswith("gpaw 26")
        assert row.gap == pytest.approx(0.6, abs=0.15)  # PBE's
        assert row.convergence["max_force"] < 0.03
        assert row.convergence["metal"] is False
        assert len(row.datasets["Si"]) == 64
        relaxed = session.get_one(Structure, row.final_structure_id)
        volume = abs(np.linalg.det(np.array(relaxed.lattice).reshape(3, 3)))
        assert (4 * volume) ** (1 / 3) == pytest.approx(PBE_LATTICE, rel=0.005)
        frames = session.scalars(select(Frame).order_by(Frame.step)).all()
        assert len(frames) == row.steps + 1 > 2
        assert frames[-1].energy < frames[0].energy
        state = session.scalars(select(HullState).where(HullState.valid_to.is_(None))).one()
        assert (state.is_stable, state.e_above_hull) == (True, 0.0)
