"""Sorting crystals into kinds, against pymatgen's `group_structures`: the same groups, in how much of its time?

    python -m benchmarks.candidates_duplicates [--quick] [--crystals N]

Crystals: the Materials Project crystals of LODE_TEST_DATA of at most 60 sites, whole formulas with all their polymorphs
in random order up to N of them (10,000 by default; 0: all), and copies of every second one, by turns: each site moved
by 0.02 to 0.1 angstrom, a supercell of two to four cells, the same written otherwise (other basis, order of the sites,
origin, orientation, hand), strained by some per cent at another volume, and all of this at once. Where LODE_TEST_DATA
is unset, AFLOW's prototypes as ZnS, TiO2, AlF3 and Al2O3.
One core, CPU seconds: ours from arrays, pymatgen's from its Structures, each with the making of the reduced cells.
Groups that differ are told with what the matcher says of their pairs. The last line is JSON.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import warnings
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
from pymatgen.core import Structure
from pymatgen.core.structure_matcher import StructureMatcher
from scipy.spatial.transform import Rotation

from benchmarks.crystals import cpu_seconds, shaken, supercell
from benchmarks.duplicates import polymorphs
from registry.crystal import Crystal
from registry.identity import duplicates
from registry.identity.composition import Composition
from registry.identity.duplicates import Identity
from registry.identity.grouping import Groups, connected, grouped
from registry.importers.files import read_file
from registry.importers.record import ImportedRecord

LARGEST = 60
MATCHER = StructureMatcher()
TIMES = [(1, 1, 2), (2, 1, 1), (1, 3, 1), (2, 2, 1), (1, 1, 4)]
BASES = [
    np.array([[1, 1, 0], [0, 1, 0], [0, 0, 1]]),
    np.array([[0, 1, 0], [0, 0, 1], [1, 0, 0]]),
    np.array([[1, 0, 0], [2, 1, 0], [0, -1, 1]]),
]

Copier = Callable[[Crystal, np.random.Generator], Crystal]


def rattled(crystal: Crystal, rng: np.random.Generator) -> Crystal:
    """Each site moved by so much, in any direction."""
    ways = rng.normal(size=(crystal.nsites, 3))
    ways *= rng.uniform(0.02, 0.1) / np.linalg.norm(ways, axis=1, keepdims=True)
    return Crystal(crystal.lattice, crystal.numbers, crystal.frac_coords + ways @ np.linalg.inv(crystal.lattice))


def larger(crystal: Crystal, rng: np.random.Generator) -> Crystal:
    return shaken(supercell(crystal, TIMES[rng.integers(len(TIMES))]), rng)


def rewritten(crystal: Crystal, rng: np.random.Generator) -> Crystal:
    """Another basis, order, origin, orientation; every second time the other hand."""
    basis = BASES[rng.integers(len(BASES))]
    order = rng.permutation(crystal.nsites)
    turn = Rotation.random(random_state=int(rng.integers(1 << 31))).as_matrix() * rng.choice([-1, 1])
    coords = (crystal.frac_coords @ np.linalg.inv(basis) + rng.random(3))[order] % 1
    return Crystal(basis @ crystal.lattice @ turn, crystal.numbers[order], coords)


def strained(crystal: Crystal, rng: np.random.Generator) -> Crystal:
    lattice = crystal.lattice @ (np.eye(3) + rng.normal(0, 0.02, (3, 3)))
    return Crystal(lattice * rng.uniform(0.9, 1.1), crystal.numbers, crystal.frac_coords)


def all_at_once(crystal: Crystal, rng: np.random.Generator) -> Crystal:
    return rewritten(strained(rattled(larger(crystal, rng), rng), rng), rng)


COPIERS: tuple[Copier, ...] = (rattled, larger, rewritten, strained, all_at_once)


def with_copies(crystals: list[Crystal], seed: int = 0) -> list[Crystal]:
    """Those, and a copy of every second one, in random order."""
    rng = np.random.default_rng(seed)
    copies = [copier(crystal, rng) for crystal, copier in zip(crystals[::2], itertools.cycle(COPIERS), strict=False)]
    every = [*crystals, *copies]
    random.Random(seed).shuffle(every)
    return every


def originals(most: int, looked_at: int | None) -> list[Crystal]:
    """Whole formulas in random order, up to `most` crystals (0: all) of the first `looked_at` of the data."""
    by_formula: defaultdict[str, list[Crystal]] = defaultdict(list)
    for crystal in real_or_made(looked_at):
        if crystal.nsites <= LARGEST:
            by_formula[Composition.of(crystal.amounts).reduced_formula].append(crystal)
    families = list(by_formula.values())
    random.Random(0).shuffle(families)
    return list(itertools.chain.from_iterable(families))[: most or None]


def real_or_made(looked_at: int | None) -> list[Crystal]:
    path = Path(os.environ.get("LODE_TEST_DATA", "")) / "mp_structures" / "mp_36737.parquet"
    if not path.exists():
        return polymorphs()
    rows = itertools.islice(read_file(path), looked_at)
    return [row.crystal for row in rows if isinstance(row, ImportedRecord)]


def theirs(structures: list[Structure]) -> Groups:
    places = {id(structure): index for index, structure in enumerate(structures)}
    groups = MATCHER.group_structures(structures)
    return sorted(sorted(places[id(structure)] for structure in found) for found in groups)


def told(crystals: list[Crystal], ours: Groups, peers: Groups) -> list[str]:
    """Each group of ours that pymatgen lacks, with the pairs of which it says something else than we."""
    lines = []
    for found in ours:
        if found not in peers:
            others = sorted({index for group in peers if set(group) & set(found) for index in group})
            lines.append(
                f"ours {found}, theirs {[g for g in peers if set(g) & set(found)]}: {differing(crystals, others)}"
            )
    return lines


def differing(crystals: list[Crystal], indices: list[int]) -> list[str]:
    pairs = itertools.combinations(indices, 2)
    structures = {index: crystals[index].to_pymatgen() for index in indices}
    answers = [
        (
            (one, other),
            duplicates.matched(Identity(crystals[one]), Identity(crystals[other])),
            bool(MATCHER.fit(structures[one], structures[other])),
        )
        for one, other in pairs
    ]
    return [f"{pair}: ours {mine}, fit {fit}" for pair, mine, fit in answers if mine != fit]


def measure(quick: bool = False, most: int = 10_000) -> dict[str, object]:
    """Group the crystals both ways; print the table, return its figures."""
    warnings.filterwarnings("ignore")
    crystals = with_copies(originals(300, 1_500) if quick else originals(most, None))
    grouped([Identity(crystal) for crystal in crystals[:20]])  # compiles
    counted = Asked()
    (ours, identities), seconds = cpu_seconds(lambda: grouped_anew(crystals))
    asked = counted.stop()
    parts, linking = cpu_seconds(lambda: connected([Identity(crystal) for crystal in crystals]))
    structures = [crystal.to_pymatgen() for crystal in crystals]
    peers, grouping = cpu_seconds(lambda: theirs(structures))
    lines = told(crystals, ours, peers)
    figures: dict[str, object] = {
        "crystals": len(crystals),
        "mean_sites": float(np.mean([crystal.nsites for crystal in crystals])),
        "groups": len(ours),
        "groups_pymatgen": len(peers),
        "different_groups": len(lines),
        "components": len(parts),
        "left_to_the_matcher": asked,
        "seconds_grouping": seconds,
        "seconds_pymatgen": grouping,
        "seconds_components": linking,
        "ratio_grouping": grouping / seconds,
        "crystals_per_s": len(identities) / seconds,
    }
    for name, value in figures.items():
        print(f"{name:>22} {value:>14,.4g}")
    for line in lines:
        print(line)
    return figures


def grouped_anew(crystals: list[Crystal]) -> tuple[Groups, list[Identity]]:
    identities = [Identity(crystal) for crystal in crystals]
    return grouped(identities), identities


class Asked:
    """Counts how often the matcher is asked."""

    def __init__(self) -> None:
        self._matcher = duplicates._matcher()
        self._fit, self.count = self._matcher.fit, 0
        self._matcher.fit = self._counted  # type: ignore[method-assign]

    def _counted(self, *arguments: object, **options: object) -> bool:
        self.count += 1
        return bool(self._fit(*arguments, **options))

    def stop(self) -> int:
        self._matcher.fit = self._fit  # type: ignore[method-assign]
        return self.count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a few hundred crystals")
    parser.add_argument("--crystals", type=int, default=10_000, help="how many real ones; 0: all")
    asked = parser.parse_args()
    print(json.dumps(measure(asked.quick, asked.crystals)))


if __name__ == "__main__":
    main()
