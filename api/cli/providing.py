"""The part of `lode import` that asks providers on the net."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

import click

from api.cli.output import progress

if TYPE_CHECKING:
    from registry.importers.providers import Query
    from registry.imports import ImportReport

Command = TypeVar("Command", bound=Callable[..., Any])

OPTIONS = (
    click.option("--provider", default="", help="optimade:URL of any OPTIMADE server, or mp: the Materials Project."),
    click.option("--filter", "filter_", default="", help="Which structures, in OPTIMADE's grammar."),
    click.option("--chemsys", default="", help="Which chemical system of the Materials Project, with all in it: Li-O."),
    click.option("--energy", default="", help="The OPTIMADE server's own field of total energies, in eV per cell."),
    click.option("--limit", type=click.IntRange(min=1), help="Read no more than this many records of the provider."),
)


def provider_options(command: Command) -> Command:
    """What a provider can be asked."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command


def import_provider(
    query: Query, limit: int | None, level: str | None, source: str | None, licence: str | None, citation: str | None
) -> ImportReport:
    """Ask a provider and store what comes, on the provider's terms where none are given."""
    from sqlalchemy.orm import Session

    from api.cli.database import open_registry
    from registry.imported_levels import level_id_of
    from registry.importers.providers import open_provider
    from registry.provider_imports import import_delivery
    from registry.terms import SourceTerms

    engine, done = open_registry(), 0
    if level:
        with Session(engine) as session:  # never committed: an hour of reading shall not end at a wrong name
            level_id_of(session, level)
    delivery = open_provider(query)
    terms = SourceTerms(
        source or delivery.source,
        licence or delivery.licence,
        citation or delivery.citation,
        query.non_commercial if licence else delivery.non_commercial,
    )
    with progress() as advance:

        def count(records: int) -> None:
            nonlocal done
            done += records
            advance(f"reading {delivery.source}", done, 0)

        return import_delivery(engine, islice(delivery.items, limit), terms, level, count)
