"""Our structure model against matgl's MEGNet and M3GNet, trained on the same crystals in the same run.

    python -m benchmarks.predictors_peers [--quick] [--minutes M]

Crystals of LODE_TEST_DATA of up to 30 sites, one thread. Both sides get denormals flushed and malloc tuned. What the
peers get besides: benchmarks/predictors_matgl.py. Ours: one member with the plan that
the structure model of level mp2018 ships with (its train.toml), but for the length.

Accuracy, MAE on crystals of the test split. `same_time`: each side trains for M minutes of wall time (10 by default),
neighbour lists included on our side alone; `same_epochs`: ours is trained anew for as many whole epochs as each peer
came to in that time, one at least. Ratios below 1: ours is better.

Throughput, structures per CPU second. Training at equal cutoffs, batches of 64: `training`: the same relaxed crystals,
neighbour lists made before on both sides; `training_copies`: ours with most crystals as strained and rattled copies,
whose neighbour lists are made in the loop (a plan's `perturbation`; not that of the shipped model). Ours takes the
nearest 24 neighbours within the cutoff, and equivalent atoms for one; `training_uncapped`: without that cap. Inference
from pymatgen's Structure, graph building included: the peers in batches of 64 and through their `predict_structure`,
whichever is faster, at their own cutoffs; ours one member, at its own cutoff, and at each peer's.
The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pymatgen.core import Structure

from benchmarks import predictors_data as data
from benchmarks.crystals import cpu_seconds
from benchmarks.predictors_accuracy import shipped
from predictors.augmentation import Perturbation, PlainCrystal
from predictors.cpu import tune_cpu
from predictors.distributed import join_crew
from predictors.ensemble import Ensemble
from predictors.members import trained_model
from predictors.model_files import ModelRecord
from predictors.splits import Split
from predictors.structure_model import StructureConfig
from predictors.train import Member, train_member
from predictors.train_config import TrainConfig, read_config
from predictors.training_set import TrainingSet

MINUTES = 10.0
MOST_SITES = 30
BATCH = 64
CUTOFFS = (4.0, 5.0)
AS_IT_STANDS = Perturbation(probability=0.0)

Figures = dict[str, Any]


def matgl() -> Any:
    """Raise ImportError."""
    from benchmarks import predictors_matgl

    return predictors_matgl


def train_ours(crystals: TrainingSet, minutes: float | None = None, epochs: int | None = None) -> Figures:
    """For so long, or so many epochs: test error, epochs and seconds."""
    plan = replace(read_config(shipped() / "train.toml"), epochs=epochs or 10_000, max_minutes=minutes)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        rows = list(train_member(crystals, Path(folder), plan, seed=0))
        seconds = time.monotonic() - began
        model, _ = trained_model(Path(folder))
    ensemble = Ensemble([model], ModelRecord(data.TARGET, tuple(range(1, 119))))
    test = crystals.part(Split.TEST)
    predicted = ensemble.predict([crystals.crystals[i] for i in test]).energy
    error = float(np.abs(predicted - crystals.targets[test]).mean())
    return {"mae": error, "epochs": len(rows), "seconds": seconds}


def train_peer(name: str, crystals: TrainingSet, minutes: float) -> Figures:
    module = matgl()
    peer = module.Peer(name)
    examples = peer.examples(data.structures(crystals.crystals), crystals.targets.tolist())
    known = module.Data(examples, crystals.part(Split.TRAIN), crystals.part(Split.VALIDATION))
    run, test = peer.train(known, minutes), crystals.part(Split.TEST)
    error = np.abs(peer.predict([examples[i] for i in test]) - crystals.targets[test]).mean()
    return {"mae": float(error), "epochs": run.epochs, "seconds": run.seconds, "training_per_s": run.per_second}


def accuracy(crystals: TrainingSet, minutes: float) -> Figures:
    """Errors and their ratios."""
    ours = train_ours(crystals, minutes)
    figures: Figures = {"ours_same_time": ours, "training_crystals": len(crystals.part(Split.TRAIN))}
    for name in matgl().PEERS:
        peer = train_peer(name, crystals, minutes)
        again = train_ours(crystals, epochs=max(peer["epochs"], 1))
        figures |= {name: peer, f"ours_same_epochs_{name}": again}
        figures[f"{name}_same_time_mae_ratio"] = ours["mae"] / peer["mae"]
        figures[f"{name}_same_epochs_mae_ratio"] = again["mae"] / peer["mae"]
    return figures


def per_second(steps: Callable[[], Iterable[int]], rounds: int) -> float:
    """Structures per CPU second: `steps` yields how many each step took; the fastest turn of each step counts."""
    best: dict[int, float] = {}
    counts: dict[int, int] = {}
    for _ in range(rounds):
        before = time.process_time()
        for number, count in enumerate(steps()):
            now = time.process_time()
            best[number], counts[number] = min(best.get(number, np.inf), now - before), count
            before = time.process_time()
    return sum(counts.values()) / sum(best.values())


def our_training(crystals: TrainingSet, shape: StructureConfig, perturbation: Perturbation, rounds: int) -> float:
    plan = TrainConfig(model=shape, perturbation=perturbation, batch_size=BATCH, epochs=rounds + 1)
    with join_crew() as crew:
        member = Member(crystals, plan, 0, crew)
        member.run_epoch()  # neighbour lists of the relaxed crystals
        return rate_of(member.run_epoch, len(member.training), rounds)


def their_training(name: str, crystals: TrainingSet, cutoff: float, rounds: int) -> float:
    peer, part = matgl().Peer(name, cutoff), crystals.part(Split.TRAIN)
    structures = data.structures([crystals.crystals[i] for i in part])
    examples = peer.examples(structures, crystals.targets[part].tolist())
    optimizer = torch.optim.Adam(peer.model.parameters(), lr=1e-3)

    def steps() -> Iterable[int]:
        for start in range(0, len(examples), BATCH):
            peer.train_step(examples[start : start + BATCH], optimizer)
            yield len(examples[start : start + BATCH])

    return per_second(steps, rounds)


def training_rates(crystals: TrainingSet, rounds: int) -> Figures:
    """At each cutoff, by all three."""
    found: Figures = {}
    for cutoff in CUTOFFS:
        shape = StructureConfig(cutoff=cutoff)
        ours = {
            "training": our_training(crystals, shape, AS_IT_STANDS, rounds),
            "training_copies": our_training(crystals, shape, Perturbation(), rounds),
            "training_uncapped": our_training(crystals, replace(shape, max_neighbors=None), AS_IT_STANDS, rounds),
        }
        found |= {f"{kind}_{cutoff:g}A_per_s": rate for kind, rate in ours.items()}
        for name in matgl().PEERS:
            theirs = their_training(name, crystals, cutoff, rounds)
            found[f"{name}_training_{cutoff:g}A_per_s"] = theirs
            found |= {f"{name}_{kind}_{cutoff:g}A_ratio": rate / theirs for kind, rate in ours.items()}
    return found


def inference_rates(crystals: list[PlainCrystal], rounds: int) -> Figures:
    """From Structure to energy; each peer at its own cutoff, ours at its own and at the peer's."""
    asked = data.structures(crystals)
    found: Figures = {"inference_per_s": our_inference(StructureConfig(), asked, rounds)}
    for name in matgl().PEERS:
        batched, single, cutoff = their_inference(name, asked, rounds)
        equal = our_inference(StructureConfig(cutoff=cutoff), asked, rounds)
        found |= {f"{name}_inference_per_s": batched, f"{name}_predict_structure_per_s": single}
        found[f"{name}_inference_ratio"] = found["inference_per_s"] / max(batched, single)
        found[f"{name}_inference_equal_cutoff_ratio"] = equal / max(batched, single)
        found[f"{name}_predict_structure_ratio"] = found["inference_per_s"] / single
    return found


def our_inference(shape: StructureConfig, asked: list[Structure], rounds: int) -> float:
    ensemble = Ensemble([shape.build().eval()], ModelRecord(data.TARGET, tuple(range(1, 119))))
    return rate_of(lambda: ensemble.predict([plain(one) for one in asked]), len(asked), rounds)


def their_inference(name: str, asked: list[Structure], rounds: int) -> tuple[float, float, float]:
    """In batches, and one by one; and the cutoff."""
    peer, zeros = matgl().Peer(name), [0.0] * len(asked)
    batched = rate_of(lambda: peer.predict(peer.examples(asked, zeros)), len(asked), rounds)
    single = rate_of(lambda: one_by_one(peer.model, asked), len(asked), rounds)
    return batched, single, peer.model.cutoff


def plain(structure: Structure) -> PlainCrystal:
    numbers = np.array(structure.atomic_numbers, dtype=np.int16)
    return PlainCrystal(structure.lattice.matrix, numbers, structure.frac_coords)


@torch.no_grad()
def one_by_one(model: Any, structures: list[Any]) -> None:
    for structure in structures:
        model.predict_structure(structure)


def rate_of(task: Callable[[], object], count: int, rounds: int) -> float:
    return count / min(cpu_seconds(task)[1] for _ in range(rounds))


def measure(quick: bool, minutes: float = MINUTES) -> Figures:
    """Errors, structures per second and ratios."""
    matgl()
    tune_cpu(threads=1)
    few = data.training_set(64 if quick else 1_024, 8, 8, MOST_SITES)
    figures = training_rates(few, 2 if quick else 3)
    asked = data.crystals(data.some(Split.TEST, 64 if quick else 512, MOST_SITES))
    figures |= inference_rates(asked, 2 if quick else 3)
    crystals = data.training_set(96, 16, 32, MOST_SITES) if quick else data.training_set(8_000, 500, 2_000, MOST_SITES)
    figures |= accuracy(crystals, 0.02 if quick else minutes)
    print_table(figures)
    return figures


def print_table(figures: Figures) -> None:
    for name, value in figures.items():
        if isinstance(value, dict):
            print(f"{name:>34}  MAE {value['mae']:.4f} eV/atom, {value['epochs']} epochs, {value['seconds']:,.0f} s")
        else:
            print(f"{name:>34}{value:>12,.3f}" if "ratio" in name else f"{name:>34}{value:>12,.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="throughputs, and a training of seconds")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="of each training for the same time")
    arguments = parser.parse_args()
    print(json.dumps(measure(arguments.quick, arguments.minutes)))


if __name__ == "__main__":
    main()
