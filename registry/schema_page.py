"""docs/schema.md, written from the tables of registry/models and the comments on the views.

python -m registry.schema_page docs/schema.md
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterable, Iterator
from importlib import resources
from pathlib import Path

from sqlalchemy import CheckConstraint, Column, DefaultClause, ForeignKeyConstraint, Index, Table, UniqueConstraint
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex

from registry.models import Base

HEAD = """\
# The schema

Made by `make docs` from `registry/models/`, `registry/views/` and `registry/analytics/`; a test fails where this page
lags behind them. The way of the data through these tables is in [flow.md](flow.md), examples for analysts and the roles
are in [analytics.md](analytics.md).

Every `id` is this registry's own; what is equal in every registry is `structure.public_id`.
"""
DIALECT = postgresql.dialect()  # type: ignore[no-untyped-call]
LITERAL = "'((?:[^']|'')*)'"
COMMENT = re.compile(r"COMMENT ON (?:VIEW ([\w.]+)|COLUMN ([\w.]+)\.(\w+)) IS\s+((?:'(?:[^']|'')*'\s*)+);")


def schema_page() -> str:
    """The whole page."""
    parts = [HEAD, "## Diagram\n", diagram(), "## Tables\n", *map(_table, _tables()), "## Views\n"]
    return "\n".join([*parts, *map(_view, view_comments().items())])


def diagram() -> str:
    """A Mermaid diagram: each table with its keys, a line for each foreign key."""
    boxes = [_box(table) for table in _tables()]
    lines = [_line(key) for table in _tables() for key in _foreign_keys(table)]
    return "\n".join(["```mermaid", "erDiagram", *boxes, *lines, "```", ""])


def view_comments() -> dict[str, dict[str, str]]:
    """View -> column -> comment, as the files that make the views say; the view's own under ""."""
    found: dict[str, dict[str, str]] = {}
    for file in _view_files():
        for view, of_column, column, literals in COMMENT.findall(file.read_text()):
            found.setdefault(view or of_column, {})[column] = _joined(literals)
    return found


def _view_files() -> list[Path]:
    folders = [Path(str(resources.files("registry") / name)) for name in ("views", "analytics")]
    return [file for folder in folders for file in sorted(folder.glob("*.sql"))]


def _joined(literals: str) -> str:
    """SQL makes one string of literals on neighbouring lines."""
    return "".join(part.replace("''", "'") for part in re.findall(LITERAL, literals))


def _tables() -> list[Table]:
    """A table after those that it refers to."""
    return Base.metadata.sorted_tables


def _foreign_keys(table: Table) -> list[ForeignKeyConstraint]:
    return sorted(table.foreign_key_constraints, key=lambda key: list(key.column_keys))


def _box(table: Table) -> str:
    marked = [(column, _marks(column)) for column in table.columns]
    rows = [f"        {_mermaid_type(column)} {column.name} {marks}" for column, marks in marked if marks]
    return "\n".join([f"    {table.name} {{", *rows, "    }"])


def _marks(column: Column[object]) -> str:
    unique = any(_is_unique(one, column) for one in column.table.constraints)
    wanted = {"PK": column.primary_key, "FK": bool(column.foreign_keys), "UK": unique}
    return ", ".join(mark for mark, has in wanted.items() if has)


def _is_unique(constraint: object, column: Column[object]) -> bool:
    return isinstance(constraint, UniqueConstraint) and list(constraint.columns) == [column]


def _mermaid_type(column: Column[object]) -> str:
    """One word, as Mermaid wants it."""
    return re.sub(r"\W", "_", _type(column).split(" collate")[0])


def _line(key: ForeignKeyConstraint) -> str:
    """`parent ||--o{ child`: exactly one or, where the column may be null, at most one parent; one child if unique."""
    columns = list(key.columns)
    one = "|o" if any(column.nullable for column in columns) else "||"
    many = "o|" if list(key.table.primary_key.columns) == columns else "o{"
    return f'    {key.referred_table.name} {one}--{many} {key.table.name} : "{", ".join(key.column_keys)}"'


def _table(table: Table) -> str:
    rows = [_row(column) for column in table.columns]
    head = [f"### {table.name}", "", _docstring(table), "", "| column | type | null | meaning |", "|---|---|---|---|"]
    return "\n".join([*head, *rows, "", *_rules(table), ""])


def _row(column: Column[object]) -> str:
    null = "yes" if column.nullable else ""
    return f"| `{column.name}` | {_type(column)} | {null} | {_cell(_meaning(column))} |"


def _docstring(table: Table) -> str:
    of = next(mapper.class_ for mapper in Base.registry.mappers if mapper.local_table is table)
    return inspect.getdoc(of) or ""


def _type(column: Column[object]) -> str:
    written = str(column.type.compile(dialect=DIALECT))
    name, _, collation = written.partition(" COLLATE ")
    name = name.lower().replace("timestamp with time zone", "timestamptz")
    return f"{name} collate {collation}" if collation else name


def _meaning(column: Column[object]) -> str:
    """The comment, what the column refers to, and what it is when nothing is said."""
    alone = [key for key in column.foreign_keys if key.constraint is not None and len(key.constraint.columns) == 1]
    keys = sorted(f"-> `{key.target_fullname}`" for key in alone)
    default = column.server_default
    defaults = [f"default {default.arg}"] if isinstance(default, DefaultClause) else []
    return "; ".join([*filter(None, [column.comment]), *keys, *defaults])


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _rules(table: Table) -> Iterator[str]:
    """Keys, checks and indexes, in the words of SQL."""
    yield f"- primary key ({_names(table.primary_key.columns)})"
    checks = [one for one in table.constraints if isinstance(one, CheckConstraint)]
    uniques = [one for one in table.constraints if isinstance(one, UniqueConstraint)]
    yield from sorted(f"- {_unique(one)}" for one in uniques)
    yield from (f"- {_together(key)}" for key in _foreign_keys(table) if len(key.columns) > 1)
    yield from sorted(f"- check `{one.sqltext}`" for one in checks)
    yield from sorted(f"- {_index(one)}" for one in table.indexes)


def _names(columns: Iterable[Column[object]]) -> str:
    return ", ".join(column.name for column in columns)


def _unique(constraint: UniqueConstraint) -> str:
    nulls = constraint.dialect_options["postgresql"]["nulls_not_distinct"]
    return f"unique{' nulls not distinct' if nulls else ''} ({_names(constraint.columns)})"


def _together(key: ForeignKeyConstraint) -> str:
    targets = ", ".join(element.column.name for element in key.elements)
    return f"foreign key ({_names(key.columns)}) -> {key.referred_table.name} ({targets})"


def _index(index: Index) -> str:
    """What stands behind the table's name in CREATE INDEX."""
    written = str(CreateIndex(index).compile(dialect=DIALECT))
    _, _, what = written.partition(f" ON {DIALECT.identifier_preparer.format_table(index.table)} ")  # type: ignore[arg-type]
    return f"{'unique ' if index.unique else ''}index `{what}`"


def _view(view: tuple[str, dict[str, str]]) -> str:
    name, columns = view
    rows = [f"| `{column}` | {_cell(comment)} |" for column, comment in columns.items() if column]
    head = ["| column | meaning |", "|---|---|", *rows, ""] if rows else []
    return "\n".join([f"### {name}", "", f"{columns['']}.", "", *head])


def main() -> None:
    """Write the page where the first argument says."""
    Path(sys.argv[1]).write_text(schema_page())


if __name__ == "__main__":
    main()
