"""Where a model errs: its errors by split, by number of elements and by anion."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from predictors.anions import anion_of
from predictors.compositions import amounts_in
from predictors.predictor import Predictor
from predictors.training_set import TrainingSet


@dataclass(frozen=True)
class GroupErrors:
    """Errors of n crystals, eV per atom; `refused`: how many more got no energy."""

    n: int
    refused: int
    mae: float
    median: float
    rmse: float
    bias: float


Groups = dict[str, GroupErrors]


def grouped_errors(
    predictor: Predictor, data: TrainingSet, progress: Callable[[int], None] | None = None
) -> dict[str, Groups]:
    """{"split", "nelements", "anion"} -> group -> errors on every crystal of a table; by number and anion: of what the
    model didn't learn from, if there is any.

    Call `predictors.cpu.tune_cpu` once per process before.
    """
    found = predictor.predict(data.crystals, progress=progress)
    off = found.energy - np.asarray(data.targets, dtype=np.float64)
    elements = [list(amounts_in(crystal)) for crystal in data.crystals]
    splits = np.array([split.value for split in data.splits])
    unseen = splits != "train"
    judged = np.flatnonzero(unseen if unseen.any() else np.ones(len(splits), dtype=bool))
    return {
        "split": _grouped(off, splits.tolist()),
        "nelements": _grouped(off[judged], [len(elements[index]) for index in judged]),
        "anion": _grouped(off[judged], [anion_of(elements[index]) for index in judged]),
    }


def _grouped(off: NDArray[np.float64], names: Sequence[Hashable]) -> Groups:
    rows: dict[Any, list[int]] = {}
    for row, name in enumerate(names):
        rows.setdefault(name, []).append(row)
    return {str(name): _errors(off[rows[name]]) for name in sorted(rows)}


def _errors(off: NDArray[np.float64]) -> GroupErrors:
    known = off[np.isfinite(off)]
    counts = len(known), len(off) - len(known)
    if not len(known):
        return GroupErrors(*counts, *[float("nan")] * 4)
    size = np.abs(known)
    return GroupErrors(
        *counts, float(size.mean()), float(np.median(size)), float(np.sqrt((known**2).mean())), float(known.mean())
    )
