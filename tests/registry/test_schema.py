from __future__ import annotations

import re
import subprocess
import sys
import time

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import CheckConstraint, Connection, Engine, inspect, text, update
from sqlalchemy.exc import IntegrityError, InternalError, OperationalError
from sqlalchemy.orm import Session

from registry.backup import count_rows
from registry.database import engine_for
from registry.errors import DatabaseUnavailable, SchemaOutdated
from registry.models import Base
from registry.schema import alembic_config, check_schema, expected_revision, schema_revision, upgrade
from tests.docs.salts import salts
from tests.registry.accounts import account, go_down
from tests.registry.clusters import fill_every_table

READER_READS = text("SELECT has_table_privilege('lode_reader', 'structure', 'SELECT')")


def test_the_migrations_make_exactly_the_models(engine: Engine) -> None:
    """The drift check: a change of the models without a revision fails here."""
    with engine.connect() as connection:
        opts = {"compare_type": True, "compare_server_default": True, "include_name": _is_no_partition}
        context = MigrationContext.configure(connection, opts=opts)
        assert compare_metadata(context, Base.metadata) == []


def test_the_migrations_make_the_checks_of_the_models(session: Session) -> None:
    """Alembic doesn't compare them. PostgreSQL writes them in its own way, so that the names must do."""
    named = text("SELECT conrelid::regclass::text, conname FROM pg_constraint JOIN pg_class ON pg_class.oid = conrelid"
                 " WHERE contype = 'c' AND connamespace = 'public'::regnamespace AND NOT relispartition")  # fmt: skip
    checks = {
        (table.name, str(one.name))
        for table in Base.metadata.tables.values()
        for one in table.constraints
        if isinstance(one, CheckConstraint)
    }
    assert set(session.execute(named).tuples()) == checks


NAN = float("nan")


@pytest.mark.parametrize(
    ("table", "column", "value"),
    [
        ("structure", "volume", NAN),
        ("structure", "volume", float("inf")),
        ("calculation", "correction", NAN),
        ("calculation", "forces", b"7 bytes"),
        ("calculation", "stress", [0.0] * 5),
        ("calculation", "attempt", 0),
        ("prediction", "formation_energy_per_atom", NAN),
        ("prediction", "spread", NAN),
        ("prediction", "members", []),
        ("selection", "predicted_decomposition_energy", NAN),
    ],
)
def test_what_is_no_number_is_not_stored(session: Session, table: str, column: str, value: object) -> None:
    """For PostgreSQL, NaN is greater than any number: "> 0" lets it in, and it would be the best or worst of a page."""
    fill_every_table(session)
    session.flush()
    with pytest.raises(IntegrityError, match=f"ck_{table}"):
        session.execute(update(Base.metadata.tables[table]).values({column: value}))


def _is_no_partition(name: str | None, kind: str, _parents: object) -> bool:
    """The models know a partitioned table as one."""
    return kind != "table" or re.fullmatch(r"frame_\d+", name or "") is None


def test_the_number_of_the_newest_file_is_the_only_head_of_alembic(engine: Engine) -> None:
    with engine.connect() as connection:
        script = ScriptDirectory.from_config(alembic_config(connection))
    assert [expected_revision()] == script.get_heads()


def test_a_migrated_database_is_accepted_and_an_upgrade_of_it_does_nothing(engine: Engine) -> None:
    check_schema(engine)
    upgrade(engine)
    assert schema_revision(engine) == expected_revision()


@pytest.mark.parametrize(
    ("version", "message"),
    [("0000", "this code expects .* run `lode init`"), ("9999", "newer than this code"), (None, "no registry yet")],
)
def test_any_other_schema_is_refused_with_what_to_do(engine: Engine, version: str | None, message: str) -> None:
    with engine.begin() as connection:
        if version is None:
            connection.execute(text("DROP TABLE alembic_version"))
        else:
            connection.execute(text("UPDATE alembic_version SET version_num = :version"), {"version": version})
    with pytest.raises(SchemaOutdated, match=message):
        check_schema(engine)


def test_down_to_nothing_and_up_again_with_rows_in_every_table(engine: Engine) -> None:
    with Session(engine) as session, session.begin():
        fill_every_table(session)
        counts = count_rows(session.connection())
    assert all(counts.values())
    go_down(engine)
    assert schema_revision(engine) is None
    assert inspect(engine).get_table_names() == ["alembic_version"]
    assert "analytics" not in inspect(engine).get_schema_names()
    upgrade(engine)
    check_schema(engine)
    with Session(engine) as session, session.begin():
        fill_every_table(session)
        assert count_rows(session.connection()) == counts


def test_a_way_down_that_fails_keeps_every_row(engine: Engine) -> None:
    """Somebody's own view of a table that comes last: all that was dropped before it is back."""
    with Session(engine) as session, session.begin():
        fill_every_table(session)
    with engine.begin() as connection:
        connection.execute(text("CREATE VIEW somebodys AS SELECT reduced_formula FROM composition"))
        counts = count_rows(connection)
    with pytest.raises(InternalError, match="other objects depend on it"):
        go_down(engine)
    with engine.connect() as connection:
        assert count_rows(connection) == counts
    check_schema(engine)
    upgrade(engine)


def test_a_second_upgrade_at_once_is_refused_not_queued(empty_database: str) -> None:
    """The first one stands still in the midst of its work, as on a table that somebody holds."""
    code = "import sys; from registry import database, schema; schema.upgrade(database.engine_for(sys.argv[1]))"
    engine = engine_for(empty_database)
    with engine.connect() as holder:
        holder.execute(text("CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY)"))
        holder.commit()
        holder.execute(text("LOCK TABLE alembic_version IN ACCESS EXCLUSIVE MODE"))
        first = subprocess.Popen([sys.executable, "-c", code, empty_database])
        wait_for_lock(holder)
        began = time.monotonic()
        with pytest.raises(DatabaseUnavailable, match="another upgrade of this database runs"):
            upgrade(engine)
        assert time.monotonic() - began < 1.5
        holder.rollback()
    assert first.wait() == 0
    check_schema(engine)
    engine.dispose()


def wait_for_lock(connection: Connection) -> None:
    """Until somebody waits for the table that this connection holds."""
    waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'alembic_version'::regclass")
    deadline = time.monotonic() + 60
    while not connection.scalar(waiting):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_table_locked_by_another_session_is_given_up_on_and_nothing_is_changed(engine: Engine) -> None:
    with Session(engine) as session, session.begin():
        salts(session)
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE prediction OWNER TO CURRENT_USER"))
        connection.execute(text("REVOKE SELECT ON structure FROM lode_reader"))
    with engine.connect() as other:
        other.execute(text("LOCK TABLE prediction IN ROW EXCLUSIVE MODE"))
        began = time.monotonic()
        with pytest.raises(DatabaseUnavailable, match=r"lock timeout; stop the daemons"):
            upgrade(engine)
        assert time.monotonic() - began < 10
        with pytest.raises(OperationalError, match="lock timeout"):
            go_down(engine)
        assert not other.scalar(READER_READS)
    upgrade(engine)
    with engine.connect() as connection:
        assert connection.scalar(READER_READS)
        assert connection.scalar(text("SELECT count(*) > 0 FROM prediction"))


def test_grants_are_renewed_where_there_is_nothing_to_migrate(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("REVOKE SELECT ON structure FROM lode_reader"))
        assert not connection.scalar(READER_READS)
    upgrade(engine)
    with engine.connect() as connection:
        assert connection.scalar(READER_READS)


def test_an_account_without_the_tables_finds_nothing_to_migrate(postgres_server: str, engine: Engine) -> None:
    with account(postgres_server, "IN ROLE lode_reader") as theirs:
        reader = engine_for(theirs(engine.url.render_as_string(hide_password=False)))
        upgrade(reader)
        reader.dispose()


def test_an_upgrade_gives_up_on_a_locked_table_and_can_be_repeated(empty_database: str) -> None:
    engine = engine_for(empty_database)
    with engine.connect() as other:
        other.execute(text("CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY)"))
        other.commit()
        other.execute(text("LOCK TABLE alembic_version IN ACCESS EXCLUSIVE MODE"))
        with pytest.raises(DatabaseUnavailable, match="lock timeout"):
            upgrade(engine)
    upgrade(engine)
    check_schema(engine)
    engine.dispose()


def test_an_account_that_may_not_make_a_schema_is_told(postgres_server: str, empty_database: str) -> None:
    with account(postgres_server, "") as theirs:
        engine = engine_for(theirs(empty_database))
        with pytest.raises(DatabaseUnavailable, match="let an account that may CREATE"):
            upgrade(engine)
        assert schema_revision(engine) is None
        engine.dispose()
