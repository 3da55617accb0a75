"""Crystals of another origin than those learnt from: hypothetical ones of Alexandria, relaxed with DFT.

    python -m benchmarks.predictors_origin [--quick] [--model FOLDER]

The sample of Alexandria (J. Schmidt et al., Adv. Mater. 35, 2210788, 2023) in LODE_TEST_DATA, up to 40 sites, PBE(+U)
total energies. Asked: the model of level 7net-0 that ships, or FOLDER, and 7net-0 itself, whose single points it learnt
from. Held against: formation energies from the DFT energies with the corrections of 2020, against the elements of level
7net-0, so that elements of other pseudopotentials there (W, Pu, Np, Cs) are left out, as is what is 0.3 eV/atom or more
above its elements. Errors in eV/atom. Nobody tunes to them: the set is small, and stands for whatever a user brings.
The last line is JSON.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from predictors.checkpoint import load_model
from predictors.cpu import tune_cpu
from predictors.evaluate import foresight_of
from predictors.predictor import Predictions
from registry.crystal import Crystal
from registry.errors import LodeError
from registry.hull.levels import Level, load_level
from workers.potentials import potential_files, predictor_of
from workers.train import shipped_model

LEVEL = "7net-0"
SAMPLE = Path("forces") / "mattersim_alexandria-random-1k.extxyz.gz"
OTHER_PSEUDOPOTENTIALS = {74, 94, 93, 55}
HIGHEST = 0.3  # eV/atom
MOST_SITES = 40
QUICK = 40

Figures = dict[str, float]


def strangers() -> tuple[list[Crystal], NDArray[np.float64]]:
    """Crystals and their formation energies, eV/atom. Raise SystemExit where there are none."""
    from ase.io import read

    path = Path(os.environ.get("LODE_TEST_DATA", "")) / SAMPLE
    if not path.exists():
        raise SystemExit(f"LODE_TEST_DATA names no folder with {SAMPLE}")
    level, found = load_level(LEVEL), []
    with gzip.open(path, "rt") as file:
        for atoms in read(file, ":", format="extxyz"):
            crystal = Crystal(atoms.cell.array, atoms.numbers, atoms.get_scaled_positions())
            energy = formation_energy(level, crystal, float(atoms.get_potential_energy()))
            if energy is not None and energy < HIGHEST:
                found.append((crystal, energy))
    return [crystal for crystal, _ in found], np.array([energy for _, energy in found])


def formation_energy(level: Level, crystal: Crystal, energy: float) -> float | None:
    """From a total energy of the cell, eV; None for what can't be compared."""
    if crystal.nsites > MOST_SITES or OTHER_PSEUDOPOTENTIALS & crystal.amounts.keys():
        return None
    try:
        correction = level.correct(crystal, energy).energy
        return None if correction is None else level.formation_energy(crystal.amounts, energy + correction)
    except LodeError:
        return None


def figures(found: Predictions, known: NDArray[np.float64]) -> Figures:
    residuals = (found.energy - known)[np.isfinite(found.energy)]
    return {
        "n": len(residuals),
        "refused": len(found.refused),
        "mae": float(np.abs(residuals).mean()),
        "median": float(np.median(np.abs(residuals))),
        "bias": float(residuals.mean()),
    }


def measure(quick: bool, folder: Path | None = None) -> dict[str, Any]:
    """Model -> its figures; of ours also how well it knew."""
    warnings.filterwarnings("ignore")
    tune_cpu(threads=1)
    crystals, known = strangers()
    if quick:
        drawn = np.random.default_rng(0).permutation(len(crystals))[:QUICK]
        crystals, known = [crystals[i] for i in drawn], known[drawn]
    folder = folder or shipped_model(LEVEL)
    ours = load_model(folder)
    found = ours.predict(crystals)
    all_figures: dict[str, Any] = {folder.name: figures(found, known)}
    if ours.confidence is not None:
        told = foresight_of(ours.confidence, crystals, found, known)
        names = ("coverage_90", "spearman_width", "outside", "mae_inside", "mae_outside")
        all_figures[folder.name] |= {name: getattr(told, name) for name in names if np.isfinite(getattr(told, name))}
    all_figures[LEVEL] = figures(predictor_of(potential_files(LEVEL)).predict(crystals), known)
    for name, row in all_figures.items():
        print(name, "  ".join(f"{key} {value:.3g}" for key, value in row.items()))
    return all_figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK} crystals")
    parser.add_argument("--model", type=Path, metavar="FOLDER")
    asked = parser.parse_args()
    print(json.dumps(measure(asked.quick, asked.model)))


if __name__ == "__main__":
    main()
