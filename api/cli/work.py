"""lode score | label | place | worker run | work list | work retry."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import click

from api.cli.numbers import FiniteRange
from api.cli.output import Advance, as_json, print_json, print_table, progress

if TYPE_CHECKING:
    from workers.engines.base import Machine
    from workers.loop import Daemon, Outcome

KINDS = ("search", "score", "refine", "label", "place")


def parse_family(text: str) -> tuple[str, ...]:
    """Elements as `chosen_elements` takes them; symbols alone stay in their order. Raises SettingsError."""
    from registry.identity.composition import ATOMIC_NUMBERS
    from workers.candidates.elements import chosen_elements

    family = tuple(dict.fromkeys(text.replace(",", " ").split()))
    return family if family and ATOMIC_NUMBERS.keys() >= set(family) else chosen_elements(text)


@click.command()
def score() -> None:
    """Score with one member what was generated, and with the ensemble what was picked for it."""
    _drain(("score", "refine"))


@click.command()
def label() -> None:
    """Label everything that was selected; ends when nothing waits. Run it in several terminals to share the work."""
    _drain(("label", "place"))


@click.command()
def place() -> None:
    """Bring the hull states up to date with the labels."""
    _drain(("place",))


@click.group()
def worker() -> None:
    """Daemons that do the work."""


@worker.command("run")
@click.argument("kinds", nargs=-1, required=True, type=click.Choice(KINDS))
@click.option("--drain", is_flag=True, help="End when nothing of these kinds is left.")
@click.option(
    "--poll",
    default=2.0,
    show_default=True,
    type=FiniteRange(0, 3600, min_open=True),
    help="Seconds between looks when there is nothing to do.",
)
@click.option("--verbose", is_flag=True, help="Log every row.")
def run(kinds: Sequence[str], drain: bool, poll: float, verbose: bool) -> None:
    """Serve these KINDS of work until stopped (SIGTERM or Ctrl-C: what is in hand is finished, the rest given back)."""
    import logging

    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, format="%(asctime)s %(name)s %(message)s")
    _loop(kinds, drain=drain, poll=poll, verbose=verbose)


@click.group()
def work() -> None:
    """The work that waits, runs or is dead."""


@work.command("list")
@click.option("--dead", is_flag=True, help="Only rows that were given up.")
@click.option("--limit", default=50, show_default=True)
@as_json
def list_(dead: bool, limit: int, as_json: bool) -> None:
    """Rows of work with their last error."""
    import sqlalchemy as sa

    from api.cli.database import open_registry

    where = "WHERE state = 'dead'" if dead else ""
    columns = ["id", "kind", "subject_id", "target_id", "state", "attempts", "run_after", "error_class", "error"]
    query = sa.text(f"SELECT {', '.join(columns)} FROM work {where} ORDER BY id LIMIT :limit")  # noqa: S608  (own words)
    with open_registry().connect() as connection:
        rows = [dict(row) for row in connection.execute(query, {"limit": limit}).mappings()]
    print_json(rows) if as_json else print_table(rows, columns)


@work.command("retry")
@click.argument("kind", required=False, type=click.Choice(KINDS))
def retry(kind: str | None) -> None:
    """Revive dead rows, of one KIND or all."""
    from api.cli.database import open_registry
    from registry import queue
    from registry.states import Kind

    revived = queue.retry(open_registry(), Kind(kind) if kind else None)
    click.echo(f"{revived} rows wait again")


EXTRAS = {
    "score": (("torch",), "predictors"),
    "refine": (("torch",), "predictors"),
    "label": (("sevenn", "chgnet", "gpaw"), "potentials"),
}
"""Kind -> modules, of which one has to be here, and the extra that brings them."""


def daemons_of(kinds: Sequence[str]) -> list[Daemon]:
    """One daemon for each kind, in the order given. Raises MissingExtra for a kind that can't work here."""
    from registry.errors import MissingExtra
    from registry.states import Kind, Stage
    from workers.engines.base import engine_of
    from workers.label import LabelDaemon
    from workers.place import PlaceDaemon
    from workers.score import ScoreDaemon
    from workers.search import SearchDaemon

    makers: dict[Kind, Callable[[], Daemon]] = {
        Kind.SEARCH: SearchDaemon,
        Kind.SCORE: lambda: ScoreDaemon(Stage.SINGLE),
        Kind.REFINE: lambda: ScoreDaemon(Stage.ENSEMBLE),
        Kind.LABEL: lambda: LabelDaemon(partial(engine_of, machine=_machine())),
        Kind.PLACE: PlaceDaemon,
    }
    for modules, extra in (EXTRAS[kind] for kind in kinds if kind in EXTRAS):
        if not any(importlib.util.find_spec(module) for module in modules):
            raise MissingExtra(modules[0], extra)
    return [makers[Kind(kind)]() for kind in dict.fromkeys(kinds)]


def _machine() -> Machine:
    """As the settings have it."""
    import shlex

    from registry.settings import load_settings
    from workers.engines.base import Machine

    settings = load_settings()
    return Machine(tuple(shlex.split(settings.mpi)), settings.scratch)


def _drain(kinds: Sequence[str]) -> None:
    with progress() as advance:
        _loop(kinds, drain=True, poll=2.0, advance=advance)


def _loop(
    kinds: Sequence[str], *, drain: bool, poll: float, verbose: bool = False, advance: Advance | None = None
) -> None:
    from api.cli.database import open_registry
    from registry import queue
    from registry.states import Kind
    from workers.loop import Failed, Loop

    engine = open_registry("lode worker")
    total = sum(queue.open_work(engine, Kind(kind)) for kind in kinds)
    done = failed = 0

    def told(outcome: Outcome) -> None:
        nonlocal done, failed
        done += 1
        failed += isinstance(outcome, Failed)
        if advance is not None:
            advance(" and ".join(kinds), done, max(done, total))
        if verbose:
            click.echo(f"{outcome.claim.kind} {outcome.claim.subject_id}: {_result(outcome)}", err=True)

    loop = Loop(engine, daemons_of(kinds), poll_seconds=poll, drain=drain, on_outcome=told)
    loop.stop_on_signals()
    loop.run()
    if drain:
        click.echo(f"{done - failed} done, {failed} failed", err=True)
    if drain and failed:
        sys.exit(1)


def _result(outcome: Outcome) -> str:
    from workers.loop import Failed

    return f"{outcome.failure.error_class}: {outcome.failure}" if isinstance(outcome, Failed) else "done"
