"""dgl against plain torch behind the same interface: training steps and predictions of the structure model.

    python -m benchmarks.message_passing [--quick]

Made-up crystals of 2 to 14 sites, one thread, the two back-ends in turn. The last line is JSON: torch's time divided
by dgl's (above 1: dgl is faster), and how far their energies are apart.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable

import numpy as np
import torch

from predictors.augmentation import PlainCrystal
from predictors.batch import BatchedGraph, batch_graphs
from predictors.cpu import tune_cpu
from predictors.graph import build_graph
from predictors.message_passing import available_backends
from predictors.structure_model import StructureConfig, StructureModel

BACKENDS = ("torch", "dgl")


def batches(count: int, config: StructureConfig) -> list[BatchedGraph]:
    rng = np.random.default_rng(0)
    found = []
    for _ in range(count):
        crystals = []
        for _ in range(64):
            sites = int(rng.integers(2, 15))
            edge = (18.0 * sites) ** (1 / 3)
            numbers = rng.integers(3, 60, sites).astype(np.int16)
            crystals.append(PlainCrystal(np.eye(3) * edge, numbers, rng.random((sites, 3))))
        found.append(batch_graphs([build_graph(crystal, config.cutoff, config.max_neighbors) for crystal in crystals]))
    return found


def seconds(task: Callable[[], object]) -> float:
    start = time.process_time()
    task()
    return time.process_time() - start


def train(model: StructureModel, data: list[BatchedGraph]) -> None:
    for batch in data:
        model.zero_grad()
        model(batch).square().mean().backward()


def predict(model: StructureModel, data: list[BatchedGraph]) -> list[torch.Tensor]:
    with torch.inference_mode():
        return [model(batch) for batch in data]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    rounds = 3 if parser.parse_args().quick else 12
    tune_cpu(threads=1)
    if "dgl" not in available_backends():
        raise SystemExit("dgl doesn't import here: nothing to compare")
    data = batches(8, StructureConfig())
    models = {}
    for name in BACKENDS:
        torch.manual_seed(0)
        models[name] = StructureModel(StructureConfig(), backend=name)
        train(models[name], data)  # warm
    spent = {(task, name): 0.0 for task in ("training", "prediction") for name in BACKENDS}
    for _ in range(rounds):
        for name, model in models.items():
            spent["training", name] += seconds(lambda model=model: train(model, data))
            spent["prediction", name] += seconds(lambda model=model: predict(model, data))
    pairs = zip(*(predict(model, data) for model in models.values()), strict=True)
    apart = max(float((one - other).abs().max()) for one, other in pairs)
    for (task, name), total in spent.items():
        print(f"{task:10} {name:5} {total / rounds / len(data) * 1000:8.1f} ms a batch of 64")
    ratios = {
        f"{task}_torch_over_dgl": round(spent[task, "torch"] / spent[task, "dgl"], 3)
        for task in ("training", "prediction")
    }
    print(json.dumps({**ratios, "max_abs_diff_ev_per_atom": apart}))


if __name__ == "__main__":
    main()
