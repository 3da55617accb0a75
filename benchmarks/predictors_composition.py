"""The composition model: training throughput against aviary's Roost, and errors of the shipped ensembles.

    python -m benchmarks.predictors_composition [--quick]

Throughput: made-up formulas of 2 to 5 elements, the same batches of 256 for both, collating included, formulas parsed
before; L1 loss, AdamW, one thread, CPU seconds, the two in turn. Roost has its published shape (aviary's defaults).
Errors: on the test split that the data set comes with, by the ensemble and by its single members (mean); they want
LODE_TEST_DATA. Beside them the figures published for the same splits by Wang et al., npj Comput. Mater. 7, 77 (2021).
The last line is JSON.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.functional import l1_loss

from predictors.checkpoint import load_model
from predictors.composition_model import CompositionConfig
from predictors.compositions import composition_of
from predictors.confidence import Confidence
from predictors.cpu import tune_cpu
from predictors.evaluate import foresight_of
from predictors.graph import CrystalLike
from predictors.predictor import Predictions
from predictors.splits import Split
from predictors.training_set import read_training_set
from registry.errors import NotFound
from workers.predict_formulas import shipped_composition_model

BATCH = 256
TABLES = {"mp2018": "mp_critexam_Ef", "oqmd": "oqmd_formation_enthalpy"}
PUBLISHED = {"mp2018": {"crabnet": 0.0593, "roost": 0.0547}, "oqmd": {"crabnet": 0.0311, "roost": 0.0315}}
Step = Callable[[int], None]


def made_up(count: int, seed: int = 0) -> list[str]:
    """Formulas of 2 to 5 elements, 3.4 on average as in the Materials Project."""
    from ase.data import chemical_symbols

    rng = np.random.default_rng(seed)
    metals = [z for z in range(1, 84) if z not in (2, 10, 18, 36, 54, 61)]
    found = []
    for size in rng.choice([2, 3, 4, 5], count, p=[0.13, 0.47, 0.28, 0.12]):
        elements = rng.choice(metals, size, replace=False)
        found.append("".join(f"{chemical_symbols[z]}{rng.integers(1, 9)}" for z in elements))
    return found


def learning(model: nn.Module, energies: Callable[[int], torch.Tensor], targets: torch.Tensor) -> Step:
    """One update on one batch; `energies`: number of a batch -> (b,)."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)

    def step(batch: int) -> None:
        loss = l1_loss(energies(batch), targets[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def ours(formulas: list[str], targets: torch.Tensor) -> Step:
    torch.manual_seed(0)
    config = CompositionConfig()
    model = config.build()
    encoded = [config.encode(composition_of(formula)) for formula in formulas]
    return learning(model, lambda n: model(config.collate(encoded[n * BATCH : (n + 1) * BATCH])), targets)


def roost(formulas: list[str], targets: torch.Tensor) -> Step:
    os.environ["WANDB_MODE"] = "disabled"
    import pandas as pd
    from aviary.roost.data import CompositionData, collate_batch
    from aviary.roost.model import Roost

    torch.manual_seed(0)
    tasks = {"energy": "regression"}
    with contextlib.redirect_stdout(io.StringIO()):
        model = Roost(robust=False, n_targets=[1], task_dict=tasks)
    rows = pd.DataFrame({"material_id": formulas, "composition": formulas, "energy": 0.0})
    data = CompositionData(rows, tasks)
    parsed = [data[index] for index in range(len(formulas))]
    return learning(
        model, lambda n: model(*collate_batch(parsed[n * BATCH : (n + 1) * BATCH])[0])[0].squeeze(1), targets
    )


def throughput(batches: int) -> dict[str, float]:
    """Formulas trained on per CPU second, by each."""
    formulas = made_up((batches + 1) * BATCH)
    targets = torch.randn(batches + 1, BATCH)
    steps = {"ours": ours(formulas, targets), "roost": roost(formulas, targets)}
    spent = dict.fromkeys(steps, 0.0)
    for batch in range(batches + 1):
        for name, step in steps.items():
            began = time.process_time()
            step(batch)
            spent[name] += time.process_time() - began if batch else 0.0  # the first warms up
    found = {f"{name}_formulas_per_s": batches * BATCH / seconds for name, seconds in spent.items()}
    return {**found, "ratio": spent["roost"] / spent["ours"]}


def errors(quick: bool) -> Iterator[tuple[str, dict[str, Any]]]:
    """Level -> mean absolute errors on the test split, eV/atom, of each shipped model. quick: of the smaller table."""
    for level, name in list(TABLES.items())[: 1 if quick else None]:
        path = Path(os.environ.get("LODE_TEST_DATA", "")) / "composition" / f"{name}.parquet"
        try:
            folder = shipped_composition_model(level)
        except NotFound as reason:
            yield level, {"not_measured": str(reason)}
            continue
        if not path.is_file():
            yield level, {"not_measured": "LODE_TEST_DATA isn't set"}
            continue
        yield level, test_errors(folder, path) | {"published": PUBLISHED[level]}


def test_errors(folder: Path, path: Path) -> dict[str, Any]:
    data = read_training_set(path, split_by="given", structures=False)
    chosen = data.part(Split.TEST)
    formulas, ensemble = [data.crystals[index] for index in chosen], load_model(folder)
    began = time.process_time()
    found = ensemble.predict(formulas)
    seconds = time.process_time() - began
    targets = data.targets[chosen].astype(np.float64)
    off = np.abs(found.energy - targets)
    return {
        "formulas": len(chosen),
        "members": len(ensemble.members),
        "mae": float(off.mean()),
        "median": float(np.median(off)),
        "single_mae": float(np.abs(found.member_energies - targets[:, None]).mean()),
        "predictions_per_s": len(chosen) / seconds,
        **(foretold(ensemble.confidence, formulas, found, targets) if ensemble.confidence is not None else {}),
    }


def foretold(
    confidence: Confidence, formulas: Sequence[CrystalLike], found: Predictions, targets: NDArray[np.float64]
) -> dict[str, float]:
    """What the intervals hold, how their width ranks errors, and errors out of domain."""
    told = foresight_of(confidence, formulas, found, targets)
    names = ("coverage_50", "coverage_80", "coverage_90", "spearman_width", "outside", "mae_inside", "mae_outside")
    return {name: getattr(told, name) for name in names}


def measure(quick: bool) -> dict[str, Any]:
    """All figures; where `quick`, from few batches and the smaller table."""
    tune_cpu(1)
    speed = throughput(4 if quick else 40)
    print(
        "training, formulas per CPU second: ours {ours_formulas_per_s:,.0f}, Roost {roost_formulas_per_s:,.0f},"
        " ratio {ratio:.1f}".format(**speed)
    )
    found = dict(errors(quick))
    for level, figures in found.items():
        print(f"{level}: " + ", ".join(f"{name} {value}" for name, value in figures.items()))
    return {"training": speed, "errors": found}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--quick", action="store_true", help="within 15 s: few batches, one test split")
    print(json.dumps(measure(arguments.parse_args().quick)))


if __name__ == "__main__":
    main()
