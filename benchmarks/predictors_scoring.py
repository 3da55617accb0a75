"""How fast candidates are scored: neighbour list, 20 volumes, 10 members; and against asking one thing at a time.

    python -m benchmarks.predictors_scoring [--quick]

Candidates: known crystals of up to 20 sites with other elements on them (workers/substitutes.py); the known ones are
the prototypes that ship, and where LODE_TEST_DATA is set the Materials Project crystals. Weights are by chance, of the
default shape; intervals and domain (predictors/confidence.py), which are asked for each candidate as well, are those of
a model that ships. `single`: what the first stage of scoring does, one member at one volume. CPU seconds on one core,
denormals flushed, malloc tuned, the crystals already in memory; nothing is parsed. The loop asks for one crystal at one
volume of one member at a time, each from the crystal, with the same code.
The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from benchmarks.candidates_volume import some_real
from benchmarks.crystals import cpu_seconds
from predictors.augmentation import VOLUME_FACTORS, scaled
from predictors.checkpoint import load_model
from predictors.cpu import tune_cpu
from predictors.energy_model import EnergyModel
from predictors.ensemble import Ensemble
from predictors.graph import CrystalLike
from predictors.model_files import ModelRecord
from predictors.structure_model import StructureConfig, StructureModel
from registry.crystal import Crystal
from registry.identity.composition import SYMBOLS
from registry.importers.prototypes import read_prototypes
from registry.importers.record import ImportedRecord
from workers.substitutes import substitutes
from workers.train import shipped_model

MEMBERS = 10
MOST_SITES = 20
ELEMENTS = tuple(range(1, 95))


def ensemble() -> Ensemble:
    """Weights by chance: they take as long as trained ones."""
    torch.manual_seed(0)
    members: list[EnergyModel] = [StructureModel(StructureConfig()).eval() for _ in range(MEMBERS)]
    for member in members:
        member.get_buffer("adjacency").fill_(24.0)
    return Ensemble(members, ModelRecord("by chance", ELEMENTS), load_model(shipped_model("7net-0")).confidence)


def parents(source: str) -> list[Crystal]:
    if source == "materials_project":
        return list(some_real(1_000))
    found = [one.crystal for one in read_prototypes() if isinstance(one, ImportedRecord)]
    return [one for one in found if one.nsites <= MOST_SITES]


def candidates(source: str, count: int) -> list[Crystal]:
    symbols = [SYMBOLS[number] for number in ELEMENTS]
    return substitutes(parents(source), symbols, (), count, seed=0)


def one_at_a_time(model: Ensemble, asked: Sequence[CrystalLike]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """(n,) the same energies, the slow way."""
    alone = [Ensemble([member], model.record) for member in model.members]
    energies = [
        [[float(one.predict([scaled(crystal, factor)]).energy[0]) for one in alone] for factor in VOLUME_FACTORS]
        for crystal in asked
    ]
    return np.median(np.array(energies), axis=2).min(axis=1)


def rates(source: str, quick: bool) -> dict[str, Any]:
    model, asked = ensemble(), candidates(source, 40 if quick else 1_000)
    _, seconds_single = cpu_seconds(lambda: model.predict(asked, members=1))
    few = random.Random(0).sample(asked, 3 if quick else 20)
    model.predict(few, volume_scan=True)  # compiles
    _, seconds = cpu_seconds(lambda: model.predict(asked, volume_scan=True))
    together, seconds_few = cpu_seconds(lambda: model.predict(few, volume_scan=True).energy)
    slowly, seconds_slow = cpu_seconds(lambda: one_at_a_time(model, few))
    return {
        f"{source}_candidates": len(asked),
        f"{source}_sites": float(np.mean([crystal.nsites for crystal in asked])),
        f"{source}_candidates_per_s": len(asked) / seconds,
        f"{source}_single_candidates_per_s": len(asked) / seconds_single,
        f"{source}_one_at_a_time_per_s": len(few) / seconds_slow,
        f"{source}_ratio": seconds_slow / seconds_few,
        f"{source}_max_abs_diff_ev_per_atom": float(np.abs(together - slowly).max()),
    }


def measure(quick: bool) -> dict[str, Any]:
    """Candidates per CPU second."""
    tune_cpu(threads=1)
    sources = ("prototypes", "materials_project") if os.environ.get("LODE_TEST_DATA") else ("prototypes",)
    figures: dict[str, Any] = {}
    for source in sources[-1:] if quick else sources:
        figures |= rates(source, quick)
    for name, value in figures.items():
        print(f"{name:>46}{value:>14,.4g}")
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer candidates, some seconds")
    print(json.dumps(measure(parser.parse_args().quick)))


if __name__ == "__main__":
    main()
