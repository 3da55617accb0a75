"""Roles on a real server: what owner, worker and reader may do."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy import Engine, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.orm import Session

from registry import queue
from registry.database import engine_for
from registry.hull.level_rows import ensure_level
from registry.hull.store import place
from registry.models import Base, Prediction
from registry.schema import check_schema, upgrade
from registry.states import Kind
from tests import factories as make
from tests.conftest import NewDatabase
from tests.registry.accounts import OWNERS, account, give_database, go_down

TABLES = sorted(Base.metadata.tables)
CHANGED = {
    "hull_state": {"valid_to"},
    "round": {"finished_at"},
    "funnel": {"candidates"},
    "search": {"structures", "counts", "finished_at"},
    "model": {"promoted"},
    "worker": {"beat_at", "stopped_at"},
    "work": {
        "state",
        "token",
        "worker_id",
        "lease_until",
        "attempts",
        "run_after",
        "failed_on",
        "error_class",
        "error",
    },
}
NOT_WRITTEN = {"level", "import", "reference_set"}


@contextlib.contextmanager
def acting(session: Session, role: str) -> Iterator[None]:
    """As that role, until the block ends."""
    session.flush()
    session.execute(text(f"SET LOCAL ROLE {role}"))
    try:
        yield
    finally:
        session.execute(text("RESET ROLE"))


def refused(session: Session, statement: str) -> None:
    with pytest.raises(ProgrammingError, match=r"permission denied|must be owner"), session.begin_nested():
        session.execute(text(statement))


def may(session: Session, role: str, table: str, privilege: str) -> bool:
    values = {"role": role, "table": f"public.{table}", "privilege": privilege}
    return bool(session.scalar(text("SELECT has_table_privilege(:role, :table, :privilege)"), values))


# What each role may do.


@pytest.mark.parametrize("role", ["lode_reader", "lode_worker"])
def test_all_is_read(session: Session, role: str) -> None:
    found = list(session.execute(text(OWNERS)))
    assert len(found) > len(TABLES) + 10
    with acting(session, role):
        for name, _ in found:
            session.execute(text(f"SELECT * FROM {name} LIMIT 1"))


@pytest.mark.parametrize("table", TABLES)
def test_a_reader_writes_nothing(session: Session, table: str) -> None:
    for privilege in ("INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER"):
        assert not may(session, "lode_reader", table, privilege)
    with acting(session, "lode_reader"):
        refused(session, f"INSERT INTO {table} DEFAULT VALUES")
        refused(session, f"DELETE FROM {table}")


@pytest.mark.parametrize("table", TABLES)
def test_a_worker_writes_what_workers_write(session: Session, table: str) -> None:
    """Whole rows where modules of workers/ insert them, and of stored rows the columns in CHANGED alone."""
    assert may(session, "lode_worker", table, "INSERT") == (table not in NOT_WRITTEN)
    assert may(session, "lode_worker", table, "DELETE") == (table in {"work", "unplaced"})
    assert not any(may(session, "lode_worker", table, one) for one in ("UPDATE", "TRUNCATE", "REFERENCES", "TRIGGER"))
    changed = text("SELECT attname FROM pg_attribute WHERE attrelid = CAST(:table AS regclass) AND attnum > 0"
                   " AND has_column_privilege('lode_worker', attrelid, attnum, 'UPDATE')")  # fmt: skip
    assert set(session.scalars(changed, {"table": f"public.{table}"})) == CHANGED.get(table, set())


def test_structures_stay_as_they_were_stored(session: Session) -> None:
    row = make.structure(session)
    with acting(session, "lode_worker"):
        for column in ("lattice", "species", "coords", "volume", "composition_id", "attributes"):
            refused(session, f"UPDATE structure SET {column} = {column} WHERE id = {row.id}")
        refused(session, f"DELETE FROM structure WHERE id = {row.id}")
        refused(session, f"UPDATE calculation SET energy = 0 WHERE id = {row.id}")


@pytest.mark.parametrize("role", ["lode_reader", "lode_worker"])
def test_the_schema_is_the_owners(session: Session, role: str) -> None:
    with acting(session, role):
        refused(session, "DROP TABLE structure CASCADE")
        refused(session, "DROP VIEW analytics.stable_materials")
        refused(session, "ALTER TABLE structure ADD COLUMN mine text")
        refused(session, "CREATE TABLE mine (id int)")
        refused(session, "CREATE TABLE analytics.mine (id int)")
        refused(session, "UPDATE alembic_version SET version_num = '9999'")


def test_the_owner_owns_everything(session: Session) -> None:
    assert {owner for _, owner in session.execute(text(OWNERS))} == {"lode_owner"}
    schema = "SELECT nspowner::regrole::text FROM pg_namespace WHERE nspname = 'analytics'"
    assert session.scalar(text(schema)) == "lode_owner"


@pytest.mark.parametrize("schema", ["public", "analytics"])
@pytest.mark.parametrize("maker", ["lode_owner", "lode"])
def test_tables_to_come_are_read_and_not_written(session: Session, schema: str, maker: str) -> None:
    """Whether a member of the owner's group makes them, or the account that migrated."""
    with acting(session, maker):
        session.execute(text(f"CREATE TABLE {schema}.later (id int)"))
    for role in ("lode_reader", "lode_worker"):
        with acting(session, role):
            assert session.execute(text(f"SELECT * FROM {schema}.later")).all() == []
            refused(session, f"INSERT INTO {schema}.later VALUES (1)")


def test_roles_are_groups_without_login_or_power(session: Session) -> None:
    found = session.execute(text("SELECT rolname, rolcanlogin OR rolsuper OR rolcreatedb OR rolcreaterole AS mighty"
                                 " FROM pg_roles WHERE rolname LIKE 'lode\\_%'"))  # fmt: skip
    assert dict(found.tuples().all()) == {"lode_owner": False, "lode_worker": False, "lode_reader": False}


# Accounts that log in.


@pytest.fixture
def worker_engine(database_url: str) -> Iterator[Engine]:
    with account(database_url, "IN ROLE lode_worker") as theirs:
        engine = engine_for(theirs(database_url), "pytest worker")
        yield engine
        engine.dispose()


def test_a_worker_claims_beats_finishes_and_predicts(engine: Engine, worker_engine: Engine) -> None:
    with Session(engine) as session, session.begin():
        level = make.level(session)
        make.structure(session, origin="generated")
        make.model(session, level)
    assert queue.enqueue(worker_engine, Kind.SCORE) == 1
    me = queue.register(worker_engine, [Kind.SCORE])
    (claim,) = queue.claim(worker_engine, Kind.SCORE, me, 5, 60.0)
    assert queue.beat(worker_engine, claim.token, me, 60.0) == 1
    with Session(worker_engine) as session, session.begin():
        queue.finish(session, claim)
        ids = {"structure_id": claim.subject_id, "model_id": claim.target_id}
        said = {"formation_energy_per_atom": -1.0, "members": [-1.0], "volume_factor": 1.0}
        session.execute(insert(Prediction).values(**ids, **said, stage="single").on_conflict_do_nothing())
        queue.ring(session)
    queue.retire(worker_engine, me)
    with Session(engine) as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(Prediction)) == 1


def test_a_worker_fails_gives_back_rescues_and_retries(engine: Engine, worker_engine: Engine) -> None:
    with Session(engine) as session, session.begin():
        for _ in range(2):
            make.work(session)
    me = queue.register(worker_engine, [Kind.LABEL])
    (claim,) = queue.claim(worker_engine, Kind.LABEL, me, 1, 60.0)
    with Session(worker_engine) as session, session.begin():
        queue.fail(session, claim, "bug", "it broke", None)
    assert queue.retry(worker_engine) == 1
    (claim,) = queue.claim(worker_engine, Kind.LABEL, me, 1, 60.0)
    assert queue.give_back(worker_engine, claim.token) == 1
    queue.claim(worker_engine, Kind.LABEL, me, 1, -1.0)
    assert queue.rescue(worker_engine, 3) == 1


def test_a_worker_passes_the_front_door_and_places(engine: Engine, worker_engine: Engine) -> None:
    check_schema(worker_engine)
    with Session(engine) as session, session.begin():
        level_id = make.level(session, references={"Na": -1.0, "Cl": -2.0}).id
    displaced = []
    for energy in (-4.0, -5.0):
        with Session(engine) as session, session.begin():
            make.calculation(session, make.structure(session), make.level(session), energy=energy)
        with Session(worker_engine) as session, session.begin():
            displaced.append(place(session, level_id).displaced)
    assert displaced == [0, 1]


def test_a_worker_runs_a_whole_round(engine: Engine, worker_engine: Engine, tmp_path: Path) -> None:
    """The owner brings a level and known crystals, then every table that a worker may fill is filled."""
    pytest.importorskip("torch", reason="the extra `predictors` isn't installed")
    from tests.flow import test_round as flow
    from tests.workers.models import save_tiny_model
    from workers.train import promote, register
    from workers.validate import validate_textbook

    with Session(engine) as session, session.begin():
        level_id = ensure_level(session, flow.standin_level())
        flow.import_parents(session)
        two_levels = [make.level(session, name) for name in ("old", "new")]
        session.expunge_all()
    with Session(worker_engine) as session, session.begin():
        register(session, "tiny", save_tiny_model(tmp_path / "tiny"))
        promote(session, "tiny")
        make.level_bridge(session, *two_levels)
    with flow.daemons(worker_engine):
        outcome = flow.run_round(worker_engine, level_id, flow.SETTINGS, lambda _title, _done, _total: None)
    with Session(worker_engine) as session, session.begin():
        validate_textbook(session, outcome.round_id)
    assert outcome.selected == flow.LABELS
    with engine.connect() as connection:
        empty = {name for name in TABLES if not connection.scalar(text(f"SELECT EXISTS (SELECT FROM {name})"))}
    by_chance = {"hull_event", "duplicate", "family", "family_member"}
    assert empty <= by_chance | {
        "import",
        "reference_set",
        "search",
        "work",
        "unplaced",
        "property",
    }  # claims are gone, nothing measures properties yet


def test_a_reader_reads_and_is_refused(database_url: str) -> None:
    with account(database_url, "IN ROLE lode_reader") as theirs, psycopg.connect(theirs(database_url)) as connection:
        assert connection.execute("SELECT count(*) FROM analytics.stable_materials").fetchone() == (0,)
        assert connection.execute("SELECT count(*) FROM material").fetchone() == (0,)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("INSERT INTO source (name, licence, citation) VALUES ('mine', '', '')")


def test_a_member_of_the_owner_migrates(postgres_server: str, new_database: NewDatabase) -> None:
    """Down and up again, in a database where it may make schemas."""
    with account(postgres_server, "IN ROLE lode_owner") as theirs, new_database() as url:
        give_database(url, to="lode_owner")
        engine = engine_for(theirs(url))
        go_down(engine)
        upgrade(engine)
        check_schema(engine)
        with engine.connect() as connection:
            assert {owner for _, owner in connection.execute(text(OWNERS))} == {"lode_owner"}
        engine.dispose()
