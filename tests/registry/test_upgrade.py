"""`lode upgrade` from the oldest PostgreSQL on this machine to the wheel's, and all that it refuses."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest
from click.testing import CliRunner
from sqlalchemy import make_url

from api.cli.main import cli
from registry import embedded
from registry.errors import DatabaseUnavailable, UpgradeError
from registry.postgres_binaries import cluster_major, find_binaries, major_of
from registry.upgrade import kept_clusters, upgrade_cluster
from tests.registry.clusters import contents, copy_of, short_home

ODD = 'Ä b"c'
COMMAND = [sys.executable, "-m", "api.cli.main", "upgrade"]


@pytest.fixture
def home(older_cluster: Path) -> Iterator[Path]:
    with short_home(lambda place: copy_of(older_cluster, place)) as home:
        yield home
        embedded.stop(home)


def data(home: Path) -> Path:
    return home / "postgres/data"


def execute(url: str, *statements: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def value(url: str, query: str) -> object:
    with psycopg.connect(url) as connection:
        row = connection.execute(query.encode()).fetchone()
        return row and row[0]


def odd(url: str) -> str:
    """The URL of the database with the odd name."""
    return re.sub(r"/lode(?=\?|$)", "/" + quote(ODD), url)


def is_as_it_was(home: Path, older: Path, before: object) -> bool:
    """The old cluster is in its place, alone, and works."""
    assert sorted(path.name for path in (home / "postgres").glob("*/")) in (["data"], ["data", "run"])
    return contents(embedded.start(home, bin_dir=older, durable=False)) == before


@pytest.mark.parametrize("deep", [False, True], ids=["socket", "tcp"])
def test_everything_is_in_the_new_cluster_and_the_old_one_is_kept(home: Path, older: Path, deep: bool) -> None:
    place = copy_of(home, home.parent / ("d" * 100)) if deep else home
    old = major_of(older / "postgres")
    url = embedded.start(place, bin_dir=older, durable=False)
    execute(
        url,
        "CREATE ROLE ana LOGIN PASSWORD 'hers' IN ROLE lode_reader",
        "ALTER ROLE ana SET work_mem = '7MB'",
        "ALTER SYSTEM SET effective_io_concurrency = 3",
        f"""CREATE DATABASE "{ODD.replace('"', '""')}" """,
        "CREATE SCHEMA own AUTHORIZATION ana",
        "CREATE TABLE own.numbers AS SELECT i AS id, 'NaN'::float8 AS x, '\\x00ff'::bytea AS b, 0.1::float8 / i AS y"
        " FROM generate_series(1, 1000) AS i",
    )
    execute(odd(url), "CREATE TABLE kept AS SELECT 42 AS answer")
    before = contents(url)
    try:
        with pytest.raises(DatabaseUnavailable, match=rf"was made by PostgreSQL {old}, .*: run `lode upgrade`"):
            embedded.start(place)
        done = upgrade_cluster(place)  # the server still runs, and nobody works with it
        assert done is not None
        assert (done.old, done.new, done.copied.settings) == (old, find_binaries().major(), [])
        assert done.copied.rows > 1000
        new = embedded.start(place)
        assert new == url
        assert contents(new) == before
        assert value(new, "SELECT sum(id) FROM own.numbers") == 500500
        assert value(new, "SHOW effective_io_concurrency") == "3"
        assert value(new, "SHOW fsync") == "on"
        assert value(new, "SHOW wal_level") == "replica"
        assert value(new, "SELECT reltuples > 0 FROM pg_class WHERE relname = 'structure'")
        hers = make_url(new).set(username="ana", password="hers").render_as_string(hide_password=False)
        assert value(hers, "SELECT count(*) > 5 FROM structure")
        assert value(hers, "SHOW work_mem") == "7MB"
        assert value(odd(new), "SELECT answer FROM kept") == 42
        assert list(kept_clusters(place)) == [done.kept]
        assert cluster_major(done.kept) == old
        assert not list((place / "postgres").glob("next*")) + list((place / "postgres").glob("ready*"))
        assert upgrade_cluster(place) is None
    finally:
        embedded.stop(place)


def test_the_kept_cluster_works_when_it_is_moved_back(home: Path, older: Path) -> None:
    before = contents(embedded.start(home, bin_dir=older, durable=False))
    done = upgrade_cluster(home)
    assert done is not None
    shutil.rmtree(data(home))
    done.kept.rename(data(home))
    assert is_as_it_was(home, older, before)


def test_where_there_is_nothing_to_do_nothing_is_done(tmp_path: Path) -> None:
    assert upgrade_cluster(tmp_path / "home") is None
    assert not (tmp_path / "home").exists()


def test_a_cluster_newer_than_the_binaries_is_refused(tmp_path: Path, older: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="lode-") as folder:
        home = Path(folder) / "home"
        embedded.start(home, durable=False)
        embedded.stop(home)
        with pytest.raises(DatabaseUnavailable, match=r"are only \d+: set LODE_PG_BIN to binaries of version"):
            upgrade_cluster(home, bin_dir=older)
        assert upgrade_cluster(home) is None


def test_missing_old_binaries_are_named_with_where_to_get_them(home: Path, older: Path, tmp_path: Path) -> None:
    major = major_of(older / "postgres")
    with pytest.raises(DatabaseUnavailable, match=f"no PostgreSQL {major} in {tmp_path}.*set LODE_OLD_PG_BIN"):
        upgrade_cluster(home, old_bin_dir=tmp_path)
    with pytest.raises(DatabaseUnavailable, match=f"no PostgreSQL {major} in"):
        upgrade_cluster(home, old_bin_dir=find_binaries().folder)
    (data(home) / "PG_VERSION").write_text("12\n")
    with pytest.raises(DatabaseUnavailable, match=r"no PostgreSQL 12 on PATH or in .*install postgresql-12"):
        upgrade_cluster(home)


def test_a_folder_that_is_no_cluster_is_said(home: Path) -> None:
    (data(home) / "PG_VERSION").unlink()
    with pytest.raises(DatabaseUnavailable, match="no version in PG_VERSION"):
        upgrade_cluster(home)


def test_somebody_who_works_with_the_server_is_named_and_left_alone(home: Path, older: Path) -> None:
    url = embedded.start(home, bin_dir=older, durable=False)
    with psycopg.connect(url, application_name="lode worker score") as worker:
        with pytest.raises(UpgradeError, match=r"1 client\(s\) work with the server \(lode worker score\): stop them"):
            upgrade_cluster(home)
        assert worker.execute("SELECT 1").fetchone() == (1,)
    assert embedded.status(home).url == url


def test_no_room_on_the_disk_is_seen_before(home: Path, older: Path) -> None:
    """A file full of holes is as long as the disk has room."""
    before = contents(embedded.start(home, bin_dir=older, durable=False))
    large = data(home) / "base/1/999999"
    large.touch()
    os.truncate(large, shutil.disk_usage(home).free)
    with pytest.raises(UpgradeError, match=r"MB free and the new cluster may need \d+: make room"):
        upgrade_cluster(home)
    large.unlink()
    assert is_as_it_was(home, older, before)


def test_a_kept_cluster_is_never_overwritten(home: Path) -> None:
    kept = home / f"postgres/data-{cluster_major(data(home))}"
    kept.mkdir()
    with pytest.raises(UpgradeError, match="of an earlier upgrade is still there: remove it"):
        upgrade_cluster(home)


def test_rows_that_differ_in_the_new_cluster_are_found_and_the_old_one_stays(home: Path, older: Path) -> None:
    """A generated column is computed anew; this one depends on the server, which it may not."""
    url = embedded.start(home, bin_dir=older, durable=False)
    execute(
        url,
        "CREATE FUNCTION liar() RETURNS text IMMUTABLE LANGUAGE sql AS 'SELECT current_setting(''server_version'')'",
        "CREATE TABLE lies (id int, told text GENERATED ALWAYS AS (liar()) STORED)",
        "INSERT INTO lies VALUES (1)",
    )
    before = contents(url)
    with pytest.raises(UpgradeError, match=r"table public\.lies in database lode isn't in the new cluster as it was"):
        upgrade_cluster(home)
    assert is_as_it_was(home, older, before)


def test_what_the_new_postgresql_refuses_is_said_in_one_line_and_the_old_cluster_stays(home: Path, older: Path) -> None:
    url = embedded.start(home, bin_dir=older, durable=False)
    execute(url, "CREATE TABLE odd (id int)", "ALTER TABLE odd ADD CHECK (id < current_setting('lode.most')::int)")
    execute(url, "SET lode.most = 5", "INSERT INTO odd VALUES (1)")
    before = contents(url)
    with pytest.raises(
        UpgradeError, match=r"unrecognized configuration parameter .*; the old cluster is as it was"
    ) as told:
        upgrade_cluster(home)
    assert "\n" not in str(told.value)
    assert is_as_it_was(home, older, before)


def test_a_database_that_lets_nobody_in_is_named_instead_of_left_out(home: Path, older: Path) -> None:
    url = embedded.start(home, bin_dir=older, durable=False)
    execute(url, "CREATE DATABASE closed ALLOW_CONNECTIONS false")
    before = contents(url)
    with pytest.raises(UpgradeError, match=r'"closed" is not currently accepting connections; the old .* as it was'):
        upgrade_cluster(home)
    assert is_as_it_was(home, older, before)


def test_a_second_upgrade_and_a_start_are_refused_while_one_runs(home: Path, older: Path) -> None:
    before = contents(embedded.start(home, bin_dir=older, durable=False))
    environment = {**os.environ, "LODE_HOME": str(home)}
    first = subprocess.Popen(COMMAND, env=environment)
    while not (home / "postgres/next").exists():
        assert first.poll() is None
        time.sleep(0.001)
    first.send_signal(signal.SIGSTOP)
    try:
        second = subprocess.Popen(COMMAND, env=environment, stderr=subprocess.PIPE, text=True)
        with pytest.raises(DatabaseUnavailable, match="another `lode` upgrades"):
            embedded.start(home, bin_dir=older)
        assert "another `lode` upgrades" in second.communicate()[1]
        assert second.returncode == 1
    finally:
        first.send_signal(signal.SIGCONT)
    assert first.wait() == 0
    assert contents(embedded.start(home)) == before


def test_the_command_says_what_it_did_and_what_it_keeps(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LODE_HOME", str(home))
    kept = home / f"postgres/data-{cluster_major(data(home))}"
    done = json.loads(CliRunner().invoke(cli, ["upgrade", "--json"], catch_exceptions=False).stdout)
    assert (done["upgraded"], done["to"]) == (True, find_binaries().major())
    assert [one["folder"] for one in done["kept"]] == [str(kept)]
    assert done["kept"][0]["bytes"] > 1_000_000
    again = CliRunner().invoke(cli, ["upgrade"], catch_exceptions=False)
    assert again.exit_code == 0
    assert f"nothing to upgrade; the cluster: PostgreSQL {done['to']}" in again.stdout
    assert f"the old cluster is kept in {kept}" in again.stdout
    monkeypatch.setenv("LODE_DATABASE_URL", "postgresql://somewhere/else")
    assert "LODE_DATABASE_URL is set" in CliRunner().invoke(cli, ["upgrade"], catch_exceptions=False).stdout
