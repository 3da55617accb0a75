"""What records tell of crystals beside energies, into table `property`: one value of a name by a method."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from registry.errors import BadRecord
from registry.importers.record import ImportedRecord
from registry.models import Property
from registry.properties import CrystalProperty

SAME_VALUE = 1e-6
"""Relative. Files write values with six digits or more."""

Key = tuple[int, str, str]
"""Id of the structure, name, method."""

SourceOf = Callable[[ImportedRecord, CrystalProperty], int]


def store_properties(
    session: Session, records: Sequence[tuple[int, ImportedRecord]], source_of: SourceOf
) -> list[BadRecord | None]:
    """Store what isn't there yet. For each record (with the id of its structure) the complaint, where another value is.

    source_of: the id of the source of a property
    """
    rows: dict[Key, dict[str, object]] = {}
    for structure_id, record in records:
        for one in record.properties:
            values = _values(structure_id, one, source_of(record, one))
            rows.setdefault((structure_id, one.name, one.method), values)
    if not rows:
        return [None] * len(records)
    session.execute(insert(Property).on_conflict_do_nothing(), list(rows.values()))
    stored = _stored(session, {structure_id for structure_id, _, _ in rows})
    return [_complaint(structure_id, record, stored) for structure_id, record in records]


def _values(structure_id: int, one: CrystalProperty, source_id: int) -> dict[str, object]:
    words = isinstance(one.value, str)
    return {
        "structure_id": structure_id,
        "name": one.name,
        "value": None if words else one.value,
        "words": one.value if words else None,
        "unit": one.unit,
        "method": one.method,
        "source_id": source_id,
        "provenance": dict(one.provenance),
    }


def _stored(session: Session, structure_ids: Iterable[int]) -> dict[Key, Any]:
    key = (Property.structure_id, Property.name, Property.method)
    query = sa.select(*key, Property.value, Property.words, Property.unit)
    rows = session.execute(query.where(Property.structure_id.in_(list(structure_ids))))
    return {(row.structure_id, row.name, row.method): row for row in rows}


def _complaint(structure_id: int, record: ImportedRecord, stored: Mapping[Key, Any]) -> BadRecord | None:
    """Why some property of a record isn't the stored one (a row of value, words and unit)."""
    for one in record.properties:
        row = stored[structure_id, one.name, one.method]
        known = row.words if row.value is None else row.value
        if row.unit != one.unit or not _same(known, one.value):
            told = f"another {one.name} by {one.method} ({known} {row.unit}) of this structure is stored"
            return BadRecord(record.record, told)
    return None


def _same(known: float | str, told: float | str) -> bool:
    if isinstance(known, str) or isinstance(told, str):
        return known == told
    return math.isclose(known, told, rel_tol=SAME_VALUE, abs_tol=SAME_VALUE)
