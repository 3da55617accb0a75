"""Predictions for formulas of which no structure is known: the energy of the ground state, by a composition model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from predictors.errors import BadTrainingSet
from predictors.model_files import ModelFiles
from registry.errors import NotFound, SettingsError
from registry.identity.composition import Composition
from registry.models import Level, Model
from workers.bridge import over, say_bridge
from workers.predict import UNKNOWN_ENERGY, doubts_about, figures_of
from workers.select import named_model
from workers.train import SHIPPED, model_files

if TYPE_CHECKING:
    from predictors.bridge import Bridge
    from predictors.compositions import PlainComposition
    from predictors.predictor import Predictions, Predictor

LEVEL = "mp2018"
"""The one that is asked where nobody names another."""

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


def formula_model(session: Session, name: str | None, level: str) -> ModelFiles | None:
    """The registered model of that name; None: the promoted one of formulas of a level, if any. Raises NotFound."""
    if name is not None:
        return model_files(session, named_model(session, name).id)
    promoted = sa.select(Model.id).join(Level, Level.id == Model.level_id).where(Level.name == level)
    found = session.scalar(promoted.where(Model.promoted, ~Model.needs_structure))
    return None if found is None else model_files(session, found)


def predict_formulas(formulas: Sequence[str], model: ModelFiles, bridge: Bridge | None = None) -> list[Row]:
    """One dict per formula, in order: `asked`, reduced `formula`, `formation_energy_per_atom`, `spread` and the ends of
    its `interval_90` (eV/atom), `out_of_domain`, `bridge`, `flags`, `model`, `level`; None where they can't be had
    (`flags` says why).

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
    rows = [UNKNOWN_ENERGY | {"flags": [one]} if isinstance(one, str) else next(predicted) for one in read]
    said = {"model": model.name, "level": predictor.record.level}
    return [{"asked": asked, **row, **said} for asked, row in zip(formulas, rows, strict=True)]


def _read(formula: str) -> PlainComposition | str:
    """The composition, or why the text is none."""
    from predictors.compositions import composition_of

    try:
        return composition_of(formula)
    except BadTrainingSet as error:
        return str(error)


def _predicted(compositions: Sequence[PlainComposition], predictor: Predictor, bridge: Bridge | None) -> list[Row]:
    found = predictor.predict(compositions)
    rows = [_row(composition, found, index) for index, composition in enumerate(compositions)]
    for index, (row, composition) in enumerate(zip(rows, compositions, strict=True)):
        if index not in found.refused:
            say_bridge(row, composition, bridge)
    return rows


def _row(composition: PlainComposition, found: Predictions, index: int) -> Row:
    numbers = composition.numbers.tolist()
    amounts = {number: numbers.count(number) for number in set(numbers)}
    row = UNKNOWN_ENERGY | {"formula": Composition.of(amounts).reduced_formula}
    if index in found.refused:
        return row | {"flags": [found.refused[index]]}
    return row | figures_of(found, index) | {"flags": doubts_about(found, index)}
