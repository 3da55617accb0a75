"""Predictions for formulas of which no structure is known: the energy of the ground state, by a composition model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from predictors.errors import BadTrainingSet
from predictors.model_files import ModelFiles
from registry.errors import NotFound, SettingsError
from registry.identity.composition import Composition
from workers.bridge import over, say_bridge
from workers.predict import WIDE_SPREAD
from workers.train import SHIPPED

if TYPE_CHECKING:
    from predictors.bridge import Bridge
    from predictors.composition_set import PlainComposition
    from predictors.predictor import Predictor

LEVEL = "mp2018"
"""The one that is asked where nobody names another."""

UNKNOWN: dict[str, Any] = {
    "formula": None,
    "formation_energy_per_atom": None,
    "spread": None,
    "bridge": None,
    "flags": [],
}
Row = dict[str, Any]


def shipped_composition_model(level: str = LEVEL) -> Path:
    """The folder of the composition model that ships for a level. Raises NotFound naming the levels that have one."""
    folders = {
        ModelFiles.read(path.parent).record().level: path.parent
        for path in sorted(SHIPPED.glob("compositions/*/model.json"))
    }
    if level not in folders:
        raise NotFound(f"no composition model ships for level '{level}' (there are: {', '.join(folders) or 'none'})")
    return folders[level]


def predict_formulas(formulas: Sequence[str], model: ModelFiles, bridge: Bridge | None = None) -> list[Row]:
    """One dict per formula, in order: `asked`, reduced `formula`, `formation_energy_per_atom` and `spread` (eV/atom),
    `bridge`, `flags`, `model`, `level`; None where they can't be had (`flags` says why).

    The energy is that of the lowest crystal of the composition. bridge: from the model's level to the one that it is to
    be of. Raises SettingsError for a model of structures.
    """
    from predictors.checkpoint import model_from
    from predictors.cpu import tune_cpu

    if model.needs_structure():
        raise SettingsError(f"model '{model.name}' predicts crystals, not formulas: give it files, or name another one")
    tune_cpu(1)
    predictor = over(model_from(model), bridge)
    read = [_read(formula) for formula in formulas]
    predicted = iter(_predicted([one for one in read if not isinstance(one, str)], predictor, bridge))
    rows = [UNKNOWN | {"flags": [one]} if isinstance(one, str) else next(predicted) for one in read]
    said = {"model": model.name, "level": predictor.record.level}
    return [{"asked": asked, **row, **said} for asked, row in zip(formulas, rows, strict=True)]


def _read(formula: str) -> PlainComposition | str:
    """The composition, or why the text is none."""
    from predictors.composition_set import composition_of

    try:
        return composition_of(formula)
    except BadTrainingSet as error:
        return str(error)


def _predicted(compositions: Sequence[PlainComposition], predictor: Predictor, bridge: Bridge | None) -> list[Row]:
    found = predictor.predict(compositions)
    rows = []
    for index, composition in enumerate(compositions):
        row = _row(composition, float(found.energy[index]), float(found.spread[index]), found.refused.get(index))
        if index not in found.refused:
            say_bridge(row, composition, bridge)
        rows.append(row)
    return rows


def _row(composition: PlainComposition, energy: float, spread: float, refused: str | None) -> Row:
    numbers = composition.numbers.tolist()
    amounts = {number: numbers.count(number) for number in set(numbers)}
    row = UNKNOWN | {"formula": Composition.of(amounts).reduced_formula}
    if refused is not None:
        return row | {"flags": [refused]}
    wide = ["wide spread: the members disagree"] if spread > WIDE_SPREAD else []
    return row | {"formation_energy_per_atom": energy, "spread": spread, "flags": wide}
