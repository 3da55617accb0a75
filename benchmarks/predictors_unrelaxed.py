"""From a candidate as proposed to the energy that it relaxes to: the volume scan against training on perturbed copies.

    python -m benchmarks.predictors_unrelaxed [--quick] [--out FOLDER] [--data TABLE ...] [--members N] [--model FOLDER]

Judged: substitutes of known crystals (LODE_TEST_DATA, up to 12 sites), at predicted volumes, of compositions that
nobody has learnt from, relaxed with 7net-0 (cell and sites; those that don't converge within 150 steps are left out).
Asked about the candidate and about the relaxed crystal; the label is the relaxed energy either way. Models, equal but
for what they see of a training crystal: it as it stands; strained copies too; strained and rattled ones too, all with
the energy of the crystal they are of. Besides, the ensemble of this level that ships (or that of --model; it may have
learnt from such compositions), and 7net-0 itself on the first 50: what is left to a model without errors.
Asked: as it stands; the lowest of the median energies at volumes from 90 to 110 %; from 80 to 120 %.

Printed, eV/atom: MAE with a bootstrap's 95 % interval, and that of MAE minus the paper's way's (as it stands, 80 to
120 %; paired); median; bias; MAE of those whose label is less than 0.1 above the hull; Spearman and recall of the tenth
that is lowest, of the energy above the hull. The hull is that of the training table.

FOLDER (runs/unrelaxed) keeps all, and a killed run goes on. On one core: 300 relaxations take about 11 minutes, six
trainings 14; --data are training tables of level 7net-0 to learn from, without which 30,000 single points take 30 more.
The last line is JSON: crystals asked about -> model -> way -> figures.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import unrelaxed_candidates as data
from benchmarks.random_structures import LEVEL
from predictors.augmentation import VOLUME_FACTORS, Perturbation, scaled
from predictors.calibration import rank_correlation
from predictors.checkpoint import load_model
from predictors.cpu import tune_cpu
from predictors.graph import CrystalLike
from predictors.members import assemble
from predictors.predictor import Predictor
from predictors.structure_model import StructureConfig
from predictors.train import train_member
from predictors.train_config import TrainConfig
from predictors.training_set import TrainingSet
from registry.crystal import Crystal
from registry.hull.geometry import Entry, Hull
from registry.threads import one_thread_each
from workers.potentials import potential_files, predictor_of
from workers.train import shipped_model

Floats = NDArray[np.float64]

SEEN = {
    "as it stands": Perturbation(probability=0.0),
    "strained": Perturbation(rattle=0.0),
    "strained and rattled": Perturbation(),
}
"""What a model sees of a training crystal."""
PLAIN = "as it stands"
WIDTHS = {"90-110 %": 0.1, "80-120 %": 0.2}
"""A scan's name -> how far its volumes go from the candidate's."""
PAPER = ("as it stands", "80-120 %")
"""What it sees and how it is asked in the paper; the others are compared with it."""
NEAR_HULL = 0.1  # eV/atom
SHIPPED = shipped_model("7net-0")
FOLDER = Path("runs") / "unrelaxed"
POTENTIAL_ASKED = 50
RESAMPLES = 2_000


SMALL = StructureConfig(width=96, edge_width=48, steps=3)


@dataclass(frozen=True)
class Plan:
    """proposed: candidates that nobody learns from; count: the first of them, which are relaxed; rows: to learn from;
    members: of each model; most_sites: of candidates and of what is learnt from"""

    proposed: int = 400
    count: int = 300
    rows: int = 30_000
    members: int = 2
    most_sites: int = 12
    epochs: int = 20
    shape: StructureConfig = SMALL


QUICK = Plan(4, 4, 80, 1, 4, 2, StructureConfig(width=16, edge_width=16, steps=2))


def trained(learnt: TrainingSet, folder: Path, plan: Plan) -> dict[str, Predictor]:
    """What it saw -> the ensemble. One member of each at a time, so that a stop leaves as many of each."""
    folders = {}
    for seed, (name, perturbation) in product(range(plan.members), SEEN.items()):
        folders[name, seed] = folder / f"{name.replace(' ', '-')}-{seed}"
        config = TrainConfig(model=plan.shape, perturbation=perturbation, epochs=plan.epochs)
        for row in train_member(learnt, folders[name, seed], config, seed):
            print(f"{name}, member {seed}: epoch {row.epoch}, {row.validation_mae:.4f} eV/atom", flush=True)
    return {name: assemble([folders[name, seed] for seed in range(plan.members)], LEVEL) for name in SEEN}


def answers(predictor: Predictor, crystals: Sequence[CrystalLike]) -> dict[str, Floats]:
    """Way of asking -> (n,) eV/atom."""
    members = [
        predictor.predict([scaled(one, factor) for one in crystals]).member_energies for factor in VOLUME_FACTORS
    ]
    medians = np.median(np.stack(members, axis=1), axis=2)
    scans = {name: lowest_within(medians, width) for name, width in WIDTHS.items()}
    return {PLAIN: predictor.predict(crystals).energy, **scans}


def lowest_within(medians: Floats, width: float) -> Floats:
    """(n, 20) energies at VOLUME_FACTORS -> (n,) the lowest of those at most `width` from 1."""
    return np.asarray(medians[:, np.abs(VOLUME_FACTORS - 1) <= width + 1e-9].min(axis=1))


def figures(energy: Floats, target: Floats, hull: Floats) -> dict[str, Any]:
    """Errors of (n,) energies and how well they rank; hull: (n,) energies of the hull at the compositions."""
    bias, error = float((energy - target).mean()), np.abs(energy - target)
    near = target - hull < NEAR_HULL
    return {
        "n": len(error),
        "mae": float(error.mean()),
        "mae_interval": interval(error),
        "median": float(np.median(error)),
        "bias": bias,
        "near_hull": int(near.sum()),
        "near_hull_mae": float(error[near].mean()) if near.any() else None,
        "spearman": rank_correlation(energy - hull, target - hull),
        "recall_of_lowest_tenth": recall_of_lowest(energy - hull, target - hull),
    }


def recall_of_lowest(predicted: Floats, true: Floats, share: float = 0.1) -> float:
    """Of the truly lowest ones, the share that is among as many predicted lowest."""
    size = max(1, round(share * len(true)))
    return len(set(np.argsort(predicted)[:size].tolist()) & set(np.argsort(true)[:size].tolist())) / size


def interval(values: Floats, seed: int = 0) -> list[float]:
    """Ends of the central 95 % of the mean under resampling."""
    drawn = np.random.default_rng(seed).integers(len(values), size=(RESAMPLES, len(values)))
    low, high = np.percentile(values[drawn].mean(axis=1), [2.5, 97.5]).tolist()
    return [low, high]


def hull_energies(learnt: TrainingSet, crystals: Sequence[Crystal]) -> Floats:
    """(n,) eV/atom of the hull of what was learnt from; elements are at 0."""
    known = enumerate(zip(learnt.crystals, learnt.targets.tolist(), strict=True))
    entries = [Entry(key, _amounts(crystal), energy) for key, (crystal, energy) in known]
    elements = {int(z) for one in crystals for z in one.numbers}
    entries += [Entry(len(entries) + z, {z: 1}, 0.0) for z in elements]
    return Hull(entries).energies_at([one.amounts for one in crystals])


def _amounts(crystal: CrystalLike) -> dict[int, int]:
    return Crystal(crystal.lattice, crystal.numbers, crystal.frac_coords).amounts


def judged(found: Mapping[str, Mapping[str, Floats]], target: Floats, hull: Floats) -> dict[str, dict[str, Any]]:
    """Model -> way -> figures, from model -> way -> (n,) energies of the same crystals; refused ones are left out."""
    known = np.all([np.isfinite(energy) for ways in found.values() for energy in ways.values()], axis=0)
    model, way = PAPER
    papers = np.abs(found[model][way] - target)[known] if model in found else None
    told: dict[str, dict[str, Any]] = {}
    for name, ways in found.items():
        told[name] = {way: figures(energy[known], target[known], hull[known]) for way, energy in ways.items()}
        for way, energy in ways.items() if papers is not None else ():
            told[name][way]["mae_minus_paper"] = interval(np.abs(energy - target)[known] - papers)
    return told


def counted(what: str) -> data.Progress:
    """Prints how many are done."""
    done = 0

    def count(more: int) -> None:
        nonlocal done
        done += more
        print(f"{done} {what}", flush=True)

    return count


def measure(
    quick: bool,
    folder: Path = FOLDER,
    tables: Sequence[Path] = (),
    members: int | None = None,
    model: Path = SHIPPED,
) -> dict[str, Any]:
    """Crystals asked about -> model -> way -> figures."""
    warnings.filterwarnings("ignore")
    tune_cpu(1)
    plan = QUICK if quick else Plan(members=members or Plan.members)
    with tempfile.TemporaryDirectory() as scratch:
        found = compared(plan, Path(scratch) if quick else folder, tables, model)
    print_table(found)
    return found


def compared(plan: Plan, folder: Path, tables: Sequence[Path], model: Path) -> dict[str, Any]:
    proposed = data.candidates(plan.proposed, plan.most_sites)
    tables = tables or [
        data.label_training_table(folder / "labelled", plan.rows, plan.most_sites, counted("single points"))
    ]
    learnt = data.training_set(tables, folder / "learnt.parquet", plan.rows, plan.most_sites, list(proposed.values()))
    models = {**trained(learnt, folder, plan), model.name: load_model(model)}
    first = dict(islice(proposed.items(), plan.count))
    pairs = data.relaxed(first, folder / "candidates", counted("relaxations"))
    hull = hull_energies(learnt, pairs.proposed)
    asked = {"proposed": pairs.proposed, "relaxed": pairs.relaxed}
    found: dict[str, Any] = {
        name: judged({one: answers(each, crystals) for one, each in models.items()}, pairs.targets, hull)
        for name, crystals in asked.items()
    }
    few = slice(POTENTIAL_ASKED)
    potential = {LEVEL: answers(predictor_of(potential_files(LEVEL)), pairs.proposed[few])}
    found["proposed"] |= judged(potential, pairs.targets[few], hull[few])
    grown = [after.volume / before.volume for before, after in zip(pairs.proposed, pairs.relaxed, strict=True)]
    return {
        "candidates": pairs.drawn,
        "candidates_relaxed": len(pairs.targets),
        "learnt": len(learnt.crystals),
        "volume_ratios": dict(zip(("5 %", "50 %", "95 %"), np.percentile(grown, [5, 50, 95]).tolist(), strict=True)),
        **found,
    }


def print_table(found: Mapping[str, Any]) -> None:
    print(f"{found['candidates_relaxed']} of {found['candidates']} candidates relaxed, {found['learnt']} learnt from")
    ratios = (f"{share} {ratio:.2f}" for share, ratio in found["volume_ratios"].items())
    print(f"volume of the relaxed crystal by that of the candidate, percentiles: {', '.join(ratios)}")
    for asked in ("proposed", "relaxed"):
        print(f"\n{asked:>22}{'way':>14}{'n':>5}{'MAE':>9}{'95 %':>15}{'minus paper':>17}", end="")
        print("".join(f"{title:>10}" for title in ("median", "bias", "near hull", "Spearman", "recall")))
        for model, ways in found[asked].items():
            for way, row in ways.items():
                print(f"{model:>22}{way:>14}{row['n']:>5}{_columns(row)}")


def _columns(row: Mapping[str, Any]) -> str:
    less = _ends(row["mae_minus_paper"]) if "mae_minus_paper" in row else ""
    rest = (row[name] for name in ("median", "bias", "near_hull_mae", "spearman", "recall_of_lowest_tenth"))
    texts = ("" if one is None else f"{one:.4f}" for one in rest)
    return f"{row['mae']:>9.4f}{_ends(row['mae_interval']):>15}{less:>17}{''.join(f'{text:>10}' for text in texts)}"


def _ends(bounds: Sequence[float]) -> str:
    return f"{bounds[0]:.3f}..{bounds[1]:.3f}"


def main() -> None:
    one_thread_each()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a dozen tiny candidates, models trained for seconds")
    parser.add_argument("--out", type=Path, default=FOLDER, metavar="FOLDER")
    parser.add_argument("--data", type=Path, nargs="+", default=[], metavar="TABLE")
    parser.add_argument("--members", type=int)
    parser.add_argument("--model", type=Path, default=SHIPPED, metavar="FOLDER")
    asked = parser.parse_args()
    print(json.dumps(measure(asked.quick, asked.out, asked.data, asked.members, asked.model)))


if __name__ == "__main__":
    main()
