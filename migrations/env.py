"""How alembic reaches the database: one upgrade at a time, and no lock that keeps the daemons waiting."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from importlib import resources

from alembic import context
from alembic.operations import MigrationScript
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, text

from registry.database import engine_for, ensure_server
from registry.errors import DatabaseUnavailable
from registry.models import Base
from registry.schema import expected_revision
from registry.settings import load_settings

UPGRADE_LOCK = 0x6C6F6465  # "lode"
WAIT_FOR_TABLE = "5s"
OWNS_THE_TABLES = "SELECT pg_has_role(relowner, 'USAGE') FROM pg_class WHERE oid = 'alembic_version'::regclass"


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
            _grant(connection)


def _grant(connection: Connection) -> None:
    """Run roles.sql at the newest revision, for roles that came after it. Right after revision 0001 it's a repetition.

    An account that doesn't own the tables can grant nothing, and has had nothing to migrate.
    """
    if context.get_context().get_current_revision() != expected_revision():
        return
    if connection.scalar(text(OWNS_THE_TABLES)):
        connection.execute(text(resources.files("registry").joinpath("roles.sql").read_text()))


@contextlib.contextmanager
def _alone(connection: Connection) -> Iterator[None]:
    """Hold the upgrade lock of this database, or refuse at once: who waited would run what the other one changed."""
    if not connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": UPGRADE_LOCK}):
        connection.rollback()
        raise DatabaseUnavailable("another upgrade of this database runs: wait until it has ended, then try again")
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
