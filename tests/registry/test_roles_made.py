"""How roles come to be, mostly tried with other names: the real ones are in use by other databases of the server."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from importlib import resources

import psycopg
import pytest
from sqlalchemy import Engine, make_url, text

from registry.database import engine_for
from registry.schema import check_schema, upgrade
from tests.conftest import NewDatabase
from tests.registry.accounts import OWNERS, account, give_database, go_down, new_name

ROLES = (resources.files("registry") / "roles.sql").read_text()


@pytest.fixture
def trial(postgres_server: str) -> Iterator[str]:
    """A prefix of three roles that don't exist yet, and don't afterwards."""
    prefix = new_name("trial") + "_"
    yield prefix
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        for role in ("owner", "worker", "reader"):
            connection.execute(f"DROP ROLE IF EXISTS {prefix}{role}")


def grant(connection: psycopg.Connection, prefix: str) -> list[str]:
    """Run roles.sql for the roles of that prefix; what it noticed."""
    notices: list[str] = []
    connection.add_notice_handler(lambda notice: notices.append(str(notice.message_primary)))
    connection.execute(ROLES.replace("lode_", prefix).encode())
    return notices


def reads(connection: psycopg.Connection, role: str) -> bool:
    row = connection.execute(
        "SELECT has_table_privilege(%s, 'analytics.stable_materials', 'SELECT')", [role]
    ).fetchone()
    return bool(row and row[0])


def exists(connection: psycopg.Connection, role: str) -> bool:
    return connection.execute("SELECT FROM pg_roles WHERE rolname = %s", [role]).fetchone() is not None


def owners(connection: psycopg.Connection) -> set[str]:
    return {owner for _, owner in connection.execute(OWNERS)}


def test_running_it_again_changes_nothing(new_database: NewDatabase, trial: str) -> None:
    with new_database() as url, psycopg.connect(url) as connection:
        public = "WHERE relnamespace = 'public'::regnamespace"
        acl = f"SELECT relname, relowner, relacl::text FROM pg_class {public} ORDER BY relname"
        assert grant(connection, trial) == []
        first = connection.execute(acl).fetchall()
        assert grant(connection, trial) == []
        assert connection.execute(acl).fetchall() == first
        assert reads(connection, f"{trial}reader")


@pytest.mark.parametrize("there", [(), ("owner", "worker")])
def test_two_databases_make_the_roles_at_once(new_database: NewDatabase, trial: str, there: tuple[str, ...]) -> None:
    """The second waits for the first one's commit, and finds the roles made."""
    with contextlib.ExitStack() as stack:
        one, other = (stack.enter_context(new_database()) for _ in range(2))
        first, second = (stack.enter_context(psycopg.connect(url)) for url in (one, other))
        for role in there:
            first.execute(f"CREATE ROLE {trial}{role}")
        first.commit()
        grant(first, trial)
        late = threading.Thread(target=grant, args=(second, trial))
        late.start()
        wait_until_blocked(one, second.info.backend_pid)
        first.commit()
        late.join()
        second.commit()
        assert reads(first, f"{trial}reader")
        assert reads(second, f"{trial}reader")


def wait_until_blocked(url: str, pid: int) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        query = "SELECT cardinality(pg_blocking_pids(%s)) > 0"
        deadline = time.monotonic() + 60
        while connection.execute(query, [pid]).fetchone() != (True,):
            assert time.monotonic() < deadline
            time.sleep(0.02)


@pytest.fixture
def hosted(trial: str, postgres_server: str, new_database: NewDatabase) -> Iterator[tuple[str, str]]:
    """A migrated database as its owner, who may do nothing else, reaches it, and as the server's administrator does."""
    with account(postgres_server, "") as theirs, new_database("template1") as url:
        give_database(url, to=str(make_url(theirs(url)).username))
        engine = engine_for(theirs(url))
        upgrade(engine)
        check_schema(engine)
        engine.dispose()
        yield theirs(url), url


def test_an_account_outside_the_roles_migrates_and_keeps_its_tables(hosted: tuple[str, str]) -> None:
    """The roles are there, made by another registry of the server: they may read, and worker may work."""
    with psycopg.connect(hosted[0]) as connection:
        assert owners(connection) == {connection.info.user}
        assert reads(connection, "lode_reader")


def test_who_may_not_make_roles_is_told_and_grants_follow(hosted: tuple[str, str], trial: str) -> None:
    with contextlib.ExitStack() as stack:
        connection, admin = (stack.enter_context(psycopg.connect(url, autocommit=True)) for url in hosted)
        notices = grant(connection, trial)
        assert len(notices) == 3
        assert f"may not create role {trial}owner: have an administrator create it" in notices[0]
        for role in ("owner", "worker", "reader"):
            assert not exists(connection, f"{trial}{role}")
            admin.execute(f"CREATE ROLE {trial}{role}")
        (notice,) = grant(connection, trial)
        assert f"can't hand its tables over to {trial}owner and keeps them" in notice
        assert reads(connection, f"{trial}reader")
        assert owners(connection) == {connection.info.user}


def test_a_member_of_the_owner_hands_its_tables_over(hosted: tuple[str, str], trial: str) -> None:
    with psycopg.connect(hosted[0]) as connection, psycopg.connect(hosted[1], autocommit=True) as admin:
        admin.execute(f"CREATE ROLE {trial}owner ROLE {connection.info.user}")
        admin.execute(f"CREATE ROLE {trial}worker; CREATE ROLE {trial}reader")
        assert grant(connection, trial) == []
        assert owners(connection) == {f"{trial}owner"}


def test_who_may_make_roles_makes_them_and_still_migrates(hosted: tuple[str, str], trial: str) -> None:
    with psycopg.connect(hosted[1], autocommit=True) as admin:
        admin.execute(f"ALTER ROLE {make_url(hosted[0]).username} CREATEROLE")
    with psycopg.connect(hosted[0]) as connection:
        assert grant(connection, trial) == []
        assert owners(connection) == {f"{trial}owner"}
        connection.execute("ALTER TABLE structure ADD COLUMN note text")


def test_going_down_leaves_the_roles_to_other_databases(engine: Engine, new_database: NewDatabase) -> None:
    with new_database() as other:
        go_down(engine)
        with engine.connect() as connection:
            assert connection.scalar(text("SELECT count(*) FROM pg_default_acl")) == 0
        with psycopg.connect(other) as beside:
            assert all(exists(beside, f"lode_{role}") for role in ("owner", "worker", "reader"))
            assert reads(beside, "lode_reader")
