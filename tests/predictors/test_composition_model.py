from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from predictors.augmentation import Perturbation, PlainCrystal
from predictors.composition_model import CompositionConfig, CompositionModel, Formula, batch_formulas
from predictors.compositions import composition_of
from predictors.errors import BadCrystal
from predictors.members import trained_model
from predictors.splits import Split
from predictors.train import train_member
from predictors.train_config import TrainConfig
from predictors.training_set import TrainingSet


def of(*numbers: int) -> PlainCrystal:
    return PlainCrystal(np.eye(3) * 9, np.array(numbers, dtype=np.int16), np.zeros((len(numbers), 3)))


@pytest.fixture
def composition_model() -> CompositionModel:
    torch.manual_seed(0)
    return CompositionConfig(width=16).build().eval()


def energies(model: CompositionModel, *crystals: PlainCrystal) -> list[float]:
    with torch.no_grad():
        return model(model.config.collate([model.config.encode(crystal) for crystal in crystals])).tolist()


def test_a_batch_knows_which_element_belongs_where() -> None:
    batch = batch_formulas([CompositionConfig().encode(of(8, 3, 26, 8)), CompositionConfig().encode(of(5))])
    assert batch.numbers.tolist() == [3, 8, 26, 5]
    assert batch.fractions.tolist() == [0.25, 0.5, 0.25, 1.0]
    assert batch.formula.tolist() == [0, 0, 0, 1]
    assert batch.mean(batch.numbers[:, None].float()).tolist() == [[(3 + 2 * 8 + 26) / 4], [5.0]]


def test_the_energy_knows_neither_order_nor_size_nor_company(composition_model: CompositionModel) -> None:
    alone = energies(composition_model, of(3, 8, 8, 26))[0]
    assert energies(composition_model, of(5), of(26, 8, 3, 8, 3, 8, 26, 8))[1] == pytest.approx(alone, abs=1e-6)
    assert energies(composition_model, of(3, 8, 26))[0] != pytest.approx(alone, abs=1e-4)


def test_every_element_hears_every_other(composition_model: CompositionModel) -> None:
    batch = composition_model.config.collate([composition_model.config.encode(of(3, 8, 26))])
    elements = torch.randn(3, 16, requires_grad=True)
    for listener in range(3):
        (heard,) = torch.autograd.grad(composition_model.steps[0](elements, batch)[listener].sum(), elements)
        assert (heard.abs().sum(1) > 0).all()


def test_an_element_has_an_energy(composition_model: CompositionModel) -> None:
    assert np.isfinite(energies(composition_model, of(26))).all()


def test_no_atoms_and_no_such_element_are_refused() -> None:
    for bad in (of(), of(0), of(119)):
        with pytest.raises(BadCrystal, match="between 1 and 118"):
            CompositionConfig().encode(bad)


def test_a_formula_has_no_volume() -> None:
    config = CompositionConfig()
    formula = config.encode(of(3, 8))
    assert isinstance(formula, Formula)
    assert config.scaled(formula, 1.2) is formula


def test_what_members_share_changes_nothing(composition_model: CompositionModel) -> None:
    batch = composition_model.config.collate([composition_model.config.encode(of(3, 8, 8))])
    with torch.no_grad():
        alone, _ = composition_model.energy_and_latent(batch)
        shared, _ = composition_model.energy_and_latent(batch, composition_model.shared(batch))
    assert torch.equal(alone, shared)


def test_it_learns_what_no_sum_over_elements_could(tmp_path: Path) -> None:
    """An energy of pairs: minus the product of the fractions of cation and anion."""
    cations, anions = ("Li", "Na", "Mg", "Ca", "Al"), ("O", "S", "F", "Cl")
    formulas = [f"{c}{i}{a}{j}" for c in cations for a in anions for i in range(1, 5) for j in range(1, 5)]
    targets = np.array([-2.0 * int(f[2]) * int(f[-1]) / (int(f[2]) + int(f[-1])) ** 2 for f in formulas], np.float32)
    splits = [Split.VALIDATION if i % 5 == 0 else Split.TRAIN for i in range(len(formulas))]
    data = TrainingSet([composition_of(f) for f in formulas], targets, splits, (), "hash")
    model = CompositionConfig(width=32, steps=2)
    plan = TrainConfig(model, Perturbation(probability=0), epochs=20, batch_size=32, learning_rate=3e-3, ema_decay=0.9)
    last = list(train_member(data, tmp_path, plan, seed=0))[-1]
    assert last.validation_mae < 0.25 * float(np.abs(targets - targets.mean()).mean())
    assert isinstance(trained_model(tmp_path)[0], CompositionModel)
