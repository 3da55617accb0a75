"""A second model looks at candidates where the first one found them best: a single point, no scan of its own.

So a pretrained potential, slower and better than the ensemble, can filter what is left before labels are spent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import sqlalchemy as sa
from sqlalchemy.orm import Session

from predictors.predictor import Predictions, Predictor
from registry.crystal import Crystal

VOLUMES = """
SELECT DISTINCT ON (prediction.structure_id) prediction.structure_id, prediction.volume_factor
FROM prediction
JOIN model AS first ON first.id = prediction.model_id
JOIN model AS second ON second.level_id = first.level_id AND second.id <> first.id
WHERE second.id = :second AND NOT second.promoted AND prediction.stage = 'ensemble'
  AND prediction.structure_id = ANY(:ids)
ORDER BY prediction.structure_id, first.promoted DESC, prediction.id DESC
"""
"""Of the promoted model, or of the last that was."""


def best_volumes(session: Session, model_id: int, structure_ids: Sequence[int]) -> dict[int, float]:
    """Structure -> the scaling of its volume that another model of the level found best.

    Empty for a promoted model: it looks for itself.
    """
    rows = session.execute(sa.text(VOLUMES), {"second": model_id, "ids": list(structure_ids)})
    return {row.structure_id: row.volume_factor for row in rows}


def look_again(predictor: Predictor, candidates: Sequence[Crystal], factors: Sequence[float]) -> Predictions:
    """Each at its volume times its factor; `volume_factor` tells that."""
    there = [one.scaled(one.volume * factor) for one, factor in zip(candidates, factors, strict=True)]
    return replace(predictor.predict(there), volume_factor=np.array(factors, dtype=np.float64))
