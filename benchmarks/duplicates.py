"""How fast equal crystals are found within polymorph-rich formulas, and what it costs in exactness: nothing.

    python -m benchmarks.duplicates [--quick]

Crystals: AFLOW's prototypes of AB, AB2, AB3 and A2B3 as ZnS, TiO2, AlF3 and Al2O3, each also as a supercell, strained
and shaken; where LODE_TEST_DATA is set, the formulas of the Materials Project crystals that have the most polymorphs.

Pairs: crystals of one formula. `accepted` by pymatgen's StructureMatcher from the same primitive cells; `wrong` is how
many of our answers that claim to be certain differ from its own (must be 0); `left` is the share of pairs whose answer
is left to the matcher; `farthest` is the largest fingerprint distance of an accepted pair, `beyond` the share of the
other pairs that lie farther apart: what a bound on the fingerprint could have refused at best.
Finding: `DuplicateIndex.find_or_add` over all crystals, against the same index with the matcher asked about every pair
of equal sizes, and against pymatgen's `group_structures`. CPU seconds, one core.
The last line is JSON.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import warnings
from collections import defaultdict
from functools import cached_property
from unittest.mock import patch

import numpy as np
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Structure

from benchmarks.crystals import cpu_seconds, real_crystals, shaken, supercell
from registry.crystal import Crystal
from registry.identity import duplicates
from registry.identity.composition import ATOMIC_NUMBERS, Composition
from registry.identity.duplicates import DuplicateIndex, Identity, Rule
from registry.identity.fingerprint import fingerprint_distance
from registry.identity.matching import Verdict, verdict
from registry.importers.prototypes import read_prototypes
from registry.importers.record import ImportedRecord

FORMULAS = {"AB": ("Zn", "S"), "AB2": ("Ti", "O"), "AB3": ("Al", "F"), "A2B3": ("Al", "O")}
MATCHER = StructureMatcher()

Pair = tuple[Identity, Identity]


class PlainIdentity(Identity):
    """The primitive cell by pymatgen alone, as before."""

    @cached_property
    def reduced(self) -> Structure:
        return self.crystal.to_pymatgen().get_reduced_structure("niggli").get_primitive_structure()


def plainly_matched(one: Identity, other: Identity) -> bool:
    if len(one.reduced) != len(other.reduced):
        return False
    return bool(MATCHER.fit(one.reduced, other.reduced, skip_structure_reduction=True))


def polymorphs(seed: int = 0) -> list[Crystal]:
    """Prototypes of few species, with the elements of one formula each and in four disguises."""
    rng = np.random.default_rng(seed)
    crystals = []
    for item in read_prototypes():
        if isinstance(item, ImportedRecord) and item.crystal.nsites <= 24:
            if (elements := FORMULAS.get(Composition.of(item.crystal.amounts).anonymous_formula)) is None:
                continue
            crystals += disguises(redecorated(item.crystal, elements), rng)
    return crystals


def redecorated(crystal: Crystal, elements: tuple[str, ...]) -> Crystal:
    present = sorted(crystal.amounts, key=crystal.amounts.__getitem__)
    new = {old: ATOMIC_NUMBERS[element] for old, element in zip(present, elements, strict=True)}
    return crystal.with_numbers(np.array([new[number] for number in crystal.numbers.tolist()]))


def disguises(crystal: Crystal, rng: np.random.Generator) -> list[Crystal]:
    """As it is, doubled, strained by some per cent, shaken by some hundredths of an angstrom."""
    strain = np.eye(3) + rng.normal(0, 0.03, (3, 3))
    strained = Crystal(crystal.lattice @ strain, crystal.numbers, crystal.frac_coords)
    return [crystal, supercell(crystal, (1, 1, 2)), strained, shaken(crystal, rng, 0.05)]


def richest(crystals: list[Crystal], most: int) -> list[Crystal]:
    """Those of the formulas with the most crystals, up to `most`, no cell above 60 atoms."""
    by_formula: dict[str, list[Crystal]] = defaultdict(list)
    for crystal in crystals:
        if crystal.nsites <= 60:
            by_formula[Composition.of(crystal.amounts).reduced_formula].append(crystal)
    rows = sorted(by_formula.values(), key=len, reverse=True)
    return list(itertools.chain.from_iterable(rows))[:most]


def compare_pairs(crystals: list[Crystal], most: int) -> dict[str, float]:
    by_formula: dict[str, list[Identity]] = defaultdict(list)
    for identity in map(Identity, crystals):
        by_formula[identity.formula].append(identity)
    pairs = [pair for known in by_formula.values() for pair in itertools.combinations(known, 2)]
    pairs = random.Random(0).sample(pairs, min(most, len(pairs)))
    same_size = [(one, other) for one, other in pairs if len(one.reduced) == len(other.reduced)]
    cells = [
        (one.reduced_cell, other.reduced_cell) for one, other in same_size if one.reduced_cell and other.reduced_cell
    ]
    verdict(*cells[0])  # compiles
    said, ours = cpu_seconds(lambda: [verdict(one, other) for one, other in cells])
    fits, matcher = cpu_seconds(lambda: [plainly_matched(one, other) for one, other in same_size])
    return {
        "pairs": len(pairs),
        "same_size": len(same_size),
        "accepted": sum(fits),
        "wrong": sum(one is not Verdict.OPEN and one != fit for fit, one in zip(fits, said, strict=True)),
        "left": said.count(Verdict.OPEN) / len(pairs),
        "ms_matcher": 1e3 * matcher / len(same_size),
        "ms_verdict": 1e3 * ours / len(same_size),
        **distances(pairs, [pair for pair, fit in zip(same_size, fits, strict=True) if fit]),
    }


def distances(pairs: list[Pair], accepted: list[Pair]) -> dict[str, float]:
    """Of fingerprints: the farthest accepted pair, and the share of the others that lie beyond it."""
    every = np.array([fingerprint_distance(one.fingerprint, other.fingerprint) for one, other in pairs])
    farthest = max(fingerprint_distance(one.fingerprint, other.fingerprint) for one, other in accepted)
    return {"farthest": farthest, "beyond": float((every > farthest).sum()) / (len(pairs) - len(accepted))}


def find_all(crystals: list[Crystal]) -> list[tuple[int, Rule] | None]:
    index: DuplicateIndex[int] = DuplicateIndex()
    return [index.find_or_add(key, crystal) for key, crystal in enumerate(crystals)]


def find_plainly(crystals: list[Crystal]) -> list[tuple[int, Rule] | None]:
    """The same index, with pymatgen's primitive cells and the matcher asked about every pair of equal sizes."""
    with patch.object(duplicates, "Identity", PlainIdentity), patch.object(duplicates, "matched", plainly_matched):
        return find_all(crystals)


def compare_finding(crystals: list[Crystal]) -> dict[str, float]:
    found, seconds = cpu_seconds(lambda: find_all(crystals))
    plainly, before = cpu_seconds(lambda: find_plainly(crystals))
    structures = [crystal.to_pymatgen() for crystal in crystals]
    groups, grouping = cpu_seconds(lambda: MATCHER.group_structures(structures))
    return {
        "crystals": len(crystals),
        "formulas": len({Composition.of(crystal.amounts).reduced_formula for crystal in crystals}),
        "kinds": found.count(None),
        "group_structures_kinds": len(groups),
        "differing": sum(one != other for one, other in zip(found, plainly, strict=True)),
        "per_s": len(crystals) / seconds,
        "ratio_before": before / seconds,
        "ratio_group_structures": grouping / seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer crystals, under a minute")
    quick = parser.parse_args().quick
    warnings.filterwarnings("ignore")
    sets = {"prototypes": polymorphs()}
    if real := real_crystals():
        sets["real"] = richest(real, 10_000)
    count, most = (150, 1_000) if quick else (1_500, 20_000)
    rows = {}
    for name, crystals in sets.items():
        random.Random(1).shuffle(crystals)
        pairs = compare_pairs(crystals if name == "prototypes" else richest(crystals, 2_000 if quick else 10_000), most)
        rows[name] = pairs | compare_finding(richest(crystals, count))
    print_table(rows)
    print(json.dumps(summary(rows)))


def print_table(rows: dict[str, dict[str, float]]) -> None:
    print("".join(f"{head:>24}" for head in ("", *rows)))
    for key in next(iter(rows.values())):
        print(f"{key:>24}" + "".join(f"{row[key]:>24,.4g}" for row in rows.values()))


def summary(rows: dict[str, dict[str, float]]) -> dict[str, float]:
    """Of the real crystals where there are any; accepted, wrong and differing of all."""
    totals = {key: sum(row[key] for row in rows.values()) for key in ("accepted", "wrong", "differing")}
    return rows.get("real", rows["prototypes"]) | totals


if __name__ == "__main__":
    main()
