"""The scoring daemons: formation energies of candidates by the promoted model.

`score` asks one member about the candidate as it stands; `refine` asks the whole ensemble over the volume scan, and a
second model, where a campaign wants one, at the volume that came out best.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from sqlalchemy import Engine
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from predictors.errors import BadCheckpoint, PotentialMissing
from registry.crystal import Crystal
from registry.errors import LabelFailure
from registry.ingest import crystals
from registry.models import Prediction
from registry.queue import Claim
from registry.states import ErrorClass, Kind, Stage
from workers.loop import Done, Failed, Outcome
from workers.potentials import predictor_of
from workers.recheck import best_volumes, look_again
from workers.train import model_files

if TYPE_CHECKING:
    from predictors.predictor import Predictions, Predictor


class ScoreDaemon:
    """Scores in batches; a model is loaded once."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.kind = Kind.SCORE if stage is Stage.SINGLE else Kind.REFINE
        self.batch = 512 if stage is Stage.SINGLE else 32
        self.lease_seconds = 120.0
        self._ensembles: dict[int, Predictor] = {}

    def work(self, engine: Engine, claims: Sequence[Claim], beat: Callable[[], None]) -> Iterator[Outcome]:
        for model_id in sorted({claim.target_id for claim in claims}):
            yield from self._predict(engine, model_id, [claim for claim in claims if claim.target_id == model_id], beat)

    def _predict(
        self, engine: Engine, model_id: int, claims: Sequence[Claim], beat: Callable[[], None]
    ) -> Iterator[Outcome]:
        with Session(engine) as session:
            ids = [claim.subject_id for claim in claims]
            found = crystals(session, ids)
            volumes = best_volumes(session, model_id, ids) if self.stage is Stage.ENSEMBLE else {}
        try:
            ensemble = self._ensemble(engine, model_id)
        except (BadCheckpoint, PotentialMissing) as error:  # another node may read it, or have it
            for claim in claims:
                yield Failed(claim, LabelFailure(ErrorClass.MISSING_ENGINE, str(error)), _nothing)
            return
        looked_at = [claim for claim in claims if claim.subject_id in volumes]
        new = [claim for claim in claims if claim.subject_id not in volumes]
        for group in filter(None, (looked_at, new)):
            beat()
            candidates = [found[claim.subject_id] for claim in group]
            factors = [volumes[claim.subject_id] for claim in group] if group is looked_at else None
            yield from self._outcomes(group, self._ask(ensemble, candidates, factors))

    def _ask(self, ensemble: Predictor, candidates: Sequence[Crystal], volumes: Sequence[float] | None) -> Predictions:
        if self.stage is Stage.SINGLE:
            return ensemble.predict(candidates, members=1)
        if volumes is not None:
            return look_again(ensemble, candidates, volumes)
        return ensemble.predict(candidates, volume_scan=True)

    def _outcomes(self, claims: Sequence[Claim], predictions: Predictions) -> Iterator[Outcome]:
        for index, claim in enumerate(claims):
            if index in predictions.refused:
                failure = LabelFailure(ErrorClass.UNSUPPORTED_ELEMENT, predictions.refused[index])
                yield Failed(claim, failure, _nothing)
            else:
                row = prediction_row(claim.target_id, self.stage, predictions, index)
                yield Done(claim, partial(_write, {"structure_id": claim.subject_id, **row}))

    def _ensemble(self, engine: Engine, model_id: int) -> Predictor:
        if model_id not in self._ensembles:
            with Session(engine) as session:
                files = model_files(session, model_id)
            self._ensembles[model_id] = predictor_of(files)
        return self._ensembles[model_id]


def prediction_row(model_id: int, stage: Stage, predictions: Predictions, index: int) -> dict[str, Any]:
    """The row of table prediction for one of the crystals, but for its structure's id."""
    lower, upper = interval_90(predictions, index) or (None, None)
    spread = float(predictions.spread[index])
    return {
        "model_id": model_id,
        "stage": stage.value,
        "formation_energy_per_atom": float(predictions.energy[index]),
        "spread": None if stage is Stage.SINGLE or np.isnan(spread) else spread,  # a potential has none
        "members": np.asarray(predictions.member_energies[index], dtype=float).tolist(),
        "volume_factor": float(predictions.volume_factor[index]),
        "lower_90": lower,
        "upper_90": upper,
        "out_of_domain": None if predictions.outside is None else index in predictions.outside,
    }


def interval_90(predictions: Predictions, index: int) -> tuple[float, float] | None:
    """Ends of the calibrated 90 % interval of one of the crystals, eV/atom; None for a model without calibration."""
    if predictions.intervals is None:
        return None
    lower, upper = predictions.intervals[index, -1].tolist()
    return lower, upper


def _write(row: dict[str, object], session: Session) -> None:
    session.execute(insert(Prediction).values(**row).on_conflict_do_nothing())


def _nothing(_session: Session) -> None:
    """A refused crystal leaves its reason in the row of work."""
