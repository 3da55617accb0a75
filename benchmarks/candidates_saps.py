"""Partial substitutions per second, symmetry search included, and whether they are the right ones.

    python -m benchmarks.candidates_saps [--quick]

Parents: the Materials Project crystals of LODE_TEST_DATA, elsewhere AFLOW's prototypes.
Rates: for each parent its space group and, for each of its elements, every unique part of 1 to all of its sites within
the bounds, written out as rows of atomic numbers with each of the RIVALS likeliest elements that the parent doesn't
hold (by the highest conditional probability of the substitution table over the element's states). So no two candidates
of a parent are the same crystal. CPU seconds on one core, from our `Crystal`; by bounds and by the size of the
primitive cell. `parts`: without writing; `single`: with the likeliest element alone; `search`: the share of finding
the space group and its permutations.
Check: small parents, one element of each. All decorations grouped by StructureMatcher with tight tolerances, and with
its own, by which some parents have fewer (they are named); Burnside's count; bsym, on larger sets of sites too.
`parents_repeating_own_element`: where an element that the parent holds comes onto the sites instead, parts may give one
crystal. Ratios are of CPU seconds, symmetry search included: ours from a `Crystal`, theirs from a ready `Structure`.
The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import time
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from functools import cache
from importlib.util import find_spec
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from pymatgen.core import Element, Structure
from pymatgen.core.structure_matcher import StructureMatcher

from benchmarks.crystals import cpu_seconds
from registry.crystal import Crystal
from registry.identity.composition import Composition
from registry.importers.parquet import read_row
from registry.importers.prototypes import read_prototypes
from registry.importers.record import ImportedRecord
from workers.candidates.groupings import Bounds, Groupings, decorations, groupings
from workers.candidates.orderly import class_counts, restricted
from workers.candidates.symmetry import NoSymmetry, Symmetry, standardised
from workers.candidates.table import substitution_table

RIVALS = 5
BOUNDS = {"narrow": Bounds(8, 100), "middle": Bounds(16, 1_000), "default": Bounds()}
CLASSES = (8, 16, 32, 64, 200)
FEW, MORE = range(2, 7), range(8, 11)
"""Sites of the element that is replaced: where the matcher checks as well (62 decorations at most), and bsym alone."""

MARK = Element("U").Z
TIGHT = StructureMatcher(ltol=0.005, stol=0.01, angle_tol=0.1, primitive_cell=False, scale=False)
LOOSE = StructureMatcher(primitive_cell=False, scale=False)


@dataclass
class Tally:
    """CPU seconds and what they brought."""

    parents: int = 0
    ions: int = 0
    bounded: int = 0
    parts: int = 0
    singles: int = 0
    candidates: int = 0
    search: float = 0.0
    grouping: float = 0.0
    one: float = 0.0
    several: float = 0.0

    def __add__(self, other: Tally) -> Tally:
        return Tally(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(Tally)))

    def rates(self) -> dict[str, float]:
        before = self.search + self.grouping
        return {
            "parts_per_s": self.parts / before,
            "single_per_s": self.singles / (before + self.one),
            "candidates_per_s": self.candidates / (before + self.several),
            "search_share": self.search / (before + self.several),
        }


@cache
def likeliest(number: int) -> tuple[int, ...]:
    """Other elements, the likeliest first."""
    table = substitution_table()
    scores: dict[int, float] = {}
    for source in (ion for ion in table.ions if ion.number == number):
        for target in (ion for ion in table.ions if ion.charge * source.charge > 0 and ion.number != number):
            scores[target.number] = max(scores.get(target.number, 0.0), table.conditional(target, source))
    return tuple(sorted(scores, key=lambda one: (-scores[one], one)))


def parents(count: int | None) -> list[Crystal]:
    """All or some, in an order of chance."""
    path = Path(os.environ.get("LODE_TEST_DATA", "")) / "mp_structures" / "mp_36737.parquet"
    order = random.Random(0)
    if not path.exists():
        prototypes = [item.crystal for item in read_prototypes() if isinstance(item, ImportedRecord)]
        return order.sample(prototypes, min(count or len(prototypes), len(prototypes)))
    table = pq.read_table(path)
    rows = table.take(order.sample(range(len(table)), count or len(table))).to_pylist()
    items = [read_row(row, path.name, path.name) for row in rows]
    return [item.crystal for item in items if isinstance(item, ImportedRecord)]


def rates(crystals: Iterable[Crystal]) -> tuple[dict[tuple[str, int], Tally], int]:
    """One tally for each bound and class of sizes; and how many parents have no symmetry."""
    tallies = {(name, size): Tally() for name in BOUNDS for size in CLASSES}
    failed = 0
    for crystal in crystals:
        start = time.process_time()
        try:
            found = standardised(crystal)
        except NoSymmetry:
            failed += 1
            continue
        search = time.process_time() - start
        size = next(size for size in CLASSES if found.crystal.nsites <= size)
        for name, bounds in BOUNDS.items():
            add(tallies[name, size], found, bounds, search)
    return tallies, failed


def add(tally: Tally, found: Symmetry, bounds: Bounds, search: float) -> None:
    tally.parents += 1
    tally.search += search
    for number in found.crystal.amounts:
        rivals = [one for one in likeliest(number) if one not in found.crystal.amounts][:RIVALS]
        times = [time.process_time()]
        made = groupings(found, np.flatnonzero(found.crystal.numbers == number), bounds, whole=True)
        times.append(time.process_time())
        single = len(decorations(found, made, rivals[:1]))
        times.append(time.process_time())
        several = decorations(found, made, rivals)
        times.append(time.process_time())
        tally.ions += 1
        tally.bounded += bool(made.left_out)
        tally.parts += len(made)
        tally.singles += single if rivals else 0
        tally.candidates += several.shape[0] * several.shape[1]
        for name, seconds in zip(("grouping", "one", "several"), np.diff(times).tolist(), strict=True):
            setattr(tally, name, getattr(tally, name) + seconds)


def small_parents(crystals: list[Crystal], count: int, sites: range) -> Iterator[tuple[Crystal, int]]:
    """Standardised primitive cells, and an element of each that is on so many sites."""
    for crystal in crystals:
        if crystal.nsites > 4 * max(sites) or not count:
            continue
        try:
            cell = standardised(crystal).crystal
        except NoSymmetry:
            continue
        fitting = [number for number, amount in cell.amounts.items() if amount in sites]
        if fitting and cell.nsites <= 2 * max(sites):
            count -= 1
            yield cell, max(fitting, key=cell.amounts.__getitem__)


def parts_of(cell: Crystal, number: int) -> tuple[Symmetry, Groupings]:
    found = standardised(cell)
    return found, groupings(found, np.flatnonzero(found.crystal.numbers == number))


def marked(cell: Crystal, subset: Iterable[int], mark: int = MARK) -> Structure:
    numbers = cell.numbers.copy()
    numbers[list(subset)] = mark
    return cell.with_numbers(numbers).to_pymatgen()


def brute_force(found: Symmetry, number: int) -> tuple[int, int]:
    """Kinds of all decorations by the matcher with tight tolerances, and with its own."""
    sites = np.flatnonzero(found.crystal.numbers == number).tolist()
    tight = loose = 0
    for size in range(1, len(sites)):
        all_of_size = [marked(found.crystal, subset) for subset in combinations(sites, size)]
        groups = TIGHT.group_structures(all_of_size)
        tight += len(groups)
        loose += len(LOOSE.group_structures([group[0] for group in groups]))
    return tight, loose


def by_bsym(structure: Structure, symbol: str) -> int:
    from bsym.interface.pymatgen import unique_structure_substitutions_by_composition

    mark = Element.from_Z(MARK).symbol
    made = unique_structure_substitutions_by_composition(structure, symbol, [symbol, mark])
    return sum(len(kinds) for amounts, kinds in made.items() if all(amounts))


def check(chosen: list[tuple[Crystal, int]]) -> dict[str, Any]:
    """Ours against the matcher, Burnside's lemma and bsym."""
    ours, seconds = cpu_seconds(lambda: [parts_of(cell, number) for cell, number in chosen])
    numbers = [number for _, number in chosen]
    burnside = [classes(found, number) for (found, _), number in zip(ours, numbers, strict=True)]
    brute, matching = cpu_seconds(lambda: [brute_force(found, n) for (found, _), n in zip(ours, numbers, strict=True)])
    counts = [len(made) for _, made in ours]
    for (found, _), (tight, loose) in zip(ours, brute, strict=True):
        if loose < tight:
            print_merged(found, tight, loose)
    again = [repeated(found, made, own_other(found, n)) for (found, made), n in zip(ours, numbers, strict=True)]
    return {
        "checked": len(chosen),
        "parts_checked": sum(counts),
        "differ_from_matcher": differing(counts, [tight for tight, _ in brute]),
        "differ_from_burnside": differing(counts, burnside),
        "repeated_representatives": sum(repeated(found, made, MARK) for found, made in ours),
        "parents_repeating_own_element": sum(map(bool, again)),
        "fewer_by_loose_matcher": differing(counts, [loose for _, loose in brute]),
        "ratio_matcher": matching / seconds,
        **check_bsym(ours, numbers, seconds, "bsym"),
    }


def print_merged(found: Symmetry, tight: int, loose: int) -> None:
    """A parent whose decorations the matcher's own tolerances merge, and its group as seen less sharply."""
    formula = Composition.of(found.crystal.amounts).reduced_formula
    wide = standardised(found.crystal, 0.1).number
    lengths = " ".join(f"{one:.2f}" for one in np.linalg.norm(found.crystal.lattice, axis=1))
    print(f"{formula}, group {found.number} ({wide} at 0.1 A), {lengths} A: {tight} kinds, {loose} by loose tolerances")


def check_more(chosen: list[tuple[Crystal, int]]) -> dict[str, Any]:
    """Larger sets of sites, against bsym alone."""
    ours, seconds = cpu_seconds(lambda: [parts_of(cell, number) for cell, number in chosen])
    numbers = [number for _, number in chosen]
    return {"checked_more": len(chosen), **check_bsym(ours, numbers, seconds, "bsym_more")}


def check_bsym(ours: list[tuple[Symmetry, Groupings]], numbers: list[int], seconds: float, name: str) -> dict[str, Any]:
    if find_spec("bsym") is None:
        print("bsym isn't installed: pip install 'motherlode[bench]'")
        return {}
    structures = [found.crystal.to_pymatgen() for found, _ in ours]
    symbols = [Element.from_Z(number).symbol for number in numbers]
    theirs, bsym_seconds = cpu_seconds(lambda: [by_bsym(*one) for one in zip(structures, symbols, strict=True)])
    counts = [len(made) for _, made in ours]
    return {f"differ_from_{name}": differing(counts, theirs), f"ratio_{name}": bsym_seconds / seconds}


def classes(found: Symmetry, number: int) -> int:
    acting = restricted(found.permutations, np.flatnonzero(found.crystal.numbers == number))
    return int(class_counts(acting)[1:-1].sum())


def own_other(found: Symmetry, number: int) -> int:
    """Another element that the parent holds; of an element, MARK."""
    return next((other for other in found.crystal.amounts if other != number), MARK)


def repeated(found: Symmetry, made: Groupings, mark: int) -> int:
    """How many of our representatives the matcher (tight) takes for another of them."""
    again = 0
    for size in np.unique(made.sizes).tolist():
        of_size = made.of_size(size)
        structures = [marked(found.crystal, of_size.subset(row), mark) for row in range(len(of_size))]
        again += len(structures) - len(TIGHT.group_structures(structures))
    return again


def differing(ours: list[int], theirs: list[int]) -> int:
    return sum(one != other for one, other in zip(ours, theirs, strict=True))


def measure(quick: bool = False) -> dict[str, object]:
    """Print the tables; return the figures, rates of all parents together."""
    warnings.filterwarnings("ignore")
    crystals = parents(2_000 if quick else None)
    rates(crystals[:1])  # compiles
    tallies, failed = rates(crystals)
    print_rates(tallies)
    checked = check(list(small_parents(crystals, 8 if quick else 200, FEW)))
    checked |= check_more(list(small_parents(crystals, 1 if quick else 10, MORE)))
    print("".join(f"{key:>30} {value:,.4g}\n" for key, value in checked.items()))
    return {"failed_parents": failed, **summary(tallies), **checked}


def print_rates(tallies: dict[tuple[str, int], Tally]) -> None:
    heads = ("bounds", "sites up to", "parents", "ions", "bounded", "parts", "candidates", "parts/s", "single/s")
    print("".join(f"{head:>13}" for head in (*heads, "candidates/s", "search")))
    for name in BOUNDS:
        rows = {str(size): tallies[name, size] for size in CLASSES if tallies[name, size].parents}
        for label, row in (rows | {"all": sum(rows.values(), Tally())}).items():
            numbers = (row.parents, row.ions, row.bounded, row.parts, row.candidates)
            rate = row.rates()
            cells = [name, label, *(f"{one:,}" for one in numbers)]
            cells += [f"{rate[key]:,.0f}" for key in ("parts_per_s", "single_per_s", "candidates_per_s")]
            print("".join(f"{cell:>13}" for cell in (*cells, f"{rate['search_share']:.0%}")))


def summary(tallies: dict[tuple[str, int], Tally]) -> dict[str, object]:
    found: dict[str, object] = {"rivals": RIVALS}
    for name, bounds in BOUNDS.items():
        row = sum((tallies[name, size] for size in CLASSES), Tally())
        found |= {f"{name}_{key}": value for key, value in row.rates().items()}
        found |= {f"{name}_max_sites": bounds.max_sites, f"{name}_max_groupings": bounds.max_groupings}
        found |= {f"{name}_parts": row.parts, f"{name}_ions": row.ions, f"{name}_bounded_ions": row.bounded}
    return found | {"parents": row.parents}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer parents, below 12 s of CPU")
    print(json.dumps(measure(parser.parse_args().quick)))


if __name__ == "__main__":
    main()
