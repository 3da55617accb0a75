"""Recall on reality: of what came later, how much do substitution and partial substitution propose from what was known?

    python -m benchmarks.candidates_recall [--quick] [--fit] [--crystals N]

Parents are the crystals of the Materials Project created before 2014 (LODE_TEST_DATA, those with a date). Later are
those created since whose reduced composition no parent has. Recall at N is the share of the later *compositions* that
the first N candidates hold, and of the later *crystals* that StructureMatcher (`registry.identity.duplicates`)
finds equal to a candidate of their composition among the first N, as proposed: unrelaxed, at its predicted volume. They
are a random sample (--crystals). Ceilings: what the whole pool holds, crystals by structure type and who sits where;
and the share of crystals whose structure type a parent has or a division of one leads to.

Rankings: `paper`, lambda clipped at 0, probability only where compositions differ, threshold 0.001, one or two ions
replaced, one charge for each element such that the formula balances; `nearest`, our pool by the probability from the
nearest parent; `all`, by all parents of a structure type together; `charges`, less what common charges don't balance;
`ours`, less what differs in size as well; `ours, one each`, one structure per composition; `random`, our pool shuffled.

--quick takes crystals of at most 6 sites. --fit fits the weights to 2012 and 2013 instead, from what was known before:
the later years aren't looked at. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import warnings
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from pymatgen.core import Element, Lattice

from benchmarks.crystals import cpu_seconds
from registry.crystal import Crystal
from registry.errors import BadRecord
from registry.identity.composition import ATOMIC_NUMBERS, Composition
from registry.identity.duplicates import Identity, rule_of
from registry.identity.isotypes import scale
from workers.candidates.likelihood import Evidence, Weights, evidence
from workers.candidates.novelty import KnownCompositions, composition_keys
from workers.candidates.pool import Pool, elements_of, keys_of, made_of, proposed
from workers.candidates.ranked import best
from workers.candidates.replacements import Odds, kinds, mined_odds, paper_odds
from workers.candidates.structure_types import StructureType, canonical, structure_types, typed_cell

SIZES = (10_000, 100_000, 1_000_000)
QUICK_SIZES = (1_000, 10_000, 100_000)
QUICK_SITES = 6
CRYSTALS, QUICK_CRYSTALS = 4_000, 200
PAPER_THRESHOLD, PAPER_REPLACED = 1e-3, 2
GRID = {"partial": (0.003, 0.01, 0.03), "unbalanced": (0.0, 0.5, 1.0, 1.5, 2.0), "mismatch": (0.0, 3.0, 5.0, 7.0, 10.0)}
FIT_SIZES = (2_000, 10_000, 30_000, 100_000)


class Dated(NamedTuple):
    created: str
    crystal: Crystal


@dataclass(frozen=True, eq=False)
class Study:
    """What was known, what came later of unknown composition, and what is proposed."""

    parents: list[Crystal]
    later: list[Crystal]
    compositions: np.ndarray
    types: list[StructureType]
    odds: Odds
    pool: Pool
    evidence: Evidence

    @property
    def unique(self) -> np.ndarray:
        return np.unique(self.compositions)


def dated_crystals(largest: int) -> list[Dated]:
    """The crystals with a date, of at most so many sites. SystemExit where LODE_TEST_DATA is unset."""
    folder = os.environ.get("LODE_TEST_DATA")
    if not folder:
        raise SystemExit("set LODE_TEST_DATA to the folder of test data that holds mp_structures and mp_id_energies")
    dates = pd.read_parquet(Path(folder) / "mp_id_energies" / "mp_created_at.parquet").dropna()
    table = pd.read_parquet(Path(folder) / "mp_structures" / "mp_36737.parquet")
    table = table[table.nsites <= largest].merge(dates, on="material_id").sort_values("material_id")
    return [Dated(row.created_at, _crystal(row)) for row in table.itertuples()]


def _crystal(row: Any) -> Crystal:
    lattice = Lattice.from_parameters(row.a, row.b, row.c, row.alpha, row.beta, row.gamma).matrix
    numbers = np.array([ATOMIC_NUMBERS[symbol] for symbol in row.species.split()], dtype=np.int16)
    return Crystal(lattice, numbers, np.array(row.frac_coords).reshape(-1, 3))


def study(crystals: Sequence[Dated], start: str, end: str) -> Study:
    parents = [one.crystal for one in crystals if one.created < start]
    known = KnownCompositions.of(one.amounts for one in parents)
    since = [one.crystal for one in crystals if start <= one.created < end]
    keys = np.concatenate([composition_keys(one.numbers[None, :]) for one in since])
    new = ~known.hold(keys)
    types = structure_types(parents)
    odds = mined_odds(types)
    pool = proposed(types, odds, known=known)
    later = [one for one, is_new in zip(since, new.tolist(), strict=True) if is_new]
    return Study(parents, later, keys[new], types, odds, pool, evidence(pool, types, odds))


def paper_pool(of: Study) -> Pool:
    states = [composition_states(one.amounts) for one in of.parents]
    known = KnownCompositions.of(one.amounts for one in of.parents)
    limits = {"threshold": PAPER_THRESHOLD, "most_replaced": PAPER_REPLACED, "partial": 1.0}
    return proposed(of.types, paper_odds(states), known=known, **limits)


def composition_states(amounts: dict[int, int]) -> dict[int, int] | None:
    """One charge for each element that balances a formula, with the fewest uncommon ones; None where there is none."""
    return _balanced_states(tuple(sorted(Composition.of(amounts).reduced.items())))


@cache
def _balanced_states(amounts: tuple[tuple[int, int], ...]) -> dict[int, int] | None:
    if len(amounts) == 1:
        return None
    found = [
        (sum(uncommon for _, uncommon in ways), [charge for charge, _ in ways])
        for ways in product(*(_charges(number) for number, _ in amounts))
        if sum(charge * count for (charge, _), (_, count) in zip(ways, amounts, strict=True)) == 0
    ]
    if not found:
        return None
    return dict(zip((number for number, _ in amounts), min(found, key=lambda way: way[0])[1], strict=True))


@cache
def _charges(number: int) -> list[tuple[int, bool]]:
    """Charges other than 0, and whether they are uncommon."""
    element = Element.from_Z(number)
    common = [int(charge) for charge in element.common_oxidation_states if charge]
    others = [int(charge) for charge in element.icsd_oxidation_states if charge and charge not in common]
    return [(charge, False) for charge in common] + [(charge, True) for charge in others]


def rankings(of: Study, largest: int) -> dict[str, np.ndarray]:
    """The rows of the pool, best first."""
    plain, charges = Weights(unbalanced=0.0, mismatch=0.0), Weights(mismatch=0.0)
    ours = of.evidence.scores()
    shuffled = np.random.default_rng(0).permutation(len(of.pool))
    return {
        "random": shuffled[:largest],
        "nearest": best(of.pool, of.pool.probabilities, largest),
        "all": best(of.pool, of.evidence.scores(plain), largest),
        "charges": best(of.pool, of.evidence.scores(charges), largest),
        "ours": best(of.pool, ours, largest),
        "ours, one each": best(of.pool, ours, largest, per="composition"),
    }


def composition_recall(pool: Pool, rows: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.isin(wanted, pool.compositions[rows]).mean())


class Matcher:
    """At which place of a ranking the crystals of a sample are met; each candidate is compared once."""

    def __init__(self, of: Study, sample: int) -> None:
        self.study = of
        chosen = np.sort(np.random.default_rng(0).permutation(len(of.later))[:sample])
        self.count = len(chosen)
        self.wanted: dict[int, list[Identity]] = defaultdict(list)
        for row in chosen.tolist():
            self.wanted[int(of.compositions[row])].append(Identity(of.later[row]))
        names = {one.label: index for index, one in enumerate(of.types)}
        found = [type_and_key(of.later[row], names, of.types) for row in chosen.tolist()]
        pool = set(zip(of.pool.types.tolist(), of.pool.keys.tolist(), strict=True))
        self.of_known_types = sum(pair is not None for pair in found) / self.count
        self.in_pool = sum(pair in pool for pair in found) / self.count
        self.compared: dict[tuple[int, int], list[bool]] = {}
        self.lost = 0

    def recalls(self, pool: Pool, rows: np.ndarray, sizes: Sequence[int]) -> list[float]:
        keys = np.array(sorted(self.wanted), dtype=np.uint64)
        places = np.flatnonzero(np.isin(pool.compositions[rows], keys))
        met: dict[tuple[int, int], int] = {}
        open_ = {key: len(identities) for key, identities in self.wanted.items()}
        for place in places.tolist():
            composition = int(pool.compositions[rows[place]])
            if not open_[composition]:
                continue
            for index, equal in enumerate(self._equal(pool, int(rows[place]), composition)):
                if equal and (composition, index) not in met:
                    met[composition, index] = place
                    open_[composition] -= 1
        found = np.array(list(met.values()))
        return [float((found < size).sum()) / self.count for size in sizes]

    def _equal(self, pool: Pool, row: int, composition: int) -> list[bool]:
        key = (int(pool.types[row]), int(pool.keys[row]))
        if key not in self.compared:
            self.compared[key] = self._compare(pool, row, self.wanted[composition])
        return self.compared[key]

    def _compare(self, pool: Pool, row: int, wanted: list[Identity]) -> list[bool]:
        try:
            made = Identity(made_of(pool, row, self.study.types, self.study.parents).crystal)
        except (LookupError, BadRecord):
            self.lost += 1
            return [False] * len(wanted)
        return [rule_of(made, one) is not None for one in wanted]


def measure(quick: bool, crystals: int = 0) -> dict[str, object]:
    """Print the table; return recalls by ranking and size."""
    warnings.filterwarnings("ignore")
    sizes = QUICK_SIZES if quick else SIZES
    of, seconds = cpu_seconds(lambda: study(dated_crystals(QUICK_SITES if quick else 10_000), "2014", "9999"))
    print(
        f"{len(of.parents):,} parents, {len(of.types):,} types, {len(of.pool):,} in the pool: {seconds:.0f} s",
        flush=True,
    )
    paper, seconds_of_paper = cpu_seconds(lambda: paper_pool(of))
    print(f"{len(paper):,} in the paper's pool: {seconds_of_paper:.0f} s", flush=True)
    orders = {name: (of.pool, rows) for name, rows in rankings(of, sizes[-1]).items()}
    orders = {"paper": (paper, best(paper, paper.probabilities, sizes[-1])), **orders}
    matcher = Matcher(of, crystals or (QUICK_CRYSTALS if quick else CRYSTALS))
    wanted = of.unique
    summary: dict[str, object] = {
        "recall_parents": len(of.parents),
        "recall_later_crystals": len(of.later),
        "recall_later_compositions": len(wanted),
        "recall_sampled_crystals": matcher.count,
        "recall_pool": len(of.pool),
        "recall_pool_paper": len(paper),
        "recall_cpu_seconds_to_rank": seconds,
        "ceiling_compositions": composition_recall(of.pool, np.arange(len(of.pool)), wanted),
        "ceiling_compositions_paper": composition_recall(paper, np.arange(len(paper)), wanted),
    }
    summary |= {"ceiling_structure_types": matcher.of_known_types, "ceiling_crystals": matcher.in_pool}
    print(json.dumps(summary), flush=True)
    heads = [f"{what} {size:.0e}" for what in ("compositions", "crystals") for size in sizes]
    print(f"{'':16}" + "".join(f"{head:>20}" for head in heads), flush=True)
    for name, (pool, rows) in orders.items():
        compositions = [composition_recall(pool, rows[:size], wanted) for size in sizes]
        met = matcher.recalls(pool, rows, sizes) if name in MATCHED else []
        cells = [f"{share:.2%}" for share in [*compositions, *met]]
        print(f"{name:16}" + "".join(f"{cell:>20}" for cell in cells), flush=True)
        for what, shares in (("compositions", compositions), ("crystals", met)):
            summary |= {_key(name, what, size): share for size, share in zip(sizes, shares, strict=False)}
    summary["recall_lost"] = matcher.lost
    return summary


MATCHED = ("paper", "random", "all", "ours", "ours, one each")


def _key(ranking: str, what: str, size: int) -> str:
    start = {"ours": "recall", "random": "random", "ours, one each": "recall_one_each"}.get(
        ranking, f"recall_{ranking}"
    )
    return f"{start}_{what}_1e{round(np.log10(size))}"


def fit() -> dict[str, object]:
    """Choose the weights on 2012 and 2013, within crystals with an anion and those without: their mix changes."""
    of = study(dated_crystals(10_000), "2012", "2014")
    names = {one.label: index for index, one in enumerate(of.types)}
    truth = {pair for one in of.later if (pair := type_and_key(one, names, of.types))}
    pairs = zip(of.pool.types.tolist(), of.pool.keys.tolist(), strict=True)
    real = np.array([pair in truth for pair in pairs])
    composed = np.isin(of.pool.compositions, of.compositions)
    with_anion = np.zeros(len(of.pool), dtype=bool)
    ends = np.searchsorted(of.pool.types, np.arange(len(of.types) + 1))
    for index, one in enumerate(of.types):
        rows = slice(ends[index], ends[index + 1])
        with_anion[rows] = kinds(elements_of(of.pool.keys[rows], len(one.amounts))) == 0
    results = {}
    for values in product(*GRID.values()):
        weights = dict(zip(GRID, values, strict=True))
        scores = of.evidence.scores(Weights(**weights))
        goal = 0.0
        for part in (with_anion, ~with_anion):
            order = np.flatnonzero(part)[np.argsort(-scores[part], kind="stable")]
            for size in FIT_SIZES:
                head = order[:size]
                found = len(np.unique(of.pool.compositions[head][composed[head]]))
                goal += np.log(found + 0.1) + np.log(real[head].sum() + 0.1)
        results[values] = goal
        print(f"{weights} {goal:.3f}", flush=True)
    chosen = max(results, key=results.__getitem__)
    return {"weights": dict(zip(GRID, chosen, strict=True)), "goal": results[chosen], "parents": len(of.parents)}


def type_and_key(crystal: Crystal, names: dict[str, int], types: list[StructureType]) -> tuple[int, int] | None:
    """Which candidate of the pool the crystal would be; None if no parent leads to its structure type."""
    try:
        prototype, _ = typed_cell(crystal)
    except BadRecord:
        return None
    index = names.get(prototype.label)
    if index is None:
        return None
    one = types[index]
    codes = np.array([[scale(symbol) for symbol in prototype.elements]], dtype=np.int64)
    return index, int(keys_of(canonical(codes, one.permutations, one.groups))[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="crystals of at most 6 sites, seconds")
    parser.add_argument("--fit", action="store_true", help="fit the weights to 2012 and 2013")
    parser.add_argument("--crystals", type=int, default=0, help="how many later crystals are matched")
    chosen = parser.parse_args()
    print(json.dumps(fit() if chosen.fit else measure(chosen.quick, chosen.crystals)))


if __name__ == "__main__":
    main()
