"""How the structure model's error falls with the number of crystals it learnt from: `predictors.scaling` on real data.

    python -m benchmarks.predictors_scaling [--quick] [--out FOLDER] [--data TABLE] [--test NAME=TABLE ...]

Crystals of LODE_TEST_DATA with up to 40 sites, or those of another training table (`lode model relabel` writes such).
Members learn from crystals of up to four elements; judged: held-out ones, by number of elements, all of five and more,
and each table of --test at the same level; random structures for one, see benchmarks/random_structures.py. With --out
the members stay, and a run that was killed goes on. Printed: mean absolute errors in eV per atom, and the exponents of
the fitted power laws with 95 % intervals.
The last line is JSON: what `lode model scaling --json` prints.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from benchmarks import predictors_data
from predictors.augmentation import Perturbation
from predictors.scaling import Scaling, ScalingPlan, scale
from predictors.splits import Split
from predictors.structure_model import StructureConfig
from predictors.train_config import TrainConfig
from predictors.training_set import TrainingSet, read_training_set

MOST_SITES = 40
SIZES = (250, 500, 1_000, 2_000, 4_000, 8_000, 16_000)
AS_IT_STANDS = Perturbation(probability=0.0)  # as what is judged: relaxed crystals
WHOLE = ScalingPlan(SIZES, TrainConfig(epochs=20, perturbation=AS_IT_STANDS))
SMALL = TrainConfig(model=StructureConfig(width=32, steps=2), epochs=2, batch_size=16, perturbation=AS_IT_STANDS)
QUICK = ScalingPlan((40, 60, 90, 130, 190, 280), SMALL, most_tested=100)


def measure(
    quick: bool, folder: Path | None = None, table: Path | None = None, tests: dict[str, Path] | None = None
) -> dict[str, Any]:
    """Errors by size and kind."""
    crystals = read_training_set(table, max_sites=MOST_SITES) if table else real(quick)
    plan = QUICK if quick else of_size(WHOLE, crystals)
    others = {name: read_training_set(path) for name, path in (tests or {}).items()}
    with tempfile.TemporaryDirectory() as scratch:
        found = scale(crystals, folder or Path(scratch), plan, others)
    print_table(found)
    return asdict(found)


def of_size(plan: ScalingPlan, data: TrainingSet) -> ScalingPlan:
    """The plan up to the largest size that the table has crystals for."""
    few = [len(set(data.crystals[i].numbers.tolist())) <= plan.most_elements for i in data.part(Split.TRAIN)]
    return replace(plan, sizes=tuple(size for size in plan.sizes if size <= sum(few)))


def real(quick: bool) -> TrainingSet:
    found = predictors_data.training_set(*((600, 60, 200) if quick else (None, None, None)), most_sites=MOST_SITES)
    return replace(found, data_hash=f"mp2018 {found.data_hash}")


def print_table(found: Scaling) -> None:
    print(f"{'MAE by size':>16}{'judged':>8}{''.join(f'{size:>9,}' for size in found.sizes)}{'exponent':>24}")
    for name, curve in found.curves.items():
        law = curve.law
        errors = "".join(f"{error:>9.4f}" for error in curve.mae)
        interval = f"{law.exponent:.3f} ({law.exponent_low:.3f} to {law.exponent_high:.3f})"
        print(f"{name:>16}{curve.n:>8}{errors}{interval:>24}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="hundreds of crystals, a small shape")
    parser.add_argument("--out", type=Path, metavar="FOLDER")
    parser.add_argument("--data", type=Path, metavar="TABLE")
    parser.add_argument("--test", action="append", default=[], metavar="NAME=TABLE")
    asked = parser.parse_args()
    tests = {name: Path(path) for name, _, path in (text.partition("=") for text in asked.test)}
    print(json.dumps(measure(asked.quick, asked.out, asked.data, tests)))


if __name__ == "__main__":
    main()
