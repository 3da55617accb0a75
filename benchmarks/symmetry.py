"""Structure types per second: ours against pymatgen's SpacegroupAnalyzer and its prototype labels, in one run.

    python -m benchmarks.symmetry [--quick]

Crystals of 16 to 24 atoms: AFLOW's prototypes with other elements, as supercells, shaken by 0.001 A; and, where
LODE_TEST_DATA is set, the Materials Project crystals, those of 16 to 24 atoms and all of them. Ratios are of CPU
seconds on one core, from our `Crystal` and from a ready `Structure`, at the same tolerance.

Analyzer: space group and orbits alone (spglib). Labels: what we compute, an AFLOW label with its elements (spglib).
`same_group` is the share of crystals in whose space group (either hand) both agree.
The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import random
import warnings
from collections.abc import Iterable

from pymatgen.analysis.prototypes import get_protostructure_label_from_spglib
from pymatgen.core import Structure
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

from benchmarks.crystals import cpu_seconds, decorated_prototypes, real_crystals
from registry.crystal import Crystal
from registry.errors import BadRecord
from registry.identity.prototype import SYMPREC, prototype_of
from registry.identity.spacegroups import either_hand

SMALLEST, LARGEST = 16, 24


def ours(crystals: Iterable[Crystal]) -> list[int]:
    return [spacegroup(crystal) for crystal in crystals]


def spacegroup(crystal: Crystal) -> int:
    """0 where there is none."""
    try:
        return prototype_of(crystal).spacegroup_number
    except BadRecord:
        return 0


def analyzed(structures: Iterable[Structure]) -> list[int]:
    """Space groups; the orbits and Wyckoff letters come with them."""
    numbers = (SpacegroupAnalyzer(one, symprec=SYMPREC).get_symmetry_dataset().number for one in structures)
    return [either_hand(number) for number in numbers]


def labelled(structures: Iterable[Structure]) -> list[str]:
    return [get_protostructure_label_from_spglib(one, init_symprec=SYMPREC) for one in structures]


def measure(crystals: list[Crystal], peers: int) -> dict[str, float]:
    """Our rate over all crystals; the peers' over the first `peers` of them."""
    found, seconds = cpu_seconds(lambda: ours(crystals))
    structures = [crystal.to_pymatgen() for crystal in crystals[:peers]]
    theirs, analyzing = cpu_seconds(lambda: analyzed(structures))
    _, labelling = cpu_seconds(lambda: labelled(structures))
    rate = len(crystals) / seconds
    return {
        "crystals": len(crystals),
        "mean_sites": sum(crystal.nsites for crystal in crystals) / len(crystals),
        "per_s": rate,
        "ratio_analyzer": rate * analyzing / len(structures),
        "ratio_labels": rate * labelling / len(structures),
        "same_group": sum(a == b for a, b in zip(found, theirs, strict=False)) / len(structures),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer crystals, under a minute")
    quick = parser.parse_args().quick
    warnings.filterwarnings("ignore")
    prototype_of(next(decorated_prototypes(1, SMALLEST, LARGEST)))  # loads the library and its tables
    count, peers = (2_000, 400) if quick else (20_000, 4_000)
    rows = {"prototypes": measure(list(decorated_prototypes(count, SMALLEST, LARGEST)), peers)}
    if real := real_crystals():
        random.Random(0).shuffle(real)
        middle = [one for one in real if SMALLEST <= one.nsites <= LARGEST]
        rows |= {"real": measure(middle[:count], peers), "real, all sizes": measure(real[:count], peers)}
    print_table(rows)
    print(json.dumps(summary(rows)))


def print_table(rows: dict[str, dict[str, float]]) -> None:
    heads = ("crystals", "sites", "ours, 1/s", "x analyzer", "x labels", "same group")
    print(f"{'crystals':18}" + "".join(f"{head:>12}" for head in heads))
    for name, row in rows.items():
        cells = [f"{row['crystals']:,}", f"{row['mean_sites']:.1f}", f"{row['per_s']:,.0f}"]
        cells += [f"{row['ratio_analyzer']:.1f}", f"{row['ratio_labels']:.1f}", f"{row['same_group']:.1%}"]
        print(f"{name:18}" + "".join(f"{cell:>12}" for cell in cells))


def summary(rows: dict[str, dict[str, float]]) -> dict[str, float]:
    """Of the real crystals of about 20 atoms where there are any, otherwise of the prototypes."""
    chosen = rows.get("real", rows["prototypes"])
    return {
        "per_s_slowest": min(row["per_s"] for row in rows.values()),
        **{key: chosen[key] for key in ("per_s", "ratio_analyzer", "ratio_labels", "same_group", "crystals")},
    }


if __name__ == "__main__":
    main()
