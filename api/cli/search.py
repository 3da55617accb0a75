"""lode search add | list | structures."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from api.cli.database import DEFAULT_LEVEL
from api.cli.output import as_json, print_json, print_table

if TYPE_CHECKING:
    from registry.exporters.record import ExportedRecord
    from workers.candidates.random_search import RandomSearch, Settings, Tally

WHOLE = click.IntRange(1)


def _drawing(command: Callable[..., None]) -> Callable[..., None]:
    """The options that say which structures are drawn."""
    for option in (
        click.option("--max-units", default=4, show_default=True, type=WHOLE, help="Formula units, at most."),
        click.option("--max-atoms", default=30, show_default=True, type=WHOLE, help="Of the primitive cell."),
        click.option("--seed", default=0, show_default=True, help="Another one gives other structures."),
        click.option("-n", "--structures", default=100, show_default=True, help="How many of each composition."),
    ):
        command = option(command)
    return command


@click.group()
def search() -> None:
    """Random structures of compositions whose structure isn't known."""


@search.command()
@click.argument("formulas", nargs=-1, required=True)
@click.option("--level", default=DEFAULT_LEVEL, show_default=True)
@_drawing
@as_json
def add(
    formulas: Sequence[str], level: str, structures: int, seed: int, max_atoms: int, max_units: int, as_json: bool
) -> None:
    """Ask for the structures of FORMULAS at a level; - reads them from the standard input, the first word of each line.

    `lode worker run search label place` makes and relaxes them; `lode search list` tells how far they are. Asked again
    with a larger number, a search goes on where it ended.
    """
    from sqlalchemy.orm import Session

    from api.cli.database import open_registry
    from registry.hull.level_rows import level_id
    from registry.searches import check_numbers

    check_numbers(structures, seed)
    with Session(open_registry("lode search")) as session:
        at = level_id(session, level)
        rows, refused = _ask_all(session, formulas, at, structures, seed, _settings(max_atoms, max_units))
    if as_json:
        print_json({"level": level, "data": rows, "refused": refused})
    else:
        _print_asked(rows, refused)
    if refused:
        sys.exit(1)


def _ask_all(
    session: Any, formulas: Sequence[str], level: int, structures: int, seed: int, settings: Settings
) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """What came of each formula, and why some were refused. Each is committed by itself."""
    from registry.errors import BadRecord, LodeError
    from registry.searches import ask

    rows, refused = [], []
    for word in _words(formulas):
        try:
            found = _search_of(word, settings)
            outcome = ask(session, found.amounts, level, structures, seed, asdict(settings))
            session.commit()
        except LodeError as error:
            session.rollback()
            bad = BadRecord(word[:80], str(error))
            refused.append({"record": bad.record, "reason": bad.reason})
            continue
        rows.append({"reduced_formula": found.formula, "seed": seed, "wanted": structures, "outcome": outcome.value})
    return rows, refused


def _print_asked(rows: Sequence[dict[str, Any]], refused: Sequence[dict[str, str]]) -> None:
    for bad in refused:
        formula = f"{bad['record']}: "  # most reasons begin with it
        click.echo(f"lode: {formula}{bad['reason'].removeprefix(formula)}", err=True)
    counts = {one: sum(row["outcome"] == one for row in rows) for one in ("added", "extended", "known")}
    click.echo(", ".join(f"{count} {one}" for one, count in counts.items()) + f", {len(refused)} refused")


@search.command("list")
@click.option("--level", help="Only searches at this level.")
@as_json
def list_(level: str | None, as_json: bool) -> None:
    """How far each search is, and the lowest structure that it has come to."""
    from api.cli.database import questions
    from registry.hull.level_rows import level_id
    from registry.searches import progress

    with questions() as session:
        if level is not None:
            level_id(session, level)
        rows = progress(session, level)
    columns = [
        "reduced_formula", "level", "seed", "wanted", "stored", "completed", "failed", "formation_energy_per_atom",
        "lowest_formation_energy_per_atom", "e_above_hull", "prototype", "error",
    ]  # fmt: skip
    print_json({"data": rows}) if as_json else print_table(rows, columns)


@search.command("structures")
@click.argument("formula")
@click.option("-o", "--out", required=True, help="An extxyz file, packed where its name ends in .gz; - the output.")
@_drawing
@as_json
def structures_(
    formula: str, out: str, structures: int, seed: int, max_atoms: int, max_units: int, as_json: bool
) -> None:
    """Write random structures of FORMULA into a file. Needs no database."""
    from api.cli.exporting import standard_output
    from registry.exporters import extxyz
    from registry.exporters.files import destination
    from registry.searches import check_numbers
    from workers.candidates.random_search import Tally

    if out == "-" and as_json:
        raise click.UsageError("the standard output takes the structures alone: name a file with --out")
    check_numbers(structures, seed)
    found, tally = _search_of(formula, _settings(max_atoms, max_units)), Tally()
    with standard_output() if out == "-" else destination(Path(out), "extxyz") as sink:
        written = extxyz.write(_records(found, structures, seed, tally), sink)
    told = {"reduced_formula": found.formula, "seed": seed, "written": written, "counts": dict(tally.outcomes)}
    if as_json:
        print_json({**told, "file": out})
    else:
        click.echo(f"{written} structures of {found.formula} written to {out}", err=out == "-")
    if written < structures:
        click.echo(f"lode: {structures - written} found no room: {dict(tally.outcomes)}", err=True)
        sys.exit(1)


def _records(found: RandomSearch, count: int, seed: int, tally: Tally) -> Iterator[ExportedRecord]:
    from registry.exporters.record import ExportedRecord
    from registry.identity.public_id import public_id
    from registry.terms import OWN

    for one in found.structures(count, seed, tally):
        told = {"operation": "random_search", "seed": seed, **one.arguments()}
        yield ExportedRecord(
            one.crystal, public_id(one.crystal), found.formula, OWN.name, OWN.licence, OWN.citation, metadata=told
        )


def _settings(max_atoms: int, max_units: int) -> Settings:
    from workers.candidates.random_search import Settings

    return Settings(most_atoms=max_atoms, most_units=max_units)


def _search_of(formula: str, settings: Settings) -> RandomSearch:
    """Raises FilterError for what is no formula, Unsearchable."""
    from registry.identity.composition import ATOMIC_NUMBERS
    from registry.query.values import formula_amounts
    from workers.candidates.random_search import RandomSearch

    amounts = {ATOMIC_NUMBERS[element]: count for element, count in formula_amounts(formula).items()}
    return RandomSearch(amounts, settings)


def _words(formulas: Sequence[str]) -> Iterator[str]:
    """In place of each - the first words of the lines of the standard input; empty lines and comments are none."""
    for formula in formulas:
        if formula != "-":
            yield formula
            continue
        with click.open_file("-", encoding="utf-8", errors="replace") as lines:
            words = (line.split() for line in lines)
            yield from (first for first, *_ in filter(None, words) if not first.startswith("#"))
