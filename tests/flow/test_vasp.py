"""Labels by VASP through the registry: two rows that were selected, the daemon, corrections beside raw energies."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from registry.crystal import Crystal
from registry.hull.level_rows import ensure_level
from registry.hull.levels import load_level
from registry.models import Calculation, Campaign, Selection
from tests import factories as make
from tests.workers.engines.standin_vasp import OXIDE, laid_out, standin_vasp
from workers.engines.base import engine_of
from workers.label import LabelDaemon
from workers.loop import Loop

pytestmark = pytest.mark.skipif(find_spec("custodian") is None, reason="custodian isn't installed: make dft")

STATIC = {"task": "static", "poll_seconds": 0.05, "polls_per_check": 2}


def test_mp2020_stands_beside_the_raw_energy_and_other_inputs_stay_off_the_hull(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vasp = standin_vasp(tmp_path, laid_out(tmp_path / "genuine"), monkeypatch)
    vasp.plan({"2": "tet"})  # of the second crystal's run; the third start has what custodian makes of it
    crystal = vasp.crystal(OXIDE)
    select_for_labels(engine, [crystal, crystal.scaled(crystal.volume * 1.02)])
    Loop(engine, [LabelDaemon(partial(engine_of, machine=vasp.machine))], drain=True).run()
    with Session(engine) as session:
        first, second = session.scalars(select(Calculation).order_by(Calculation.id)).all()
        assert (first.state, first.error) == ("converged", None)
        assert first.energy == second.energy == -17.54958326
        assert first.correction == pytest.approx(-2.256 - 0.687)  # of iron with U, and of oxygen in an oxide
        assert sorted(first.correction_parts) == [
            "MP2020 GGA/GGA+U mixing correction (Fe)",
            "MP2020 anion correction (oxide)",
        ]
        assert (first.off_hull, first.changes) == (None, {})
        assert first.convergence["hubbards"] == {"Fe": 5.3, "O": 0.0}
        assert first.engine_version.startswith("vasp 6.4.1, custodian ")
        assert sorted(first.datasets) == ["Fe", "O"]
        assert second.off_hull == "static ran with other inputs than the level's: ISMEAR -5 -> 0"
        assert second.changes["engine"]["static"]["corrections"][0]["errors"] == ["tet"]
        assert second.correction == first.correction


def select_for_labels(engine: Engine, crystals: list[Crystal]) -> None:
    level = load_level("vasp-mp")
    level = replace(level, name="quick", settings={**level.settings, **STATIC})
    with Session(engine) as session, session.begin():
        level_id = ensure_level(session, level)
        turn = make.campaign_round(session, make.added(session, Campaign(name="vasp", level_id=level_id)), number=1)
        for rank, crystal in enumerate(crystals, start=1):
            one = make.structure(session, "FeO", origin="generated", arrays=crystal)
            chosen = Selection(round_id=turn.id, structure_id=one.id, level_id=level_id, purpose="label", rank=rank)
            make.added(session, chosen)
