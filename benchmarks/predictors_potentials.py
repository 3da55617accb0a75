"""The pretrained potentials against Materials Project's formation energies with the corrections of 2020.

    python -m benchmarks.predictors_potentials [--quick]

Relaxed compounds of up to 40 sites drawn at random from Li-Fe-P-O and Li-Co-Ni-O as of 2024 (300; with --quick 24),
each asked as it stands, and the first of them (12; 2) over the volume scan. The potentials of PBE's levels, all of
which learnt from crystals like these, and from many of them: the figures say that levels, corrections and references
are right, not how they do on new ones. Of r2SCAN: benchmarks/level_r2scan.py. eV/atom; rates are crystals per CPU
second on one thread, arrays to formation energies. The last line is JSON.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from predictors.predictor import Predictor
from registry.crystal import Crystal
from registry.hull.levels import load_level
from registry.importers.files import read_file
from registry.importers.record import ImportedRecord
from registry.threads import one_thread_each

SETS = ("mp2024_Li-Fe-P-O.json.gz", "mp2024_Li-Co-Ni-O.json.gz")
MOST_SITES = 40
Figures = dict[str, float]


def compounds(folder: Path) -> list[tuple[Crystal, float]]:
    """Each with its formation energy, eV/atom."""
    found = []
    for name in SETS:
        rows = json.loads(gzip.decompress((folder / name).read_bytes()))
        for row, item in zip(rows, read_file(folder / name), strict=True):
            if isinstance(item, ImportedRecord) and len(item.crystal.amounts) > 1 and item.crystal.nsites <= MOST_SITES:
                found.append((item.crystal, float(row["e_form_per_atom"])))
    return found


def figures(predictor: Predictor, drawn: Sequence[tuple[Crystal, float]], scanned: int) -> Figures:
    """Errors and rates of one potential."""
    crystals, known = [crystal for crystal, _ in drawn], np.array([energy for _, energy in drawn])
    predictor.predict(crystals[:2])  # what is loaded and compiled at the first call
    start = time.process_time()
    found = predictor.predict(crystals)
    took = time.process_time() - start
    start = time.process_time()
    predictor.predict(crystals[:scanned], volume_scan=True)
    scan_took = time.process_time() - start
    residuals = (found.energy - known)[np.isfinite(found.energy)]
    return {
        "refused": len(found.refused),
        "mae": float(np.abs(residuals).mean()),
        "median": float(np.median(np.abs(residuals))),
        "bias": float(residuals.mean()),
        "crystals_per_s": len(crystals) / took,
        "scans_per_s": scanned / scan_took,
    }


def measure(quick: bool) -> dict[str, Any]:
    """Potential -> its figures. Raise SystemExit where there is no data."""
    data = os.environ.get("LODE_TEST_DATA")
    if not data:
        raise SystemExit("LODE_TEST_DATA names no folder of real data: nothing to compare with")
    one_thread_each()
    from predictors.potentials.named import POTENTIALS
    from workers.potentials import potential_files, predictor_of

    names = [name for name in POTENTIALS if load_level(name).functional == "PBE/PBE+U"]
    known = compounds(Path(data) / "hulls")
    chosen = np.random.default_rng(0).choice(len(known), 24 if quick else 300, replace=False)
    drawn = [known[index] for index in chosen]
    found = {name: figures(predictor_of(potential_files(name)), drawn, 2 if quick else 12) for name in names}
    for name, row in found.items():
        print(name, "  ".join(f"{key} {value:.3g}" for key, value in row.items()))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    print(json.dumps(measure(parser.parse_args().quick)))


if __name__ == "__main__":
    main()
