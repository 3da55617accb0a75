from __future__ import annotations

import numpy as np
import pytest
import torch

from predictors.augmentation import PlainCrystal
from predictors.composition_model import CompositionConfig, CompositionModel, Formula, batch_formulas
from predictors.errors import BadCrystal


def of(*numbers: int) -> PlainCrystal:
    return PlainCrystal(np.eye(3) * 9, np.array(numbers, dtype=np.int16), np.zeros((len(numbers), 3)))


@pytest.fixture
def composition_model() -> CompositionModel:
    torch.manual_seed(0)
    return CompositionConfig(width=16).build().eval()


def energies(model: CompositionModel, *crystals: PlainCrystal) -> list[float]:
    with torch.no_grad():
        return model(model.config.collate([model.config.encode(crystal) for crystal in crystals])).tolist()


def test_every_pair_of_elements_is_an_edge_each_way() -> None:
    batch = batch_formulas([CompositionConfig().encode(of(8, 3, 26, 8)), CompositionConfig().encode(of(5))])
    assert batch.numbers.tolist() == [3, 8, 26, 5]
    assert batch.fractions.tolist() == [0.25, 0.5, 0.25, 1.0]
    pairs = set(zip(batch.src.tolist(), batch.dst.tolist(), strict=True))
    assert pairs == {(0, 1), (1, 0), (0, 2), (2, 0), (1, 2), (2, 1)}
    assert batch.formula.tolist() == [0, 0, 0, 1]


def test_the_energy_knows_neither_order_nor_size_nor_company(composition_model: CompositionModel) -> None:
    alone = energies(composition_model, of(3, 8, 8, 26))[0]
    assert energies(composition_model, of(5), of(26, 8, 3, 8, 3, 8, 26, 8))[1] == pytest.approx(alone, abs=1e-6)
    assert energies(composition_model, of(3, 8, 26))[0] != pytest.approx(alone, abs=1e-4)


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
