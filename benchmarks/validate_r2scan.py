"""Stable sets at two levels of theory: who stays stable when the second one is r2SCAN.

    python -m benchmarks.validate_r2scan [--quick] [--potentials [--space NAME]] [--level 7net-0]
                                         [--against chgnet-r2scan]

Of LODE_TEST_DATA: the compounds of RxnNet with formation enthalpies from GGA/GGA+U, from r2SCAN and from experiment;
hulls of the compounds that both sides of a comparison have, elements at 0. Beside them what the paper (Merchant et al.
2023) tells of its own finds, for orientation: those are other crystals, new ones.

With --potentials a registry of its own with crystals of the Materials Project, imported without energies; labelled at
the first level, asked for at the second one as `lode validate r2scan --select` does, labelled there, compared. Spaces:
oxides, Li-Co-Ni-O up to 0.1 eV/atom above its hull and up to 12 sites; salts, of eight metals with O, S, F, Cl or Br,
up to 5 sites. Minutes each; with --quick the oxides up to 4 sites. eV/atom. The last line is JSON.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import re
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import sqlalchemy as sa
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from api.cli.validate import print_comparison
from benchmarks.record import registry
from registry.hull.level_rows import ensure_level
from registry.hull.levels import load_level
from registry.identity.composition import ATOMIC_NUMBERS
from registry.imports import import_file
from registry.terms import SourceTerms
from registry.threads import one_thread_each
from workers.ask_labels import ship
from workers.label import LabelDaemon
from workers.loop import Loop
from workers.place import PlaceDaemon
from workers.rounds import close_round, open_round
from workers.select import select_references
from workers.select_second import select_second
from workers.validate_levels import Asked, compare
from workers.validation.levels import LevelComparison, LevelEntry, compare_levels

ENERGIES = {"GGA/GGA+U": "hf_gga_gga_u", "r2SCAN": "hf_r2scan", "experiment": "hf_ref"}
PAIRS = (("GGA/GGA+U", "r2SCAN"), ("GGA/GGA+U", "experiment"), ("r2SCAN", "experiment"))
PAPER = {
    "binaries and ternaries with a negative phase-separation energy": 0.84,
    "the same of Materials Project": 0.90,
    "tested quaternaries on the hull": 0.868,
}
FAMILIES = {
    "oxides": ("Co", "Li", "Ni", "O"),
    "salts": ("Li", "Na", "K", "Mg", "Ca", "Sr", "Ba", "Al", "O", "S", "F", "Cl", "Br"),
}
MOST_SITES = {"oxides": 12, "salts": 5}
QUICK_SITES = 4
ABOVE = 0.1
"""eV/atom above the hull: of the Materials Project for what is imported, of the first level for what competes."""

FAILED = """
SELECT level.name || ': ' || calculation.error_class AS what, count(*) FROM calculation
JOIN level ON level.id = calculation.level_id WHERE state = 'failed' GROUP BY 1 ORDER BY 1"""


def rxnnet(folder: Path) -> dict[str, list[LevelEntry]]:
    """Source of the energy -> the compounds that have all of ENERGIES."""
    table = pd.read_parquet(folder / "r2scan" / "rxnnet_1555.parquet").dropna(subset=list(ENERGIES.values()))
    columns = {source: list(table.columns).index(name) + 1 for source, name in ENERGIES.items()}
    rows = [(key, one, _amounts(one.formula)) for key, one in enumerate(table.itertuples(), 1)]
    return {
        source: [LevelEntry(key, one.material_id, one.formula, amounts, one[column]) for key, one, amounts in rows]
        for source, column in columns.items()
    }


def _amounts(formula: str) -> dict[int, float]:
    """Of a formula as tables of enthalpies write it: (CaO)2·SiO2, Na2O2·8H2O, (2NaCl·MgCl2)."""
    from pymatgen.core import Composition

    whole = re.sub(r"^\((.*·.*)\)$", r"\1", formula)
    amounts: defaultdict[int, float] = defaultdict(float)
    for count, part in re.findall(r"(?:^|·)(\d*)([^·]+)", whole):
        for element, number in Composition(part).items():
            amounts[ATOMIC_NUMBERS[str(element)]] += number * int(count or 1)
    return dict(amounts)


def compare_rxnnet(folder: Path) -> dict[str, Any]:
    """Each pair of sources, printed."""
    entries = rxnnet(folder)
    told = {}
    for first, second in PAIRS:
        found = compare_levels(entries[first], entries[second])
        print_comparison(found, first, second)
        print("those that fall furthest:", ", ".join(one.reduced_formula for one in found.left[:10]))
        told[f"{first} to {second}"] = _told(found)
    return {"compounds": len(entries["r2SCAN"]), **told}


def compare_potentials(folder: Path, space: str, level: str, against: str, sites: int) -> dict[str, Any]:
    """Crystals labelled at both levels by the daemons, on a registry of its own; each kind of hull, printed."""
    with tempfile.TemporaryDirectory() as scratch, registry(None) as engine:
        crystals = _import(engine, IMPORTED[space](folder, Path(scratch), sites))
        seconds = {level: _first_level(engine, FAMILIES[space], level, sites)}
        seconds[against] = _second_level(engine, level, against)
        with Session(engine) as session:
            failed = {row[0]: row[1] for row in session.execute(sa.text(FAILED))}
            common, own = (compare(session, Asked(level, against, own_hulls=whole)) for whole in (False, True))
    for found in (common, own):
        print_comparison(found, level, against)
    print("leave the hull:", ", ".join(one.reduced_formula for one in common.left))
    print("enter it:", ", ".join(one.reduced_formula for one in common.entered))
    told = {"crystals": crystals, "most_sites": sites, "failed": failed, "label_seconds": seconds}
    return {**told, "common_hulls": _told(common), "own_hulls": _told(own)}


def _oxides(folder: Path, scratch: Path, sites: int) -> Path:
    """A file of those that are imported."""
    path = scratch / "oxides.json"
    rows = json.loads(gzip.decompress((folder / "hulls" / "mp2024_Li-Co-Ni-O.json.gz").read_bytes()))
    small = [row for row in rows if len(row["structure"]["species"]) <= sites and row["e_above_hull"] <= ABOVE]
    kept = ("entry_id", "composition", "structure")
    path.write_text(json.dumps([{key: row[key] for key in kept} for row in small]))
    return path


def _salts(folder: Path, scratch: Path, sites: int) -> Path:
    """A file of those that are imported; some lie far above the hull."""
    path = scratch / "salts.parquet"
    table = pd.read_parquet(folder / "mp_structures" / "mp_36737.parquet")
    inside = table["species"].map(lambda species: set(species.split()) <= set(FAMILIES["salts"]))
    table[inside & (table["nsites"] <= sites)].to_parquet(path)
    return path


IMPORTED = {"oxides": _oxides, "salts": _salts}


def _import(engine: Engine, path: Path) -> int:
    """Without energies."""
    terms = SourceTerms("Materials Project", "CC-BY-4.0", "Materials Project")
    with Session(engine) as session:
        report = import_file(session, path, None, terms, lambda _done: None)
    if report.refused:
        sys.exit(f"not imported: {report.refused[0]}")
    return int(report.imported)


def _first_level(engine: Engine, family: Sequence[str], level: str, sites: int) -> float:
    with Session(engine) as session, session.begin():
        at = ensure_level(session, load_level(level))
        round_id = open_round(session, at, "benchmark", {"family": list(family)})
        select_references(session, round_id, at, family, sites)
        close_round(session, round_id)
    return _label(engine)


def _second_level(engine: Engine, level: str, against: str) -> float:
    with Session(engine) as session, session.begin():
        ship(session, against)
        picked = select_second(session, Asked(level, against), within=ABOVE)
    print(f"{picked.stable} stable at {level}; {picked.rivals} competitors and {picked.elements} elements with them")
    return _label(engine)


def _label(engine: Engine) -> float:
    start = time.perf_counter()
    Loop(engine, [LabelDaemon(), PlaceDaemon()], drain=True).run()
    return round(time.perf_counter() - start, 1)


def _told(found: LevelComparison) -> dict[str, Any]:
    """Of what is on the first hull, by number of elements: what it keeps."""
    tallies = [one for one in found.tallies if one.start == "on_hull" and one.compared]
    kept = {one.elements: {name: _rounded(share.as_dict()) for name, share in one.kept.items()} for one in tallies}
    names = ("stable", "unlabelled", "compared", "only_here", "lacking_competitors", "to_polymorphs", "entered")
    return {"kept": kept, **{name: getattr(found.tally(), name) for name in names}}


def _rounded(share: dict[str, Any]) -> dict[str, Any]:
    return {**share, "share": round(share["share"], 4), "interval": [round(end, 4) for end in share["interval"]]}


def main() -> None:
    one_thread_each()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--potentials", action="store_true")
    parser.add_argument("--level", default="7net-0")
    parser.add_argument("--against", default="chgnet-r2scan")
    parser.add_argument("--space", choices=FAMILIES, action="append")
    asked = parser.parse_args()
    data = os.environ.get("LODE_TEST_DATA")
    if not data:
        sys.exit("LODE_TEST_DATA names no folder of real data: nothing to compare")
    told: dict[str, Any] = {"rxnnet": compare_rxnnet(Path(data)), "paper": PAPER}
    if asked.potentials:
        for space in asked.space or (["oxides"] if asked.quick else FAMILIES):
            sites = QUICK_SITES if asked.quick else MOST_SITES[space]
            told[space] = compare_potentials(Path(data), space, asked.level, asked.against, sites)
    for what, share in PAPER.items():
        print(f"the paper, of its finds: {what}: {share:.1%}")
    print(json.dumps(told))


if __name__ == "__main__":
    main()
