"""Accounts that log in to the server of the tests, and who owns what there."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Callable, Iterator

import psycopg
from sqlalchemy import Engine, make_url

from registry.schema import alembic_config

OWNERS = """
SELECT oid::regclass::text AS name, relowner::regrole::text AS owner FROM pg_class
WHERE relnamespace IN ('public'::regnamespace, 'analytics'::regnamespace) AND relkind IN ('r', 'v')
"""
_numbers = itertools.count()


def new_name(kind: str) -> str:
    """A name that nobody on the server has: roles are the whole server's, and several processes test on it."""
    return f"{kind}_{os.getpid()}_{next(_numbers)}"


@contextlib.contextmanager
def account(server: str, options: str) -> Iterator[Callable[[str], str]]:
    """Somebody who logs in, gone afterwards; gives the way from a database's URL to theirs."""
    name = new_name("test")

    def theirs(url: str) -> str:
        return make_url(url).set(username=name, password="secret").render_as_string(hide_password=False)

    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'secret' {options}")
        try:
            yield theirs
        finally:
            connection.execute(f"DROP ROLE {name}")


def give_database(url: str, to: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute(f"ALTER DATABASE {make_url(url).database} OWNER TO {to}")


def go_down(engine: Engine) -> None:
    from alembic import command

    with engine.connect() as connection:
        command.downgrade(alembic_config(connection), "base")
