"""Fit the atomic volumes of workers/candidates/atomic_volumes.json to the Materials Project set in LODE_TEST_DATA.

Iteratively reweighted non-negative least squares towards the least absolute relative error. Compounds of the textbook
are left out, so that the judge asks about crystals that nothing here has seen. `--write` replaces the file.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.optimize import nnls

from predictors.splits import composition_key
from workers.validation.textbook import load_textbook

OUT = Path(__file__).parents[1] / "workers" / "candidates" / "atomic_volumes.json"
MOST_SITES, ROUNDS, SMALLEST_RESIDUAL = 60, 15, 0.02


def compounds(path: Path) -> pd.DataFrame:
    """Compounds of two and more elements that are neither suspect nor in the textbook."""
    asked = {composition_key(compound.reduced_formula) for compound in load_textbook()}
    table = pd.read_parquet(path, columns=["formula", "species", "volume", "nsites", "suspect"])
    table = table[~table.suspect & (table.nsites <= MOST_SITES)]
    several = table.species.map(lambda text: len(set(text.split())) > 1)
    return table[several & ~table.formula.map(composition_key).isin(asked)]


def fit(table: pd.DataFrame) -> tuple[dict[str, float], np.ndarray]:
    """Element -> cubic angstrom per atom, and the relative residuals."""
    sites = [text.split() for text in table.species]
    names = sorted({element for row in sites for element in row})
    column = {element: index for index, element in enumerate(names)}
    counts = np.zeros((len(table), len(names)))
    for row, elements in enumerate(sites):
        for element in elements:
            counts[row, column[element]] += 1
    volumes = table.volume.to_numpy(dtype=np.float64)
    weights = np.ones(len(volumes))
    for _ in range(ROUNDS):
        atomic, _norm = nnls(counts * (weights / volumes)[:, None], weights)
        residuals = counts @ atomic / volumes - 1
        weights = np.sqrt(1 / np.maximum(np.abs(residuals), SMALLEST_RESIDUAL))
    return {name: round(float(volume), 2) for name, volume in zip(names, atomic, strict=True)}, residuals


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--quick", action="store_true", help="the same: the fit takes seconds")
    arguments = parser.parse_args()
    data = os.environ.get("LODE_TEST_DATA")
    if not data:
        sys.exit("LODE_TEST_DATA names no folder of real data: nothing to fit")
    table = compounds(Path(data) / "mp_structures" / "mp_36737.parquet")
    volumes, residuals = fit(table)
    if arguments.write:
        about = f"{len(table)} compounds of the Materials Project (CC BY 4.0), textbook formulas left out"
        OUT.write_text(
            json.dumps({"unit": "cubic angstrom per atom", "fitted_on": about, "volumes": volumes}, indent=1) + "\n"
        )
    figures = {
        "compounds": len(table),
        "mean_error": float(np.abs(residuals).mean()),
        "median_error": float(np.median(np.abs(residuals))),
    }
    errors = f"mean {figures['mean_error']:.3f}, median {figures['median_error']:.3f}"
    print(f"{figures['compounds']} compounds, relative error {errors}")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
