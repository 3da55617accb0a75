"""Two million materials as they might be: compositions, structure types and hull distances with realistic frequencies.

Crystals have 20 atoms each. Elements are as common as their rank allows, a formula has 1 to 6 of them, half of the
formulas have several crystals, structure types follow Zipf's law, a fifth of the crystals is on the hull. Coordinates
are random: nothing here is compared as a crystal.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
from sqlalchemy import text
from sqlalchemy.orm import Session

from registry import bulk
from registry.crystal import Crystal
from registry.identity.composition import SYMBOLS, Composition
from registry.identity.public_id import public_id
from registry.ingest import composition_row
from registry.models import Composition as CompositionRow
from registry.models import Level as LevelRow
from registry.models import Prototype, Source

ATOMS = 20
NUMBERS = [z for z in range(1, 95) if z not in (2, 10, 18, 36, 54, 84, 85, 86, 87)]
COMMON_FIRST = [8, 3, 26, 14, 12, 13, 15, 16, 25, 28, 20, 11, 22, 9, 19, 29, 30, 17, 7, 6]
SIZES, SIZE_WEIGHTS = (1, 2, 3, 4, 5, 6), (0.01, 0.12, 0.45, 0.31, 0.09, 0.02)
FORMULA_UNITS = (4, 4, 4, 2, 2, 1)
TYPES = 5_000
BATCH = 10_000

Rows = list[dict[str, Any]]

LABELS = """
INSERT INTO calculation (level_id, source_id, initial_structure_id, final_structure_id, task, state, energy, correction,
                         settings, engine_version, attempt, node)
SELECT :level, source_id, id, id, 'static', 'converged', -5.0 * nsites, -0.5, '{"run_type": "GGA"}', 'imported', 1,
       'imported'
FROM structure WHERE id > :after AND source_id = :source
"""
PLACES = """
INSERT INTO hull_state (level_id, calculation_id, structure_id, composition_id, prototype_id, chemsys, nelements,
                        light_elements, heavy_elements, formation_energy_per_atom, e_above_hull, decomposition_energy,
                        phase_separation_energy, is_stable, decomposition, valid_from)
SELECT calculation.level_id, calculation.id, structure.id, structure.composition_id, structure.prototype_id,
       structure.chemsys, elements.number, elements.light, elements.heavy,
       -1 + above, above, above - 0.01, above - 0.02, above = 0,
       jsonb_build_array(
           jsonb_build_object('calculation_id', calculation.id, 'reduced_formula', 'LiFeO2', 'amount', 0.6),
           jsonb_build_object('calculation_id', calculation.id, 'reduced_formula', 'Li2O', 'amount', 0.4)),
       now()
FROM calculation
JOIN structure ON structure.id = calculation.initial_structure_id,
LATERAL (SELECT CASE WHEN random() < 0.19 THEN 0
                     ELSE -0.1 * ln(1 - random()) + calculation.id * 0 END AS above) AS place,
LATERAL (SELECT coalesce(bit_or(1::bigint << (z - 1)) FILTER (WHERE z <= 60), 0) AS light,
                coalesce(bit_or(1::bigint << (z - 61)) FILTER (WHERE z > 60), 0) AS heavy,
                count(DISTINCT z) AS number FROM unnest(structure.species) AS z) AS elements
WHERE structure.id > :after AND structure.source_id = :source
"""


class Synthetic:
    """Rows of structures, batch after batch; their compositions and types are stored on the way."""

    def __init__(self, session: Session, seed: int = 0) -> None:
        self._session = session
        self._random, self._numbers = random.Random(seed), np.random.default_rng(seed)
        rest = [number for number in NUMBERS if number not in COMMON_FIRST]
        self._elements = COMMON_FIRST + self._random.sample(rest, len(rest))
        self._popularity = [1 / (rank + 6) for rank in range(len(self._elements))]
        self.source = _id(session, Source(name="synthetic", licence="CC0-1.0", citation="benchmarks/record.py"))
        self.types = self._store_types()
        weights = 1 / np.arange(1, TYPES + 1)
        self._type_weights = weights / weights.sum()

    def batches(self, count: int) -> Iterator[Rows]:
        for first in range(0, count, BATCH):
            yield self._rows(min(BATCH, count - first))

    def _store_types(self) -> list[tuple[int, str]]:
        labels = [f"AB{1 + i % 9}C{1 + i % 7}_oP{20 + i // 63}_{1 + i % 230}_a_b_{i}c" for i in range(TYPES)]
        rows = [
            {"label": label, "spacegroup_number": 1 + i % 230, "pearson_symbol": f"oP{20 + i // 63}"}
            for i, label in enumerate(labels)
        ]
        ids = bulk.add_missing(self._session, Prototype, "label", rows).ids
        return [(ids[label], label) for label in labels]

    def _rows(self, count: int) -> Rows:
        amounts = [self._amounts() for _ in range(count)]
        compositions = [Composition.of(one) for one in amounts]
        known = {one.reduced_formula: composition_row(one) for one in compositions}
        added = bulk.add_missing(
            self._session, CompositionRow, "reduced_formula", [known[one] for one in sorted(known)]
        )
        kinds = self._numbers.choice(TYPES, size=count, p=self._type_weights)
        return [
            self._row(one, added.ids[composition.reduced_formula], int(kind))
            for one, composition, kind in zip(amounts, compositions, kinds, strict=True)
        ]

    def _amounts(self) -> dict[int, int]:
        size = self._random.choices(SIZES, SIZE_WEIGHTS)[0]
        chosen = sorted(set(self._random.choices(self._elements, self._popularity, k=size)))
        units = self._random.choice(FORMULA_UNITS)
        cuts = sorted(self._random.sample(range(1, ATOMS // units), min(len(chosen), ATOMS // units) - 1))
        parts = [b - a for a, b in itertools.pairwise([0, *cuts, ATOMS // units])]
        return dict(zip(chosen, (part * units for part in parts), strict=False))

    def _row(self, amounts: dict[int, int], composition_id: int, kind: int) -> dict[str, Any]:
        numbers = np.repeat(list(amounts), list(amounts.values()))
        lattice = np.diag([6.0, 7.0, 8.0]) + self._numbers.normal(0, 0.3, (3, 3))
        crystal = Crystal(lattice, numbers, self._numbers.random((len(numbers), 3)))
        prototype_id, label = self.types[kind]
        return {
            "public_id": public_id(crystal),
            "composition_id": composition_id,
            "chemsys": Composition.of(amounts).chemsys,
            "prototype_id": prototype_id,
            "protostructure": f"{label}:{'-'.join(SYMBOLS[number] for number in amounts)}",
            "source_id": self.source,
            "origin": "imported",
            "nsites": crystal.nsites,
            "lattice": crystal.lattice.ravel().tolist(),
            "species": crystal.numbers.tolist(),
            "coords": crystal.frac_coords.tobytes(),
            "volume": crystal.volume,
            "attributes": {},
        }


def level(session: Session, name: str = "synthetic") -> int:
    columns: dict[str, Any] = {"engine": "none", "functional": "PBE", "correction_scheme": "none", "settings": {}}
    columns |= {"references": {}, "tabulated": [], "note": "", "settings_hash": name}
    return _id(session, LevelRow(name=name, **columns))


def label_and_place(session: Session, level_id: int, source: int, after: int = 0) -> None:
    """An energy and a place on the hull for every synthetic structure, by the server itself."""
    bound = {"level": level_id, "source": source, "after": after}
    session.execute(text(LABELS), bound)
    session.execute(text(PLACES), bound)
    session.execute(text("DELETE FROM unplaced WHERE level_id = :level"), bound)


def _id(session: Session, row: Any) -> int:
    session.add(row)
    session.flush()
    return int(row.id)
