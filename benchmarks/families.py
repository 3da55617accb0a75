"""Order-disorder families: what finding them costs, and whether they are found.

    python -m benchmarks.families [--quick]

Orderings: a parent (fcc, bcc, rock salt, fluorite, perovskite), in supercells of 8 to 20 atoms, with two elements that
may mix at random on one of its sites, strained by 1 % and shaken by 0.02 A. `found`: the share of those whose first
family has the parent's structure type. Real crystals where LODE_TEST_DATA is set: the share in which elements may mix,
that have a family, and that share one with another crystal; ms per crystal over all of them; `rewritten` is the share
of those with a family that keep it in another cell, origin, orientation and order of atoms.
The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import random
import warnings
from collections import Counter

import numpy as np

from benchmarks.crystals import cpu_seconds, fitting_sizes, real_crystals, shaken, supercell
from registry.crystal import Crystal
from registry.identity.composition import ATOMIC_NUMBERS
from registry.identity.families import families_of
from registry.identity.mixing import mixing_pairs
from registry.identity.prototype import prototype_of

HALVES = [[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]
FCC = np.array(HALVES)
EIGHTHS = [[0.25] * 3, [0.75] * 3]
PARENTS: dict[str, tuple[float, list[list[float]], str, list[list[float]], tuple[str, str]]] = {
    "fcc": (3.9, [[0, 0, 0], *HALVES], "", [], ("Cu", "Au")),
    "bcc": (3.2, [[0, 0, 0], [0.5] * 3], "", [], ("Mo", "Nb")),
    "rock salt": (4.2, [[0, 0, 0]], "O", [[0.5] * 3], ("Li", "Fe")),
    "fluorite": (5.3, [[0, 0, 0]], "O", EIGHTHS, ("Ce", "Tb")),
    "perovskite": (3.95, [[0, 0, 0]], "O", HALVES, ("Ti", "Zr")),
}


def parent(name: str) -> Crystal:
    """Its mixed site holds the first of the two elements."""
    a, mixed, other, others, (first, _) = PARENTS[name]
    lattice = a * (FCC if name in ("rock salt", "fluorite") else np.eye(3))
    extra = [("Sr", [0.5] * 3)] if name == "perovskite" else []
    sites = [(first, one) for one in mixed] + extra + [(other, one) for one in others]
    return Crystal(lattice, [ATOMIC_NUMBERS[symbol] for symbol, _ in sites], [coords for _, coords in sites])


def ordering(name: str, rng: random.Random, shaker: np.random.Generator) -> Crystal:
    """One of equal amounts, or of one to two where the number of mixed sites is odd."""
    one = parent(name)
    first, second = (ATOMIC_NUMBERS[symbol] for symbol in PARENTS[name][4])
    cell = supercell(one, rng.choice(fitting_sizes(one.nsites, 8, 20)))
    places = np.flatnonzero(cell.numbers == first)
    numbers = cell.numbers.copy()
    numbers[rng.sample(places.tolist(), max(1, len(places) // 2))] = second
    strain = np.eye(3) + shaker.uniform(-0.01, 0.01, (3, 3))
    return shaken(Crystal(cell.lattice @ strain, numbers, cell.frac_coords), shaker, 0.02)


def found(name: str, count: int) -> float:
    rng, shaker = random.Random(0), np.random.default_rng(0)
    expected = prototype_of(parent(name)).label
    families = [families_of(ordering(name, rng, shaker)) for _ in range(count)]
    return sum(bool(one) and one[0].label.split(":")[0] == expected for one in families) / count


def real(crystals: list[Crystal]) -> dict[str, float]:
    families_of(crystals[0])  # compiles, and reads pymatgen's tables
    families, seconds = cpu_seconds(lambda: [families_of(crystal) for crystal in crystals])
    firsts = Counter(one[0].label for one in families if one)
    shaker = np.random.default_rng(0)
    having = [(crystal, one) for crystal, one in zip(crystals, families, strict=True) if one]
    kept = sum(families_of(rewritten(crystal, shaker)) == one for crystal, one in having)
    return {
        "crystals": len(crystals),
        "ms_per_crystal": 1e3 * seconds / len(crystals),
        "may_mix": sum(bool(mixing_pairs(tuple(crystal.amounts.items()))) for crystal in crystals) / len(crystals),
        "with_family": len(having) / len(crystals),
        "sharing_family": sum(firsts[one[0].label] > 1 for _, one in having) / len(crystals),
        "rewritten": kept / len(having),
    }


def rewritten(crystal: Crystal, rng: np.random.Generator) -> Crystal:
    basis = np.array([[1, 0, 0], [2, 1, 0], [0, -1, 1]])
    times = [(1, 1, 1), (2, 1, 1), (1, 2, 1)][rng.integers(3)]
    one = supercell(
        Crystal(basis @ crystal.lattice, crystal.numbers, crystal.frac_coords @ np.linalg.inv(basis)), times
    )
    turn, order = np.linalg.qr(rng.normal(size=(3, 3)))[0], rng.permutation(one.nsites)
    return Crystal(one.lattice @ turn, one.numbers[order], (one.frac_coords + rng.random(3))[order])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer crystals, under a minute")
    quick = parser.parse_args().quick
    warnings.filterwarnings("ignore")
    figures = {f"found, {name}": found(name, 60 if quick else 600) for name in PARENTS}
    if crystals := real_crystals():
        random.Random(0).shuffle(crystals)
        figures |= real(crystals[: 4_000 if quick else len(crystals)])
    for name, figure in figures.items():
        print(f"{name:24}{figure:>12,.4g}")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
