"""Our hulls against pymatgen's, in one run on the same entries.

    python benchmarks/hull.py [--quick]

Entries are synthetic: 85 elements, 1 to 6 of them in an entry, compounds bound by pair energies of random sign. Ratios
are of CPU seconds, ours on one thread and from `Entry` objects; `PatchedPhaseDiagram` and ours place every entry;
`PhaseDiagram` places the entries of a sample of chemical systems, each from the entries within that system.
The last line is JSON.
"""

import argparse
import json
import random
import time
import warnings
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np
from pymatgen.analysis.phase_diagram import PatchedPhaseDiagram, PDEntry, PhaseDiagram
from pymatgen.core import Composition, Element

from registry.hull.geometry import Entry, EntryTable, HullSolution, compute_hull, warm

NUMBERS = [z for z in range(1, 95) if z not in (2, 10, 18, 36, 54, 84, 85, 86, 87)]
SIZES, SIZE_WEIGHTS = (1, 2, 3, 4, 5, 6), (0.01, 0.15, 0.48, 0.26, 0.08, 0.02)


def synthetic_entries(count: int, seed: int = 0) -> list[Entry]:
    """The elements at 0, then compounds; some elements are common and others rare, as in a real registry."""
    rng = random.Random(seed)
    common = rng.sample(NUMBERS, len(NUMBERS))
    popularity = [1 / (rank + 8) for rank in range(len(common))]
    pairs = {(a, b): rng.gauss(-1.0, 1.5) for a in NUMBERS for b in NUMBERS if a < b}
    rows = [({z: 1}, 0.0) for z in NUMBERS]
    while len(rows) < count:
        size = rng.choices(SIZES, SIZE_WEIGHTS)[0]
        chosen = sorted(set(rng.choices(common, popularity, k=size)))
        amounts = {z: rng.choice((1, 1, 1, 2, 2, 3, 4, 6)) for z in chosen}
        rows.append((amounts, bond_energy(amounts, pairs) + rng.expovariate(10)))
    return [Entry(key, amounts, energy) for key, (amounts, energy) in enumerate(rows)]


def bond_energy(amounts: dict[int, int], pairs: dict[tuple[int, int], float]) -> float:
    total = sum(amounts.values())
    return 2 * sum(pairs[a, b] * amounts[a] * amounts[b] for a in amounts for b in amounts if a < b) / total**2


def cpu_seconds(task: Callable[[], Any]) -> tuple[Any, float]:
    start = time.process_time()
    return task(), time.process_time() - start


def pd_entry(entry: Entry) -> PDEntry:
    composition = Composition({Element.from_Z(z): n for z, n in entry.amounts.items()})
    return PDEntry(composition, entry.formation_energy * composition.num_atoms, name=str(entry.key))


def against_patched(count: int) -> dict[str, float]:
    entries = synthetic_entries(count)
    theirs = [pd_entry(entry) for entry in entries]
    solved, ours = cpu_seconds(lambda: compute_hull(entries))

    def place() -> list[float]:
        diagram = PatchedPhaseDiagram(theirs)
        return [diagram.get_e_above_hull(entry) for entry in theirs]

    above, patched = cpu_seconds(place)
    difference = float(np.max(np.abs(np.array(above) - solved.e_above_hull)))
    return {"entries": count, "ours": ours, "pymatgen": patched, "ratio": patched / ours, "difference": difference}


def against_diagrams(count: int, systems: int) -> dict[str, float]:
    entries = synthetic_entries(count)
    solved, ours = cpu_seconds(lambda: compute_hull(entries))
    by_system: dict[frozenset[int], list[Entry]] = defaultdict(list)
    for entry in entries:
        by_system[frozenset(entry.amounts)].append(entry)
    placed, seconds, difference = 0, 0.0, 0.0
    for system in random.Random(1).sample(sorted(by_system, key=sorted), systems):
        within = [entry for other, rows in by_system.items() if other <= system for entry in rows]
        theirs = {entry.key: pd_entry(entry) for entry in within}
        above, spent = cpu_seconds(lambda own=by_system[system], known=theirs: place_in_one(own, known))
        difference = max(difference, *(abs(above[key] - solved.e_above_hull[key]) for key in above))
        difference = max(difference, separation_difference(by_system[system][0], within, solved))
        placed, seconds = placed + len(above), seconds + spent
    rates = {"ours": ours / count, "pymatgen": seconds / placed}
    ratio = rates["pymatgen"] / rates["ours"]
    return {"entries": placed, **{k: v * placed for k, v in rates.items()}, "ratio": ratio, "difference": difference}


def place_in_one(own: list[Entry], known: dict[Any, PDEntry]) -> dict[Any, float]:
    diagram = PhaseDiagram(list(known.values()))
    return {entry.key: diagram.get_e_above_hull(known[entry.key]) for entry in own}


def separation_difference(entry: Entry, within: list[Entry], solved: HullSolution) -> float:
    """Phase-separation energy against a phase diagram without the entry's composition (exact, unlike SLSQP)."""
    own = pd_entry(entry)
    if own.composition.is_element:
        return 0.0
    reduced = own.composition.reduced_composition
    others = [other for other in map(pd_entry, within) if other.composition.reduced_composition != reduced]
    separation = PhaseDiagram(others).get_decomp_and_e_above_hull(own, allow_negative=True)[1]
    return abs(separation - float(solved.phase_separation_energies[entry.key]))


def rebuild(count: int, threads: int) -> dict[str, float]:
    """Our time alone, from columns, at the size of a large registry."""
    table = EntryTable.of(synthetic_entries(count))
    start, cpu = time.perf_counter(), time.process_time()
    solved = compute_hull(table, threads=threads)
    wall, cpu = time.perf_counter() - start, time.process_time() - cpu
    return {"entries": count, "systems": len(solved.phases.system_low), "wall": wall, "cpu": cpu}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="smaller sets, under a minute")
    quick = parser.parse_args().quick
    warnings.filterwarnings("ignore")
    print(f"solver ready after {warm():.1f} s")
    patched = against_patched(2_000 if quick else 15_000)
    sample = against_diagrams(15_000 if quick else 150_000, 60 if quick else 660)
    large = rebuild(50_000 if quick else 150_000, threads=2)
    print_table({"PatchedPhaseDiagram": patched, "PhaseDiagram per system": sample})
    print(
        f"rebuild of {large['entries']:,} entries in {large['systems']:,} systems, 2 threads: "
        f"{large['wall']:.2f} s, {large['cpu']:.2f} CPU s"
    )
    print(json.dumps(summary(patched, sample, large)))


def print_table(rows: dict[str, dict[str, float]]) -> None:
    heads = ("entries", "ours, CPU s", "theirs, CPU s", "ratio", "difference, eV/atom")
    print(f"{'against':26}" + "".join(f"{head:>21}" for head in heads))
    for name, row in rows.items():
        cells = (f"{row['ours']:.4f}", f"{row['pymatgen']:.2f}", f"{row['ratio']:.0f}", f"{row['difference']:.1e}")
        print(f"{name:26}{row['entries']:>21,}" + "".join(f"{cell:>21}" for cell in cells))


def summary(patched: dict[str, float], sample: dict[str, float], large: dict[str, float]) -> dict[str, float]:
    size = "_15k" if patched["entries"] == 15_000 else ""
    return {
        "ratio_ppd": patched["ratio"],
        f"ratio_ppd{size}": patched["ratio"],
        "ppd_entries": patched["entries"],
        "ratio_pd_sample": sample["ratio"],
        "max_abs_diff": max(patched["difference"], sample["difference"]),
        "entries_per_s": large["entries"] / large["wall"],
        "entries_per_cpu_s": large["entries"] / large["cpu"],
    }


if __name__ == "__main__":
    main()
