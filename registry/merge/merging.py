"""Another registry into this one: batch by batch by binary COPY, each row known by what is equal everywhere.

Per table a temporary `theirs_<table>` says which id of ours stands for which of theirs, so that nothing grows here.
A batch is one commit. Rows that are there already are left as they are: a merge that was killed is run again.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
from psycopg import sql

from registry.errors import DatabaseError, LodeError
from registry.imports import IMPORT_LOCK
from registry.merge.conflicts import conflicts_of
from registry.merge.origin import (
    Connection,
    begin_snapshot,
    check_revision,
    connect,
    refuse_itself,
    refuse_other_levels,
)
from registry.merge.report import MergeReport
from registry.merge.tables import TABLES, MergedTable
from registry.merge.twins import bring_links, link_twins

Progress = Callable[[str, int, int], None]


def merge(ours_url: str, theirs_url: str, progress: Progress, *, dry_run: bool = False) -> MergeReport:
    """Take the other registry's rows into ours, and say what came.

    `progress` hears (table, rows done, rows in all). A dry run does it all in one transaction and takes it back.

    Raises SchemaOutdated, DatabaseUnavailable, LevelMismatch, or LodeError for the registry itself or missing rights;
    nothing is written then.
    """
    check_revision(theirs_url)
    with connect(ours_url) as ours, connect(theirs_url) as theirs:
        begin_snapshot(theirs)
        refuse_itself(ours, theirs)
        _refuse_without_rights(ours)
        with _alone(ours):
            refuse_other_levels(ours, theirs)
            report = MergeReport()
            for table in TABLES:
                _Merger(ours, theirs, table, report, dry_run).run(progress)
            if dry_run:
                ours.rollback()
    return report


@contextmanager
def _alone(ours: Connection) -> Iterator[None]:
    """No import and no other merge meanwhile; the lock is that of `begin_import`, held over many commits."""
    ours.prepare_threshold = None  # plans for the few rows of a first batch, and for tables that are made anew
    ours.execute("SET idle_in_transaction_session_timeout = 0")
    ours.execute("SELECT pg_advisory_lock(%s)", [IMPORT_LOCK])
    ours.commit()
    try:
        yield
    except psycopg.Error as error:
        told = " ".join(str(error).split())
        raise DatabaseError(f"the merge stopped: {told}; run it again, and it goes on where it was") from error


def _refuse_without_rights(ours: Connection) -> None:
    names = [f"public.{table.name}" for table in TABLES]
    query = "SELECT name FROM unnest(%s::text[]) AS name WHERE NOT has_table_privilege(name, 'INSERT')"
    missing = ", ".join(row[0].removeprefix("public.") for row in ours.execute(query, [names]))
    if missing:
        raise LodeError(f"this account may not write {missing}: merge with an account of the role lode_owner")


class _Merger:
    """Merges one table."""

    def __init__(
        self, ours: Connection, theirs: Connection, table: MergedTable, report: MergeReport, dry_run: bool
    ) -> None:
        self._ours = ours
        self._theirs = theirs
        self._table = table
        self._report = report
        self._dry_run = dry_run
        self._fresh: list[str] = []

    def run(self, progress: Progress) -> None:
        self._prepare()
        name = self._table.name
        total, done = self._count(), 0
        for first, last in self._ranges():
            done += self._copy(first, last)
            self._store()
            self._commit()
            progress(name, done, total)
        self._do("DROP TABLE incoming")
        self._commit()

    def _prepare(self) -> None:
        self._report.add(self._table.name, 0, 0)
        self._do("CREATE TEMP TABLE incoming AS SELECT * FROM {table} WITH NO DATA")
        if self._table.has_id:
            self._do("CREATE TEMP TABLE {map} (theirs bigint PRIMARY KEY, ours bigint NOT NULL)")
            self._do("CREATE INDEX ON {map} (ours)")

    def _commit(self) -> None:
        if not self._dry_run:
            self._ours.commit()

    def _count(self) -> int:
        row = self._theirs.execute(self._sql("SELECT count(*) FROM {table}")).fetchone()
        return int(row[0]) if row else 0

    def _ranges(self) -> Iterator[tuple[int, int]]:
        """Ranges (first, last] of the key that hold a batch each, or one key's rows where those are more."""
        query = self._sql(
            "SELECT max({key}) FROM (SELECT {key} FROM {table} WHERE {key} > %s ORDER BY {key} LIMIT {batch}) AS batch"
        )
        first = 0
        while (row := self._theirs.execute(query, [first]).fetchone()) and row[0] is not None:
            yield first, row[0]
            first = row[0]

    def _copy(self, first: int, last: int) -> int:
        """Blocks pass through as they come: nothing is decoded here."""
        read = "COPY (SELECT {columns} FROM {table} WHERE {key} > {first} AND {key} <= {last} ORDER BY {key}) TO STDOUT"
        write = "COPY incoming ({columns}) FROM STDIN"
        limits = {"first": sql.Literal(first), "last": sql.Literal(last)}
        self._do("TRUNCATE incoming")
        with self._theirs.cursor() as source, self._ours.cursor() as target:
            with (
                source.copy(self._sql(read + " (FORMAT BINARY)", **limits)) as blocks,
                target.copy(self._sql(write + " (FORMAT BINARY)")) as sink,
            ):
                for block in blocks:
                    sink.write(block)
            return target.rowcount

    def _store(self) -> None:
        """From `incoming`, by `it` with the ids of ours, into the table."""
        name = self._table.name
        read = self._translate()
        new = bring_links(self._ours) if name == "duplicate" else self._insert()
        if self._table.has_id:
            self._do(
                "INSERT INTO {map} SELECT it.id, min(ours.id) FROM it JOIN {table} AS ours ON {same} GROUP BY it.id"
            )
        if self._table.refresh:
            self._do(self._table.refresh)
        if name == "structure":
            self._report.twins += link_twins(self._ours, self._fresh)
        self._report.add(name, read, new)
        self._report.object_to(conflicts_of(self._ours, name))
        self._do("DROP TABLE it")

    def _translate(self) -> int:
        """The rows that arrived; those whose owner stays behind (frames of a label that ours has already) don't."""
        nullable = {column.name for column in self._table.table.columns if column.nullable}
        numbers = dict(zip(self._table.refs, itertools.count(), strict=False))
        columns = [
            sql.SQL("m{}.ours AS {}").format(sql.Literal(numbers[one]), sql.Identifier(one))
            if one in numbers
            else sql.SQL("incoming.{}").format(sql.Identifier(one))
            for one in self._table.columns
        ]
        joins = [
            sql.SQL("{how} JOIN {map} AS m{n} ON m{n}.theirs = incoming.{column}").format(
                how=sql.SQL("LEFT" if column in nullable else "INNER"),
                map=sql.Identifier(f"theirs_{owner}"),
                n=sql.Literal(numbers[column]),
                column=sql.Identifier(column),
            )
            for column, owner in self._table.refs.items()
        ]
        query = sql.SQL("CREATE TEMP TABLE it AS SELECT {} FROM incoming {}")
        self._ours.execute(query.format(sql.SQL(", ").join(columns), sql.SQL(" ").join(joins)))
        self._do("ANALYZE it")
        row = self._ours.execute("SELECT count(*) FROM incoming").fetchone()
        return int(row[0]) if row else 0

    def _insert(self) -> int:
        values = [
            sql.SQL(self._table.values[one])
            if one in self._table.values
            else sql.SQL("it.{}").format(sql.Identifier(one))
            for one in self._table.stored_columns
        ]
        order = sql.SQL("ORDER BY it.id" if self._table.has_id else "")
        query = (
            "INSERT INTO {table} ({stored}) SELECT {values} FROM it "
            "WHERE NOT EXISTS (SELECT FROM {table} AS ours WHERE {same}) {order} ON CONFLICT DO NOTHING {returning}"
        )
        structures = self._table.name == "structure"
        returning = sql.SQL("RETURNING public_id" if structures else "")
        statement = self._sql(query, values=sql.SQL(", ").join(values), order=order, returning=returning)
        cursor = self._ours.execute(statement)
        self._fresh = [row[0] for row in cursor] if structures else []
        return cursor.rowcount

    def _do(self, statement: str) -> None:
        self._ours.execute(self._sql(statement))

    def _sql(self, statement: str, **parts: sql.Composable) -> sql.Composed:
        """The statement with the names of this table in it."""
        table = self._table
        return sql.SQL(statement).format(
            table=sql.Identifier(table.name),
            map=sql.Identifier(f"theirs_{table.name}"),
            key=sql.Identifier(table.key),
            same=sql.SQL(table.same),
            batch=sql.Literal(table.batch),
            columns=_names(table.columns),
            stored=_names(table.stored_columns),
            **parts,
        )


def _names(columns: list[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, columns))
