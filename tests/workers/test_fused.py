"""Candidates scored while they are made: what isn't promising never reaches the database, but is counted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import Engine, func, select, text
from sqlalchemy.orm import Session

pytest.importorskip("torch", reason="the extra `predictors` isn't installed")

from predictors.checkpoint import load_model
from registry.crystal import Crystal
from registry.errors import NotFound
from registry.identity.duplicates import Identity
from registry.ingest import NewStructure, crystal_of, source_id, store
from registry.models import Level, Prediction, Structure
from registry.states import Origin
from registry.terms import OWN
from tests import factories as make
from workers.candidates.funnel import Funnel
from workers.candidates.generation import Settings
from workers.fused import Fused, Judge
from workers.generate import Generated, generate_candidates
from workers.train import promote, register

FCC = np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]])
FAMILY = ("Li", "Na", "K", "Ca", "Mg", "F", "Cl", "Br", "O", "S")


@pytest.fixture
def judge(engine: Engine, level_id: int, tiny_model: Path) -> Judge:
    with Session(engine) as session, session.begin():
        register(session, "tiny", tiny_model)
        promote(session, "tiny")
    with Session(engine) as session:
        return Judge.of(session, level_id, Fused())


def run(engine: Engine, level_id: int, judge: Judge | None, family: tuple[str, ...] = FAMILY) -> Generated:
    with Session(engine) as session:
        salt = Crystal(FCC * 2.8, [11, 17], [[0, 0, 0], [0.5, 0.5, 0.5]])
        parent = store(session, [NewStructure(Identity(salt), Origin.IMPORTED, source_id(session, OWN))])[0].id
        name = "fused" if judge else "unfused"
        turn = make.campaign_round(session, make.campaign(session, session.get_one(Level, level_id), name)).id
        session.commit()
        return generate_candidates(session, [parent], family, Settings(partial=False), turn, judge=judge)


def energies(engine: Engine, judge: Judge) -> dict[str, float]:
    """Public id -> predicted energy above the hull, of all that an unfused run wrote."""
    with Session(engine) as session:
        rows = session.scalars(select(Structure).where(Structure.origin == Origin.GENERATED)).all()
        crystals = [crystal_of(row) for row in rows]
        found = judge.ensemble.predict(crystals, members=1).energy
        above = found - judge.hull.energies_at([one.amounts for one in crystals])
        return dict(zip([row.public_id for row in rows], above.tolist(), strict=True))


def test_the_promising_are_written_with_their_predictions_and_the_rest_counted(
    engine: Engine, level_id: int, judge: Judge
):
    everything = run(engine, level_id, None)
    above = energies(engine, judge)
    middle = float(np.median(list(above.values())))
    with Session(engine) as session, session.begin():
        session.execute(text("DELETE FROM lineage"))
        session.execute(text("DELETE FROM structure WHERE origin = 'generated'"))
    found = run(engine, level_id, replace(judge, limit=middle))
    with Session(engine) as session:
        rows = session.execute(
            select(Structure.public_id, Prediction.formation_energy_per_atom, Prediction.stage)
            .join(Prediction, Prediction.structure_id == Structure.id)
            .where(Structure.origin == Origin.GENERATED)
        ).all()
        written = session.scalar(select(func.count()).where(Structure.origin == Origin.GENERATED))
    assert {row.public_id for row in rows} == {name for name, energy in above.items() if energy <= middle}
    assert {row.stage for row in rows} == {"single"}
    assert written == len(rows) == found.new
    assert found.counts.rejected["above_hull"] >= everything.new - found.new > 0
    assert found.counts.kept == everything.counts.kept


def test_scoring_finds_nothing_left_to_do(engine: Engine, level_id: int, judge: Judge):
    assert run(engine, level_id, judge).new > 0
    with Session(engine) as session:
        assert session.scalar(text("SELECT count(*) FROM unscored")) == 0


def test_no_transaction_waits_while_the_model_runs(
    engine: Engine, level_id: int, judge: Judge, monkeypatch: pytest.MonkeyPatch
):
    open_ones = (
        "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%' AND datname = current_database()"
    )
    seen: list[int] = []
    real = Judge.promising

    def look(self: Judge, *arguments: object) -> object:
        with Session(engine) as other:
            seen.append(int(other.scalar(text(open_ones)) or 0))
        return real(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Judge, "promising", look)
    monkeypatch.setattr("workers.generate.BATCH", 10)
    run(engine, level_id, judge)
    assert len(seen) > 1
    assert set(seen) == {0}


def test_what_the_model_or_the_hull_can_not_judge_is_counted(judge: Judge):
    """The model has never seen Ba; the hull has no Ti, which the model hasn't seen either."""
    crystals = [Crystal(FCC * 2.8, [one, 17], [[0, 0, 0], [0.5, 0.5, 0.5]]) for one in (11, 56, 19)]
    funnel, hull = Funnel(), judge.hull.energies_at
    assert set(judge.promising(crystals, funnel)) == {0, 2}
    assert funnel.rejected == {"unsupported_element": 1}
    without = replace(judge, hull=_WithoutPotassium(hull))  # type: ignore[arg-type]
    assert set(without.promising(crystals, funnel)) == {0}
    assert funnel.rejected == {"unsupported_element": 2, "no_reference": 1}


def test_what_is_dropped_out_of_domain_is_counted_apart(judge: Judge, confident_model: Path):
    """A high energy of a crystal that the model can't judge is no reason to forget it silently."""
    sure = replace(judge, ensemble=load_model(confident_model), limit=-99.0)
    crystals = [Crystal(np.eye(3) * width, [11, 17], [[0, 0, 0], [0.5, 0.5, 0.5]]) for width in (4.0, 2.5)]
    funnel = Funnel()
    assert sure.promising(crystals, funnel) == {}
    assert funnel.rejected == {"above_hull": 1, "above_hull_out_of_domain": 1}


class _WithoutPotassium:
    """A hull that lacks an element."""

    def __init__(self, of: object) -> None:
        self._of = of

    def energies_at(self, amounts: list[dict[int, int]]) -> object:
        found = self._of(amounts)  # type: ignore[operator]
        return np.where([19 in one for one in amounts], np.nan, found)


def test_without_a_promoted_model_nothing_can_be_fused(engine: Engine, level_id: int):
    with Session(engine) as session, pytest.raises(NotFound, match="no model is promoted"):
        Judge.of(session, level_id, Fused())
