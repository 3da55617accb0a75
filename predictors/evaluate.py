"""How good a model is: errors per split, whether its spread means what it says, and errors on unrelaxed copies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from predictors.augmentation import Perturbation, perturbed
from predictors.ensemble import Ensemble
from predictors.errors import BadTrainingSet
from predictors.predictor import Predictions
from predictors.splits import Split
from predictors.training_set import TrainingSet

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Errors:
    """Errors of n energies, eV per atom.

    r2: coefficient of determination, NaN where all targets are equal
    coverage: share of targets between the members' quartiles; half of them if the spread is calibrated
    spearman: rank correlation of the spread with the error, NaN for fewer than three crystals
    """

    n: int
    mae: float
    median: float
    rmse: float
    r2: float
    bias: float
    coverage: float
    spearman: float


@dataclass(frozen=True)
class Evaluation:
    """Errors on the relaxed crystals of each split; on unrelaxed copies of the validation part without and with
    the volume scan."""

    splits: dict[str, Errors]
    perturbed: Errors
    perturbed_scan: Errors

    def as_metrics(self) -> dict[str, float]:
        """One flat name -> figure, for a model's record."""
        parts = {**self.splits, "perturbed": self.perturbed, "perturbed_scan": self.perturbed_scan}
        return {
            f"{part}_{name}": float(value)
            for part, errors in parts.items()
            for name, value in asdict(errors).items()
            if np.isfinite(value)
        }


def evaluate(
    ensemble: Ensemble,
    data: TrainingSet,
    most: int = 2000,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> Evaluation:
    """Judge an ensemble on at most `most` crystals of each split, drawn by `seed`. Raise BadTrainingSet."""
    rng = np.random.default_rng(seed)
    splits = {}
    for split in Split:
        chosen = _sample(data.part(split), most, rng)
        if len(chosen):
            crystals = [data.crystals[i] for i in chosen]
            splits[split.value] = errors_of(ensemble.predict(crystals, progress=progress), data.targets[chosen])
    chosen = _sample(data.part(Split.VALIDATION), min(most, 500), rng)
    copies = [perturbed(data.crystals[i], Perturbation(), rng) for i in chosen]
    targets = data.targets[chosen]
    return Evaluation(
        splits=splits,
        perturbed=errors_of(ensemble.predict(copies, progress=progress), targets),
        perturbed_scan=errors_of(ensemble.predict(copies, volume_scan=True, progress=progress), targets),
    )


def errors_of(predictions: Predictions, targets: NDArray[np.floating]) -> Errors:
    """Compare predictions with targets (n,) eV per atom; refused crystals are left out. Raise BadTrainingSet."""
    kept = np.isfinite(predictions.energy)
    if not kept.any():
        raise BadTrainingSet("no crystal to judge the model on: all were refused, or none was given")
    energy, target = predictions.energy[kept], np.asarray(targets, dtype=np.float64)[kept]
    residual = energy - target
    variance = float(np.var(target))
    low, high = np.percentile(predictions.member_energies[kept], [25, 75], axis=1)
    return Errors(
        n=len(energy),
        mae=float(np.abs(residual).mean()),
        median=float(np.median(np.abs(residual))),
        rmse=float(np.sqrt((residual**2).mean())),
        r2=1 - float((residual**2).mean()) / variance if variance > 0 else float("nan"),
        bias=float(residual.mean()),
        coverage=float(((low <= target) & (target <= high)).mean()),
        spearman=_rank_correlation(predictions.spread[kept], np.abs(residual)),
    )


def _rank_correlation(a: Floats, b: Floats) -> float:
    from scipy.stats import rankdata

    if len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    return float(np.corrcoef(rankdata(a), rankdata(b))[0, 1])


def _sample(indices: NDArray[np.intp], most: int, rng: np.random.Generator) -> NDArray[np.intp]:
    return indices if len(indices) <= most else rng.choice(indices, most, replace=False)
