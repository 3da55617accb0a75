"""Ionic substitutions per second: ours against pymatgen's SubstitutionPredictor, in one run at the same threshold.

    python -m benchmarks.candidates_substitution [--quick]

Sets of one to four ions of known compounds; both enumerate every set of published species above the threshold, and
`different` counts what only one of them finds. CPU seconds on one core; ours with its slots made anew each time. The
paper's mode (clipped lambdas, one or two ions replaced, charges balanced) stands beside them. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from typing import NamedTuple

from pymatgen.core import Species
from pymatgen.core.structure_prediction.substitution_probability import SubstitutionPredictor

from benchmarks.crystals import cpu_seconds
from workers.candidates.oxidation import Ion
from workers.candidates.substitution import Mappings, paper_mappings, paper_slot, predictions
from workers.candidates.table import substitution_table

SETS: dict[str, tuple[Ion, ...]] = {
    "Ba2+": (Ion(56, 2),),
    "NaCl": (Ion(11, 1), Ion(17, -1)),
    "SrTiO3": (Ion(38, 2), Ion(22, 4), Ion(8, -2)),
    "Mg2SiO4": (Ion(12, 2), Ion(14, 4), Ion(8, -2)),
    "LiFePO4": (Ion(3, 1), Ion(26, 2), Ion(15, 5), Ion(8, -2)),
}
AMOUNTS = {"Ba2+": (1,), "NaCl": (1, 1), "SrTiO3": (1, 1, 3), "Mg2SiO4": (2, 1, 4), "LiFePO4": (1, 1, 1, 4)}
THRESHOLD = 1e-3
QUICK_THRESHOLD = 1e-2
LONG_ENOUGH = 0.2
"""CPU seconds over which ours is repeated."""


class Row(NamedTuple):
    ions: int
    found: int
    different: int
    ours: float
    theirs: float
    paper_found: int
    paper: float


def measure(quick: bool) -> dict[str, object]:
    """Print the table; quick: at a threshold ten times higher, without four ions."""
    table, threshold = substitution_table(), QUICK_THRESHOLD if quick else THRESHOLD
    predictions(table, SETS["NaCl"])  # compiles
    predictor = SubstitutionPredictor(threshold=threshold)
    rows = {name: compared(name, predictor, threshold) for name in SETS if not quick or len(SETS[name]) < 4}
    print_table(rows, threshold)
    threes = [row for row in rows.values() if row.ions == 3]
    return {
        "threshold_substitution": threshold,
        "ratio_substitution_3_ions": sum(row.theirs for row in threes) / sum(row.ours for row in threes),
        "substitutions_3_ions": sum(row.found for row in threes),
        "substitutions_per_s_3_ions": sum(row.found for row in threes) / sum(row.ours for row in threes),
        "substitutions_different": sum(row.different for row in rows.values()),
    }


def compared(name: str, predictor: SubstitutionPredictor, threshold: float) -> Row:
    table, ions = substitution_table(), SETS[name]
    species = [Species(ion.symbol, ion.charge) for ion in ions]
    expected, theirs = cpu_seconds(lambda: predictor.list_prediction(species))
    found, ours = repeated(lambda: predictions(table, ions, threshold))
    slots = [paper_slot(table, ion, n, kin=ion.number) for ion, n in zip(ions, AMOUNTS[name], strict=True)]
    paper, seconds = repeated(lambda: paper_mappings(slots))
    theirs_found = {tuple(Ion(one.Z, round(one.oxi_state)) for one in row["substitutions"]) for row in expected}
    different = theirs_found ^ {found.ions(row) for row in range(len(found))}
    return Row(len(ions), len(found), len(different), ours, theirs, len(paper), seconds)


def repeated(task: Callable[[], Mappings]) -> tuple[Mappings, float]:
    """The answer, and CPU seconds of one call."""
    total, calls = 0.0, 0
    while total < LONG_ENOUGH:
        answer, seconds = cpu_seconds(task)
        total, calls = total + seconds, calls + 1
    return answer, total / calls


def print_table(rows: dict[str, Row], threshold: float) -> None:
    heads = ("ions", "found", "different", "ours, ms", "pymatgen, ms", "ratio", "paper's mode", "ms")
    print(f"threshold {threshold:g}\n{'':10}" + "".join(f"{head:>14}" for head in heads))
    for name, row in rows.items():
        cells = [f"{row.ions}", f"{row.found:,}", f"{row.different:,}", f"{1e3 * row.ours:.3f}"]
        cells += [f"{1e3 * row.theirs:,.1f}", f"{row.theirs / row.ours:,.0f}", f"{row.paper_found:,}"]
        print(f"{name:10}" + "".join(f"{cell:>14}" for cell in [*cells, f"{1e3 * row.paper:.3f}"]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a higher threshold and fewer sets, seconds")
    print(json.dumps(measure(parser.parse_args().quick)))


if __name__ == "__main__":
    main()
