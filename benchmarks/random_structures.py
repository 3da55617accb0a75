"""Write a table of relaxed random structures: what a scaling report may be judged on.

    python -m benchmarks.random_structures FOLDER [--count N] [--each M] [--sites S]

Compositions: N formulas of the test split of LODE_TEST_DATA of at most S atoms, which no model may have learnt from, M
random structures each, relaxed with 7net-0. FOLDER takes the parts, so a killed run goes on; FOLDER.parquet is the
training table at level 7net-0. Structures that fail to relax are left out and counted.
The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks import predictors_data
from predictors.splits import Split
from registry.crystal import Crystal
from registry.errors import LabelFailure
from registry.hull.levels import load_level
from workers.candidates.random_search import RandomSearch, Settings, Unsearchable
from workers.engines.base import Engine, Relaxation, Trajectory, engine_of
from workers.relabel import relabel, with_targets

LEVEL = "7net-0"
STEPS = 100


def drawn(count: int, each: int, most_sites: int) -> Iterator[tuple[str, Crystal]]:
    """(name, structure)"""
    rows = predictors_data.some(Split.TEST, most_sites=most_sites).drop_duplicates("formula")
    rows = rows[rows.elements > 1].sample(frac=1.0, random_state=0)
    done = 0
    for row, crystal in zip(rows.itertuples(), predictors_data.crystals(rows), strict=True):
        if done == count:
            return
        try:
            search = RandomSearch(Counter(crystal.numbers.tolist()), Settings(most_atoms=most_sites))
        except Unsearchable:
            continue
        done += 1
        for found in search.structures(each, seed=0):
            yield f"random:{row.formula}:{found.index}", found.crystal


def relaxed(engine: Engine, crystals: Sequence[Crystal]) -> list[tuple[Crystal, float] | None]:
    return [_relaxed(engine, crystal) for crystal in crystals]


def _relaxed(engine: Engine, crystal: Crystal) -> tuple[Crystal, float] | None:
    try:
        label = engine.relax(crystal, Relaxation(max_steps=STEPS), Trajectory())
    except LabelFailure:
        return None
    return label.crystal, label.energy


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--each", type=int, default=1)
    parser.add_argument("--sites", type=int, default=20)
    asked = parser.parse_args()
    warnings.filterwarnings("ignore")
    records = list(drawn(asked.count, asked.each, asked.sites))
    engine, done = engine_of(load_level(LEVEL)), 0

    def told(more: int) -> None:
        nonlocal done
        done += more
        print(f"{done} of {len(records)}", flush=True)

    level = load_level(LEVEL)
    relabel(records, lambda crystals: relaxed(engine, crystals), level, asked.folder, told)
    table = with_targets(asked.folder, level)
    path = asked.folder.with_suffix(".parquet")
    table.to_parquet(path)
    print(json.dumps({"drawn": len(records), "relaxed": len(table), "table": str(path)}))


if __name__ == "__main__":
    main()
