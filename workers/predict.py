"""Predictions for crystals that nobody stored: energy, spread, place on the hull, flags."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from predictors.model_files import ModelFiles
from registry.crystal import Crystal
from registry.errors import BadRecord, LevelMismatch, MissingReference
from registry.hull.entries import LevelEntries
from registry.hull.geometry import Hull
from registry.identity.composition import Composition
from workers.candidates.filters import flags, neighbour_pairs

if TYPE_CHECKING:
    from predictors.ensemble import Ensemble

WIDE_SPREAD = 0.1  # eV/atom: members that disagree by more know nothing
UNKNOWN: dict[str, Any] = {
    "formula": None,
    "formation_energy_per_atom": None,
    "spread": None,
    "e_above_hull": None,
    "decomposition": None,
    "flags": [],
}


def predict_crystals(
    items: Sequence[Crystal | BadRecord], model: ModelFiles, level: LevelEntries | None, unrelaxed: bool = False
) -> list[dict[str, Any]]:
    """One dict per item, in order; energies in eV/atom, None where they can't be had (`flags` says why).

    items: crystals, and in the place of those that can't be read why not
    level: the entries of the model's level, or None to say nothing of the hull
    Raises LevelMismatch when the entries are of another level.
    """
    from predictors.checkpoint import model_from
    from predictors.cpu import tune_cpu

    if not items:
        return []
    tune_cpu(1)
    ensemble = model_from(model)
    if level is not None and level.level != ensemble.record.level:
        raise LevelMismatch(
            f"model '{model.name}' predicts at level '{ensemble.record.level}', the hull is of level '{level.level}'"
        )
    crystals = [item for item in items if isinstance(item, Crystal)]
    predicted = iter(_predicted(crystals, ensemble, level, unrelaxed))
    rows = [UNKNOWN | {"flags": [item.reason]} if isinstance(item, BadRecord) else next(predicted) for item in items]
    said = {"model": model.name, "level": ensemble.record.level}
    return [{"index": index, **row, **said} for index, row in enumerate(rows)]


def _predicted(
    crystals: Sequence[Crystal], ensemble: Ensemble, level: LevelEntries | None, unrelaxed: bool
) -> list[dict[str, Any]]:
    found = ensemble.predict(crystals, volume_scan=unrelaxed)
    hull = Hull(level.entries) if level is not None and level.entries else None
    rows = []
    for index, crystal in enumerate(crystals):
        row = _row(crystal, float(found.energy[index]), float(found.spread[index]))
        if index in found.refused:
            row["flags"].append(found.refused[index])
        if hull is not None and level is not None and row["formation_energy_per_atom"] is not None:
            row |= _place(crystal, float(found.energy[index]), hull, level)
        rows.append(row)
    return rows


def _row(crystal: Crystal, energy: float, spread: float) -> dict[str, Any]:
    known = bool(np.isfinite(energy))
    marks: list[str] = list(flags(crystal, neighbour_pairs(crystal)))
    if known and spread > WIDE_SPREAD:
        marks.append("wide spread: the members disagree")
    return UNKNOWN | {
        "formula": Composition.of(crystal.amounts).reduced_formula,
        "formation_energy_per_atom": energy if known else None,
        "spread": spread if known else None,
        "flags": marks,
    }


def _place(crystal: Crystal, energy: float, hull: Hull, level: LevelEntries) -> dict[str, Any]:
    """Against the hull of what is labelled; a crystal below it decomposes into nothing and lies on it."""
    try:
        point = hull.energy_at(crystal.amounts)
    except MissingReference:
        return {}
    shares = [{"reduced_formula": level.formulas[int(key)], "amount": share} for key, share in point.decomposition]
    below = energy - point.energy
    return {"e_above_hull": max(below, 0.0), "decomposition_energy": below, "decomposition": shares}
