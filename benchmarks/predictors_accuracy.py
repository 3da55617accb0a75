"""How far off the structure ensemble is on crystals that it never saw: the test split of the Materials Project table.

    python -m benchmarks.predictors_accuracy [FOLDER] [--quick]

FOLDER: a model's folder; by default the structure model of level mp2018 that ships. Test: the Materials Project
crystals of LODE_TEST_DATA whose formula, as it stands in the table, has an MD5 of 85 or more modulo 100, of all sizes;
those without a target and those marked `suspect` are left out. Errors in eV per atom: of the ensemble (the median of
its members), and of a member alone (the mean over them). Refused crystals are counted and left out of the errors.
The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

import predictors
from benchmarks import predictors_data as data
from predictors.checkpoint import load_model
from predictors.cpu import tune_cpu
from predictors.model_files import ABOUT
from predictors.splits import Split

LEVEL = "mp2018"
SITES = ((1, 4), (5, 10), (11, 20), (21, 40), (41, 80), (81, 200))
ELEMENTS = ((1, 1), (2, 2), (3, 3), (4, 4), (5, 9))

Floats = NDArray[np.float64]


def shipped() -> Path:
    """The folder of the structure model of LEVEL that ships. Raise SystemExit if there is none."""
    for path in sorted((Path(predictors.__file__).parent / "shipped").glob(f"*/{ABOUT}")):
        about = json.loads(path.read_text())
        if about["level"] == LEVEL and about["config"].get("kind") == "structure":
            return path.parent
    raise SystemExit(f"no structure model of level {LEVEL} ships: name a model's folder")


def errors_by(name: str, values: pd.Series, errors: Floats, ranges: tuple[tuple[int, int], ...]) -> dict[str, Any]:
    """MAE, median and number of crystals of each range of `values`, ends included; empty ones left out."""
    found: dict[str, Any] = {}
    for low, high in ranges:
        inside = errors[values.between(low, high).to_numpy()]
        if len(inside):
            key = f"{name}_{low}" if low == high else f"{name}_{low}_to_{high}"
            found[key] = {"mae": float(inside.mean()), "median": float(np.median(inside)), "n": len(inside)}
    return found


def measure(quick: bool, folder: Path | None = None) -> dict[str, Any]:
    """The figures of the ensemble in `folder`."""
    folder = folder or shipped()
    ensemble = load_model(folder)
    if ensemble.record.level != LEVEL:
        raise SystemExit(f"{folder.name} predicts at level {ensemble.record.level}, the test's energies are of {LEVEL}")
    tune_cpu(threads=1)
    rows = data.some(Split.TEST, 200 if quick else None)
    began = time.process_time()
    predictions = ensemble.predict(data.crystals(rows))
    seconds = time.process_time() - began
    answered = np.isfinite(predictions.energy)
    rows, target = rows[answered], data.targets(rows)[answered].astype(np.float64)
    errors = np.abs(predictions.energy[answered] - target)
    alone = np.abs(predictions.member_energies[answered] - target[:, None]).mean(axis=0)
    figures = {
        "model": folder.name,
        "members": len(ensemble.members),
        "n": len(errors),
        "refused": int((~answered).sum()),
        "mae": float(errors.mean()),
        "median": float(np.median(errors)),
        "bias": float((predictions.energy[answered] - target).mean()),
        "single_member_mae": float(alone.mean()),
        "best_member_mae": float(alone.min()),
        "crystals_per_s": len(answered) / seconds,
        **errors_by("sites", rows.nsites, errors, SITES),
        **errors_by("elements", rows.elements, errors, ELEMENTS),
    }
    print_table(figures)
    return figures


def print_table(figures: dict[str, Any]) -> None:
    print(f"{figures['model']}, {figures['members']} members, {figures['refused']} crystals refused")
    print(f"{'eV/atom':>20}{'MAE':>10}{'median':>10}{'crystals':>10}")
    print(f"{'ensemble':>20}{figures['mae']:>10.4f}{figures['median']:>10.4f}{figures['n']:>10}")
    print(f"{'a member alone':>20}{figures['single_member_mae']:>10.4f}{'':>10}{figures['n']:>10}")
    for name, part in figures.items():
        if isinstance(part, dict):
            print(f"{name.replace('_', ' '):>20}{part['mae']:>10.4f}{part['median']:>10.4f}{part['n']:>10}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--quick", action="store_true", help="200 crystals")
    arguments = parser.parse_args()
    print(json.dumps(measure(arguments.quick, arguments.folder)))


if __name__ == "__main__":
    main()
