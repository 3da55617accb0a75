"""lode compositions."""

from __future__ import annotations

import signal
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from api.cli.given import refuse_given
from api.cli.numbers import FiniteRange
from api.cli.output import Advance, as_json, progress

if TYPE_CHECKING:
    from workers.candidates.compositions.balances import ElementBalance
    from workers.candidates.compositions.enumeration import Compositions, Counts, Filter, Rules
    from workers.candidates.compositions.space import Space
    from workers.candidates.compositions.states import StateTable
    from workers.known_compositions import Known

SHARE = FiniteRange(0, 1)
MOST_LOOKED_AT = 10_000_000_000
OF_AN_ENUMERATION = frozenset(
    ("require", "min_elements", "max_elements", "max_amount", "max_atoms", "novel", "known", "limit", "count")
)
ENDS = {"complete": "", "limit": "; stopped at the limit", "interrupted": "; interrupted"}
SHOWN = 10
"""Of the lines that hold no formula."""

AT_ONCE = 4096
"""Lines that are made together."""


@dataclass(frozen=True)
class StatesAsked:
    """Which oxidation states count; given: words like Fe=2,3."""

    rare: float
    ionic: bool
    given: Sequence[str]

    def table(self, symbols: Sequence[str]) -> StateTable:
        from workers.candidates.compositions.states import StateTable, common_states

        common = common_states(symbols, self.rare, zero_for_metals=not self.ionic)
        return StateTable.of(common | _given_states(self.given, symbols))

    def of(self, symbols: Collection[str]) -> StatesAsked:
        """Without those given to other elements."""
        own = [word for word in self.given if word.partition("=")[0] in symbols]
        return StatesAsked(self.rare, self.ionic, own)


@dataclass(frozen=True)
class Asked:
    """What one call asks for."""

    table: StateTable
    rules: Rules
    space: Space
    required: Sequence[int]
    keep: Mapping[str, Filter]
    refused: Sequence[Exception]


@click.command()
@click.argument("formulas", nargs=-1)
@click.option("--elements", help="Symbols and groups: Li,Si,O; all,-radioactive,-noble; metals,O.")
@click.option("--require", default="", help="Elements that each composition holds.")
@click.option("--min-elements", default=2, show_default=True, type=int)
@click.option("--max-elements", default=3, show_default=True, type=int, help="Up to 6.")
@click.option("--max-amount", default=15, show_default=True, type=int, help="Atoms of one element.")
@click.option("--max-atoms", default=20, show_default=True, type=int, help="Atoms of the reduced formula.")
@click.option(
    "--between",
    default=2,
    show_default=True,
    type=click.IntRange(0, 2),
    help="Elements between two states.",
)
@click.option(
    "--rare", default=0.001, show_default=True, type=SHARE, help="States in a smaller share of reports don't count."
)
@click.option("--ionic", is_flag=True, help="No state 0 for metals.")
@click.option("--ordered", is_flag=True, help="Cations must be less electronegative than anions.")
@click.option("--states", multiple=True, metavar="Fe=2,3", help="States of an element instead of the common ones.")
@click.option("--novel", is_flag=True, help="Leave out the compositions of the registry.")
@click.option("--known", multiple=True, type=click.Path(path_type=Path), help="Leave out the formulas of a file.")
@click.option("--limit", type=click.IntRange(1), help="Stop after so many.")
@click.option("--count", is_flag=True, help="Only count.")
@as_json
def compositions(
    formulas: Sequence[str],
    elements: str | None,
    require: str,
    min_elements: int,
    max_elements: int,
    max_amount: int,
    max_atoms: int,
    between: int,
    rare: float,
    ionic: bool,
    ordered: bool,
    states: Sequence[str],
    novel: bool,
    known: Sequence[Path],
    limit: int | None,
    count: bool,
    as_json: bool,
) -> None:
    """Compositions whose oxidation states balance, one a line, with how they do; or how the FORMULAS do.

    An element may lie between two neighbouring states, as Fe in Fe3O4. What was looked at is counted at the end.

    lode compositions --elements Li,Si --novel | lode search add -
    """
    from workers.candidates.compositions.enumeration import Rules
    from workers.candidates.compositions.space import Bounds

    rules, asked = Rules(between, ordered), StatesAsked(rare, ionic, states)
    if bool(formulas) == bool(elements):
        raise click.UsageError("name either --elements or formulas")
    if formulas:
        refuse_given(OF_AN_ENUMERATION, "the formulas are named")
        _tell(formulas, rules, asked, as_json)
        return
    bounds = Bounds(min_elements, max_elements, max_amount, max_atoms)
    found = _asked(elements or "", require, bounds, rules, asked, novel, known, limit)
    _stream(found, limit, count, as_json)


def _asked(
    elements: str,
    require: str,
    bounds: Any,
    rules: Rules,
    states: StatesAsked,
    novel: bool,
    files: Sequence[Path],
    limit: int | None,
) -> Asked:
    from registry.errors import SettingsError
    from registry.identity.composition import ATOMIC_NUMBERS
    from workers.candidates.compositions.enumeration import space_of
    from workers.candidates.elements import chosen_elements

    required = chosen_elements(require) if require else ()
    symbols = (*chosen_elements(elements), *required)
    table = states.table(symbols)
    if stateless := set(required) & set(table.without_states):
        raise SettingsError(f"no oxidation state is known of {', '.join(sorted(stateless))}: give one with --states")
    numbers = [ATOMIC_NUMBERS[symbol] for symbol in required]
    space = space_of(table, bounds, numbers)
    if not space.size:
        raise SettingsError(
            f"no composition of {bounds.min_elements} to {bounds.max_elements} elements holds {len(required)} required "
            f"ones of {len(table)} with oxidation states" + _stateless(table)
        )
    if limit is None and space.size > MOST_LOOKED_AT:
        raise SettingsError(
            f"{space.size:,} compositions would be looked at, more than {MOST_LOOKED_AT:,}: name fewer elements, "
            "lower --max-elements, --max-amount or --max-atoms, or give a --limit"
        )
    known = _known(novel, files)
    keep = {"known": _unknown(known)} if novel or files else {}
    return Asked(table, rules, space, numbers, keep, known.refused)


def _given_states(given: Sequence[str], symbols: Sequence[str]) -> dict[str, list[int]]:
    """From Fe=2,3. Raise SettingsError for other words, an element given twice, or one that isn't asked for."""
    from registry.errors import SettingsError

    found: dict[str, list[int]] = {}
    for word in given:
        symbol, _, charges = word.partition("=")
        if symbol in found:
            raise SettingsError(f"--states {word}: {symbol} has states already: write Fe=2,3 for both")
        try:
            found[symbol] = [int(charge) for charge in charges.split(",")]
        except ValueError:
            raise SettingsError(f"--states {word}: write Fe=2,3 or Si=-4,-3") from None
        if symbol not in symbols:
            raise SettingsError(f"--states {word}: {symbol} isn't among the elements")
    return found


def _known(novel: bool, files: Sequence[Path]) -> Known:
    from workers.known_compositions import Known

    known = Known()
    for path in files:
        known.add_file(path)
    if novel:
        from api.cli.database import questions

        with questions() as session:
            known.add_registry(session)
    return known


def _unknown(known: Known) -> Filter:
    references = known.compositions()
    return lambda chunk: ~references.hold(chunk.keys)


def _stream(asked: Asked, limit: int | None, only_count: bool, as_json: bool) -> None:
    from registry.errors import SettingsError
    from workers.candidates.compositions.enumeration import Counts

    counts, written, ended = Counts(), 0, "complete"
    watched = sys.stderr.isatty() and (only_count or not sys.stdout.isatty())
    with progress() if watched else nullcontext(lambda *_: None) as advance:
        try:
            for chunk in _chunks(asked, counts, advance, limit):
                part = chunk.only(slice(0, None if limit is None else limit - written))
                written += len(part)
                if not only_count:
                    with _whole_lines():
                        _write(part, as_json)
                if written == limit:
                    ended = "limit"
                    break
        except KeyboardInterrupt:
            ended = "interrupted"
    _tell_counts(asked, counts, written, ended, as_json)
    if not counts.looked_at[:3].any() and ended == "complete":
        raise SettingsError("nothing balances: take more elements, --between 2, a lower --rare, or --states")
    if ended == "interrupted":
        sys.exit(1)


def _chunks(asked: Asked, counts: Counts, advance: Advance, limit: int | None) -> Iterator[Compositions]:
    from workers.candidates.compositions.enumeration import compositions as enumerate_

    size = min(AT_ONCE, limit or AT_ONCE)
    for chunk in enumerate_(asked.table, asked.space.bounds, asked.rules, asked.required, asked.keep, counts, size):
        advance("compositions", int(counts.looked_at.sum()), asked.space.size)
        yield chunk


@contextmanager
def _whole_lines() -> Iterator[None]:
    """An interrupt waits until what is being written is."""
    waiting: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: waiting.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if waiting:
        raise KeyboardInterrupt


def _write(chunk: Compositions, as_json: bool) -> None:
    from registry.identity.composition import Composition

    rows = zip(chunk.numbers.tolist(), chunk.amounts.tolist(), chunk.between.tolist(), chunk.balances(), strict=True)
    lines = []
    for numbers, amounts, between, balance in rows:
        formula = Composition(tuple(zip(numbers, amounts, strict=True))).reduced_formula
        lines.append(_line(formula, between, balance, as_json) + "\n")
    sys.stdout.writelines(lines)  # one by one: of a large piece Python loses the rest when a signal comes
    sys.stdout.flush()


def _line(formula: str, between: int | None, balance: Sequence[ElementBalance], as_json: bool) -> str:
    """between: None where nothing balances."""
    if not as_json:
        return f"{formula}\t{', '.join(map(str, balance)) or 'no balance'}"
    import orjson

    told = [
        {"element": one.symbol, "low": one.low, "high": one.high, "mean": None if one.mean is None else float(one.mean)}
        for one in balance
    ]
    return orjson.dumps({"formula": formula, "between": between, "balance": told}).decode()


def _tell_counts(asked: Asked, counts: Counts, written: int, ended: str, as_json: bool) -> None:
    """In JSON as the last line of the output, otherwise as one line for people beside it."""
    found = counts.as_dict()
    for bad in asked.refused[:SHOWN]:
        click.echo(f"lode: {bad}", err=True)
    if more := len(asked.refused[SHOWN:]):
        click.echo(f"lode: {more:,} more lines hold no formula", err=True)
    if as_json:
        import orjson

        ending = {
            "written": written,
            "space": asked.space.size,
            "ended": ended,
            "without_states": asked.table.without_states,
        }
        click.echo(orjson.dumps({"counts": {**found, **ending, "refused_lines": len(asked.refused)}}).decode())
        return
    dropped = "".join(f", {number:,} of these {name}" for name, number in counts.dropped.items())
    click.echo(
        f"{written:,} compositions; {found['looked_at']:,} of {asked.space.size:,} looked at: {found['strict']:,} "
        f"balance strictly, {found['one_between']:,} with one element between states, {found['two_between']:,} with "
        f"two{dropped}; {found['refused']:,} don't" + _stateless(asked.table) + ENDS[ended],
        err=True,
    )


def _stateless(table: StateTable) -> str:
    return f"; no oxidation states of {', '.join(table.without_states)}" if table.without_states else ""


def _tell(formulas: Sequence[str], rules: Rules, states: StatesAsked, as_json: bool) -> None:
    """How each formula balances, in the order given."""
    from registry.errors import LodeError
    from registry.identity.composition import ATOMIC_NUMBERS

    _given_states(states.given, tuple(ATOMIC_NUMBERS))  # refused once, not for each formula
    failed = False
    for formula in formulas:
        try:
            click.echo(_told(formula, rules, states, as_json))
        except LodeError as error:
            failed = True
            click.echo(f"lode: {error}", err=True)
    if failed:
        sys.exit(1)


def _told(formula: str, rules: Rules, states: StatesAsked, as_json: bool) -> str:
    import numpy as np

    from registry.identity.composition import SYMBOLS
    from registry.query.values import formula_amounts
    from workers.candidates.compositions.enumeration import classified
    from workers.candidates.compositions.sums import UNBALANCED

    amounts = formula_amounts(formula)
    table = states.of(amounts).table(tuple(amounts))
    row = np.array([[amounts[SYMBOLS[number]] for number in table.numbers.tolist()]], dtype=np.int64)
    if table.without_states:
        return _line(formula, None, (), as_json)
    found = classified(table, rules, np.arange(len(table))[None, :], row)
    between = int(found.between[0])
    if between == UNBALANCED:
        return _line(formula, None, (), as_json)
    return _line(formula, between, next(found.balances()), as_json)
