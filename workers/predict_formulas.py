"""Predictions for formulas of which no structure is known: the energy of the ground state, by a composition model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from predictors.errors import BadTrainingSet
from predictors.model_files import ModelFiles
from registry.errors import NotFound, SettingsError
from registry.identity.composition import Composition
from workers.predict import WIDE_SPREAD
from workers.train import SHIPPED

if TYPE_CHECKING:
    from predictors.composition_set import PlainComposition
    from predictors.ensemble import Ensemble

LEVEL = "mp2018"
"""The one that is asked where nobody names another."""

UNKNOWN: dict[str, Any] = {"formula": None, "formation_energy_per_atom": None, "spread": None, "flags": []}
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


def predict_formulas(formulas: Sequence[str], model: ModelFiles) -> list[Row]:
    """One dict per formula, in order: `asked`, reduced `formula`, `formation_energy_per_atom` and `spread` (eV/atom),
    `flags`, `model`, `level`; None where they can't be had (`flags` says why).

    The energy is that of the lowest crystal of the composition. Raises SettingsError for a model of structures.
    """
    from predictors.checkpoint import model_from
    from predictors.cpu import tune_cpu

    if model.checked()["config"]["kind"] != "composition":
        raise SettingsError(f"model '{model.name}' predicts crystals, not formulas: give it files, or name another one")
    tune_cpu(1)
    ensemble = model_from(model)
    read = [_read(formula) for formula in formulas]
    predicted = iter(_predicted([one for one in read if not isinstance(one, str)], ensemble))
    rows = [UNKNOWN | {"flags": [one]} if isinstance(one, str) else next(predicted) for one in read]
    said = {"model": model.name, "level": ensemble.record.level}
    return [{"asked": asked, **row, **said} for asked, row in zip(formulas, rows, strict=True)]


def _read(formula: str) -> PlainComposition | str:
    """The composition, or why the text is none."""
    from predictors.composition_set import composition_of

    try:
        return composition_of(formula)
    except BadTrainingSet as error:
        return str(error)


def _predicted(compositions: Sequence[PlainComposition], ensemble: Ensemble) -> list[Row]:
    found = ensemble.predict(compositions)
    return [
        _row(composition, float(found.energy[index]), float(found.spread[index]), found.refused.get(index))
        for index, composition in enumerate(compositions)
    ]


def _row(composition: PlainComposition, energy: float, spread: float, refused: str | None) -> Row:
    numbers = composition.numbers.tolist()
    amounts = {number: numbers.count(number) for number in set(numbers)}
    row = UNKNOWN | {"formula": Composition.of(amounts).reduced_formula}
    if refused is not None:
        return row | {"flags": [refused]}
    wide = ["wide spread: the members disagree"] if spread > WIDE_SPREAD else []
    return row | {"formation_energy_per_atom": energy, "spread": spread, "flags": wide}
