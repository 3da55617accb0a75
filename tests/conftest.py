"""A real PostgreSQL for every run of pytest, started when the first test asks for it and gone however the run ends.

    session        one transaction, rolled back: the default
    engine         an engine on a fresh copy of the migrated database, for tests that need several connections
    database_url   the URL of such a copy, for tests that start processes

LODE_TEST_SERVERS=embedded,system runs them on the embedded server, on the `postgres` of PATH, or on both.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine, make_url
from sqlalchemy.orm import Session

from registry import embedded
from registry.backup import backup
from registry.database import engine_for
from registry.hull.geometry import warm
from registry.postgres_binaries import OLDEST, Binaries
from registry.schema import upgrade

for _threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(_threads, "1")  # read when a test first imports numpy or torch; processes inherit it

SERVERS = os.environ.get("LODE_TEST_SERVERS", "embedded").split(",")
TEMPLATE = "template_lode"
CARETAKER = """
import pathlib, shutil, sys
sys.stdin.read()
from registry import embedded
for home in pathlib.Path(sys.argv[1]).iterdir():
    embedded.stop(home)
shutil.rmtree(sys.argv[1])
"""
NewDatabase = Callable[..., contextlib.AbstractContextManager[str]]
_caretaker = pytest.StashKey[subprocess.Popen[bytes]]()
_homes = pytest.StashKey[Path]()


def pytest_configure(config: pytest.Config) -> None:
    """Prepare the folder of this run's servers, and the process that ends them when this one has ended."""
    config.addinivalue_line("markers", "database: needs a PostgreSQL (derived from the fixtures, never typed)")
    worker = getattr(config, "workerinput", None)
    if worker is not None:
        config.stash[_homes] = Path(worker["homes"])
        return
    config.stash[_homes] = homes = Path(tempfile.mkdtemp(prefix="lode-"))
    homes.chmod(0o755)
    config.option.basetemp = config.option.basetemp or homes / "tmp"  # the folders of tests go with the servers
    config.stash[_caretaker] = subprocess.Popen(
        [sys.executable, "-c", CARETAKER, str(homes)],
        stdin=subprocess.PIPE,
        start_new_session=True,
        cwd=config.rootpath,
    )


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Every worker of xdist shares the servers of the run."""
    node.workerinput["homes"] = str(node.config.stash[_homes])


def pytest_unconfigure(config: pytest.Config) -> None:
    if caretaker := config.stash.get(_caretaker, None):
        caretaker.communicate()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "postgres_server" in getattr(item, "fixturenames", ()):
            item.add_marker("database")


@pytest.fixture(scope="session")
def test_homes(request: pytest.FixtureRequest) -> Path:
    """Where this run keeps its servers: short, because the path of a unix socket must be."""
    return request.config.stash[_homes]


@pytest.fixture(scope="session", params=SERVERS)
def postgres_server(request: pytest.FixtureRequest, test_homes: Path) -> str:
    """URL of a server with the migrated template database."""
    home = test_homes / request.param
    url = embedded.start(home, bin_dir=_system_binaries() if request.param == "system" else None, durable=False)
    with (home / "template.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _migrate_template(url)
        warm()  # by one process for all, and in no transaction: a slow machine compiles longer than one may idle
    return url


def _system_binaries() -> Path:
    program = shutil.which("postgres")
    if program is None:
        pytest.skip("no postgres on PATH")
    folder = Path(program).resolve().parent
    if Binaries(folder).major() < OLDEST:
        pytest.skip(f"{program} is older than PostgreSQL {OLDEST}")
    return folder


def _migrate_template(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [TEMPLATE]).fetchone():
            return
        connection.execute("CREATE DATABASE template_lode_draft")
        engine = engine_for(_with_database(url, "template_lode_draft"))
        upgrade(engine)
        engine.dispose()
        connection.execute(f"ALTER DATABASE template_lode_draft RENAME TO {TEMPLATE}")


def _with_database(url: str, name: str) -> str:
    return make_url(url).set(database=name).render_as_string(hide_password=False)


@pytest.fixture(scope="session")
def new_database(postgres_server: str) -> NewDatabase:
    """`with new_database() as url`: a fresh copy of the migrated database (or of another), dropped afterwards."""
    numbers = itertools.count()

    @contextlib.contextmanager
    def copy(template: str = TEMPLATE) -> Iterator[str]:
        name = f"test_{os.getpid()}_{next(numbers)}"
        with psycopg.connect(postgres_server, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
            try:
                yield _with_database(postgres_server, name)
            finally:
                connection.execute(f"DROP DATABASE {name} WITH (FORCE)")

    return copy


@pytest.fixture
def database_url(new_database: NewDatabase) -> Iterator[str]:
    """A fresh copy of the migrated database."""
    with new_database() as url:
        yield url


@pytest.fixture
def empty_database(new_database: NewDatabase) -> Iterator[str]:
    """The URL of a database without any table."""
    with new_database("template1") as url:
        yield url


@pytest.fixture(scope="session")
def filled_registry(new_database: NewDatabase) -> Iterator[str]:
    """The URL of a registry with rows in every table; tests only read it."""
    from tests.registry.clusters import fill

    with new_database() as url:
        fill(url)
        yield url


@pytest.fixture(scope="session")
def backup_file(filled_registry: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backup of it."""
    made = tmp_path_factory.mktemp("backup") / "registry.lode"
    backup(filled_registry, made)
    return made


@pytest.fixture(params=["template1", TEMPLATE], ids=["without tables", "fresh from init"])
def restore_target(request: pytest.FixtureRequest, new_database: NewDatabase) -> Iterator[str]:
    """The URL of a database that a backup may be restored into."""
    with new_database(request.param) as url:
        yield url


@pytest.fixture(scope="session")
def older() -> Path:
    """The binaries of an older PostgreSQL, or the test is skipped."""
    from tests.registry.clusters import older_binaries

    return older_binaries()


@pytest.fixture(scope="session")
def older_cluster(older: Path) -> Iterator[Path]:
    """A LODE_HOME with a cluster of it, rows in every table, not served; tests only copy it."""
    from tests.registry.clusters import old_home, short_home

    with short_home(old_home) as home:
        yield home


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """An engine on a fresh copy of the migrated database."""
    engine = engine_for(database_url, "pytest")
    yield engine
    engine.dispose()


@pytest.fixture(scope="session")
def _shared_engine(new_database: NewDatabase) -> Iterator[Engine]:
    with new_database() as url:
        engine = engine_for(url, "pytest")
        yield engine
        engine.dispose()


@pytest.fixture
def session(_shared_engine: Engine) -> Iterator[Session]:
    """A session on an empty registry. The test may commit; all of it is rolled back afterwards."""
    with _shared_engine.connect() as connection, connection.begin() as transaction:
        with Session(connection, join_transaction_mode="create_savepoint", expire_on_commit=False) as session:
            yield session
        transaction.rollback()


@pytest.fixture(autouse=True)
def _denormals_kept() -> Iterator[None]:
    """Models and potentials flush denormal floats in the whole process; Hypothesis refuses to draw floats then."""
    yield
    if torch := sys.modules.get("torch"):
        torch.set_flush_denormal(False)


@pytest.fixture(scope="session")
def lode_test_data() -> Path:
    """The folder of real data sets, where there is one."""
    folder = os.environ.get("LODE_TEST_DATA")
    if not folder:
        pytest.skip("LODE_TEST_DATA isn't set")
    return Path(folder)
