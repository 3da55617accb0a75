"""Candidates that are scored where they are made, so that only the promising ones reach the database."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from sqlalchemy.orm import Session

from registry.crystal import Crystal
from registry.hull.entries import current_hull
from registry.hull.geometry import Hull
from registry.states import Stage
from workers.candidates.funnel import Funnel
from workers.potentials import predictor_of
from workers.score import prediction_row
from workers.select import promoted_model
from workers.train import model_files

if TYPE_CHECKING:
    from predictors.predictor import Predictor


@dataclass(frozen=True)
class Fused:
    """What is written: candidates that one member predicts at most threshold + margin above the hull, eV/atom.

    threshold: predicted decomposition energy up to which candidates are worth a label, as in the paper
    margin: for the error of one member on a crystal at a guessed volume, which the whole ensemble mends later
    """

    threshold: float = 0.05
    margin: float = 0.10

    @property
    def limit(self) -> float:
        return self.threshold + self.margin


@dataclass(frozen=True, eq=False)
class Judge:
    """The promoted model of a level, and that level's hull as it stood at the beginning."""

    model_id: int
    ensemble: Predictor
    hull: Hull
    limit: float

    @classmethod
    def of(cls, session: Session, level_id: int, settings: Fused) -> Judge:
        """Raises NotFound when no model is promoted for the level, BadCheckpoint when this code can't read it."""
        model_id = promoted_model(session, level_id).id
        files, hull = model_files(session, model_id), current_hull(session, level_id)
        session.commit()
        return cls(model_id, predictor_of(files), hull, settings.limit)

    def promising(self, crystals: Sequence[Crystal], funnel: Funnel) -> dict[int, dict[str, Any]]:
        """Index of each crystal worth writing -> its row of table prediction, but for the structure's id.

        What isn't is counted: "above_hull", "no_reference" (an element that the hull lacks), "unsupported_element" (one
        that the model has never seen).
        """
        found = self.ensemble.predict(crystals, members=1)
        hull = self.hull.energies_at([crystal.amounts for crystal in crystals])
        above = found.energy - hull
        refused = np.isin(np.arange(len(crystals)), list(found.refused))
        missing = ~refused & np.isnan(hull)
        kept = ~refused & ~missing & (above <= self.limit)
        funnel.reject("unsupported_element", int(refused.sum()))
        funnel.reject("no_reference", int(missing.sum()))
        funnel.reject("above_hull", int((~refused & ~missing & ~kept).sum()))
        return {
            index: prediction_row(self.model_id, Stage.SINGLE, found, index) for index in np.flatnonzero(kept).tolist()
        }
