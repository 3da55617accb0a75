"""Random structures per second: ours against pyxtal's `from_random`, for the same requests in one run.

    python -m benchmarks.candidates_random [--quick]

Four compositions of different kinds. A request is a space group and a number of formula units (up to 30 atoms in the
primitive cell), drawn among those that can hold the composition; pyxtal gets the same ones, and fails where it raises.
`own`: both with their own volumes and least distances (pyxtal's cells are larger, its distances shorter).
`alike`: both with the volume of the request and our least distances; only crystals that keep these count.
A run goes on while its time lasts (0.5 s with --quick, 30 s without); a request that takes longer by itself is `late`.
`hard`: ours, alike, without soft spheres. `possible` is the share of requests with any group from 2 to 230 that can be
met at all. Ours tries 20 choices of positions a request, 20 cells each. CPU seconds, one core.

`sets`: over real crystals of up to 30 atoms (LODE_TEST_DATA), by the weight that each set of equivalent sites gives a
choice of Wyckoff positions: the mean number of sets that is drawn for their compositions and groups, theirs, and the
mean logarithm of the probability of the real choice. Then how many of them have a volume and distances as they are
drawn.

Of ours, besides: the share of each crystal system where nobody asks for a group, the share in which moyopy finds the
requested symmetry or more, and the least distance over what was asked.
The last line is JSON.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import logging
import os
import random
import signal
import time
import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import moyopy
import numpy as np
from ase.data import covalent_radii
from pymatgen.optimization.neighbors import find_points_in_spheres

from benchmarks.crystals import real_crystals
from registry.crystal import Crystal
from registry.identity.composition import SYMBOLS
from registry.importers.files import read_file
from registry.importers.record import ImportedRecord
from workers.candidates.random_search import RandomSearch, Settings
from workers.candidates.random_search.choices import choices
from workers.candidates.random_search.radii import estimated_volume
from workers.candidates.random_search.stream import seeded
from workers.candidates.random_search.wyckoff import LAST_OF_SYSTEM, crystal_system, space_group
from workers.candidates.volume import PACKING, bond_radii

COMPOSITIONS: Mapping[str, Mapping[int, int]] = {
    "NaCl": {11: 1, 17: 1},  # a salt of two atoms
    "Al2O3": {13: 2, 8: 3},  # an oxide
    "LiFePO4": {3: 1, 26: 1, 15: 1, 8: 4},  # four elements, a complex anion
    "Mg17Al12": {12: 17, 13: 12},  # an alloy, 29 atoms or none
}
TOLERANCE = 1e-9
SPHERE = 4 / 3 * np.pi
WEIGHTS = (1.0, 0.5, 0.3, 0.2, 0.1, 0.05)

Make = Callable[[], Crystal | None]


class Request(NamedTuple):
    """factor: volume as a share of the summed atomic volumes."""

    group: int
    units: int
    factor: float


class Late(Exception):
    """A request takes longer than it may."""


class Run(NamedTuple):
    """made: structures; failed: requests without one; late: given up; seconds of CPU."""

    made: list[Crystal]
    failed: int
    late: int
    seconds: float

    @property
    def rate(self) -> float:
        return len(self.made) / self.seconds

    @property
    def failures(self) -> float:
        """Those that were given up aren't counted."""
        return self.failed / max(self.failed + len(self.made), 1)


def requests(search: RandomSearch, count: int, seed: int = 0) -> list[Request]:
    rng = random.Random(seed)
    groups = [rng.choice(list(search.units)) for _ in range(count)]
    return [Request(group, rng.choice(search.units[group]), rng.uniform(0.4, 1.2)) for group in groups]


def run(tasks: list[Make], seconds: float, kept: Callable[[Crystal], bool] = lambda _one: True) -> Run:
    """All of them, or as many as begin within so many seconds of CPU; none may take longer than that by itself."""
    found, late, start = [], 0, time.process_time()
    signal.signal(signal.SIGPROF, _give_up)
    for task in tasks:
        if time.process_time() - start > seconds:
            break
        signal.setitimer(signal.ITIMER_PROF, seconds)
        try:
            found.append(task())
        except Late:
            late += 1
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
    spent = time.process_time() - start
    made = [crystal for crystal in found if crystal is not None and kept(crystal)]
    return Run(made, len(found) - len(made), late, spent)


def _give_up(_number: int, _frame: FrameType | None) -> None:
    raise Late


def ours(search: RandomSearch, asked: Request, index: int) -> Crystal | None:
    stream = seeded("benchmark", index)
    for _ in range(search.settings.draws):
        if (found := search.fill(asked.group, asked.units, stream)) is not None:
            return found.crystal
    return None


def theirs(amounts: Mapping[int, int], asked: Request, index: int, **more: Any) -> Crystal | None:
    from pyxtal import pyxtal

    made = pyxtal()
    counts = [count * asked.units for count in amounts.values()]
    species = [SYMBOLS[number] for number in amounts]
    try:
        made.from_random(3, asked.group, species, counts, conventional=False, random_state=index, **more)
        atoms = made.to_ase(resort=False)
    except Late:
        raise
    except Exception:  # noqa: BLE001  (it raises RuntimeError, IndexError, its own: all are structures that aren't there)
        return None
    return Crystal(atoms.cell.array, atoms.numbers, atoms.get_scaled_positions())


def same_terms(search: RandomSearch, asked: Request) -> dict[str, Any]:
    """A lattice of the request's volume, and our separations, as pyxtal takes them."""
    from pyxtal.lattice import Lattice
    from pyxtal.symmetry import Group
    from pyxtal.tolerance import Tol_matrix

    group, elements = Group(asked.group), sorted(search.amounts)
    pairs = [
        (one, other, search.separations[i, j]) for i, one in enumerate(elements) for j, other in enumerate(elements)
    ]
    volume = asked.factor * asked.units * search.volume * group.cellsize()
    return {"lattice": Lattice(group.lattice_type, volume, unique_axis="c"), "tm": Tol_matrix(*pairs)}


def closest(search: RandomSearch, crystal: Crystal) -> float:
    """The least distance of two atoms over what our settings ask for."""
    lattice, elements = np.ascontiguousarray(crystal.lattice), sorted(search.amounts)
    points = np.ascontiguousarray(crystal.frac_coords @ lattice)
    one, other, images, distances = find_points_in_spheres(points, points, 4.0, np.array([1, 1, 1]), lattice, 1e-8)
    apart, kinds = (one != other) | images.any(axis=1), np.searchsorted(elements, crystal.numbers)
    return float((distances / search.separations[kinds[one], kinds[other]])[apart].min(initial=np.inf))


def keeps_distances(search: RandomSearch, crystal: Crystal) -> bool:
    return closest(search, crystal) >= 1 - TOLERANCE


def has_symmetry(crystal: Crystal, group: int) -> bool:
    """Whether the space group that moyopy finds is that one or holds as many operations several times over."""
    cell = moyopy.Cell(crystal.lattice.tolist(), crystal.frac_coords.tolist(), crystal.numbers.tolist())
    found = len(moyopy.MoyoDataset(cell, symprec=1e-4).operations)
    return bool(found % space_group(group).multiplicities[-1] == 0)


def compare(name: str, count: int, seconds: float) -> dict[str, float]:
    """One composition: every run over the same requests; pyxtal's as far as its seconds last."""
    amounts = COMPOSITIONS[name]
    search, varied = RandomSearch(amounts), RandomSearch(amounts)
    asked = list(enumerate(requests(search, count)))
    keeps = partial(keeps_distances, search)
    own = run([partial(ours, search, one, i) for i, one in asked], seconds)
    alike = run([lambda one=one, i=i: ours(at(varied, one), one, i) for i, one in asked], seconds, keeps)
    hard = run([lambda one=one, i=i: ours(at(varied, one, False), one, i) for i, one in asked], seconds, keeps)
    peer = run([partial(theirs, amounts, one, i) for i, one in asked], seconds)
    peer_alike = run(
        [lambda one=one, i=i: theirs(amounts, one, i, **same_terms(search, one)) for i, one in asked], seconds, keeps
    )
    free = list(search.structures(count // 5, 0))
    return {
        "atoms": float(np.mean([one.crystal.nsites for one in free])),
        "possible": possible(search, count),
        "own_per_s": own.rate,
        "own_failures": own.failures,
        "pyxtal_own_per_s": peer.rate,
        "pyxtal_own_failures": peer.failures,
        "ratio_own": own.rate / max(peer.rate, 1 / peer.seconds),
        "alike_per_s": alike.rate,
        "alike_failures": alike.failures,
        "pyxtal_alike_per_s": peer_alike.rate,
        "pyxtal_alike_failures": peer_alike.failures,
        "ratio_alike": alike.rate / max(peer_alike.rate, 1 / peer_alike.seconds),
        "hard_per_s": hard.rate,
        "hard_failures": hard.failures,
        "pyxtal_own_requests": len(peer.made) + peer.failed + peer.late,
        "pyxtal_own_late": peer.late,
        "pyxtal_alike_requests": len(peer_alike.made) + peer_alike.failed + peer_alike.late,
        "pyxtal_alike_late": peer_alike.late,
        "symmetry": float(np.mean([has_symmetry(one.crystal, one.space_group) for one in free])),
        "closest": min(closest(search, one.crystal) for one in free),
        "least_volume": min(one.volume_factor for one in free),
        "largest_volume": max(one.volume_factor for one in free),
        **systems([one.space_group for one in free]),
    }


def at(search: RandomSearch, asked: Request, soft: bool = True) -> RandomSearch:
    """The same search at the request's volume."""
    search.settings = replace(
        search.settings, least_volume=asked.factor, largest_volume=asked.factor, soft_spheres=soft
    )
    return search


def possible(search: RandomSearch, count: int) -> float:
    rng, most = random.Random(1), search.settings.most_atoms // sum(search.amounts.values())
    drawn = [(rng.randint(2, 230), rng.randint(1, min(most, search.settings.most_units))) for _ in range(count)]
    return sum(units in search.units.get(group, []) for group, units in drawn) / count


def systems(groups: list[int]) -> dict[str, float]:
    counts = Counter(map(crystal_system, groups))
    return {system: counts[system] / len(groups) for system in LAST_OF_SYSTEM}


def measure(quick: bool) -> dict[str, object]:
    """Print the tables; rates are those of the composition where we are least ahead."""
    try:
        import pyxtal  # noqa: F401
    except ImportError:
        raise SystemExit("pyxtal isn't installed: pip install 'motherlode[bench]'") from None
    warnings.filterwarnings("ignore")
    logging.getLogger("moyo").setLevel(logging.ERROR)
    count, seconds = (1_000, 0.5) if quick else (5_000, 30.0)
    list(RandomSearch({3: 1}).structures(2, 0))  # compiles, or loads what was compiled
    theirs({3: 1}, Request(225, 1, 1.0), 0)
    rows = {name: compare(name, count, seconds) for name in COMPOSITIONS}
    print_table(rows)
    return summary(rows) | likeliest(100 if quick else 1_000)


def likeliest(count: int) -> dict[str, float]:
    """Nothing where there are no real crystals."""
    if not (real := real_choices(count)):
        return {}
    found = likelihoods(real)
    print_likelihoods(real, found)
    print_estimates(real)
    return {"random_likeliest_weight": max(found, key=lambda weight: found[weight][1])}


def print_table(rows: dict[str, dict[str, float]]) -> None:
    print("".join(f"{head:>22}" for head in ("", *rows)))
    for key in next(iter(rows.values())):
        print(f"{key:>22}" + "".join(f"{row[key]:>22,.4g}" for row in rows.values()))


def summary(rows: dict[str, dict[str, float]]) -> dict[str, object]:
    """Shares are means over the compositions."""
    shares = [key for key in next(iter(rows.values())) if key.endswith(("failures", "symmetry", "possible"))]
    return {
        "compositions": list(rows),
        "ratio_random_rate": min(row["ratio_own"] for row in rows.values()),
        "ratio_random_rate_alike": min(row["ratio_alike"] for row in rows.values()),
        "random_per_s": min(row["own_per_s"] for row in rows.values()),
        "pyxtal_per_s": min(row["pyxtal_own_per_s"] for row in rows.values()),
        **{f"random_{key}": float(np.mean([row[key] for row in rows.values()])) for key in shares},
        "random_closest": min(row["closest"] for row in rows.values()),
    }


class Real(NamedTuple):
    """What a real crystal chose.

    sets: its number of sets of equivalent sites
    volume, in_bonds, in_spheres: that of its cell over the summed atomic volumes, over packed bond spheres, over the
        covalent spheres
    closest: least distance over the sum of covalent radii
    """

    group: int
    amounts: dict[int, int]
    sets: int
    volume: float
    in_bonds: float
    in_spheres: float
    closest: float


def shuffled(count: int) -> list[Crystal]:
    """Some of the real crystals, all in another order where many are wanted: reading them takes its time."""
    path = Path(os.environ.get("LODE_TEST_DATA", "")) / "mp_structures" / "mp_36737.parquet"
    if count > 200 or not path.exists():
        crystals = real_crystals()
        random.Random(2).shuffle(crystals)
        return crystals
    return [one.crystal for one in itertools.islice(read_file(path), 4 * count) if isinstance(one, ImportedRecord)]


def real_choices(count: int) -> list[Real]:
    found: list[Real] = []
    for crystal in shuffled(count):
        cell = moyopy.Cell(crystal.lattice.tolist(), crystal.frac_coords.tolist(), crystal.numbers.tolist())
        with contextlib.suppress(ValueError):
            primitive = moyopy.MoyoDataset(cell, symprec=0.01).prim_std_cell
            symmetry = moyopy.MoyoDataset(primitive, symprec=0.01)
            if symmetry.number > 1 and primitive.num_atoms <= 30:
                found.append(real_choice(Crystal(primitive.basis, primitive.numbers, primitive.positions), symmetry))
        if len(found) == count:
            break
    return found


def real_choice(crystal: Crystal, symmetry: moyopy.MoyoDataset) -> Real:
    numbers, radii = crystal.numbers, covalent_radii[crystal.numbers]
    lattice = np.ascontiguousarray(crystal.lattice)
    points = np.ascontiguousarray(crystal.frac_coords @ lattice)
    one, other, images, distances = find_points_in_spheres(points, points, 6.0, np.array([1, 1, 1]), lattice, 1e-8)
    apart = (one != other) | images.any(axis=1)
    return Real(
        symmetry.number,
        crystal.amounts,
        len(set(symmetry.orbits)),
        crystal.volume / estimated_volume(numbers),
        crystal.volume / (PACKING * SPHERE * bond_radii(crystal) ** 3).sum(),
        crystal.volume / (SPHERE * radii**3).sum(),
        float((distances / (radii[one] + radii[other]))[apart].min(initial=np.inf)),
    )


def print_estimates(real: list[Real]) -> None:
    """How many real crystals lie where random ones are drawn, by what volumes are measured in."""
    low, high = Settings().least_volume, Settings().largest_volume
    for name in ("volume", "in_bonds", "in_spheres"):
        values = np.array([getattr(one, name) for one in real])
        within = ((values >= low) & (values <= high)).mean()
        print(f"{name:>22}: median {np.median(values):.2f}, {within:.1%} from {low} to {high}")
    close = np.mean([one.closest < Settings().separation for one in real])
    print(f"{'closest':>22}: {close:.2%} closer than {Settings().separation}")


def likelihoods(real: list[Real]) -> dict[float, tuple[float, float]]:
    """Weight of a set -> mean number of sets drawn, mean logarithm of the probability of the real choice."""
    found = {}
    for weight in WEIGHTS:
        every = [choices(space_group(one.group), one.amounts, weight) for one in real]
        drawn = [len(each.draw(seeded("sets", i))[0]) for i, each in enumerate(every)]
        logs = [one.sets * np.log(weight) - np.log(each.weight) for one, each in zip(real, every, strict=True)]
        found[weight] = float(np.mean(drawn)), float(np.mean(logs))
    return found


def print_likelihoods(real: list[Real], found: dict[float, tuple[float, float]]) -> None:
    print(f"sets of {len(real)} real crystals: {np.mean([one.sets for one in real]):.2f} on average; drawn, by weight:")
    for weight, (drawn, logarithm) in found.items():
        print(f"{weight:>22}{drawn:>22.2f}{logarithm:>22.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer requests, below a dozen seconds")
    found = measure(parser.parse_args().quick)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
