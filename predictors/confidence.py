"""What a model knows of its own errors: where it has learnt, and how wide its intervals must be.

Fitted once after training (`fitted`), stored with the model. There is one calibration for each way of asking it, since
one member errs otherwise than ten, and a crystal as proposed otherwise than a relaxed one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from predictors.augmentation import Perturbation, perturbed
from predictors.calibration import FEATURES, Calibration, Floats, Intervals
from predictors.domain import Domain
from predictors.graph import HEAVIEST, CrystalLike
from predictors.predictor import Predictions
from predictors.splits import Split
from predictors.training_set import TrainingSet

if TYPE_CHECKING:
    from predictors.ensemble import Ensemble

SMALLEST_DEVIATION = 0.001  # eV/atom
SMALLEST_DISTANCE = 0.05  # of the threshold
MOST_TRAINING = 50_000  # crystals that the domain is taken from
MOST_COPIES = 500  # unrelaxed copies of held-out crystals
DOMAIN_ARRAYS = ("centre", "axes", "points", "errors", "crystals")
CALIBRATION_ARRAYS = ("centre", "width", "weight", "quantiles")


class Asked(StrEnum):
    """Ways of asking an ensemble that have a calibration: its first member about candidates as proposed, all members
    about relaxed crystals, all members about candidates over the volume scan. (Of formulas there is one kind alone.)
    """

    FIRST = "first"
    ALL = "all"
    SCAN = "scan"

    @classmethod
    def of(cls, members: int, asked: int | None, volume_scan: bool) -> Asked | None:
        """How `asked` of so many members were asked (None: all); None: in a way that has no calibration.

        Who asks for one member asks about candidates as proposed, even of a model that has no other.
        """
        if asked == 1 and not volume_scan:
            return cls.FIRST
        if asked is not None and asked < members:
            return None
        return cls.SCAN if volume_scan else cls.ALL


@dataclass(frozen=True, eq=False)
class Confidence:
    """domain: where the model has learnt; calibrations: by the way of asking."""

    domain: Domain
    calibrations: Mapping[Asked, Calibration]

    def judge(self, found: Predictions, crystals: Sequence[CrystalLike], asked: Asked | None) -> Predictions:
        """The predictions of these crystals with `distance` and `outside`; and `intervals` if the way is calibrated."""
        distance, outside, features = _known_before(self.domain, found, crystals)
        calibration = self.calibrations.get(asked) if asked else None
        intervals = None if calibration is None else calibration.intervals(found.energy, features)
        return replace(found, distance=distance, outside=outside, intervals=intervals)

    def intervals(self, found: Predictions, crystals: Sequence[CrystalLike], asked: Asked) -> Intervals:
        """Levels -> (n, levels, 2) lower and upper ends. Raise KeyError for a way that has no calibration."""
        _, _, features = _known_before(self.domain, found, crystals)
        return partial(self.calibrations[asked].intervals, found.energy, features)

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Its arrays, by name."""
        arrays = {f"domain.{name}": getattr(self.domain, name) for name in DOMAIN_ARRAYS}
        for asked, calibration in self.calibrations.items():
            arrays |= {f"{asked}.{name}": getattr(calibration, name) for name in CALIBRATION_ARRAYS}
        return arrays

    def as_values(self) -> dict[str, Any]:
        """All of it that isn't an array, as plain values."""
        fitted = {str(asked): {"level": one.level, "count": one.count} for asked, one in self.calibrations.items()}
        return {"features": list(FEATURES), "threshold": self.domain.threshold, "calibrations": fitted}

    @classmethod
    def from_values(cls, about: Any, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """What `as_values` and `tensors` gave. Raise ValueError, KeyError or TypeError if something else comes."""
        if tuple(about["features"]) != FEATURES:
            raise ValueError("it was fitted on other features than this code knows")
        domain = Domain(
            **{name: arrays[f"domain.{name}"] for name in DOMAIN_ARRAYS}, threshold=float(about["threshold"])
        )
        calibrations = {
            Asked(asked): Calibration(
                **{name: arrays[f"{asked}.{name}"] for name in CALIBRATION_ARRAYS},
                level=float(one["level"]),
                count=int(one["count"]),
            )
            for asked, one in about["calibrations"].items()
        }
        return cls(domain, calibrations)


def fitted(
    ensemble: Ensemble, data: TrainingSet, seed: int = 0, progress: Callable[[int], None] | None = None
) -> Ensemble:
    """The ensemble with the confidence that its training set and the errors on the validation part give it.

    It predicts the training part (at most MOST_TRAINING crystals), the validation part, and, where structures matter,
    at most MOST_COPIES unrelaxed copies of the latter: they stand for candidates. An ensemble that can predict no
    crystal of one of the parts comes back as it was.
    """
    rng = np.random.default_rng(seed)
    learnt, held_out = drawn(data.part(Split.TRAIN), MOST_TRAINING, rng), data.part(Split.VALIDATION)
    training, validation = (_checked(ensemble, _examples(data, part), progress) for part in (learnt, held_out))
    if not (training.known.any() and validation.known.any()):
        return ensemble
    counts = _crystals_by_element([data.crystals[i] for i in data.part(Split.TRAIN)])
    errors = _errors_of_strangers(ensemble, data, learnt, training)
    domain = Domain.fit(training.found.latent[training.known], errors, counts, validation.latent_and_errors()[0])
    asked = {Asked.FIRST: replace(validation, found=validation.found.first_member()), Asked.ALL: validation}
    if ensemble.config.needs_structure:
        crystals, targets = _examples(data, drawn(held_out, MOST_COPIES, rng))
        copies = [perturbed(one, Perturbation(), rng) for one in crystals], targets
        asked[Asked.FIRST] = _checked(ensemble, copies, progress, members=1)
        asked[Asked.SCAN] = _checked(ensemble, copies, progress, volume_scan=True)
    calibrations = {way: one.calibration(domain) for way, one in asked.items() if one.known.any()}
    return replace(ensemble, confidence=Confidence(domain, calibrations))


@dataclass(frozen=True, eq=False)
class _Checked:
    """Crystals with their energies (eV per atom), as known and as predicted."""

    crystals: Sequence[CrystalLike]
    targets: Floats
    found: Predictions

    @property
    def known(self) -> NDArray[np.bool_]:
        """Which weren't refused."""
        return np.isfinite(self.found.energy)

    def latent_and_errors(self) -> tuple[Floats, Floats]:
        return self.found.latent[self.known], (self.targets - self.found.energy)[self.known]

    def calibration(self, domain: Domain) -> Calibration:
        _, _, features = _known_before(domain, self.found, self.crystals)
        return Calibration.fit(features[self.known], self.latent_and_errors()[1])


def _examples(data: TrainingSet, part: NDArray[np.intp]) -> tuple[list[CrystalLike], Floats]:
    return [data.crystals[i] for i in part], data.targets[part].astype(np.float64)


def _checked(
    ensemble: Ensemble,
    examples: tuple[Sequence[CrystalLike], Floats],
    progress: Callable[[int], None] | None,
    members: int | None = None,
    volume_scan: bool = False,
) -> _Checked:
    crystals, targets = examples
    return _Checked(crystals, targets, ensemble.predict(crystals, members, volume_scan, progress))


def _errors_of_strangers(ensemble: Ensemble, data: TrainingSet, part: NDArray[np.intp], training: _Checked) -> Floats:
    """Of the known training crystals: the mean error of the members that left a crystal out of their training, of the
    ensemble where none did. Unlike errors on what was learnt, these are as large as those on new crystals."""
    residuals = training.targets[:, None] - training.found.member_energies
    strangers = np.zeros(residuals.shape, dtype=bool)
    for member, left_out in enumerate(ensemble.record.dataset.get("left_out", [])):
        if left_out is not None:
            fold, folds = left_out
            strangers[:, member] = data.fold(folds)[part] == fold
    met = strangers.any(axis=1)
    errors = training.targets - training.found.energy
    errors[met] = np.where(strangers[met], residuals[met], 0).sum(axis=1) / strangers[met].sum(axis=1)
    return errors[training.known]


def _known_before(
    domain: Domain, found: Predictions, crystals: Sequence[CrystalLike]
) -> tuple[Floats, dict[int, str], Floats]:
    """(n,) distances, why which are outside, and (n, f) FEATURES; NaN for refused crystals."""
    known = np.flatnonzero(np.isfinite(found.energy))
    distance, features = np.full(len(crystals), np.nan), np.full((len(crystals), len(FEATURES)), np.nan)
    distance[known], nearby = domain.look(found.latent[known])
    reasons = {i: domain.reason(float(distance[i]), np.unique(crystals[i].numbers)) for i in known.tolist()}
    outside = {index: reason for index, reason in reasons.items() if reason is not None} | found.odd
    features[known] = np.stack(
        [
            np.isin(known, list(outside)).astype(np.float64),
            np.log(found.member_energies[known].std(axis=1) + SMALLEST_DEVIATION),
            np.log(distance[known] / max(domain.threshold, 1e-9) + SMALLEST_DISTANCE),
            nearby,
            found.energy[known],
        ],
        axis=1,
    )
    return distance, outside, features


def _crystals_by_element(crystals: Sequence[CrystalLike]) -> NDArray[np.intp]:
    """(119,) how many of them hold each element."""
    counts = np.zeros(HEAVIEST + 1, dtype=np.intp)
    for crystal in crystals:
        counts[np.unique(crystal.numbers)] += 1
    return counts


def drawn(indices: NDArray[np.intp], most: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """At most so many of them, by chance."""
    return indices if len(indices) <= most else rng.choice(indices, most, replace=False)
