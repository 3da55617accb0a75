"""How many known compounds the rules before the ensemble reach: weight of probability, structures each, window.

    LODE_HOME=.../demo python -m benchmarks.selection [--quick]

Asks the registry of a finished round (`make demo` leaves one) what one member said, with the hull of the known phases
alone. Known: compounds with an ICSD entry in the Materials Project set, those of the textbook left out. And it counts
the labels that went to a composition with one already, and of these the twins: one crystal, as proposed, with what was
labelled before. Nothing is written. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.orm import Session

from predictors.splits import composition_key
from registry.database import connect
from registry.errors import BadRecord
from registry.hull.entries import level_entries
from registry.hull.level_rows import level_id
from registry.hull.phases import Entry
from registry.identity.composition import Composition
from registry.identity.duplicates import Identity, matched
from registry.identity.prototype import prototype_of
from registry.importers.files import read_file
from registry.importers.record import ImportedRecord
from registry.ingest import crystals
from registry.settings import load_settings
from workers import ranking
from workers.ranking import Option, order_of_worth, promising
from workers.select import _amounts
from workers.validation.textbook import load_textbook

FIRST = 300  # compositions that get a first label: three fifths of 500
MOST_SITES = 40
WEIGHTS = (0.0, 0.02, 0.05, 0.1, 0.2)  # eV/atom for a factor of ten in probability
PER_COMPOSITION = (1, 2, 3, 5, 8, 12)
WINDOWS = (0.05, 0.1, 0.15, 0.2)  # eV/atom

ROWS = """
SELECT structure.id AS structure_id, structure.protostructure, composition.reduced_formula AS formula,
       composition.elements, composition.amounts, prediction.formation_energy_per_atom AS energy,
       (SELECT max(probability) FROM lineage WHERE lineage.child_id = structure.id) AS probability
FROM prediction JOIN structure ON structure.id = prediction.structure_id
JOIN composition ON composition.id = structure.composition_id
WHERE prediction.stage = 'single' AND composition.nelements > 1 ORDER BY structure.id
"""
REFERENCES = """
SELECT calculation.id FROM calculation
JOIN selection ON selection.structure_id = calculation.initial_structure_id WHERE purpose = 'reference'
"""


LABELLED = """
SELECT selection.structure_id, composition.reduced_formula AS formula FROM selection
JOIN structure ON structure.id = selection.structure_id JOIN composition ON composition.id = structure.composition_id
WHERE purpose IN ('reference', 'label') AND EXISTS (
    SELECT FROM calculation WHERE initial_structure_id = structure.id AND state = 'converged')
ORDER BY selection.id
"""
"""In the order of the batches."""


@dataclass(frozen=True)
class Round:
    """options: what one member scored; types: structure id -> protostructure; entries: the known phases."""

    options: list[Option]
    types: dict[int, str | None]
    entries: list[Entry]


def finished_round() -> Round:
    with Session(connect(load_settings(), "lode benchmark")) as session:
        rows = session.execute(sa.text(ROWS)).all()
        references = set(session.scalars(sa.text(REFERENCES)))
        entries = level_entries(session, level_id(session, "7net-0")).entries
    options = [
        Option(row.structure_id, row.formula, _amounts(row.elements, row.amounts), row.energy, row.probability or 1.0)
        for row in rows
    ]
    at_first = [entry for entry in entries if entry.key in references or int(entry.key) < 0]
    return Round(options, {row.structure_id: row.protostructure for row in rows}, at_first)


def later_labels() -> tuple[int, int]:
    """Labels of compositions that had one, and how many of them are twins of what was labelled before."""
    with Session(connect(load_settings(), "lode benchmark")) as session:
        rows = session.execute(sa.text(LABELLED)).all()
        arrays = crystals(session, [row.structure_id for row in rows])
    earlier: defaultdict[str, list[Identity]] = defaultdict(list)
    later = twins = 0
    for row in rows:
        identity = Identity(arrays[row.structure_id])
        known = earlier[row.formula]
        later += bool(known)
        twins += any(matched(one, identity) for one in known)
        known.append(identity)
    return later, twins


def known_types(path: Path) -> dict[str, set[str]]:
    """Formula -> protostructures with an ICSD entry."""
    asked = {composition_key(compound.reduced_formula) for compound in load_textbook()}
    found: defaultdict[str, set[str]] = defaultdict(set)
    for formula, record in _icsd(path):
        if composition_key(formula) not in asked:
            try:
                found[formula].add(prototype_of(record.crystal).protostructure)
            except BadRecord:
                continue
    return dict(found)


def _icsd(path: Path) -> Iterator[tuple[str, ImportedRecord]]:
    for record in read_file(path):
        if not isinstance(record, ImportedRecord) or record.metadata.get("icsd") != 1:
            continue
        if record.crystal.nsites <= MOST_SITES and len(record.crystal.amounts) > 1:
            yield Composition.of(record.crystal.amounts).reduced_formula, record


def by_weight(turn: Round, known: dict[str, set[str]]) -> dict[float, int]:
    """Weight -> how many of the first compositions are known."""
    shipped, found = ranking.PRIOR, {}
    for weight in WEIGHTS:
        ranking.PRIOR = weight
        found[weight] = sum(formula in known for formula in order_of_worth(turn.options, turn.entries)[:FIRST])
    ranking.PRIOR = shipped
    return found


def seen(turn: Round, known: dict[str, set[str]], first: set[str], per_composition: int, window: float) -> int:
    """How many of the first compositions meet the ensemble in a known structure."""
    formulas = {option.structure_id: option.formula for option in turn.options}
    chosen = promising(turn.options, turn.entries, 1000, per_composition, window)
    return len(
        {
            formula
            for choice in chosen
            if (formula := formulas[choice.structure_id]) in first
            and turn.types[choice.structure_id] in known.get(formula, ())
        }
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="Three of the numbers of structures only.")
    numbers = PER_COMPOSITION[1::2] if parser.parse_args().quick else PER_COMPOSITION
    data = os.environ.get("LODE_TEST_DATA")
    if not data:
        sys.exit("LODE_TEST_DATA names no folder of real data: nothing is known")
    turn, known = finished_round(), known_types(Path(data) / "mp_structures" / "mp_36737.parquet")
    first = set(order_of_worth(turn.options, turn.entries)[:FIRST])
    proposed = {o.formula for o in turn.options if turn.types[o.structure_id] in known.get(o.formula, ())}
    weights = by_weight(turn, known)
    table = {number: {window: seen(turn, known, first, number, window) for window in WINDOWS} for number in numbers}
    print(f"known among the first {FIRST} compositions, by weight (eV/atom): {weights}")
    print(
        f"{len(first & proposed)} of them were proposed in a known structure; the ensemble meets, by window (eV/atom):"
    )
    for number, row in table.items():
        print(f"  at most {number:2} structures a composition: {row}")
    later, twins = later_labels()
    print(f"{later} labels went to compositions that had one; {twins} of them to a twin of what was labelled")
    print(
        json.dumps(
            {
                "later_labels": later,
                "twins": twins,
                "first": FIRST,
                "known_by_weight": weights,
                "proposed": len(first & proposed),
                "seen": table,
            }
        )
    )


if __name__ == "__main__":
    main()
