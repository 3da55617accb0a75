"""All that one served cluster holds, copied into another by pg_dump, and the proof that nothing was lost on the way.

Unlike a backup it takes the roles with their passwords, owners, grants and every database along, as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from registry.cluster import ROLE, Folders, url_of, write_private
from registry.errors import UpgradeError
from registry.postgres_clients import pipe_clients, run_client

MAINTENANCE = "postgres"
DATABASES = "SELECT datname FROM pg_database WHERE NOT datistemplate ORDER BY datname"
TABLES = """
SELECT nspname, relname FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
WHERE relkind = 'r' AND relpersistence <> 't' AND nspname <> 'information_schema' AND nspname !~ '^pg_' ORDER BY 1, 2
"""
ROWS = "SELECT count(*), sum(hashtextextended(row(whole.*)::text, 0)) FROM {} AS whole"
SEQUENCES = "SELECT schemaname, sequencename, last_value FROM pg_sequences ORDER BY 1, 2"
ROLES = "SELECT rolname, rolsuper, rolcanlogin, rolpassword FROM pg_authid WHERE rolname !~ '^pg_' ORDER BY 1"
MEMBERS = "SELECT DISTINCT roleid::regrole::text, member::regrole::text FROM pg_auth_members ORDER BY 1, 2"
SETTINGS = "SELECT name, setting FROM pg_file_settings WHERE applied"
KNOWN_SETTINGS = "SELECT name FROM pg_settings"


@dataclass(frozen=True)
class Programs:
    """pg_dump and its like, all of the newer version."""

    dump: Path
    dump_all: Path
    restore: Path
    psql: Path


@dataclass(frozen=True)
class Copied:
    """How much was copied and found equal; `settings` are those that the newer PostgreSQL doesn't know."""

    tables: int
    rows: int
    settings: list[str]


def copy_cluster(source: Folders, target: Folders, programs: Programs, tell: Callable[[str], None]) -> Copied:
    """Copy everything from the server of `source` into the fresh one of `target`, and compare.

    Raises UpgradeError where the two differ, BackupError where a program fails.
    """
    _copy_roles(source, target, programs)
    databases = [str(name) for (name,) in _ask(source, MAINTENANCE, DATABASES)]
    for name in databases:
        tell(f"copying database {name}")
        _copy_database(source, target, programs, name)
    _compare_roles(source, target)
    counts: list[int] = []
    for name in databases:
        tell(f"comparing database {name}, row for row")
        counts += _compare_database(source, target, name)
        _tidy(target, name)
    return Copied(len(counts), sum(counts), _copy_settings(source, target))


def _ask(folders: Folders, database: str, query: str | sql.Composed) -> list[tuple[Any, ...]]:
    with psycopg.connect(url_of(folders, database), options="-c timezone=UTC") as connection:
        return connection.execute(query.encode() if isinstance(query, str) else query).fetchall()


def _copy_roles(source: Folders, target: Folders, programs: Programs) -> None:
    """initdb has made our own role already; it gets its old password, which is the same."""
    url = url_of(source, MAINTENANCE)
    roles = run_client([str(programs.dump_all), "--roles-only", _address(source, MAINTENANCE)], url)
    file = target.root / "roles.sql"
    write_private(file, roles.replace(f"CREATE ROLE {ROLE};\n", "", 1))
    options = ["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", f"--file={file}"]
    run_client([str(programs.psql), *options, _address(target, MAINTENANCE)], url)


def _copy_database(source: Folders, target: Folders, programs: Programs, name: str) -> None:
    create = [] if name == MAINTENANCE else ["--create"]
    pipe_clients(
        [str(programs.dump), "--format=custom", "--compress=none", _address(source, name)],
        [str(programs.restore), "--exit-on-error", "--no-tablespaces", *create, _address(target, MAINTENANCE)],
        url_of(source, MAINTENANCE),  # for the password, which is the same on both sides
    )


def _address(folders: Folders, database: str) -> str:
    return f"--dbname={url_of(folders, database, secret=False)}"


def _compare_roles(source: Folders, target: Folders) -> None:
    for query in (ROLES, MEMBERS):
        if _ask(source, MAINTENANCE, query) != _ask(target, MAINTENANCE, query):
            raise UpgradeError("the roles of the new cluster aren't those of the old one")


def _compare_database(source: Folders, target: Folders, name: str) -> list[int]:
    """The number of rows in every table. Raises UpgradeError with the first table that isn't the same."""
    old, new = _contents(source, name), _contents(target, name)
    for thing in sorted(old.keys() | new.keys()):
        if old.get(thing) != new.get(thing):
            raise UpgradeError(f"{thing} in database {name} isn't in the new cluster as it was")
    return [found[0] for thing, found in old.items() if thing.startswith("table ")]


def _contents(folders: Folders, name: str) -> Mapping[str, tuple[Any, ...]]:
    """Of every table the number of rows and the sum of their hashes, of every sequence where it stands."""
    found = {f"sequence {one[0]}.{one[1]}": one for one in _ask(folders, name, SEQUENCES)}
    for table in _ask(folders, name, TABLES):
        query = sql.SQL(ROWS).format(sql.Identifier(*table))
        found[f"table {'.'.join(table)}"] = _ask(folders, name, query)[0]
    return found


def _tidy(folders: Folders, name: str) -> None:
    """Statistics for the planner, and pages marked as visible to all: the first question is quick then."""
    with psycopg.connect(url_of(folders, name), autocommit=True) as connection:
        connection.execute("VACUUM (ANALYZE)")


def _copy_settings(source: Folders, target: Folders) -> list[str]:
    """Write what was changed in the old cluster's files into the new one's; the names that it doesn't know."""
    there = dict(_ask(target, MAINTENANCE, SETTINGS))
    changed = {name: value for name, value in _ask(source, MAINTENANCE, SETTINGS) if there.get(name) != value}
    known = {name for (name,) in _ask(target, MAINTENANCE, KNOWN_SETTINGS)}
    unknown = sorted(name for name in changed if name not in known and "." not in name)
    with (target.data / "postgresql.conf").open("a") as file:
        for name in changed.keys() - set(unknown):
            quoted = changed[name].replace("'", "''")
            file.write(f"{name} = '{quoted}'\n")
    return unknown
