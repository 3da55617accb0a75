"""Whether models know their errors: coverage of intervals before and after calibration, and errors out of domain.

    python -m benchmarks.predictors_calibration [--quick] [--model FOLDER]... [--data TABLE]

Of the shipped models, or those named: on the test split (MD5 of the formula, from 85) of the Materials Project set in
LODE_TEST_DATA (formation energies of 2018, suspect rows left out), or of a training table at the model's level; with
--quick on 150 crystals of it. `all`: the ensemble; on strained and rattled copies of a half of them, of 300 at most,
`first`: one member, `scan`: the ensemble over the volume scan. A model of another level than its targets is passed
over: their difference would count as its error. Energies in eV/atom. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks import predictors_data
from predictors.augmentation import Perturbation, PlainCrystal, perturbed
from predictors.checkpoint import load_model
from predictors.confidence import Asked, Confidence
from predictors.cpu import tune_cpu
from predictors.ensemble import Ensemble
from predictors.errors import BadCheckpoint
from predictors.evaluate import errors_of, foresight_of
from predictors.predictor import Predictions
from predictors.splits import Split
from predictors.training_set import read_training_set

LEVEL = "mp2018"  # of the Materials Project set's formation energies
QUICK = 150
COPIES = 300
SHIPPED = Path(__file__).parents[1] / "predictors" / "shipped"

Held = tuple[list[PlainCrystal], NDArray[np.float64]]
Figures = dict[str, float | None]


def materials_project() -> Held:
    """The test split's crystals and formation energies. Raise SystemExit where there are no real data."""
    rows = predictors_data.some(Split.TEST)
    return predictors_data.crystals(rows), predictors_data.targets(rows).astype(np.float64)


def test_part(table: Path) -> Held:
    """Of a training table."""
    data = read_training_set(table)
    part = data.part(Split.TEST)
    return [data.crystals[i] for i in part], data.targets[part].astype(np.float64)


def foresight(ensemble: Ensemble, confidence: Confidence, held: Held) -> dict[str, Figures]:
    """Way of asking -> figures of predictors.evaluate.Foresight, with the mean error and the spread's rank
    correlation."""
    crystals, targets = held
    rng = np.random.default_rng(0)
    copied = rng.choice(len(crystals), min(COPIES, len(crystals) // 2), replace=False)
    copies = [perturbed(crystals[i], Perturbation(), rng) for i in copied]
    ways: dict[Asked, tuple[list[PlainCrystal], NDArray[np.float64], Predictions]] = {
        Asked.FIRST: (copies, targets[copied], ensemble.predict(copies, members=1)),
        Asked.ALL: (crystals, targets, ensemble.predict(crystals)),
        Asked.SCAN: (copies, targets[copied], ensemble.predict(copies, volume_scan=True)),
    }
    return {str(asked): _figures(confidence, asked, *way) for asked, way in ways.items()}


def _figures(
    confidence: Confidence,
    asked: Asked,
    crystals: Sequence[PlainCrystal],
    targets: NDArray[np.float64],
    found: Predictions,
) -> Figures:
    errors = errors_of(found, targets)
    told = asdict(foresight_of(confidence, crystals, found, targets, asked))
    figures = {"n": errors.n, "mae": errors.mae, "spearman_spread": errors.spearman, **told}
    return {name: value if np.isfinite(value) else None for name, value in figures.items()}


def measure(
    quick: bool, folders: Sequence[Path] = (), table: Path | None = None
) -> dict[str, dict[str, Figures] | str]:
    """Model -> way of asking -> figures, or why there are none. Raise SystemExit without data."""
    tune_cpu(1)
    folders = folders or sorted(path.parent for path in SHIPPED.glob("*/model.json"))
    crystals, targets = test_part(table) if table else materials_project()
    if quick:
        chosen = np.random.default_rng(0).permutation(len(crystals))[:QUICK]
        crystals, targets = [crystals[i] for i in chosen], targets[chosen]
    found = {folder.name: _of_model(folder, (crystals, targets), None if table else LEVEL) for folder in folders}
    for model, ways in found.items():
        print(f"{model}: {ways}" if isinstance(ways, str) else report(model, ways))
    return found


def _of_model(folder: Path, held: Held, level: str | None) -> dict[str, Figures] | str:
    try:
        ensemble = load_model(folder)
    except BadCheckpoint as error:
        return str(error)
    if level not in (None, ensemble.record.level):
        return f"its level is {ensemble.record.level}, that of the targets {level}: give a table with --data"
    if ensemble.confidence is None:
        return "it was saved without a calibration"
    return foresight(ensemble, ensemble.confidence, held)


def report(model: str, ways: dict[str, Figures]) -> str:
    """A table: figures down, ways of asking across."""
    return f"{model}\n{pd.DataFrame(ways).round(4).to_string()}\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--model", action="append", default=[], type=Path)
    parser.add_argument("--data", type=Path)
    asked = parser.parse_args()
    print(json.dumps(measure(asked.quick, asked.model, asked.data)))


if __name__ == "__main__":
    main()
