from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from predictors.augmentation import PlainCrystal
from predictors.errors import BadCheckpoint, BadTrainingSet
from predictors.members import STATE
from predictors.scaling import PLOT, REPORT, ScalingPlan, kinds_of, nested, scale
from predictors.splits import Split, key_of
from predictors.train_config import TrainConfig
from predictors.training_set import TrainingSet
from tests.predictors.conftest import SMALL, made_up_energy, random_crystal

SIZES = (30, 60, 120)
FEW, MANY = (3, 8, 9, 11), (3, 8, 9, 11, 12)


def drawn(seed: int, count: int, elements: tuple[int, ...] = MANY) -> list[PlainCrystal]:
    rng = np.random.default_rng(seed)
    return [random_crystal(rng, 4, elements) for _ in range(count)]


def as_set(crystals: list[PlainCrystal], splits: list[Split], digest: str = "made up") -> TrainingSet:
    targets = np.array([made_up_energy(one) for one in crystals], dtype=np.float32)
    return TrainingSet(crystals, targets, splits, (), digest)


@pytest.fixture(scope="module")
def crystals() -> TrainingSet:
    """200 to learn from, 40 to stop by, 160 held out; a fifth of them of four elements."""
    found = drawn(0, 400)
    return as_set(found, [Split.TRAIN] * 200 + [Split.VALIDATION] * 40 + [Split.TEST] * 160)


@pytest.fixture
def scaling_plan() -> ScalingPlan:
    return ScalingPlan(SIZES, TrainConfig(model=SMALL, epochs=4, batch_size=16, learning_rate=5e-3), 3, 100)


def test_sizes_are_nested_and_hold_no_larger_chemistry(crystals: TrainingSet, scaling_plan: ScalingPlan) -> None:
    parts = nested(crystals, scaling_plan)
    learnt = [[part.crystals[i] for i in part.part(Split.TRAIN)] for part in parts]
    assert [len(each) for each in learnt] == list(SIZES)
    for smaller, larger in pairwise(learnt):
        assert larger[: len(smaller)] == smaller
    assert all(len(set(one.numbers.tolist())) <= 3 for part in parts for one in part.crystals)
    assert len({part.data_hash for part in parts} | {crystals.data_hash}) == len(SIZES) + 1


def test_all_sizes_are_judged_on_crystals_that_none_learnt_from(
    crystals: TrainingSet, scaling_plan: ScalingPlan
) -> None:
    parts = nested(crystals, scaling_plan)
    kinds = kinds_of(crystals, scaling_plan, parts, {"other": as_set(drawn(5, 300), [Split.TEST] * 300)})
    learnt = {id(one) for part in parts for one in part.crystals}
    assert all(id(one) not in learnt for kind in kinds.values() for one in kind.crystals)
    assert {len(set(one.numbers.tolist())) for one in kinds["test"].crystals} <= {1, 2, 3}
    assert {len(set(one.numbers.tolist())) for one in kinds["more_elements"].crystals} == {4}
    assert all(len(set(one.numbers.tolist())) == 2 for one in kinds["elements_2"].crystals)
    trained = {key_of(parts[-1].crystals[i].numbers) for i in parts[-1].part(Split.TRAIN)}
    assert not trained & {key_of(one.numbers) for one in kinds["other"].crystals}


def test_elements_that_the_smallest_size_never_saw_are_asked_of_none(scaling_plan: ScalingPlan) -> None:
    found = drawn(1, 300, FEW) + drawn(2, 100, (*FEW, 80))
    data = as_set(found, [Split.TRAIN] * 220 + [Split.VALIDATION] * 20 + [Split.TEST] * 160)
    kinds = kinds_of(data, scaling_plan, nested(data, scaling_plan), {})
    assert all(80 not in one.numbers for kind in kinds.values() for one in kind.crystals)


def test_a_report_falls_with_the_size_and_is_written(
    crystals: TrainingSet, scaling_plan: ScalingPlan, tmp_path: Path
) -> None:
    told: list[tuple[int, int]] = []
    others = {"random search": as_set(drawn(5, 300), [Split.TEST] * 300)}
    found = scale(crystals, tmp_path, scaling_plan, others, lambda _, done, total: told.append((done, total)))
    assert found.sizes == SIZES
    assert found.epochs == (8, 6, 4)
    for name in ("test", "more_elements", "elements_2", "elements_3", "random search"):
        curve = found.curves[name]
        assert curve.law.exponent_low < curve.law.exponent < curve.law.exponent_high
    assert found.curves["more_elements"].mae[-1] < found.curves["more_elements"].mae[0]
    assert told[-1] == (18, 18)
    written = json.loads((tmp_path / REPORT).read_text())
    assert written["curves"]["test"]["mae"] == list(found.curves["test"].mae)
    assert (tmp_path / PLOT).read_bytes().startswith(b"\x89PNG")


def test_a_report_goes_on_where_it_stopped(crystals: TrainingSet, scaling_plan: ScalingPlan, tmp_path: Path) -> None:
    whole = scale(crystals, tmp_path / "whole", scaling_plan)

    class Stopped(Exception):
        pass

    def stop(_what: str, done: int, _total: int) -> None:
        if done == 11:
            raise Stopped

    with pytest.raises(Stopped):
        scale(crystals, tmp_path / "broken", scaling_plan, report=stop)
    first = tmp_path / "broken" / "n30" / STATE
    before = first.stat().st_mtime_ns
    assert scale(crystals, tmp_path / "broken", scaling_plan) == whole
    assert first.stat().st_mtime_ns == before


def test_a_folder_of_other_data_is_refused(crystals: TrainingSet, scaling_plan: ScalingPlan, tmp_path: Path) -> None:
    scale(crystals, tmp_path, scaling_plan)
    with pytest.raises(BadCheckpoint, match="another plan"):
        scale(replace(crystals, data_hash="others"), tmp_path, scaling_plan)


@pytest.mark.parametrize("sizes", [(), (10, 20), (10, 20, 20), (30, 20, 10), (0, 10, 20)])
def test_sizes_that_give_no_line_are_refused(sizes: tuple[int, ...]) -> None:
    with pytest.raises(BadTrainingSet, match="ascending"):
        ScalingPlan(sizes)


def test_too_few_crystals_are_refused(crystals: TrainingSet, scaling_plan: ScalingPlan) -> None:
    with pytest.raises(BadTrainingSet, match="to learn from"):
        nested(crystals, replace(scaling_plan, sizes=(10, 100, 1000)))
    parts = nested(crystals, scaling_plan)
    few = as_set(drawn(6, 5), [Split.TEST] * 5)
    with pytest.raises(BadTrainingSet, match="of few to judge by"):
        kinds_of(crystals, scaling_plan, parts, {"few": few})
    with pytest.raises(BadTrainingSet, match="choose another name"):
        kinds_of(crystals, scaling_plan, parts, {"test": few})


def test_importing_loads_neither_plots_nor_the_database() -> None:
    script = (
        "import sys, predictors.scaling; print([n for n in ('matplotlib', 'plotly', 'sqlalchemy') if n in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "[]\n"
