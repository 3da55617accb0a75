"""A real ensemble that learns where it has learnt, and takes that along to disk and back."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load, save

from predictors.augmentation import PlainCrystal
from predictors.calibration import SMALLEST_ERROR
from predictors.checkpoint import load_model, save_model
from predictors.confidence import Asked, fitted
from predictors.ensemble import Ensemble
from predictors.errors import BadCheckpoint
from predictors.evaluate import evaluate
from predictors.model_files import ABOUT, WEIGHTS, ModelRecord, sealed
from predictors.predictor import Predictions
from predictors.splits import Split
from predictors.structure_model import StructureModel
from predictors.training_set import TrainingSet


@pytest.fixture
def untaught(model: StructureModel, data: TrainingSet) -> Ensemble:
    torch.manual_seed(1)
    others = [StructureModel(model.config).eval() for _ in range(2)]
    return Ensemble([model, *others], ModelRecord("PBE", tuple(data.elements())))


@pytest.fixture
def ensemble(untaught: Ensemble, data: TrainingSet) -> Ensemble:
    return fitted(untaught, data)


@pytest.fixture
def crystals(data: TrainingSet) -> list[PlainCrystal]:
    return [data.crystals[i] for i in data.part(Split.VALIDATION)]


def dense(crystal: PlainCrystal) -> PlainCrystal:
    """A copy squeezed to a tenth of its volume: unlike anything in the training set."""
    return replace(crystal, lattice=crystal.lattice / 10 ** (1 / 3))


def test_errors_are_those_of_members_that_never_saw_a_crystal(untaught: Ensemble, data: TrainingSet) -> None:
    """Two of the members left out a half each; the third has seen all."""
    halves = replace(untaught, record=replace(untaught.record, dataset={"left_out": [[0, 2], [1, 2], None]}))
    part = data.part(Split.TRAIN)
    energies = untaught.predict([data.crystals[i] for i in part]).member_energies
    errors = data.targets[part] - energies[np.arange(len(part)), data.fold(2)[part]]
    told = fitted(halves, data).confidence
    assert told is not None
    np.testing.assert_allclose(np.sort(told.domain.errors), np.sort(np.log(np.abs(errors) + SMALLEST_ERROR)), atol=0.01)


def test_without_a_confidence_nothing_is_said(untaught: Ensemble, crystals: list[PlainCrystal]) -> None:
    found = untaught.predict(crystals)
    assert (found.intervals, found.distance, found.outside) == (None, None, None)


def test_each_way_of_asking_has_its_intervals(ensemble: Ensemble, crystals: list[PlainCrystal]) -> None:
    three = [
        ensemble.predict(crystals),
        ensemble.predict(crystals, members=1),
        ensemble.predict(crystals, volume_scan=True),
    ]
    for found in three:
        assert found.intervals is not None
        assert found.intervals.shape == (len(crystals), 3, 2)
        assert (found.intervals[..., 0] <= found.energy[:, None]).all()
        assert (found.intervals[..., 1] >= found.energy[:, None]).all()
    widths = [np.diff(found.intervals[:, -1]).mean() for found in three if found.intervals is not None]
    assert len(set(widths)) == 3
    two = ensemble.predict(crystals, members=2)
    assert two.intervals is None
    assert two.outside is not None


def test_a_model_of_one_member_is_asked_about_candidates_as_one_of_many_is(
    untaught: Ensemble, data: TrainingSet, crystals: list[PlainCrystal]
) -> None:
    alone = fitted(replace(untaught, members=untaught.members[:1]), data)
    assert alone.confidence is not None
    found = {Asked.FIRST: alone.predict(crystals, members=1), Asked.ALL: alone.predict(crystals)}
    for asked, one in found.items():
        assert one.intervals == pytest.approx(alone.confidence.intervals(one, crystals, asked)([0.5, 0.8, 0.9]))
    assert found[Asked.FIRST].intervals != pytest.approx(found[Asked.ALL].intervals)


def test_a_crystal_unlike_those_of_the_training_is_marked(untaught: Ensemble, data: TrainingSet) -> None:
    """Held-out crystals that are the training's, one percent wider, are as near as can be; squeezed ones are not."""
    learnt = [data.crystals[i] for i in data.part(Split.TRAIN)]
    wider = [replace(one, lattice=one.lattice * 1.01) for one in learnt]
    n = len(learnt)
    splits = [Split.TRAIN] * n + [Split.VALIDATION] * n
    targets = np.tile(data.targets[data.part(Split.TRAIN)], 2)
    ensemble = fitted(untaught, replace(data, crystals=learnt + wider, targets=targets, splits=splits))
    near, far = (
        sum("times the distance" in reason for reason in (ensemble.predict(asked).outside or {}).values())
        for asked in ([replace(one, lattice=one.lattice * 1.005) for one in learnt], [dense(one) for one in learnt])
    )
    assert near <= 0.1 * n
    assert far > 0.8 * n


def test_refused_crystals_keep_their_place(ensemble: Ensemble, crystals: list[PlainCrystal]) -> None:
    """Isolated atoms, single sites, unknown elements, NaN, no such element: an answer with a mark, or a refusal."""
    one = crystals[0]
    bad = [
        replace(one, numbers=np.full(len(one.numbers), 92, dtype=np.int16)),
        replace(one, frac_coords=one.frac_coords * np.nan),
        replace(one, numbers=np.full(len(one.numbers), 300, dtype=np.int16)),
    ]
    alone = PlainCrystal(np.eye(3) * 40, np.array([11], dtype=np.int16), np.zeros((1, 3)))
    found = ensemble.predict([*bad, one, alone])
    assert set(found.refused) == {0, 1, 2}
    assert found.intervals is not None
    assert found.distance is not None
    assert found.outside is not None
    assert np.isnan(found.intervals[:3]).all()
    assert np.isnan(found.distance[:3]).all()
    assert np.isfinite(found.intervals[3:]).all()
    assert set(found.outside) <= {3, 4}
    assert np.isfinite(found.energy[3:]).all()
    again = ensemble.predict([one]).intervals
    assert again is not None
    np.testing.assert_allclose(found.intervals[3], again[0], atol=1e-4)


def test_no_crystals_no_intervals(ensemble: Ensemble) -> None:
    found = ensemble.predict([])
    assert found.intervals is not None
    assert found.intervals.shape == (0, 3, 2)
    assert found.outside == {}


def test_parts_are_joined(ensemble: Ensemble, untaught: Ensemble, crystals: list[PlainCrystal]) -> None:
    bad = replace(crystals[0], frac_coords=crystals[0].frac_coords * np.nan)
    part, strange = ensemble.predict(crystals), ensemble.predict([bad, dense(crystals[0])])
    joined = Predictions.joined([part, strange])
    assert joined.intervals is not None
    assert strange.outside is not None
    assert joined.outside is not None
    assert len(joined.intervals) == len(crystals) + 2
    assert set(joined.refused) == {len(crystals)}
    assert {len(crystals) + index for index in strange.outside} <= set(joined.outside)
    assert Predictions.joined([part, untaught.predict(crystals)]).intervals is None


def test_an_ensemble_that_can_predict_nothing_held_out_stays_as_it_is(untaught: Ensemble, data: TrainingSet) -> None:
    nothing = replace(untaught, record=replace(untaught.record, elements=(92,)))
    assert fitted(nothing, data) is nothing


def test_one_held_out_crystal_is_enough(untaught: Ensemble, data: TrainingSet) -> None:
    first = int(data.part(Split.VALIDATION)[0])
    kept = [i for i in range(len(data.crystals)) if i == first or data.splits[i] == Split.TRAIN]
    few = replace(
        data,
        crystals=[data.crystals[i] for i in kept],
        targets=data.targets[kept],
        splits=[data.splits[i] for i in kept],
    )
    found = fitted(untaught, few).predict([data.crystals[first]])
    assert found.intervals is not None
    assert np.isfinite(found.intervals).all()


def test_the_evaluation_tells_coverage_before_and_after(ensemble: Ensemble, data: TrainingSet) -> None:
    metrics = evaluate(ensemble, data, most=10).as_metrics()
    for name in ("coverage_90", "raw_coverage_90", "calibration_error", "raw_calibration_error", "outside"):
        assert 0 <= metrics[f"validation_{name}"] <= 1
    assert metrics["validation_calibration_error"] < metrics["validation_raw_calibration_error"]


@pytest.fixture
def folder(ensemble: Ensemble, tmp_path: Path) -> Path:
    save_model(ensemble, tmp_path / "model")
    return tmp_path / "model"


def test_it_comes_back_as_it_went(ensemble: Ensemble, folder: Path, crystals: list[PlainCrystal]) -> None:
    loaded = load_model(folder)
    assert loaded.confidence is not None
    assert set(loaded.confidence.calibrations) == set(Asked)
    before, after = ensemble.predict(crystals), loaded.predict(crystals)
    np.testing.assert_array_equal(before.intervals, after.intervals)
    np.testing.assert_array_equal(before.distance, after.distance)
    assert before.outside == after.outside


def test_a_model_without_comes_back_without(untaught: Ensemble, tmp_path: Path) -> None:
    save_model(untaught, tmp_path / "model")
    assert load_model(tmp_path / "model").confidence is None
    about = json.loads((tmp_path / "model" / ABOUT).read_text())
    del about["confidence"]  # saved before there was such a thing
    (tmp_path / "model" / ABOUT).write_text(sealed(about))
    assert load_model(tmp_path / "model").confidence is None


def rewritten(folder: Path, change: Callable[[dict[str, Any], dict[str, torch.Tensor]], object]) -> None:
    """Other contents under a right hash: what a faulty writer could leave."""
    import hashlib

    about, tensors = json.loads((folder / ABOUT).read_text()), load((folder / WEIGHTS).read_bytes())
    change(about, tensors)
    weights = save(tensors)
    (folder / WEIGHTS).write_bytes(weights)
    (folder / ABOUT).write_text(sealed(about | {"weights_sha256": hashlib.sha256(weights).hexdigest()}))


DAMAGE: dict[str, Callable[[dict[str, Any], dict[str, torch.Tensor]], object]] = {
    "a tensor is missing": lambda _, tensors: tensors.__delitem__("confidence.domain.points"),
    "a calibration is missing": lambda _, tensors: tensors.__delitem__("confidence.all.quantiles"),
    "NaN": lambda _, tensors: tensors["confidence.all.quantiles"].fill_(float("nan")),
    "another network's": lambda _, tensors: tensors.update(
        {
            "confidence.domain.centre": torch.zeros(5),
            "confidence.domain.axes": torch.zeros(5, tensors["confidence.domain.points"].shape[1]),
        }
    ),
    "falling quantiles": lambda _, tensors: tensors.update(
        {"confidence.scan.quantiles": tensors["confidence.scan.quantiles"].flip(0) - torch.arange(99) * 1.0}
    ),
    "no threshold": lambda about, _: about["confidence"].__delitem__("threshold"),
    "an unknown way of asking": lambda about, _: about["confidence"]["calibrations"].update(half={}),
    "other features": lambda about, _: about["confidence"].update(features=["weather"]),
    "not a table": lambda about, _: about.update(confidence=[1]),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_damage_is_refused_by_name(folder: Path, what: str) -> None:
    rewritten(folder, DAMAGE[what])
    with pytest.raises(BadCheckpoint, match="model model: its calibration is damaged"):
        load_model(folder)
