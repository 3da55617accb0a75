"""The way to the system of record: server, engine, sessions. Synchronous everywhere."""

from __future__ import annotations

from psycopg.errors import QueryCanceled, ReadOnlySqlTransaction
from sqlalchemy import Engine, create_engine, event, text
from sqlalchemy.engine import ExceptionContext, make_url
from sqlalchemy.exc import OperationalError, ProgrammingError
from sqlalchemy.orm import Session, sessionmaker

from registry import embedded
from registry.errors import DatabaseError, DatabaseUnavailable, TooSlow
from registry.schema import check_schema
from registry.settings import Settings

OLDEST_SERVER = 15
IDLE_IN_TRANSACTION_SECONDS = 60  # one forgotten snapshot cuts the rate of claims twenty-fold
CONNECT_SECONDS = 10


def ensure_server(settings: Settings) -> str:
    """Start the embedded server unless it runs; the URL. A server of your own is left alone."""
    if settings.database_url:
        return settings.database_url
    return embedded.start(settings.home, bin_dir=settings.pg_bin, timeout=settings.start_seconds)


def database_url(settings: Settings) -> str:
    """The URL of the server that runs; starts nothing. Raises DatabaseUnavailable."""
    if settings.database_url:
        return settings.database_url
    url = embedded.status(settings.home).url
    if url is None:
        raise DatabaseUnavailable(f"the embedded PostgreSQL of {settings.home} doesn't run: start it with `lode up`")
    return url


def connect(settings: Settings, application: str = "lode") -> Engine:
    """The front door: an engine whose server answers and whose schema is the one this code expects.

    Raises DatabaseUnavailable, SchemaOutdated.
    """
    engine = engine_for(database_url(settings), application)
    check_server(engine)
    check_schema(engine)
    return engine


def engine_for(url: str, application: str = "lode") -> Engine:
    """A lazy engine: nothing is connected yet. `application` shows in pg_stat_activity."""
    engine = create_engine(
        make_url(url).set(drivername="postgresql+psycopg"),
        pool_pre_ping=True,
        connect_args={
            "application_name": application,
            "connect_timeout": CONNECT_SECONDS,
            "options": f"-c idle_in_transaction_session_timeout={IDLE_IN_TRANSACTION_SECONDS}s -c timezone=UTC",
        },
    )
    event.listen(engine, "handle_error", _explain)
    return engine


def _explain(context: ExceptionContext) -> None:
    """One line for whoever writes to a replica, or asks for too much. Raises DatabaseError, TooSlow."""
    if isinstance(context.original_exception, ReadOnlySqlTransaction):
        raise DatabaseError("this PostgreSQL only reads, as replicas do: name the one that writes")
    if isinstance(context.original_exception, QueryCanceled) and "statement timeout" in str(context.original_exception):
        raise TooSlow("the question took longer than it may: narrow it (LODE_QUERY_SECONDS gives `lode` more time)")


def session_factory(engine: Engine) -> sessionmaker[Session]:
    """Sessions whose objects stay readable after the commit; `with factory.begin() as session` is one transaction."""
    return sessionmaker(engine, expire_on_commit=False)


def answer_within(session: Session, seconds: float) -> None:
    """Have the server end a statement of this transaction that takes longer: TooSlow is raised then."""
    session.execute(text(f"SET LOCAL statement_timeout = {max(1, round(1000 * seconds))}"))


def long_transaction(session: Session) -> None:
    """Let this transaction think between its statements for as long as it likes."""
    session.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))


def check_server(engine: Engine) -> int:
    """The major version of the server that answers. Raises DatabaseUnavailable when none does or it is too old."""
    try:
        with engine.connect() as connection:
            major = int(connection.scalar(text("SELECT current_setting('server_version_num')::int / 10000")))
    except (OperationalError, ProgrammingError) as error:  # the latter for an option of the URL that libpq doesn't know
        reason = " ".join(str(error.orig).split())
        raise DatabaseUnavailable(f"no PostgreSQL answers at {engine.url!r}: {reason}") from error
    if major < OLDEST_SERVER:
        raise DatabaseUnavailable(f"{engine.url!r} is PostgreSQL {major}: Motherlode needs {OLDEST_SERVER} or newer")
    return major
