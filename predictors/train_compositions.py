"""Train an ensemble of composition models on a table of formulas, one member after another.

    python -m predictors.train_compositions TABLE FOLDER --level LEVEL [--members 4] [--epochs 40]

TABLE: see predictors.composition_set. FOLDER takes a checkpoint per member and, at the end, the ensemble as `model`.
What was killed goes on where its checkpoints stand when the same command is given again.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from predictors.augmentation import Perturbation
from predictors.composition_model import CompositionConfig
from predictors.composition_set import read_composition_set
from predictors.ensemble import Ensemble
from predictors.errors import PredictorError
from predictors.evaluate import errors_of
from predictors.half_precision import halved, save_halved
from predictors.members import assemble
from predictors.splits import Split
from predictors.train import train_member
from predictors.train_config import TrainConfig
from predictors.training_set import TrainingSet


def config_of(epochs: int, batch_size: int, learning_rate: float) -> TrainConfig:
    """The plan of a member. A composition has nothing to strain or rattle."""
    return TrainConfig(
        CompositionConfig(),
        Perturbation(probability=0),
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
    )


def train_ensemble(data: TrainingSet, folder: Path, level: str, seeds: Iterable[int], config: TrainConfig) -> Ensemble:
    """Train the members of these seeds to their end, and judge the ensemble. Raise PredictorError."""
    folders = []
    for seed in seeds:
        folders.append(folder / f"member{seed}")
        for row in train_member(data, folders[-1], config, seed):
            print(f"member {seed} epoch {row.epoch + 1}: {row.validation_mae:.4f} eV/atom", flush=True)
    return judged(assemble(folders, level), data)


def judged(ensemble: Ensemble, data: TrainingSet) -> Ensemble:
    """With its errors on the held-out parts in its record, those of its members alone (mean) beside them."""
    ensemble, metrics = halved(ensemble), dict(ensemble.record.metrics)
    for split in (Split.VALIDATION, Split.TEST):
        chosen = data.part(split)
        if len(chosen):
            found = ensemble.predict([data.crystals[index] for index in chosen])
            single = np.abs(found.member_energies - data.targets[chosen][:, None])
            errors = asdict(errors_of(found, data.targets[chosen])) | {"single_mae": np.nanmean(single)}
            metrics |= {f"{split}_{name}": float(value) for name, value in errors.items() if np.isfinite(value)}
    return replace(ensemble, record=replace(ensemble.record, rows=len(data.crystals), metrics=metrics))


def main() -> None:
    """What the command line asks for; 1 and one line for what its user can mend."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--level", required=True)
    parser.add_argument("--members", type=int, default=4)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    asked = parser.parse_args()
    try:
        config = config_of(asked.epochs, asked.batch_size, asked.learning_rate)
        data = read_composition_set(asked.table)
        ensemble = train_ensemble(data, asked.folder, asked.level, range(asked.members), config)
        save_halved(ensemble, asked.folder / "model")
    except PredictorError as error:
        sys.exit(f"lode: {error}")
    for name, value in sorted(ensemble.record.metrics.items()):
        print(f"{name} {value:.4f}")


if __name__ == "__main__":
    main()
