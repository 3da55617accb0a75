"""The scoring daemons with a real ensemble on real rows."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import Engine, select, update
from sqlalchemy.orm import Session

pytest.importorskip("torch", reason="the extra `predictors` isn't installed")

from predictors.checkpoint import load_model
from predictors.model_files import sealed
from registry import queue
from registry.crystal import Crystal
from registry.errors import SettingsError
from registry.models import Level, Model, ModelFile, Prediction, TrainingSet, Work
from registry.states import ErrorClass, Kind, Purpose, Stage, WorkState
from tests import factories as make
from tests.workers.models import save_tiny_composition_model, save_tiny_model
from workers.loop import Loop
from workers.score import ScoreDaemon
from workers.train import promote, register


@pytest.fixture
def model_id(engine: Engine, level_id: int, tiny_model: Path) -> int:
    with Session(engine) as session, session.begin():
        found = register(session, "tiny", tiny_model)
        promote(session, "tiny")
    return found


def cubic(number: int, other: int) -> Crystal:
    return Crystal(np.eye(3) * 4.0, [number, other], [[0, 0, 0], [0.5, 0.5, 0.5]])


def candidates(engine: Engine, *crystals: Crystal) -> list[int]:
    with Session(engine) as session, session.begin():
        return [make.structure(session, "NaCl", origin="generated", arrays=one).id for one in crystals]


def drain(engine: Engine, stage: Stage) -> None:
    Loop(engine, [ScoreDaemon(stage)], drain=True).run()


def predictions(engine: Engine) -> list[Prediction]:
    with Session(engine, expire_on_commit=False) as session:
        return list(session.scalars(select(Prediction).order_by(Prediction.structure_id)))


def test_every_candidate_is_scored_once(engine: Engine, model_id: int, tiny_model: Path):
    crystals = [cubic(11, 17), cubic(19, 17)]
    ids = candidates(engine, *crystals)
    with Session(engine) as session, session.begin():
        make.structure(session, "NaCl")  # imported: nobody asks for it
    drain(engine, Stage.SINGLE)
    rows = predictions(engine)
    assert [row.structure_id for row in rows] == ids
    expected = load_model(tiny_model).predict(crystals, members=1)
    assert [row.formation_energy_per_atom for row in rows] == pytest.approx(list(expected.energy), abs=1e-6)
    assert {(row.stage, row.spread, row.volume_factor, len(row.members)) for row in rows} == {("single", None, 1.0, 1)}
    assert queue.open_work(engine, Kind.SCORE) == 0


def test_the_ensemble_scans_volumes_of_what_was_picked(engine: Engine, model_id: int, tiny_model: Path):
    crystals = [cubic(11, 17), cubic(19, 17)]
    ids = candidates(engine, *crystals)
    with Session(engine) as session, session.begin():
        model = session.get_one(Model, model_id)
        turn = make.campaign_round(session, make.campaign(session, make.level(session, "7net-0")))
        of = session.get_one(type(make.structure(session, "Na")), ids[1])
        make.selection(session, of, turn, model, purpose=Purpose.REFINE.value)
    drain(engine, Stage.ENSEMBLE)
    row = predictions(engine)[0]
    expected = load_model(tiny_model).predict([crystals[1]], volume_scan=True)
    assert row.structure_id == ids[1]
    assert row.formation_energy_per_atom == pytest.approx(float(expected.energy[0]), abs=1e-6)
    assert row.spread == pytest.approx(float(expected.spread[0]), abs=1e-6)
    assert (len(row.members), 0.8 <= row.volume_factor <= 1.2) == (3, True)


@pytest.mark.parametrize("stage", [Stage.SINGLE, Stage.ENSEMBLE])
def test_the_interval_and_the_domain_are_stored(engine: Engine, level_id: int, confident_model: Path, stage: Stage):
    """Of a cell like those that it learnt from, and of one far more crowded."""
    with Session(engine) as session, session.begin():
        model = session.get_one(Model, register(session, "confident", confident_model))
        promote(session, "confident")
        crystals = [cubic(11, 17), Crystal(np.eye(3) * 2.5, [11, 17], [[0, 0, 0], [0.5, 0.5, 0.5]])]
        rows = [make.structure(session, "NaCl", origin="generated", arrays=one) for one in crystals]
        turn = make.campaign_round(session, make.campaign(session, session.get_one(Level, level_id)))
        for row in rows:
            make.selection(session, row, turn, model, purpose=Purpose.REFINE.value)
    drain(engine, stage)
    near, far = predictions(engine)
    expected = load_model(confident_model).predict(
        crystals, **({"members": 1} if stage is Stage.SINGLE else {"volume_scan": True})
    )
    assert expected.intervals is not None
    for row, (lower, upper) in zip((near, far), expected.intervals[:, -1].tolist(), strict=True):
        assert (row.lower_90, row.upper_90) == (pytest.approx(lower, abs=1e-5), pytest.approx(upper, abs=1e-5))
        assert lower < row.formation_energy_per_atom < upper
    assert (near.out_of_domain, far.out_of_domain) == (False, True)


def test_a_model_without_a_calibration_leaves_them_empty(engine: Engine, model_id: int):
    candidates(engine, cubic(11, 17))
    drain(engine, Stage.SINGLE)
    row = predictions(engine)[0]
    assert (row.lower_90, row.upper_90, row.out_of_domain) == (None, None, None)


def test_an_element_that_the_model_never_saw_is_refused_with_its_reason(engine: Engine, model_id: int):
    known, strange = candidates(engine, cubic(11, 17), cubic(92, 17))
    drain(engine, Stage.SINGLE)
    assert [row.structure_id for row in predictions(engine)] == [known]
    with Session(engine) as session:
        row = session.scalars(select(Work)).one()
        assert (row.subject_id, row.state, row.error_class) == (strange, WorkState.DEAD, ErrorClass.UNSUPPORTED_ELEMENT)


def test_a_new_model_asks_for_new_scores(engine: Engine, model_id: int, tiny_model: Path):
    candidates(engine, cubic(11, 17))
    drain(engine, Stage.SINGLE)
    with Session(engine) as session, session.begin():
        register(session, "tiny-2", tiny_model)
        promote(session, "tiny-2")
    assert queue.open_work(engine, Kind.SCORE) == 1
    drain(engine, Stage.SINGLE)
    assert len({row.model_id for row in predictions(engine)}) == 2


def test_a_promoted_model_of_formulas_scores_no_crystal(engine: Engine, model_id: int, tmp_path: Path):
    with Session(engine) as session, session.begin():
        level = session.get_one(Level, session.get_one(Model, model_id).level_id)
        register(session, "formulas", save_tiny_composition_model(tmp_path / "formulas", level.name))
        promote(session, "formulas")
        assert session.get_one(Model, model_id).promoted
    candidates(engine, cubic(11, 17))
    drain(engine, Stage.SINGLE)
    assert [row.model_id for row in predictions(engine)] == [model_id]


def test_a_model_that_cannot_be_read_leaves_the_row_to_others(engine: Engine, model_id: int):
    candidates(engine, cubic(11, 17))
    with Session(engine) as session, session.begin():
        session.execute(update(ModelFile).where(ModelFile.name == "model.json").values(content=b"{}"))
    loop = Loop(engine, [ScoreDaemon(Stage.SINGLE)], on_outcome=lambda _outcome: loop.stop())
    loop.run()
    with Session(engine) as session:
        row = session.scalars(select(Work)).one()
        assert (row.state, row.error_class) == (WorkState.WAITING, ErrorClass.MISSING_ENGINE)
        assert "aren't those that were registered" in str(row.error)


def test_a_model_is_scored_with_where_its_folder_is_not(
    engine: Engine, level_id: int, tiny_model: Path, tmp_path: Path
):
    """The files travel in the database: daemons on other machines need nothing else."""
    moved = Path(shutil.copytree(tiny_model, tmp_path / "moved"))
    with Session(engine) as session, session.begin():
        register(session, "moved", moved)
        promote(session, "moved")
    shutil.rmtree(moved)
    candidates(engine, cubic(11, 17))
    drain(engine, Stage.SINGLE)
    assert len(predictions(engine)) == 1


def test_a_name_keeps_its_checkpoint(engine: Engine, model_id: int, tiny_model: Path, tmp_path: Path):
    other = save_tiny_model(tmp_path / "other", members=2)
    with Session(engine) as session, session.begin():
        assert register(session, "tiny", tiny_model) == model_id
        with pytest.raises(SettingsError, match="another checkpoint"):
            register(session, "tiny", other)


def test_two_exclusions_from_one_table_are_two_training_sets(engine: Engine, model_id: int, tmp_path: Path):
    folder = save_tiny_model(tmp_path / "other")
    about = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(sealed(about | {"excluded": ["NaCl"], "rows": 7}))
    with Session(engine) as session, session.begin():
        register(session, "other", folder)
        rows = session.scalars(select(TrainingSet).order_by(TrainingSet.id)).all()
        assert [(row.excluded_formulas, row.rows) for row in rows] == [([], 0), (["NaCl"], 7)]
