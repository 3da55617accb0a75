"""Crystals from providers into the registry: one transaction a batch, since a server may break off after hours."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from registry.imported_levels import level_id_of
from registry.importers.record import Item
from registry.imports import BATCH, Importer, ImportReport, begin_import
from registry.terms import SourceTerms


def import_delivery(
    engine: Engine,
    items: Iterable[Item],
    terms: SourceTerms,
    level: str | None,
    progress: Callable[[int], None],
) -> ImportReport:
    """Store records as they come. The network is waited for between transactions, never within one.

    Nothing is refused for having been read before: a server may have more by now, and what is there stays one.
    A batch of which nothing can be stored leaves no trace, not even its source or its level.
    """
    report = ImportReport()
    for batch in _batches(items):
        with Session(engine) as session:
            begin_import(session)
            level_id = level_id_of(session, level) if level else None
            part = Importer(session, terms, level_id).store(batch, progress)
            if len(part.refused) < part.read:
                session.commit()
        report.add(part)
    return report


def _batches(items: Iterable[Item]) -> Iterator[list[Item]]:
    iterator = iter(items)
    while batch := list(islice(iterator, BATCH)):
        yield batch
