from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from registry.database import (
    answer_within,
    check_server,
    connect,
    database_url,
    engine_for,
    ensure_server,
    long_transaction,
    session_factory,
)
from registry.errors import DatabaseError, DatabaseUnavailable, SchemaOutdated, TooSlow
from registry.settings import load_settings


def test_connect_is_ready_to_work(database_url: str) -> None:
    engine = connect(load_settings(database_url=database_url), "lode score")
    with session_factory(engine).begin() as session:
        assert session.scalar(text("SHOW application_name")) == "lode score"
        assert session.scalar(text("SHOW idle_in_transaction_session_timeout")) == "1min"
        assert session.scalar(text("SHOW timezone")) == "UTC"
    engine.dispose()


def test_connect_refuses_a_database_without_a_registry(empty_database: str) -> None:
    with pytest.raises(SchemaOutdated, match="lode init"):
        connect(load_settings(database_url=empty_database))


def test_no_answer_is_said_without_the_password() -> None:
    with pytest.raises(DatabaseUnavailable, match=r"no PostgreSQL answers at postgresql") as caught:
        connect(load_settings(database_url="postgresql://me:secret@127.0.0.1:1/lode"))
    assert "secret" not in str(caught.value)


def test_an_option_that_no_server_knows_is_one_line() -> None:
    with pytest.raises(DatabaseUnavailable, match=r"invalid .* option"):
        connect(load_settings(database_url="postgresql://me:secret@127.0.0.1:1/lode?colour=red"))


def test_a_long_transaction_is_long_until_it_ends(engine: Engine) -> None:
    with session_factory(engine)() as session:
        long_transaction(session)
        assert session.scalar(text("SHOW idle_in_transaction_session_timeout")) == "0"
        session.commit()
        assert session.scalar(text("SHOW idle_in_transaction_session_timeout")) == "1min"


def test_an_embedded_server_that_does_not_run_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LODE_DATABASE_URL", raising=False)
    with pytest.raises(DatabaseUnavailable, match="lode up"):
        database_url(load_settings(home=tmp_path))


def test_a_server_of_your_own_is_never_started(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path, database_url="postgresql://host/lode")
    assert ensure_server(settings) == database_url(settings) == "postgresql://host/lode"
    assert list(tmp_path.iterdir()) == []


def test_the_server_is_new_enough(engine: Engine) -> None:
    assert check_server(engine) >= 15


def test_a_replica_refuses_writes_in_one_line(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("SET TRANSACTION READ ONLY"))
        with pytest.raises(DatabaseError, match="only reads, as replicas do"):
            connection.execute(text("CREATE TABLE mine (id int)"))


def test_a_question_that_takes_too_long_is_ended_in_one_line(engine: Engine) -> None:
    with session_factory(engine)() as session:
        answer_within(session, 0.05)
        with pytest.raises(TooSlow, match="took longer than it may"):
            session.execute(text("SELECT pg_sleep(5)"))
        session.rollback()
        assert session.scalar(text("SHOW statement_timeout")) == "0"


def test_an_engine_survives_a_server_that_dropped_its_connections(database_url: str) -> None:
    engine, other = engine_for(database_url), engine_for(database_url)
    with engine.connect() as connection:
        pid = connection.scalar(text("SELECT pg_backend_pid()"))
    with other.begin() as connection:
        connection.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT 1")) == 1
    engine.dispose()
    other.dispose()


@pytest.mark.parametrize("_turn", [1, 2])
def test_a_committed_session_leaves_nothing_to_the_next_test(session: Session, _turn: int) -> None:
    session.execute(text("CREATE TABLE leftover (id int)"))
    session.commit()
    session.execute(text("INSERT INTO leftover VALUES (1)"))
    session.rollback()
    assert session.scalar(text("SELECT count(*) FROM leftover")) == 0
