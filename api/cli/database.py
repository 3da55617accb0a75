"""How commands reach the registry."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlalchemy import Engine
    from sqlalchemy.orm import Session

DEFAULT_LEVEL = "7net-0"


def open_registry(application: str = "lode") -> Engine:
    """The registry of this environment. Raises DatabaseUnavailable, SchemaOutdated with what to do."""
    from registry.database import connect
    from registry.settings import load_settings

    return connect(load_settings(), application)


@contextmanager
def questions() -> Iterator[Session]:
    """A session that asks: TooSlow is raised where a statement takes longer than LODE_QUERY_SECONDS."""
    from sqlalchemy.orm import Session

    from registry.database import answer_within
    from registry.settings import load_settings

    with Session(open_registry()) as session:
        answer_within(session, load_settings().query_seconds)
        yield session
