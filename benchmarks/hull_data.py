"""Entries for benchmarks of hulls: synthetic ones of any number, and published ones.

Synthetic: 85 elements at 0 eV/atom, then compounds of 1 to 6 elements, bound by pair energies of random sign. Some
elements are common and others rare, as in a real registry. A larger set starts with the smaller ones.
"""

from __future__ import annotations

import gzip
import itertools
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from registry.hull.phases import Entry, EntryTable, Floats, Ints

NUMBERS = np.array([z for z in range(1, 95) if z not in (2, 10, 18, 36, 54, 84, 85, 86, 87)])
SIZES, SIZE_WEIGHTS = np.arange(1, 7), (0.01, 0.15, 0.48, 0.26, 0.08, 0.02)
COUNTS = (1, 1, 1, 2, 2, 3, 4, 6)
BLOCK = 50_000


def pair_energies(seed: int = 0) -> Floats:
    """(95, 95) symmetric, eV/atom."""
    upper = np.triu(np.random.default_rng(seed).normal(-1.0, 1.5, (95, 95)), 1)
    return upper + upper.T


def bound(numbers: Ints, amounts: Ints, pairs: Floats) -> Floats:
    """(n,) eV/atom of (n, k) atomic numbers and their amounts (0: not there)."""
    total, energy = amounts.sum(axis=1), np.zeros(len(amounts))
    for a in range(numbers.shape[1]):
        for b in range(a):
            energy += 2 * pairs[numbers[:, a], numbers[:, b]] * amounts[:, a] * amounts[:, b] / total**2
    return energy


def synthetic_table(count: int, seed: int = 0) -> EntryTable:
    """Entries with keys 0, 1, ...; the elements come first."""
    blocks = [_compounds([seed, at]) for at in range(-(-max(count - len(NUMBERS), 0) // BLOCK))]
    sizes, numbers, amounts, energies = (np.concatenate(parts) for parts in zip(_elements(), *blocks, strict=True))
    offsets = np.concatenate(([0], np.cumsum(sizes[:count])))
    last = offsets[-1]
    return EntryTable(np.arange(count), offsets, numbers[:last], amounts[:last].astype(float), energies[:count])


def _elements() -> tuple[NDArray[Any], ...]:
    ones = np.ones(len(NUMBERS), dtype=np.int64)
    return ones, NUMBERS, ones, np.zeros(len(NUMBERS))


def _compounds(seed: list[int]) -> tuple[NDArray[Any], ...]:
    """Sizes, numbers, amounts and energies of a block."""
    rng = np.random.default_rng(seed)
    common = np.random.default_rng(seed[0]).permutation(NUMBERS)
    popularity = 1 / (np.arange(len(common)) + 8)
    chosen = rng.choice(common, (BLOCK, len(SIZES)), p=popularity / popularity.sum())
    size = rng.choice(SIZES, BLOCK, p=SIZE_WEIGHTS)
    numbers = np.sort(np.where(size[:, None] >= SIZES, chosen, 0), axis=1)
    amounts = rng.choice(COUNTS, numbers.shape) * (numbers > 0)
    amounts[:, 1:][numbers[:, 1:] == numbers[:, :-1]] = 0
    energies = bound(numbers, amounts, pair_energies(seed[0])) + rng.exponential(0.1, BLOCK)
    there = amounts > 0
    return there.sum(axis=1), numbers[there], amounts[there], energies


def entries_of(table: EntryTable, first: int = 0) -> list[Entry]:
    """The rows from `first` on as objects."""
    numbers, amounts, offsets = table.numbers.tolist(), table.amounts.tolist(), table.offsets.tolist()
    keys, energies = table.keys.tolist(), table.energies.tolist()
    return [
        Entry(keys[row], dict(zip(numbers[a:b], amounts[a:b], strict=True)), energies[row])
        for row, (a, b) in enumerate(itertools.pairwise(offsets))
        if row >= first
    ]


def synthetic_entries(count: int, seed: int = 0) -> list[Entry]:
    return entries_of(synthetic_table(count, seed))


@dataclass(frozen=True)
class Published:
    """Entries of somebody else's hulls, and what they say of them.

    expected: name of a column of HullSolution -> (n,) eV/atom
    """

    name: str
    entries: list[Entry]
    expected: dict[str, Floats]


def published_hulls() -> list[Published]:
    """Materials Project hulls of 2024 in LODE_TEST_DATA, total energies with corrections; [] where that isn't set."""
    folder = os.environ.get("LODE_TEST_DATA")
    paths = sorted((Path(folder) / "hulls").glob("mp2024_*.json.gz")) if folder else []
    return [_published(path) for path in paths]


def _published(path: Path) -> Published:
    from pymatgen.core import Composition

    records = json.loads(gzip.decompress(path.read_bytes()))
    entries = []
    for record in records:
        composition = Composition(record["composition"])
        energy = (record["energy"] + record["correction"]) / composition.num_atoms
        entries.append(Entry(record["entry_id"], {el.Z: n for el, n in composition.items()}, energy))
    names = {"e_above_hull": "e_above_hull", "formation_energies": "e_form_per_atom"}
    expected = {ours: np.array([record[theirs] for record in records]) for ours, theirs in names.items()}
    return Published(path.name.removesuffix(".json.gz"), entries, expected)


def critexam() -> Published | None:
    """All ground states of the Materials Project as of CritExam, elements at 0; None without LODE_TEST_DATA."""
    import pandas as pd
    from pymatgen.core import Composition

    folder = os.environ.get("LODE_TEST_DATA")
    if not folder:
        return None
    formation, decomposition = (
        pd.read_parquet(Path(folder) / "composition" / f"mp_critexam_{name}.parquet").set_index("formula")["target"]
        for name in ("Ef", "Ed")
    )
    amounts = [{el.Z: n for el, n in Composition(formula).items()} for formula in formation.index]
    known = [Entry(key, one, energy) for key, (one, energy) in enumerate(zip(amounts, formation, strict=True))]
    present = {next(iter(one)) for one in amounts if len(one) == 1}
    missing = sorted({z for one in amounts for z in one} - present)
    elements = [Entry(len(known) + z, {z: 1.0}, 0.0) for z in missing]
    expected = decomposition.reindex(formation.index).to_numpy()
    return Published("mp_critexam", known + elements, {"decomposition_energies": expected})
