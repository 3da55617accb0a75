"""The version of the schema: what the code expects, what the database has, and the way from one to the other.

Revisions are numbered files, `migrations/versions/0001_what_it_does.py`: the expected one is known without alembic,
whose import alone takes longer than most commands.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import OperationalError, ProgrammingError

from registry.errors import DatabaseUnavailable, SchemaOutdated

if TYPE_CHECKING:
    from alembic.config import Config


def upgrade(engine: Engine, revision: str = "head") -> None:
    """Bring the schema to `revision`, in one transaction; at the newest one, renew the grants of roles.sql.

    Raises DatabaseUnavailable when another upgrade of the database runs, a lock can't be had in time or the account
    may not do it, SchemaOutdated when the schema is at a revision that this code doesn't have: nothing is changed then.
    """
    from alembic import command
    from alembic.util import CommandError

    try:
        with engine.connect() as connection:
            command.upgrade(alembic_config(connection), revision)
    except CommandError as error:
        have, want = schema_revision(engine), expected_revision()
        raise SchemaOutdated(
            f"the schema is at {have}, unknown to this code ({want}): install the Motherlode that made it ({error})"
        ) from error
    except ProgrammingError as error:
        raise DatabaseUnavailable(
            f"the schema wasn't upgraded: {error.orig}; let an account that may CREATE in this database run `lode init`"
        ) from error
    except OperationalError as error:
        raise DatabaseUnavailable(
            f"the schema wasn't upgraded: {str(error.orig).splitlines()[0]}; stop the daemons and try again"
        ) from error


def check_schema(engine: Engine) -> None:
    """Raises SchemaOutdated, with what to do, unless the schema is the one this code expects."""
    have, want = schema_revision(engine), expected_revision()
    if have == want:
        return
    if have is None:
        raise SchemaOutdated("the database holds no registry yet: run `lode init`")
    if want is not None and have < want:
        raise SchemaOutdated(f"the schema is at {have}, this code expects {want}: run `lode init`")
    raise SchemaOutdated(f"the schema is at {have}, newer than this code ({want}): install the newer Motherlode")


def schema_revision(engine: Engine) -> str | None:
    """The revision that the database is at; None before the first one."""
    with engine.connect() as connection:
        if connection.scalar(text("SELECT to_regclass('alembic_version')")) is None:
            return None
        revision: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
        return revision


def expected_revision() -> str | None:
    """The number of the newest file in migrations/versions."""
    return max((file.name.split("_")[0] for file in (_migrations() / "versions").glob("[0-9]*_*.py")), default=None)


def alembic_config(connection: Connection) -> Config:
    """Alembic's configuration for one connection, without any file."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_migrations()).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


def _migrations() -> Path:
    """Found, not imported: the registry knows where the migrations are, not what they do."""
    spec = importlib.util.find_spec("migrations")
    if spec is None or not spec.submodule_search_locations:
        raise DatabaseUnavailable("the package `migrations` isn't installed: install Motherlode again")
    return Path(next(iter(spec.submodule_search_locations)))
