"""A registry that filters find something in, for a whole module."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from registry.database import engine_for
from registry.models import Structure
from registry.query.materials import search
from tests.registry.query.mixed import fill


@pytest.fixture(scope="module")
def registry(new_database: Any) -> Iterator[Session]:
    """The materials of mixed.py."""
    with new_database() as url:
        engine = engine_for(url, "pytest")
        with Session(engine) as session:
            fill(session)
            session.commit()
            yield session
        engine.dispose()


@pytest.fixture(scope="module")
def rows(registry: Session) -> dict[str, dict[str, Any]]:
    """Everything, by id, with the row's number as "age"."""
    ages = dict(registry.execute(select(Structure.public_id, Structure.id)).tuples().all())
    return {row["id"]: {**row, "age": ages[row["id"]]} for row in search(registry, limit=1_000).data}
