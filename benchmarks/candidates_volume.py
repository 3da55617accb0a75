"""How well the volume of a crystal is guessed that nobody has made: ours, pymatgen's DLSVolumePredictor, the parent's.

    python -m benchmarks.candidates_volume [--quick]

Pairs: two compounds of one structure type among the Materials Project crystals of LODE_TEST_DATA, the second made from
the first by putting its elements on the places that fit best on Pettifor's scale. Errors are |predicted / true - 1| of
the second's volume. `held out`: our prediction with atomic volumes fitted to other compounds alone (by the MD5 of the
formula), over the pairs whose second compound the fit has not seen, nor a polymorph of it; `shipped` is of the same
pairs with the volumes that ship.
Times: CPU seconds for each candidate, ours for blocks of 200 candidates of one parent, the predictor's one by one.
The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import warnings
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pymatgen.core import Lattice
from pymatgen.core.structure_prediction.volume_predictor import DLSVolumePredictor

from benchmarks import atomic_volumes
from benchmarks.crystals import cpu_seconds
from predictors.splits import Split, split_of
from registry.crystal import Crystal
from registry.errors import BadRecord
from registry.identity.composition import ATOMIC_NUMBERS, Composition
from registry.identity.isotypes import chemical_distances, orders, own_order, scaled
from registry.identity.prototype import Prototype, prototype_of
from workers.candidates.volume import Elements, known_elements, predicted_volumes

MOST_SITES = 20
PER_TYPE = 5
BLOCK = 200

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Known:
    crystal: Crystal
    prototype: Prototype

    @property
    def formula(self) -> str:
        return Composition.of(self.crystal.amounts).reduced_formula


@dataclass(frozen=True)
class Pair:
    """candidate: the parent's cell with the other's elements; true: the other's volume for as many sites."""

    parent: Crystal
    candidate: Crystal
    formula: str
    true: float


def data() -> Path:
    folder = os.environ.get("LODE_TEST_DATA")
    if not folder:
        sys.exit("LODE_TEST_DATA names no folder of real data: no pairs to ask about")
    return Path(folder) / "mp_structures" / "mp_36737.parquet"


def compounds(count: int) -> list[Known]:
    """Some real compounds, those without a space group left out."""
    found = []
    for crystal in some_real(count):
        try:
            found.append(Known(crystal, prototype_of(crystal)))
        except BadRecord:
            continue
    return found


def some_real(count: int, seed: int = 0) -> Iterator[Crystal]:
    """Real compounds of up to MOST_SITES sites, the same at each run; reads no more than these."""
    columns = ["nsites", "a", "b", "c", "alpha", "beta", "gamma", "species", "frac_coords", "suspect"]
    table = pd.read_parquet(data(), columns=columns)
    several = table.species.map(lambda text: len(set(text.split())) > 1)
    table = table[~table.suspect & (table.nsites <= MOST_SITES) & several]
    for row in table.sample(min(count, len(table)), random_state=seed).itertuples():
        lattice = Lattice.from_parameters(row.a, row.b, row.c, row.alpha, row.beta, row.gamma).matrix
        numbers = [ATOMIC_NUMBERS[symbol] for symbol in row.species.split()]
        yield Crystal(lattice, np.array(numbers), np.asarray(row.frac_coords).reshape(-1, 3))


def isotypic(known: list[Known], seed: int = 0) -> list[Pair]:
    """Up to PER_TYPE pairs of each structure type, so that rock salts don't outvote the rest."""
    by_type: dict[str, list[Known]] = defaultdict(list)
    for one in known:
        by_type[one.prototype.label].append(one)
    rng, pairs = random.Random(seed), []
    for label in sorted(by_type):
        members = by_type[label]
        for _ in range(min(PER_TYPE, len(members) - 1)):
            one, other = rng.sample(members, 2)
            if one.formula != other.formula:
                pairs.append(pair(one, other))
    return pairs


def pair(one: Known, other: Known) -> Pair:
    ways, theirs = orders(one.prototype), own_order(other.prototype.elements, other.prototype)
    _, best = chemical_distances(ways, scaled([theirs]))
    place = {ATOMIC_NUMBERS[mine]: ATOMIC_NUMBERS[its] for mine, its in zip(ways[int(best[0])], theirs, strict=True)}
    numbers = np.array([place[number] for number in one.crystal.numbers.tolist()], dtype=np.int16)
    true = other.crystal.volume / other.crystal.nsites * one.crystal.nsites
    return Pair(one.crystal, one.crystal.with_numbers(numbers), other.formula, true)


def ours(pairs: list[Pair], elements: Elements | None = None) -> Floats:
    return np.array([predicted_volumes(one.candidate.numbers[None, :], one.parent, elements)[0] for one in pairs])


def dls(pairs: list[Pair]) -> Floats:
    """NaN where it has no answer."""
    predictor, found = DLSVolumePredictor(), []
    for structure in [one.candidate.to_pymatgen() for one in pairs]:
        try:
            found.append(predictor.predict(structure))
        except (ValueError, KeyError, TypeError, ArithmeticError):
            found.append(np.nan)
    return np.array(found, dtype=np.float64)


def held_out_elements(most: int) -> Elements:
    """Ours, with atomic volumes fitted to compounds of the training split alone."""
    table = atomic_volumes.compounds(data())
    names = table.formula.map(_reduced)
    table = table[names.map(split_of) == Split.TRAIN]
    volumes, _ = atomic_volumes.fit(table.sample(min(most, len(table)), random_state=0))
    return known_elements().with_volumes({ATOMIC_NUMBERS[symbol]: volume for symbol, volume in volumes.items()})


def _reduced(formula: str) -> str:
    from registry.query.values import formula_amounts

    amounts = {ATOMIC_NUMBERS[symbol]: count for symbol, count in formula_amounts(formula).items()}
    return Composition.of(amounts).reduced_formula


def errors(predicted: Floats, pairs: list[Pair]) -> Floats:
    return np.abs(predicted / np.array([one.true for one in pairs]) - 1)


def in_blocks(pairs: list[Pair]) -> None:
    for one in pairs:
        predicted_volumes(np.tile(one.candidate.numbers, (BLOCK, 1)), one.parent)


def measure(quick: bool) -> dict[str, object]:
    """Errors in per cent, and the times."""
    warnings.filterwarnings("ignore")
    pairs = isotypic(compounds(2_500 if quick else 20_000))
    asked = random.Random(1).sample(pairs, min(len(pairs), 150 if quick else 1_500))
    known_elements()
    theirs, seconds_dls = cpu_seconds(lambda: dls(asked))
    _, seconds = cpu_seconds(lambda: in_blocks(asked))
    answered = np.isfinite(theirs)
    unseen = [one for one in pairs if split_of(one.formula) is not Split.TRAIN]
    volumes = held_out_elements(3_000 if quick else 100_000)
    rows = {
        "ours": errors(ours(asked), asked)[answered],
        "dls": errors(theirs, asked)[answered],
        "parent": errors(np.array([one.parent.volume for one in asked]), asked)[answered],
        "held_out": errors(ours(unseen, volumes), unseen),
        "shipped": errors(ours(unseen), unseen),
    }
    figures: dict[str, object] = {"volume_pairs": int(answered.sum()), "volume_pairs_held_out": len(unseen)}
    for name, row in rows.items():
        figures[f"volume_{name}_mean_percent"] = 100 * float(row.mean())
        figures[f"volume_{name}_median_percent"] = 100 * float(np.median(row))
    each = seconds / (BLOCK * len(asked))
    figures |= {
        "volume_dls_unanswered": int((~answered).sum()),
        "volume_per_s": 1 / each,
        "volume_ratio_dls": seconds_dls / len(asked) / each,
    }
    print_table(figures)
    return figures


def print_table(figures: dict[str, object]) -> None:
    print(f"{'error of the volume, %':>24}{'mean':>10}{'median':>10}{'pairs':>10}")
    for name in ("ours", "dls", "parent", "held_out", "shipped"):
        pairs = figures["volume_pairs_held_out" if name in ("held_out", "shipped") else "volume_pairs"]
        mean, median = (figures[f"volume_{name}_{kind}_percent"] for kind in ("mean", "median"))
        print(f"{name:>24}{mean:>10.1f}{median:>10.1f}{pairs:>10}")
    print(f"volumes/s {figures['volume_per_s']:,.0f}, {figures['volume_ratio_dls']:,.0f} times the DLSVolumePredictor")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer pairs, some seconds")
    print(json.dumps(measure(parser.parse_args().quick)))


if __name__ == "__main__":
    main()
