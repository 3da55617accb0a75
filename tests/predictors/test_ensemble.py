from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from predictors.augmentation import VOLUME_FACTORS, PlainCrystal, scaled
from predictors.ensemble import Ensemble
from predictors.errors import BadTrainingSet
from predictors.model_files import ModelRecord
from predictors.structure_model import StructureModel

KNOWN = (3, 8, 11, 17)


@pytest.fixture
def ensemble(model: StructureModel) -> Ensemble:
    members = [model]
    for seed in range(1, 4):
        torch.manual_seed(seed)
        members.append(StructureModel(model.config).eval())
    return Ensemble(members, ModelRecord("PBE", KNOWN))


@pytest.fixture
def crystals(rng: np.random.Generator) -> list[PlainCrystal]:
    return [
        PlainCrystal(np.eye(3) * (3 + n), rng.choice(KNOWN, n).astype(np.int16), rng.random((n, 3)))
        for n in (1, 2, 3, 4, 5)
    ]


def test_the_median_and_the_quartiles(ensemble: Ensemble, crystals: list[PlainCrystal]) -> None:
    result = ensemble.predict(crystals)
    assert result.member_energies.shape == (5, 4)
    np.testing.assert_allclose(result.energy, np.median(result.member_energies, axis=1))
    low, high = np.percentile(result.member_energies, [25, 75], axis=1)
    np.testing.assert_allclose(result.spread, high - low)
    assert (result.volume_factor == 1).all()
    one = ensemble.predict(crystals, members=1)
    np.testing.assert_allclose(one.energy, result.member_energies[:, 0], atol=1e-6)
    assert (one.spread == 0).all()


def test_the_scan_is_twenty_predictions_and_their_minimum(ensemble: Ensemble, crystals: list[PlainCrystal]) -> None:
    scan = ensemble.predict(crystals, volume_scan=True, batch_cost=500)
    for i, crystal in enumerate(crystals):
        each = ensemble.predict([scaled(crystal, factor) for factor in VOLUME_FACTORS])
        assert scan.energy[i] == pytest.approx(each.energy.min(), abs=1e-4)
        assert scan.volume_factor[i] in VOLUME_FACTORS


def test_the_size_of_a_batch_changes_nothing(ensemble: Ensemble, crystals: list[PlainCrystal]) -> None:
    one, many = ensemble.predict(crystals, batch_cost=1), ensemble.predict(crystals)
    np.testing.assert_allclose(one.energy, many.energy, atol=1e-5)


def test_a_bad_crystal_spoils_no_other(ensemble: Ensemble, crystals: list[PlainCrystal]) -> None:
    good = ensemble.predict(crystals)
    mixed = [*crystals]
    mixed[1] = replace(crystals[1], numbers=np.array([3, 92], dtype=np.int16))
    mixed[3] = replace(crystals[3], frac_coords=np.full((4, 3), np.nan))
    result = ensemble.predict(mixed, volume_scan=False)
    assert set(result.refused) == {1, 3}
    assert "never saw U" in result.refused[1]
    assert "NaN" in result.refused[3]
    assert np.isnan(result.energy[[1, 3]]).all()
    assert np.isnan(result.spread[[1, 3]]).all()
    np.testing.assert_allclose(result.energy[[0, 2, 4]], good.energy[[0, 2, 4]], atol=1e-5)


def test_no_crystals_no_predictions(ensemble: Ensemble) -> None:
    for scan in (False, True):
        result = ensemble.predict([], volume_scan=scan)
        assert result.energy.shape == result.spread.shape == result.volume_factor.shape == (0,)
        assert result.member_energies.shape == (0, 4)


def test_elements_that_were_never_seen_are_named(ensemble: Ensemble) -> None:
    crystal = PlainCrystal(np.eye(3) * 6, np.array([92, 8, 1], dtype=np.int16), np.random.default_rng(0).random((3, 3)))
    assert ensemble.unknown_elements(crystal) == [1, 92]


def test_progress_counts_every_crystal(ensemble: Ensemble, crystals: list[PlainCrystal]) -> None:
    done: list[int] = []
    bad = replace(crystals[0], numbers=np.array([92], dtype=np.int16))
    ensemble.predict([*crystals * 20, bad], progress=done.append)
    assert done == [64, 37]


def test_members_must_exist_and_have_one_shape(ensemble: Ensemble) -> None:
    with pytest.raises(BadTrainingSet, match="at least one"):
        Ensemble([], ensemble.record)
    with pytest.raises(BadTrainingSet, match="one shape"):
        Ensemble([ensemble.members[0], StructureModel(replace(ensemble.config, width=8))], ensemble.record)
    with pytest.raises(BadTrainingSet, match="at least one"):
        ensemble.predict([], members=0)
