"""Crystals for benchmarks: AFLOW's prototypes made into others, and the real ones of LODE_TEST_DATA where it is set."""

from __future__ import annotations

import itertools
import os
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from registry.crystal import Crystal
from registry.importers.files import read_file
from registry.importers.prototypes import read_prototypes
from registry.importers.record import ImportedRecord

NOISE = 1e-3
"""Angstrom, standard deviation: what a relaxation leaves."""

ELEMENTS = [z for z in range(3, 84) if z not in (10, 18, 36, 54, 61)]


def real_crystals() -> list[Crystal]:
    """The Materials Project crystals of LODE_TEST_DATA; none where that is unset."""
    folder = os.environ.get("LODE_TEST_DATA")
    path = Path(folder or "") / "mp_structures" / "mp_36737.parquet"
    if not folder or not path.exists():
        return []
    return [item.crystal for item in read_file(path) if isinstance(item, ImportedRecord)]


def decorated_prototypes(count: int, smallest: int, largest: int, seed: int = 0) -> Iterator[Crystal]:
    """AFLOW's crystals holding other elements, as supercells of `smallest` to `largest` atoms, slightly shaken."""
    rng = random.Random(seed)
    shaker = np.random.default_rng(seed)
    prototypes = [item.crystal for item in read_prototypes() if isinstance(item, ImportedRecord)]
    choices = [(one, sizes) for one in prototypes if (sizes := fitting_sizes(one.nsites, smallest, largest))]
    for one, sizes in itertools.islice(itertools.cycle(choices), count):
        yield shaken(supercell(redecorated(one, rng), rng.choice(sizes)), shaker)


def fitting_sizes(nsites: int, smallest: int, largest: int) -> list[tuple[int, ...]]:
    repeats = itertools.product(range(1, 5), repeat=3)
    return [one for one in repeats if smallest <= nsites * one[0] * one[1] * one[2] <= largest]


def redecorated(crystal: Crystal, rng: random.Random) -> Crystal:
    """Each element replaced by another, at the same volume."""
    present = list(crystal.amounts)
    other = dict(zip(present, rng.sample(ELEMENTS, len(present)), strict=True))
    return crystal.with_numbers(np.array([other[number] for number in crystal.numbers.tolist()], dtype=np.int16))


def supercell(crystal: Crystal, times: tuple[int, ...]) -> Crystal:
    shifts = np.array(list(itertools.product(*(range(n) for n in times))))
    coords = (crystal.frac_coords[None, :, :] + shifts[:, None, :]).reshape(-1, 3) / times
    return Crystal(crystal.lattice * np.array(times)[:, None], np.tile(crystal.numbers, len(shifts)), coords)


def shaken(crystal: Crystal, rng: np.random.Generator, noise: float = NOISE) -> Crystal:
    moved = rng.normal(0, noise, (crystal.nsites, 3)) @ np.linalg.inv(crystal.lattice)
    return Crystal(crystal.lattice, crystal.numbers, crystal.frac_coords + moved)


def cpu_seconds(task: Callable[[], Any]) -> tuple[Any, float]:
    start = time.process_time()
    return task(), time.process_time() - start
