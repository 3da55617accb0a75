"""How alembic reaches the database: one upgrade at a time, and no lock that keeps the daemons waiting."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

from alembic import context
from alembic.operations import MigrationScript
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, text

from registry.database import engine_for, ensure_server
from registry.models import Base
from registry.schema import expected_revision
from registry.settings import load_settings

UPGRADE_LOCK = 0x6C6F6465  # "lode"
WAIT_FOR_UPGRADE = "600s"
WAIT_FOR_TABLE = "5s"


def run(connection: Connection) -> None:
    with _alone(connection):
        context.configure(
            connection=connection,
            target_metadata=Base.metadata,
            compare_type=True,
            compare_server_default=True,
            process_revision_directives=_number,
        )
        with context.begin_transaction():
            context.run_migrations()


@contextlib.contextmanager
def _alone(connection: Connection) -> Iterator[None]:
    """Hold the upgrade lock of this database; a second upgrade waits here, then finds nothing to do."""
    connection.execute(text(f"SET lock_timeout = '{WAIT_FOR_UPGRADE}'"))
    connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": UPGRADE_LOCK})
    connection.execute(text(f"SET lock_timeout = '{WAIT_FOR_TABLE}'"))
    connection.commit()
    try:
        yield
    finally:
        connection.rollback()
        connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": UPGRADE_LOCK})
        connection.execute(text("RESET lock_timeout"))
        connection.commit()


def _number(
    _context: MigrationContext, _revision: str | Iterable[str | None] | Iterable[str], scripts: list[MigrationScript]
) -> None:
    """New revisions count on: 0001, 0002 ..."""
    for script in scripts:
        script.rev_id = f"{int(expected_revision() or 0) + 1:04d}"


def main() -> None:
    given: Connection | None = context.config.attributes.get("connection")
    if given is not None:
        run(given)
        return
    with engine_for(ensure_server(load_settings()), "lode migrate").connect() as connection:
        run(connection)


main()
