"""Candidates as they are proposed, what they relax to, and crystals to learn from: all at level 7net-0."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from benchmarks import predictors_data
from benchmarks.random_structures import LEVEL
from predictors.splits import Split
from predictors.training_set import TrainingSet, read_training_set
from predictors.training_table import TrainingTable, joined, read_table, write_table
from registry.crystal import Crystal
from registry.errors import LabelFailure
from registry.hull.levels import load_level
from registry.identity.composition import Composition
from workers.engines.base import Engine, Relaxation, Trajectory, engine_of
from workers.relabel import as_they_stand, relabel, with_targets
from workers.substitutes import Drawing, substitutes

AS_PROPOSED = Drawing(anywhere=0.0, volume_noise=0.0)
"""Elements that stand near the replaced ones, at the predicted volume: what a campaign generates."""

RELAXATION = Relaxation(force_tolerance=0.05, max_steps=150)
CHUNK = 10  # relaxations that a kill costs at most

Progress = Callable[[int], None]


@dataclass(frozen=True, eq=False)
class Relaxed:
    """n candidates.

    proposed, relaxed: the crystals before and after; targets: (n,) formation energy of the relaxed ones, eV/atom
    drawn: how many were proposed, those included that didn't relax
    """

    proposed: list[Crystal]
    relaxed: list[Crystal]
    targets: NDArray[np.float64]
    drawn: int


def known(most_sites: int, splits: Collection[Split] = tuple(Split)) -> list[Crystal]:
    """Compounds of LODE_TEST_DATA."""
    rows = predictors_data.table()
    rows = rows[rows.split.isin(splits) & (rows.elements > 1) & (rows.nsites <= most_sites)]
    found = predictors_data.crystals(rows)
    return [Crystal(one.lattice, one.numbers, one.frac_coords) for one in found]


def candidates(count: int, most_sites: int, seed: int = 0) -> dict[str, Crystal]:
    """`count` substitutes of compositions that LODE_TEST_DATA holds no crystal of, by name; always the same."""
    formulas = predictors_data.table().formula.unique()
    parents = known(most_sites, [Split.TRAIN])
    drawn = substitutes(parents, load_level(LEVEL).references, formulas, count, seed, AS_PROPOSED)
    return {f"candidate:{seed}:{number}": crystal for number, crystal in enumerate(drawn)}


def relaxed(proposed: dict[str, Crystal], folder: Path, progress: Progress) -> Relaxed:
    """Relax them into `folder`, or go on where it stands. Those that fail or don't converge are left out."""
    engine, level = engine_of(load_level(LEVEL)), load_level(LEVEL)
    relabel(
        list(proposed.items()), lambda some: [_relaxed(engine, one) for one in some], level, folder, progress, CHUNK
    )
    rows = with_targets(folder, level)
    after = [Crystal(row.lattice, row.numbers, row.frac_coords) for row in rows.itertuples()]
    return Relaxed([proposed[name] for name in rows["id"]], after, rows.target.to_numpy(np.float64), len(proposed))


def _relaxed(engine: Engine, crystal: Crystal) -> tuple[Crystal, float] | None:
    try:
        label = engine.relax(crystal, RELAXATION, Trajectory())
    except LabelFailure:
        return None
    return label.crystal, label.energy


def label_training_table(folder: Path, count: int, most_sites: int, progress: Progress) -> Path:
    """A single point each of known crystals and, as many, of substitutes that aren't the candidates."""
    parents = known(most_sites)
    order = np.random.default_rng(0).permutation(len(parents))[: count // 2]
    drawn = substitutes(parents, load_level(LEVEL).references, (), count // 2, seed=1)
    records = [(f"known:{i}", parents[i]) for i in order] + [(f"substitute:{n}", one) for n, one in enumerate(drawn)]
    relabel(records, as_they_stand(engine_of(load_level(LEVEL))), load_level(LEVEL), folder, progress)
    path = folder.with_suffix(".parquet")
    with_targets(folder, load_level(LEVEL)).to_parquet(path)
    return path


def training_set(
    tables: Sequence[Path], path: Path, count: int, most_sites: int, excluded: Sequence[Crystal]
) -> TrainingSet:
    """At most `count` rows drawn by chance, as many of each table, kept at `path`; no composition of `excluded`."""
    parts = [_some(read_table(table), count // len(tables), most_sites) for table in tables]
    table = joined(parts, LEVEL)
    formulas = [formula_of(numbers) for numbers in table.rows["numbers"].to_pylist()]
    rows = table.rows.set_column(table.rows.column_names.index("formula"), "formula", pa.array(formulas))
    write_table(replace(table, rows=rows), path)
    return read_training_set(path, {formula_of(one.numbers.tolist()) for one in excluded})


def _some(table: TrainingTable, count: int, most_sites: int) -> TrainingTable:
    small = np.flatnonzero(pc.list_value_length(table.rows["numbers"]).to_numpy() <= most_sites)
    return replace(table, rows=table.rows.take(np.random.default_rng(0).permutation(small)[:count]))


def formula_of(numbers: Sequence[int]) -> str:
    """As splits want it: one way to write each composition."""
    return Composition.of(dict(Counter(numbers))).alphabetical_formula
