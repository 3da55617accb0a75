"""Formation energies of relaxed compounds, with the level's corrections and references, against Materials Project's.

Compounds of Li-Co-Ni-O and Li-Fe-P-O as of 2024, of up to 12 sites, small cells first: 235 (with --quick 12 of up to 8
sites). Each is relaxed as a label is. Materials Project's: (energy + correction) of the same entry against its own
elements, eV/atom. 7net-0 learnt from most of these crystals: the figures say that corrections, references and
relaxation are right, and not how it does on new ones. The aim is a mean absolute error of 0.08 eV/atom.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.predictors_potentials import compounds
from predictors.errors import NoFormationEnergy
from registry.crystal import Crystal
from registry.errors import LabelFailure
from registry.hull.levels import load_level
from registry.identity.composition import SYMBOLS, Composition
from workers.engines.base import Trajectory, engine_of, relaxation_of
from workers.potentials import formation_energy_at

AIM = 0.08
MOST_SITES, QUICK_SITES, QUICK = 12, 8, 12
WORST = 8
KINDS = ("oxide", "phosphate", "phosphide", "intermetallic")


def kind_of(crystal: Crystal) -> str:
    """One of KINDS; a compound of P and O is a phosphate."""
    elements = {SYMBOLS[number] for number in crystal.amounts}
    if "O" in elements:
        return "phosphate" if "P" in elements else "oxide"
    return "phosphide" if "P" in elements else "intermetallic"


def residuals(level: str, known: Sequence[tuple[Crystal, float]]) -> tuple[pd.DataFrame, dict[str, int]]:
    """Columns formula, kind, residual (ours minus theirs), seconds, of what is labelled; reasons of the others."""
    at = load_level(level)
    engine, formation_energy = engine_of(at), formation_energy_at(at)
    rows: list[dict[str, Any]] = []
    failed: dict[str, int] = {}
    for crystal, energy in known:
        try:
            label = engine.relax(crystal, relaxation_of(at), Trajectory())
            ours = formation_energy(label.crystal, label.energy)
        except (LabelFailure, NoFormationEnergy) as failure:
            reason = str(getattr(failure, "error_class", failure))
            failed[reason] = failed.get(reason, 0) + 1
            continue
        formula = Composition.of(crystal.amounts).reduced_formula
        row = {"formula": formula, "kind": kind_of(crystal), "residual": ours - energy, "seconds": label.cpu_seconds}
        rows.append(row)
    return pd.DataFrame(rows), failed


def distribution(errors: Any) -> dict[str, float]:
    found = np.asarray(errors, dtype=float)
    return {
        "crystals": len(found),
        "mean": round(float(found.mean()), 4),
        "median": round(float(np.median(found)), 4),
        "mae": round(float(np.abs(found).mean()), 4),
        "within_aim": round(float((np.abs(found) <= AIM).mean()), 3),
        "largest": round(float(np.abs(found).max()), 3),
    }


def measure(level: str, quick: bool) -> dict[str, Any]:
    """Kind of compound -> distribution of ours minus theirs. Raise SystemExit where there is no data."""
    data = os.environ.get("LODE_TEST_DATA")
    if not data:
        raise SystemExit("LODE_TEST_DATA names no folder of real data: nothing to compare with")
    most = QUICK_SITES if quick else MOST_SITES
    small = [one for one in compounds(Path(data) / "hulls") if one[0].nsites <= most]
    chosen = sorted(small, key=lambda one: one[0].nsites)
    found, failed = residuals(level, chosen[:: len(chosen) // QUICK][:QUICK] if quick else chosen)
    parts = {"all": found, **{kind: found[found["kind"] == kind] for kind in KINDS}}
    table = {kind: distribution(rows["residual"]) for kind, rows in parts.items() if len(rows)}
    print(pd.DataFrame(table).T.to_string())
    worst = found.loc[found["residual"].abs().sort_values(ascending=False).index[:WORST], ["formula", "residual"]]
    furthest = [(row.formula, round(row.residual, 3)) for row in worst.itertuples()]
    print(f"furthest off: {', '.join(f'{formula} {residual:+.2f}' for formula, residual in furthest)}")
    print(f"not labelled: {failed or 'none'}; CPU seconds per label {found['seconds'].mean():.2f}")
    seconds = round(float(found["seconds"].mean()), 3)
    return {"kinds": table, "furthest_off": furthest, "failed": failed, "cpu_seconds_per_label": seconds}
