"""The registry that is merged: where it is, that it may be merged, and a snapshot of it that is only read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import tuple_row
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from registry import embedded
from registry.database import check_server, engine_for
from registry.errors import DatabaseUnavailable, LevelMismatch, LodeError, SchemaOutdated, SettingsError
from registry.hull.levels import AS_IMPORTED, IMPORTED
from registry.schema import expected_revision, schema_revision

Connection = psycopg.Connection[tuple[Any, ...]]

SELF = """
SELECT (SELECT system_identifier FROM pg_control_system()), oid FROM pg_database WHERE datname = current_database()"""
LEVELS = """SELECT name, engine, functional, correction_scheme, settings, "references", tabulated FROM level"""
LEVEL_PARTS = ("engine", "functional", "correction_scheme", "settings", "references", "tabulated")


def url_of(place: str) -> str:
    """The URL of a registry, given as one or as the LODE_HOME of an embedded one that runs. Raises SettingsError."""
    folder = Path(place).expanduser()
    if folder.is_dir():
        url = embedded.status(folder).url
        if url is None:
            raise DatabaseUnavailable(
                f"the PostgreSQL of {folder} doesn't run: start it with `LODE_HOME={folder} lode up`"
            )
        return url
    try:
        parsed = make_url(place)
    except (ValueError, ArgumentError):
        raise SettingsError(f"'{place}' is neither a URL, postgresql://user@host/database, nor a folder") from None
    if not parsed.drivername.startswith("postgres"):
        raise SettingsError(f"{parsed!r} is no PostgreSQL: a registry's URL is what `lode url` prints")
    return place


def check_revision(url: str) -> None:
    """Raises SchemaOutdated, saying which of the two is older, unless both have the schema of this code."""
    engine = engine_for(url, "lode merge")
    try:
        check_server(engine)
        theirs, ours = schema_revision(engine), expected_revision()
    finally:
        engine.dispose()
    if theirs is None:
        raise SchemaOutdated(f"{engine.url!r} holds no registry")
    if ours is not None and theirs < ours:
        raise SchemaOutdated(
            f"the other registry is older (schema {theirs}, here {ours}): run this `lode init` on it first"
        )
    if theirs != ours:
        raise SchemaOutdated(
            f"this registry is older (schema {ours}, the other {theirs}): install the newer Motherlode and `lode init`"
        )


def connect(url: str) -> Connection:
    """Raises DatabaseUnavailable."""
    plain = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    try:
        return psycopg.connect(
            plain, application_name="lode merge", connect_timeout=10, options="-c timezone=UTC", row_factory=tuple_row
        )
    except psycopg.OperationalError as error:
        raise DatabaseUnavailable(f"no PostgreSQL answers at {make_url(url)!r}: {error}") from error


def begin_snapshot(theirs: Connection) -> None:
    """One state of the other registry for the whole merge; writing to it is impossible."""
    theirs.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
    theirs.read_only = True
    theirs.execute("SET idle_in_transaction_session_timeout = 0")


def refuse_itself(ours: Connection, theirs: Connection) -> None:
    """Raises LodeError."""
    if ours.execute(SELF).fetchone() == theirs.execute(SELF).fetchone():
        raise LodeError("this is the registry itself: name another one to merge")


def refuse_other_levels(ours: Connection, theirs: Connection) -> None:
    """Raises LevelMismatch naming what differs between levels of one name.

    Levels of imported energies without references are one by name, unless both have told different functionals.
    """
    stored = {row[0]: row[1:] for row in ours.execute(LEVELS)}
    complaints = []
    for name, *parts in theirs.execute(LEVELS):
        known = stored.get(name)
        if known is None or _same_imported(known, parts):
            continue
        other = [part for part, one, two in zip(LEVEL_PARTS, known, parts, strict=True) if one != two]
        if other:
            complaints.append(f"level '{name}' has other {', '.join(other)} there")
    if complaints:
        raise LevelMismatch("; ".join(complaints) + ": nothing was merged; energies of two levels never meet")


def _same_imported(one: Sequence[Any], other: Sequence[Any]) -> bool:
    free = all(parts[0] == IMPORTED and not parts[4] for parts in (one, other)) and one[2] == other[2]
    return free and (one[1] == other[1] or AS_IMPORTED in (one[1], other[1]))
