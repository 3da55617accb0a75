"""How good a model is: errors per split, whether it knows them beforehand, and errors on unrelaxed copies."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from predictors.augmentation import Perturbation, perturbed
from predictors.calibration import coverage_of, gaussian_intervals, rank_correlation
from predictors.confidence import MOST_COPIES, Asked, Confidence, drawn
from predictors.ensemble import Ensemble
from predictors.errors import BadTrainingSet
from predictors.graph import CrystalLike
from predictors.predictor import Predictions
from predictors.splits import Split
from predictors.training_set import TrainingSet


@dataclass(frozen=True)
class Errors:
    """Errors of n energies, eV per atom.

    r2: coefficient of determination, NaN where all targets are equal
    coverage: share of targets between the members' quartiles; half of them if the spread is calibrated
    spearman: rank correlation of the spread with the error, NaN for fewer than three crystals
    single_mae: `mae` of the members alone, in the mean
    """

    n: int
    mae: float
    median: float
    rmse: float
    r2: float
    bias: float
    coverage: float
    spearman: float
    single_mae: float


@dataclass(frozen=True)
class Foresight:
    """What predictions said of their errors beforehand, against the errors.

    coverage_50 ...: shares of the targets inside the calibrated intervals, calibration_error: see calibration.Coverage;
        `raw_`: of intervals from the members' inter-quartile range alone, taken for that of a Gaussian
    spearman_width: rank correlation of the calibrated intervals' width with the error
    outside: share that is out of domain; mae_inside, mae_outside: eV/atom, NaN for none
    coverage_90_outside: as coverage_90, of those out of domain
    """

    coverage_50: float
    coverage_80: float
    coverage_90: float
    calibration_error: float
    raw_coverage_50: float
    raw_coverage_80: float
    raw_coverage_90: float
    raw_calibration_error: float
    spearman_width: float
    outside: float
    mae_inside: float
    mae_outside: float
    coverage_90_outside: float


@dataclass(frozen=True)
class Evaluation:
    """splits: errors on the relaxed crystals of each; copies: where structures matter, on unrelaxed ones of the
    validation part, without (`perturbed`) and with the volume scan (`perturbed_scan`); foresight: by split, for a model
    with a confidence."""

    splits: dict[str, Errors]
    copies: dict[str, Errors] = field(default_factory=dict)
    foresight: dict[str, Foresight] = field(default_factory=dict)

    def as_metrics(self) -> dict[str, float]:
        """One flat name -> figure, for a model's record."""
        parts: tuple[Mapping[str, Errors | Foresight], ...] = (self.foresight, self.splits, self.copies)
        return {
            f"{part}_{name}": float(value)
            for group in parts
            for part, errors in group.items()
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
    """Judge an ensemble on the validation and test parts, and on at most `most` crystals of the training part, drawn by
    `seed`. A part of which it can predict nothing is left out: a training of hours must not end by it."""
    rng = np.random.default_rng(seed)
    splits, foresight = {}, {}
    for split in Split:
        chosen = data.part(split)
        if split is Split.TRAIN:
            chosen = drawn(chosen, most, rng)
        crystals = [data.crystals[i] for i in chosen]
        found = ensemble.predict(crystals, progress=progress)
        if np.isfinite(found.energy).any():
            splits[split.value] = errors_of(found, data.targets[chosen])
            if ensemble.confidence is not None:
                foresight[split.value] = foresight_of(ensemble.confidence, crystals, found, data.targets[chosen])
    copies = _errors_on_copies(ensemble, data, rng, progress) if ensemble.config.needs_structure else {}
    return Evaluation(splits, copies, foresight)


def _errors_on_copies(
    ensemble: Ensemble, data: TrainingSet, rng: np.random.Generator, progress: Callable[[int], None] | None
) -> dict[str, Errors]:
    chosen = drawn(data.part(Split.VALIDATION), MOST_COPIES, rng)
    copies = [perturbed(data.crystals[i], Perturbation(), rng) for i in chosen]
    ways = {"perturbed": False, "perturbed_scan": True}
    found = {name: ensemble.predict(copies, volume_scan=scan, progress=progress) for name, scan in ways.items()}
    return {name: errors_of(one, data.targets[chosen]) for name, one in found.items() if np.isfinite(one.energy).any()}


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
        spearman=rank_correlation(predictions.spread[kept], np.abs(residual)),
        single_mae=float(np.abs(predictions.member_energies[kept] - target[:, None]).mean()),
    )


def foresight_of(
    confidence: Confidence,
    crystals: Sequence[CrystalLike],
    found: Predictions,
    targets: NDArray[np.floating],
    asked: Asked = Asked.ALL,
) -> Foresight:
    """Hold what a model says of its errors against targets (n,) eV per atom.

    found: what it predicted of the crystals, asked in this way. Refused crystals are left out.
    """
    kept = np.isfinite(found.energy)
    energy, target = found.energy[kept], np.asarray(targets, dtype=np.float64)[kept]
    intervals = confidence.intervals(found, crystals, asked)
    after = coverage_of(lambda levels: intervals(levels)[kept], energy, target)
    before = coverage_of(lambda levels: gaussian_intervals(energy, found.spread[kept], levels), energy, target)
    outside = np.isin(np.flatnonzero(kept), list(found.outside or {}))
    lower, upper = intervals([0.9])[kept, 0].T
    error = np.abs(energy - target)
    return Foresight(
        coverage_50=after.shares[0.5],
        coverage_80=after.shares[0.8],
        coverage_90=after.shares[0.9],
        calibration_error=after.expected_error,
        raw_coverage_50=before.shares[0.5],
        raw_coverage_80=before.shares[0.8],
        raw_coverage_90=before.shares[0.9],
        raw_calibration_error=before.expected_error,
        spearman_width=after.spearman,
        outside=float(outside.mean()),
        mae_inside=_mean(error[~outside]),
        mae_outside=_mean(error[outside]),
        coverage_90_outside=_mean(((lower <= target) & (target <= upper))[outside]),
    )


def _mean(values: NDArray[Any]) -> float:
    return float(values.mean()) if len(values) else float("nan")
