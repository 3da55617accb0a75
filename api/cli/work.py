"""lode score | label | place | worker run | work list | work retry."""

from __future__ import annotations

import importlib.util
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import click

from api.cli.database import DEFAULT_LEVEL
from api.cli.given import refuse_given
from api.cli.numbers import Duration, FiniteRange
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
@click.option("--filter", "filter_", help="First ask for labels of the crystals that pass, duplicates left out.")
@click.option("--level", default=DEFAULT_LEVEL, show_default=True, help="With --filter: at this level.")
@click.option("--of", metavar="LEVEL", help="With --filter: the level that its energies are of.  [default: --level]")
@click.option("--limit", type=click.IntRange(1), help="With --filter: ask for at most so many that are new.")
@click.option("--ask-only", is_flag=True, help="With --filter: leave the work to daemons.")
def label(filter_: str | None, level: str, of: str | None, limit: int | None, ask_only: bool) -> None:
    """Label everything that was selected; ends when nothing waits. Run it in several terminals to share the work."""
    if filter_ is None:
        refuse_given(("level", "of", "limit", "ask_only"), "without --filter nothing is asked for")
    else:
        _ask(filter_, level, of or level, limit, not ask_only)
    if not ask_only:
        _drain(("label", "place"))


def _ask(filter_: str, level: str, of: str, limit: int | None, works: bool) -> None:
    from sqlalchemy.orm import Session

    from api.cli.database import open_registry
    from registry.hull.level_rows import level_id, stored_level
    from workers.ask_labels import ask_matching, ship
    from workers.engines.base import engine_of

    with Session(open_registry()) as session, session.begin():
        ship(session, level)
        wanted = ask_matching(session, level, filter_, of, limit)
        if works:
            engine_of(stored_level(session, level_id(session, level)), machine_of())  # says what is missing here
    click.echo(
        f"{wanted.asked} asked for at {level}, {wanted.waiting} asked for before, {wanted.labelled} labelled", err=True
    )
    if wanted.given_up:
        click.echo(f"{wanted.given_up} were given up before: `lode work retry label` tries again", err=True)


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
@click.option(
    "--walltime",
    type=Duration(),
    help="Have ended by then, counted from now: 23:50:00, or seconds. As a scheduler's limit says.",
)
@click.option(
    "--patience",
    default=10.0,
    show_default=True,
    type=FiniteRange(0, 86_400),
    help="Seconds that what is in hand has to be finished in after a stop.",
)
@click.option("--verbose", is_flag=True, help="Log every row.")
def run(kinds: Sequence[str], drain: bool, poll: float, walltime: float | None, patience: float, verbose: bool) -> None:
    """Serve these KINDS of work until stopped.

    SIGTERM, SIGUSR1, Ctrl-C and the walltime stop it: what is in hand is finished where that takes no longer than the
    patience; else it goes back with the steps that it has done, and the next attempt goes on from there.
    """
    import logging

    from workers.loop import STORING_SECONDS

    if walltime is not None and walltime <= patience + STORING_SECONDS:
        raise click.UsageError(
            f"--walltime leaves no time: {patience:g} s of patience and {STORING_SECONDS:g} s to store are kept of it"
        )
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, format="%(asctime)s %(name)s %(message)s")
    _loop(kinds, drain=drain, poll=poll, verbose=verbose, walltime=walltime, patience=patience)


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
    "label": (("sevenn", "chgnet", "gpaw", "custodian"), "potentials"),
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
        Kind.LABEL: lambda: LabelDaemon(partial(engine_of, machine=machine_of())),
        Kind.PLACE: PlaceDaemon,
    }
    for modules, extra in (EXTRAS[kind] for kind in kinds if kind in EXTRAS):
        if not any(importlib.util.find_spec(module) for module in modules):
            raise MissingExtra(modules[0], extra)
    return [makers[Kind(kind)]() for kind in dict.fromkeys(kinds)]


def machine_of() -> Machine:
    """As the settings have it."""
    import shlex

    from registry.settings import load_settings
    from workers.engines.base import Machine
    from workers.engines.vasp_changes import parallel_tags

    settings = load_settings()
    return Machine(
        mpi=tuple(shlex.split(settings.mpi)),
        scratch=settings.scratch,
        memory=None if settings.memory is None else int(settings.memory * 2**30),
        vasp=tuple(shlex.split(settings.vasp)),
        potcars=settings.potcars,
        vasp_incar=parallel_tags(settings.vasp_incar),
    )


def _drain(kinds: Sequence[str]) -> None:
    with progress() as advance:
        _loop(kinds, drain=True, poll=2.0, advance=advance)


def _loop(
    kinds: Sequence[str],
    *,
    drain: bool,
    poll: float,
    verbose: bool = False,
    advance: Advance | None = None,
    walltime: float | None = None,
    patience: float = 10.0,
) -> None:
    from api.cli.database import open_registry
    from registry import queue
    from registry.states import Kind
    from workers.loop import Failed, Loop

    engine = open_registry("lode worker")
    total = sum(queue.open_work(engine, Kind(kind)) for kind in kinds)
    done, again, given_up = 0, 0, Counter[str]()

    def told(outcome: Outcome) -> None:
        nonlocal done, again
        if isinstance(outcome, Failed) and outcome.delay is None:
            given_up[outcome.failure.error_class] += 1
        else:
            done += not isinstance(outcome, Failed)
            again += isinstance(outcome, Failed)
        if advance is not None:
            ended = done + given_up.total()
            advance(" and ".join(kinds), ended, max(ended, total))
        if verbose:
            click.echo(f"{outcome.claim.kind} {outcome.claim.subject_id}: {_result(outcome)}", err=True)

    loop = Loop(engine, daemons_of(kinds), poll, drain, patience, walltime, told)
    loop.stop_on_signals()
    loop.run()
    if drain:
        classes = ", ".join(f"{count} {name}" for name, count in given_up.most_common())
        told_why = f" ({classes}); `lode work list --dead` says why" if given_up else ""
        tried = f"; {again} attempts failed and were made again" if again else ""
        click.echo(f"{done} done, {given_up.total()} given up{told_why}{tried}", err=True)
    if drain and given_up:
        sys.exit(1)


def _result(outcome: Outcome) -> str:
    from workers.loop import Failed

    return f"{outcome.failure.error_class}: {outcome.failure}" if isinstance(outcome, Failed) else "done"
