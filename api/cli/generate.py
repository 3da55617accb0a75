"""lode generate."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

import click

from api.cli.database import DEFAULT_LEVEL, open_registry
from api.cli.given import refuse_given
from api.cli.numbers import FiniteRange
from api.cli.output import as_json, print_json, progress

if TYPE_CHECKING:
    from workers.candidates.settings import Settings
    from workers.generate import Generated

PROBABILITY = FiniteRange(0, 1, min_open=True)
ELECTRONVOLTS = FiniteRange(-10, 10)
FUSED = frozenset({"within", "margin"})
"""Parameters that mean something only while scoring."""
OF_EACH_PARENT = frozenset(
    (
        "paper",
        "odds",
        "threshold",
        "partial_threshold",
        "most_replaced",
        "max_partial_sites",
        "max_groupings",
        "per_parent",
        "partial_per_parent",
        "antitypes",
        "alloys",
        "simple_anions",
        "balanced_partial",
        "part",
    )
)
"""Parameters that the ranking over all parents settles itself."""


@click.command()
@click.option("--family", required=True, help="Elements of the candidates: Li,Na,O or groups: all,-radioactive,-noble.")
@click.option("--campaign", "name", default="by-hand", show_default=True)
@click.option("--level", default=DEFAULT_LEVEL, show_default=True)
@click.option(
    "--parents", default="", help="Filter that crystals must pass to become parents, as `lode query` takes it."
)
@click.option(
    "--operation",
    "operations",
    multiple=True,
    type=click.Choice(["substitution", "partial"]),
    help="Which to use; may be repeated.  [default: both]",
)
@click.option("--paper", is_flag=True, help="Begin with the paper's values instead of ours; other options change them.")
@click.option(
    "--odds",
    type=click.Choice(["family", "paper"]),
    help="Among the family's ions of one sign, or the paper's.  [default: family]",
)
@click.option("--threshold", type=PROBABILITY, help="Least probability of a substitution.  [default: 1e-5]")
@click.option("--partial-threshold", type=PROBABILITY, help="The same of a partial one.  [default: 1e-3]")
@click.option("--most-replaced", type=click.IntRange(1), help="Ions replaced at a time.  [default: all of them]")
@click.option("--max-elements", type=click.IntRange(1, 20), help="Of parents and candidates.  [default: 6]")
@click.option("--max-sites", type=click.IntRange(1, 1000), help="Of a parent's primitive cell.  [default: 14]")
@click.option(
    "--max-partial-sites",
    type=click.IntRange(1, 64),
    help="Of an ion whose sites are replaced one by one, not orbit by orbit.  [default: 8]",
)
@click.option("--max-groupings", type=click.IntRange(1, 10**6), help="Parts of one ion's sites.  [default: 16384]")
@click.option("--per-parent", type=click.IntRange(1), help="Substitutions of one parent.  [default: 200]")
@click.option("--partial-per-parent", type=click.IntRange(1), help="Partial ones of one parent.  [default: 40]")
@click.option("--antitypes/--no-antitypes", default=None, help="Anions on the sites of cations and the reverse, too.")
@click.option("--alloys", is_flag=True, default=None, help="Compounds of metals alone, too.")
@click.option("--simple-anions", is_flag=True, default=None, help="Elements of groups 15 to 17 only as anions.")
@click.option("--balanced/--unbalanced", "balanced_partial", default=None, help="Charges of partial substitutions.")
@click.option(
    "--novel-compositions", is_flag=True, default=None, help="Only compositions that no imported crystal has."
)
@click.option(
    "--likeliest", type=click.IntRange(1), help="So many, the likeliest over all parents, not the best of each."
)
@click.option("--part", default="1/1", show_default=True, help="I/N: the I-th of N parts of the parents.")
@click.option("--limit", type=click.IntRange(1), help="End after so many new candidates.")
@click.option("--fused", is_flag=True, help="Score while generating, and write only what is predicted to be promising.")
@click.option(
    "--within", default=0.05, show_default=True, type=ELECTRONVOLTS, help="With --fused: eV/atom above the hull."
)
@click.option("--margin", default=0.1, show_default=True, type=ELECTRONVOLTS, help="With --fused: added to --within.")
@as_json
def generate(
    family: str,
    name: str,
    level: str,
    parents: str,
    operations: tuple[str, ...],
    paper: bool,
    part: str,
    limit: int | None,
    fused: bool,
    within: float,
    margin: float,
    as_json: bool,
    **asked: Any,
) -> None:
    """Propose candidates by ionic and partial substitution from the imported crystals and the stable finds."""
    from sqlalchemy.orm import Session

    from api.cli.work import parse_family
    from registry.hull.level_rows import level_id
    from workers.campaign import CampaignSettings, propose
    from workers.fused import Fused

    _refuse_idle(operations, fused, ranked=asked["likeliest"] is not None)
    settings = CampaignSettings(
        name,
        parse_family(family),
        candidates=_settings(operations, paper, asked),
        parents=parents,
        fused=Fused(within, margin) if fused else None,
        limit=limit,
        part=_part(part),
    )
    engine = open_registry()
    with Session(engine) as session:
        at = level_id(session, level)
    with progress() as advance:
        found = propose(engine, at, settings, advance)
    _print(found, as_json)


def _refuse_idle(operations: tuple[str, ...], fused: bool, ranked: bool) -> None:
    """Raise UsageError for options that would do nothing beside the others."""
    if not fused:
        refuse_given(FUSED, "nothing is scored without --fused")
    if ranked:
        refuse_given(OF_EACH_PARENT, "the ranking over all parents (--likeliest) settles it")
    if ranked and operations and "substitution" not in operations:
        raise click.UsageError("--likeliest ranks substitutions of all sites too: leave --operation partial out")


def _part(text: str) -> tuple[int, int]:
    number, _, parts = text.partition("/")
    if not (number.isdecimal() and parts.isdecimal() and 1 <= int(number) <= int(parts)):
        raise click.BadParameter(f"'{text}' is no part: write 3/8 for the third of eight", param_hint="--part")
    return int(number), int(parts)


def _settings(operations: tuple[str, ...], paper: bool, asked: dict[str, Any]) -> Settings:
    """Every other option has the name of a field and is None where it wasn't given."""
    from workers.candidates.settings import PAPER, Settings

    changes = {one.name: asked[one.name] for one in fields(Settings) if asked.get(one.name) is not None}
    if operations:
        changes |= {word: word in operations for word in ("substitution", "partial")}
    return replace(PAPER if paper else Settings(), **changes)


def _print(found: Generated, as_json: bool) -> None:
    counts = found.counts.as_dict()
    if missing := found.counts.rejected["no_reference"]:
        click.echo(f"lode: {missing} have elements that the hull lacks: label known crystals of these first", err=True)
    if as_json:
        print_json({"round": found.round_id, "new": found.new, "known": found.known, **counts})
        return
    from api.cli.campaign import print_funnel

    print_funnel(counts)
    click.echo(f"{found.new} new candidates, {found.known} were known already")
