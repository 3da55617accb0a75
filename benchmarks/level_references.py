"""Make registry/hull/level_tables/LEVEL.json, and say how far the potential's own elements are from the references.

LEVEL is that of a potential (`--level`; 7net-0 is the default). References are the PBE energies of
element_reference_energies.json, those of chgnet-r2scan what benchmarks/level_r2scan.py solves for; elements that the
table lacks take the lowest of their crystals in the Materials Project set, relaxed with LEVEL. So are all others, to be
compared. About four CPU minutes; `--quick` relaxes cells of up to two sites only and writes nothing.
The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Collection, Iterator
from dataclasses import asdict
from pathlib import Path

from benchmarks import level_r2scan
from predictors.potentials.named import POTENTIALS, load_potential
from registry.crystal import Crystal
from registry.hull.levels import MOLECULAR, Level, load_level
from registry.importers.files import read_file
from registry.importers.record import ImportedRecord
from registry.threads import one_thread_each
from workers.engines.base import engine_of
from workers.references import with_references

TABLES = Path(__file__).parents[1] / "registry" / "hull" / "level_tables"


def elemental(path: Path, most_sites: int, known: Collection[int]) -> Iterator[Crystal]:
    """Crystals of one of the `known` elements."""
    for record in read_file(path):
        if not isinstance(record, ImportedRecord):
            continue
        elements = record.crystal.amounts.keys()
        if len(elements) == 1 and elements <= set(known) and record.crystal.nsites <= most_sites:
            yield record.crystal


def tabulated(level: Level, data: Path) -> dict[str, float]:
    """Element -> eV/atom, of the level's functional."""
    if level.functional == "r2SCAN":
        return level_r2scan.level_references(data)
    pbe = json.loads((data / "r2scan" / "element_reference_energies.json").read_text())["MP-PBE"]
    return {element: row["energy_per_atom"] for element, row in pbe.items()}


def compared(level: Level, own: dict[str, float]) -> dict[str, float]:
    """A table of the references, eV/atom, and of the potential's own energies minus them; how far they are apart."""
    differences = {element: energy - level.references[element] for element, energy in own.items()}
    for element, energy in level.references.items():
        print(f"{element:3} {energy:10.4f}  {differences.get(element, float('nan')):+.3f}")
    solid = [differences[element] for element in differences if element not in MOLECULAR]
    return {"elements": len(solid), "mean": sum(solid) / len(solid), "largest": max(solid, key=abs)}


def main() -> None:
    one_thread_each()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--level", default="7net-0", choices=list(POTENTIALS))
    asked = parser.parse_args()
    data = os.environ.get("LODE_TEST_DATA")
    if not data:
        sys.exit("LODE_TEST_DATA names no folder of real data: no crystals to relax")
    before, engine = load_level(asked.level), engine_of(load_level(asked.level))
    table, known = tabulated(before, Path(data)), load_potential(asked.level).elements
    crystals = list(elemental(Path(data) / "mp_structures" / "mp_36737.parquet", 2 if asked.quick else 20, known))
    level = with_references(before, engine, crystals, table)
    figures = compared(level, with_references(before, engine, crystals, {}).references)
    if not asked.quick:
        (TABLES / f"{asked.level}.json").write_text(json.dumps(asdict(level), indent=1) + "\n")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
