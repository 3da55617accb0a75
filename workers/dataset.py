"""Training tables from the registry: a recorded query, written, and asked again to see whether it still says the same.

The format of the table is that of predictors.training_table; the rows are those of registry.training_rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy.orm import Session

from predictors.code_version import code_version
from registry.errors import LodeError
from registry.exporters.files import destination
from registry.models import TrainingSet
from registry.training_rows import TrainingQuery, training_rows
from workers.select import named_model

if TYPE_CHECKING:
    from predictors.training_table import Part

Progress = Callable[[int], None]
EVERY = 500


@dataclass(frozen=True)
class PartCheck:
    """A table that a model learnt from, then and now.

    same: None where it came from a file, which nobody can ask for again
    changed: names of the columns whose values differ
    """

    name: str
    same: bool | None
    rows: int
    sha256: str
    rows_now: int | None = None
    sha256_now: str | None = None
    changed: tuple[str, ...] = ()
    query: dict[str, Any] | None = None

    def __str__(self) -> str:
        if self.same is None:
            return f"{self.name}: {self.rows} rows of a file, not of a query: keep the file, SHA-256 {self.sha256}"
        if self.same:
            return f"{self.name}: the same {self.rows} rows"
        grown = f"{self.rows} rows then, {self.rows_now} now; " if self.rows != self.rows_now else ""
        return f"{self.name}: {grown}other values in {', '.join(self.changed)}"


def write_dataset(session: Session, query: TrainingQuery, path: Path, progress: Progress) -> Part:
    """Write the table, whole or not at all: the same query, the same bytes. Raises LodeError for no rows at all."""
    from predictors.training_table import write_rows

    rows = _counted(training_rows(session, query), progress)
    with destination(path, "parquet") as sink:
        found = write_rows(rows, sink, _said(query))
        if not found.rows:
            raise LodeError("no entry to learn from: nothing at this level matches (`lode place` places what is new)")
    return found.part(path.name, level=query.level, query=_said(query))


def check_model(session: Session, name: str, progress: Progress) -> list[PartCheck]:
    """Ask the queries again that a model's training set came from, and compare. Raises NotFound."""
    training_set = session.get_one(TrainingSet, named_model(session, name).training_set_id)
    return [_check(session, dict(part), progress) for part in training_set.parts]


def _check(session: Session, part: dict[str, Any], progress: Progress) -> PartCheck:
    from predictors.training_table import ContentHash, batches

    then = {"name": part["name"], "rows": part["rows"], "sha256": part["sha256"], "query": part["query"]}
    if part["query"] is None:
        return PartCheck(same=None, **then)
    now = ContentHash()
    for batch in batches(_counted(training_rows(session, TrainingQuery.of(part["query"])), progress)):
        now.update(batch)
    found, before = now.columns(), part["columns"]
    changed = tuple(column for column in before if before[column] != found.get(column))
    same = now.hexdigest() == part["sha256"]
    return PartCheck(same=same, rows_now=now.rows, sha256_now=now.hexdigest(), changed=changed, **then)


def as_json(checks: Sequence[PartCheck]) -> dict[str, Any]:
    """`same`: null where a part can't be asked for again, or where no part is known."""
    answers = [check.same for check in checks]
    same = False if False in answers else None if None in answers or not answers else True
    return {"same": same, "code_version": code_version(), "parts": [asdict(check) for check in checks]}


def _said(query: TrainingQuery) -> dict[str, Any]:
    from predictors.training_table import COLUMNS

    return {**query.told(), "columns": list(COLUMNS), "code_version": code_version()}


def _counted(rows: Iterable[dict[str, Any]], progress: Progress) -> Iterator[dict[str, Any]]:
    done = 0
    for done, row in enumerate(rows, start=1):
        yield row
        if done % EVERY == 0:
            progress(done)
    progress(done)
