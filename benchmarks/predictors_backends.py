"""dgl against plain torch, and equivalent atoms taken for one against each on its own.

    python -m benchmarks.predictors_backends [--quick]

Crystals of LODE_TEST_DATA of all sizes, in batches of 64; the structure model's default shape, weights by chance, one
thread, denormals flushed, malloc tuned. CPU seconds: the four ways take turns, batch by batch, and the shortest turn
of each counts. `torch_over_dgl` above 1: dgl is faster. `each_over_merged`: the time with every atom on its own
divided by that with classes of equivalent ones, over edges and over seconds; as relaxed crystals (predictions, a part
of training) and as strained and rattled copies (the rest of training), which have no equivalent atoms left.
The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import numpy as np
import torch

from benchmarks import predictors_data as data
from benchmarks.crystals import cpu_seconds
from predictors.augmentation import Perturbation, PlainCrystal, perturbed
from predictors.batch import BatchedGraph, batch_graphs
from predictors.cpu import tune_cpu
from predictors.equivalence import TOLERANCE
from predictors.graph import build_graph
from predictors.message_passing import available_backends
from predictors.splits import Split
from predictors.structure_model import StructureConfig, StructureModel

BATCH = 64
WAYS = {"merged": TOLERANCE, "each": None}
Key = tuple[str, str, str]


def batches(crystals: Sequence[PlainCrystal], tolerance: float | None) -> list[BatchedGraph]:
    shape = StructureConfig()
    graphs = [build_graph(one, shape.cutoff, shape.max_neighbors, tolerance) for one in crystals]
    return [batch_graphs(graphs[start : start + BATCH]) for start in range(0, len(graphs), BATCH)]


def train(model: StructureModel, batch: BatchedGraph) -> None:
    model.zero_grad()
    model(batch).square().mean().backward()


@torch.inference_mode()
def predict(model: StructureModel, batch: BatchedGraph) -> torch.Tensor:
    return model(batch)


def models() -> dict[str, StructureModel]:
    found = {}
    for name in available_backends():
        torch.manual_seed(0)
        found[name] = StructureModel(StructureConfig(), backend=name)
        found[name].adjacency.fill_(24.0)
    return found


def times(batched: dict[str, list[BatchedGraph]], rounds: int) -> dict[Key, float]:
    """(task, back-end, way) -> CPU seconds for all batches, the best turn of each batch."""
    best: dict[Key, list[float]] = {}
    tasks: dict[str, Callable[[StructureModel, BatchedGraph], object]] = {"training": train, "prediction": predict}
    turns = list(product(tasks, models().items(), WAYS))
    for _ in range(rounds):
        for index in range(len(batched["merged"])):
            for task, (name, model), way in turns:
                batch = batched[way][index]
                _, took = cpu_seconds(lambda task=task, model=model, batch=batch: tasks[task](model, batch))
                fastest = best.setdefault((task, name, way), [np.inf] * len(batched[way]))
                fastest[index] = min(fastest[index], took)
    return {key: sum(fastest) for key, fastest in best.items()}


def ratios(spent: dict[Key, float]) -> dict[str, float]:
    found = {}
    for task in ("training", "prediction"):
        for name in available_backends():
            found[f"{task}_{name}_each_over_merged"] = spent[task, name, "each"] / spent[task, name, "merged"]
        if "dgl" in available_backends():
            for way in WAYS:
                found[f"{task}_{way}_torch_over_dgl"] = spent[task, "torch", way] / spent[task, "dgl", way]
    return found


def apart(batched: dict[str, list[BatchedGraph]]) -> dict[str, float]:
    """Largest differences of the energies, eV per atom."""
    merged = {name: [predict(model, batch) for batch in batched["merged"]] for name, model in models().items()}
    each = [predict(models()["torch"], batch) for batch in batched["each"]]
    found = {"merged_max_abs_diff_ev_per_atom": largest(merged["torch"], each)}
    if "dgl" in merged:
        found["dgl_max_abs_diff_ev_per_atom"] = largest(merged["torch"], merged["dgl"])
    return found


def largest(some: list[torch.Tensor], others: list[torch.Tensor]) -> float:
    return float((torch.cat(some) - torch.cat(others)).abs().max())


def measure(quick: bool) -> dict[str, Any]:
    """Ratios of times and of edges."""
    tune_cpu(threads=1)
    rng = np.random.default_rng(0)
    relaxed = data.crystals(data.some(Split.TRAIN, BATCH if quick else 16 * BATCH))
    sets = {"relaxed": relaxed, "copies": [perturbed(one, Perturbation(), rng) for one in relaxed]}
    figures: dict[str, Any] = {"backends": list(available_backends())}
    for name, crystals in sets.items():
        batched = {way: batches(crystals, tolerance) for way, tolerance in WAYS.items()}
        times({way: some[:1] for way, some in batched.items()}, 1)  # compiles
        spent = times(batched, 1 if quick else 5)
        edges = {way: sum(len(batch.src) for batch in some) for way, some in batched.items()}
        found = {"edges_each_over_merged": edges["each"] / edges["merged"], **ratios(spent), **apart(batched)}
        figures |= {f"{name}_{key}": value for key, value in found.items()}
        print_times(name, spent, len(crystals))
    return figures


def print_times(name: str, spent: dict[Key, float], crystals: int) -> None:
    for (task, backend, way), seconds in spent.items():
        print(f"{name:>8} {task:>10} {backend:>5} {way:>6}{crystals / seconds:>10,.0f} crystals/s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="some seconds")
    print(json.dumps(measure(parser.parse_args().quick)))


if __name__ == "__main__":
    main()
