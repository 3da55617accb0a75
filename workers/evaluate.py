"""A stored model judged on a training table, at its own level or over a bridge."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from registry.errors import LevelMismatch

if TYPE_CHECKING:
    from predictors.bridge import Bridge
    from predictors.error_groups import Groups
    from predictors.model_files import ModelFiles
    from predictors.training_set import TrainingSet


OF_WHOLE_TABLES = ("time", "given")
"""Splits by which the part of a row depends on the table; by others it is the same in every table."""


@dataclass(frozen=True)
class Judgement:
    """level: of the energies; flags: what must be said with them; groups: see predictors.error_groups."""

    level: str
    flags: list[str]
    groups: dict[str, Groups]


def evaluate(
    files: ModelFiles, data: TrainingSet, bridge: Bridge | None, progress: Callable[[int, int], None]
) -> Judgement:
    """Raises LevelMismatch where the table says that it is of another level, BadCheckpoint, BadTrainingSet."""
    from predictors.error_groups import grouped_errors
    from workers.bridge import over
    from workers.potentials import predictor_of

    predictor = over(predictor_of(files), bridge)
    level = predictor.record.level
    if other := sorted({part.level for part in data.parts if part.level not in (None, level)}, key=str):
        raise LevelMismatch(f"the table is of level '{other[0]}', the model's energies of '{level}': name a --bridge")
    done = 0

    def count(more: int) -> None:
        nonlocal done
        done += more
        progress(done, len(data.crystals))

    flags = _flags(files, data, bridge)
    return Judgement(level, flags, grouped_errors(predictor, data, count))


def _flags(files: ModelFiles, data: TrainingSet, bridge: Bridge | None) -> list[str]:
    record = files.record()
    flags = [] if bridge is None else [bridge.summary()]
    learnt_by = record.dataset.get("split", "formula")
    if learnt_by != data.split_by:
        flags.append(f"the model learnt by a split by {learnt_by}: what is called test here may be what it learnt from")
    elif learnt_by in OF_WHOLE_TABLES and record.data_hash != data.data_hash:
        flags.append(
            f"a split by {learnt_by} is of the table that the model learnt from, which this isn't: what is called test"
            " here may be what it learnt from"
        )
    return flags
