"""The words of registry/states.py are the words that the database lets in."""

from __future__ import annotations

import re
from enum import StrEnum

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from registry import states

COLUMNS: list[tuple[str, str, type[StrEnum]]] = [
    ("structure", "origin", states.Origin),
    ("lineage", "operation", states.Operation),
    ("calculation", "task", states.Task),
    ("calculation", "state", states.CalculationState),
    ("calculation", "error_class", states.ErrorClass),
    ("prediction", "stage", states.Stage),
    ("selection", "purpose", states.Purpose),
    ("work", "kind", states.Kind),
    ("work", "state", states.WorkState),
]


def words_of(session: Session, table: str, column: str) -> set[str]:
    query = text("SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = :name")
    definition: str = session.scalars(query, {"name": f"ck_{table}_{column}_known"}).one()
    return set(re.findall(r"'([^']*)'::text", definition))


@pytest.mark.parametrize(("table", "column", "words"), COLUMNS, ids=[f"{row[0]}.{row[1]}" for row in COLUMNS])
def test_enum_and_check_agree(session: Session, table: str, column: str, words: type[StrEnum]):
    assert words_of(session, table, column) == {word.value for word in words}


def test_every_enum_and_every_check_of_words_is_compared(session: Session):
    query = text("SELECT conname FROM pg_constraint WHERE contype = 'c' AND conname LIKE 'ck\\_%\\_known'")
    assert set(session.scalars(query)) == {f"ck_{table}_{column}_known" for table, column, _ in COLUMNS}
    enums = {one for one in vars(states).values() if isinstance(one, type) and issubclass(one, StrEnum)}
    assert enums - {StrEnum} == {words for _, _, words in COLUMNS}
