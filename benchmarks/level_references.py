"""Make registry/hull/level_tables/LEVEL.json: relax the elemental crystals of the Materials Project set with LEVEL.

LEVEL is 7net-0 (`--level`, the default) or chgnet. Elements that the potential can't do, or that the set lacks, take
the PBE energies of element_reference_energies.json. About four CPU minutes; `--quick` relaxes cells of up to two sites
only and writes nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from registry.crystal import Crystal
from registry.hull.levels import Level, load_level
from registry.importers.files import read_file
from registry.importers.record import ImportedRecord
from registry.threads import one_thread_each
from workers.engines.base import engine_named
from workers.references import with_references

TABLES = Path(__file__).parents[1] / "registry" / "hull" / "level_tables"


def elemental(path: Path, most_sites: int) -> Iterator[Crystal]:
    for record in read_file(path):
        if not isinstance(record, ImportedRecord):
            continue
        if len(record.crystal.amounts) == 1 and record.crystal.nsites <= most_sites:
            yield record.crystal


def print_changes(level: Level, table: dict[str, float]) -> dict[str, float]:
    """A table of the references against PBE, eV/atom; how far they are apart."""
    differences = {e: energy - table[e] for e, energy in level.references.items() if e in table}
    for element, energy in level.references.items():
        how = "tabulated" if element in level.tabulated else f"{differences.get(element, float('nan')):+.3f} from PBE"
        print(f"{element:3} {energy:10.4f}  {how}")
    relaxed = [abs(d) for e, d in differences.items() if e not in level.tabulated]
    return {"elements": len(level.references), "relaxed": len(relaxed), "mean_difference": sum(relaxed) / len(relaxed)}


def main() -> None:
    one_thread_each()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--level", default="7net-0", choices=["7net-0", "chgnet"])
    asked = parser.parse_args()
    data = os.environ.get("LODE_TEST_DATA")
    if not data:
        sys.exit("LODE_TEST_DATA names no folder of real data: no crystals to relax")
    pbe = json.loads((Path(data) / "r2scan" / "element_reference_energies.json").read_text())["MP-PBE"]
    table = {element: row["energy_per_atom"] for element, row in pbe.items()}
    crystals = elemental(Path(data) / "mp_structures" / "mp_36737.parquet", 2 if asked.quick else 20)
    level = with_references(load_level(asked.level), engine_named(asked.level), crystals, table)
    figures = print_changes(level, table)
    if not asked.quick:
        (TABLES / f"{asked.level}.json").write_text(json.dumps(asdict(level), indent=1) + "\n")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
