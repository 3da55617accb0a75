"""Which element references the r2SCAN energies of chgnet-r2scan want: formation energies by each, against known ones.

    python -m benchmarks.level_r2scan [--quick]

RxnNet's table tells of compounds both the r2SCAN energy and the formation enthalpy from r2SCAN alone: both hold the
Materials Project's energies of the elements, and solving for them leaves nothing over (`solved`). Beside it: the
elements of MatPES, and chgnet-r2scan's own, of the lowest of each element's crystals, relaxed (`own`; solved for where
there is none). Asked: the compounds of that table with a crystal of up to 24 sites under the same mp-id in the
Materials Project set, 563, each relaxed, some twelve CPU minutes; with --quick the smallest 60, and no own elements.
eV/atom. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pymatgen.core import Composition

from registry.crystal import Crystal
from registry.errors import LabelFailure
from registry.hull.levels import Level, load_level
from registry.identity.composition import SYMBOLS
from registry.importers.files import read_file
from registry.importers.record import ImportedRecord
from registry.threads import one_thread_each
from workers.engines.base import Engine, Trajectory, engine_of, relaxation_of
from workers.references import with_references

LEVEL = "chgnet-r2scan"
MOST_SITES, MOST_ELEMENTAL = 24, 20
CLOSE = 0.08  # eV/atom
EXACT = 1e-6  # eV/atom; what is left is rounding
FROM_MATPES = ("Ac", "Ar", "He", "Kr", "Ne", "Np", "Xe")
"""What no compound of RxnNet holds, and MatPES computes with the same pseudopotential: of lanthanides it has others."""

References = dict[str, float]


def solved_references(folder: Path) -> References:
    """The elements, eV/atom, that RxnNet's enthalpies are counted from. Raise ValueError where none explain them."""
    table = pd.read_parquet(folder / "r2scan" / "rxnnet_1555.parquet").dropna(subset=["e_r2scan", "hf_r2scan"])
    table = table[~table["formula"].str.contains("·", regex=False)]  # hydrates, in chemists' words
    compositions = [Composition(formula) for formula in table["formula"]]
    elements = sorted({element.symbol for one in compositions for element in one})
    shares = np.array([[one.get_atomic_fraction(element) for element in elements] for one in compositions])
    counted = (table["e_r2scan"] - table["hf_r2scan"]).to_numpy()
    found, _, rank, _ = np.linalg.lstsq(shares, counted, rcond=None)
    left = float(np.abs(shares @ found - counted).max())
    if rank < len(elements) or left > EXACT:
        raise ValueError(f"{len(counted)} compounds don't tell {len(elements)} elements: {left:g} eV/atom are left")
    return {element: round(float(energy), 6) for element, energy in zip(elements, found, strict=True)}


def matpes_references(folder: Path) -> References:
    table = json.loads((folder / "r2scan" / "element_reference_energies.json").read_text())["MatPES-r2SCAN"]
    return {element: row["energy_per_atom"] for element, row in table.items()}


def level_references(folder: Path) -> References:
    """Those of the level: solved for, and MatPES' where that is the same calculation."""
    matpes = matpes_references(folder)
    return {**{element: round(matpes[element], 6) for element in FROM_MATPES}, **solved_references(folder)}


def compounds(folder: Path) -> Iterator[tuple[Crystal, float, float]]:
    """Each with its formation enthalpy by r2SCAN and the measured one, eV/atom, small cells first."""
    table = pd.read_parquet(folder / "r2scan" / "rxnnet_1555.parquet").dropna(subset=["hf_r2scan"])
    told = dict(zip(table["material_id"], zip(table["hf_r2scan"], table["hf_ref"], strict=True), strict=True))
    crystals = pd.read_parquet(folder / "mp_structures" / "mp_36737.parquet")
    known = crystals[crystals["material_id"].isin(told.keys()) & (crystals["nsites"] <= MOST_SITES)]
    with tempfile.TemporaryDirectory(prefix="lode-bench-") as scratch:
        known.sort_values(["nsites", "material_id"]).to_parquet(file := Path(scratch) / "known.parquet")
        for one in read_file(file):
            if isinstance(one, ImportedRecord):
                yield (one.crystal, *told[one.external_ids["mp"]])


def own_references(folder: Path, engine: Engine, level: Level) -> References:
    records = read_file(folder / "mp_structures" / "mp_36737.parquet")
    crystals = (one.crystal for one in records if isinstance(one, ImportedRecord))
    small = (one for one in crystals if len(one.amounts) == 1 and one.nsites <= MOST_ELEMENTAL)
    known = (one for one in small if {SYMBOLS[number] for number in one.amounts} <= level.references.keys())
    return dict(with_references(level, engine, known, {}).references)


def relaxed(engine: Engine, level: Level, rows: list[tuple[Crystal, float, float]]) -> pd.DataFrame:
    """Columns amounts, energy (eV/cell), r2scan, measured: of what relaxes."""
    found = []
    for crystal, r2scan, measured in rows:
        try:
            energy = engine.relax(crystal, relaxation_of(level), Trajectory()).energy
        except LabelFailure as failure:
            print(f"{crystal.amounts}: {failure}", file=sys.stderr)
            continue
        found.append({"amounts": crystal.amounts, "energy": energy, "r2scan": r2scan, "measured": measured})
    return pd.DataFrame(found)


def errors(found: pd.DataFrame, references: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """r2scan and measured -> how far formation energies by these references are from it, over what they can tell."""
    known = [{SYMBOLS[number] for number in amounts} <= references.keys() for amounts in found["amounts"]]
    told = found[known]
    level = Level(LEVEL, LEVEL, "r2SCAN", "none", {}, references, (), "")
    ours = np.array([level.formation_energy(*row) for row in zip(told["amounts"], told["energy"], strict=True)])
    return {name: _distribution(ours - told[name].to_numpy()) for name in ("r2scan", "measured")}


def _distribution(residuals: Any) -> dict[str, float]:
    residuals = residuals[np.isfinite(residuals)]
    return {
        "compounds": len(residuals),
        "mean": float(residuals.mean()),
        "mae": float(np.abs(residuals).mean()),
        "median": float(np.median(np.abs(residuals))),
        "within_0.08": float((np.abs(residuals) <= CLOSE).mean()),
    }


def main() -> None:
    one_thread_each()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    data = os.environ.get("LODE_TEST_DATA")
    if not data:
        sys.exit("LODE_TEST_DATA names no folder of real data: nothing to compare with")
    folder, level = Path(data), load_level(LEVEL)
    engine, solved = engine_of(level), solved_references(folder)
    tables = {"level": level_references(folder), "matpes": matpes_references(folder)}
    if not quick:
        tables["own"] = solved | own_references(folder, engine, level)
    found = relaxed(engine, level, list(compounds(folder))[: 60 if quick else None])
    figures: dict[str, Any] = {name: errors(found, table) for name, table in tables.items()}
    figures["r2SCAN itself"] = {"measured": _distribution((found["r2scan"] - found["measured"]).to_numpy())}
    for name, rows in figures.items():
        for against, row in rows.items():
            print(f"{name:14} {against:9}" + "".join(f"  {key} {value:.3g}" for key, value in row.items()))
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
