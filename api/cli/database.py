"""How commands reach the registry."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlalchemy import Engine

DEFAULT_LEVEL = "7net-0"


def open_registry(application: str = "lode") -> Engine:
    """The registry of this environment. Raises DatabaseUnavailable, SchemaOutdated with what to do."""
    from registry.database import connect
    from registry.settings import load_settings

    return connect(load_settings(), application)
