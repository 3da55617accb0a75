"""How far 7net-0 with MP2020 corrections lies from Materials Project's formation energies of 2018, per anion.

    python -m benchmarks.level_residuals [--quick]

Crystals of up to 14 sites drawn at random (3,000; with --quick 300). The first of F Cl Br I O S Se Te N in a crystal
names its anion. eV/atom. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from registry.crystal import Crystal
from registry.hull.levels import load_level
from registry.hull.mp2020 import mp2020_correction
from registry.identity.composition import SYMBOLS
from registry.importers.files import read_file
from registry.importers.record import ImportedRecord
from registry.threads import one_thread_each
from workers.engines.base import engine_of

ANIONS = ("F", "Cl", "Br", "I", "O", "S", "Se", "Te", "N")
MOST_SITES = 14


def crystals(path: Path) -> list[tuple[Crystal, float]]:
    """With their formation energies of 2018, where those are known and not suspect."""
    found = []
    for record in read_file(path):
        if isinstance(record, ImportedRecord) and record.crystal.nsites <= MOST_SITES:
            known = record.metadata.get("e_form_mp2018")
            if known is not None and not record.metadata.get("suspect"):
                found.append((record.crystal, float(known)))
    return found


def anion_of(crystal: Crystal) -> str:
    elements = {SYMBOLS[number] for number in crystal.amounts}
    return next((anion for anion in ANIONS if anion in elements), "none")


def residuals(rows: list[tuple[Crystal, float]]) -> pd.DataFrame:
    """Columns anion, residual: ours minus that of 2018; crystals that MP2020 rejects are left out."""
    level = load_level("7net-0")
    energies = engine_of(level).energies([crystal for crystal, _ in rows])
    found = []
    for (crystal, known), energy in zip(rows, energies, strict=True):
        correction = mp2020_correction(crystal, energy).energy
        if correction is not None and {SYMBOLS[number] for number in crystal.amounts} <= level.references.keys():
            ours = level.formation_energy(crystal.amounts, energy + correction)
            found.append({"anion": anion_of(crystal), "residual": ours - known})
    return pd.DataFrame(found)


def main() -> None:
    one_thread_each()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    data = os.environ.get("LODE_TEST_DATA")
    if not data:
        sys.exit("LODE_TEST_DATA names no folder of real data: nothing to compare with")
    known = crystals(Path(data) / "mp_structures" / "mp_36737.parquet")
    drawn = np.random.default_rng(0).choice(len(known), 300 if quick else 3000, replace=False)
    found = residuals([known[index] for index in drawn])
    table = found.groupby("anion")["residual"].agg(["size", "mean", "median", "std"]).reindex(["none", *ANIONS])
    print(table.round(3).to_string())
    print(json.dumps({"crystals": len(found), "per_anion": json.loads(table.round(4).to_json(orient="index"))}))


if __name__ == "__main__":
    main()
