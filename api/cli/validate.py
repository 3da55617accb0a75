"""lode validate textbook | r2scan."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from api.cli.database import open_registry
from api.cli.given import refuse_given
from api.cli.numbers import FiniteRange
from api.cli.output import as_json, print_json, print_table, shown_interval

if TYPE_CHECKING:
    from workers.select_second import Picked
    from workers.validate_levels import Asked
    from workers.validation.levels import Compared, LevelComparison, Share, Tally

SENSES = {
    "on_hull": "on the hull",
    "negative_decomposition_energy": "negative decomposition energy",
    "negative_phase_separation_energy": "negative phase-separation energy",
}
COUNTS = ("stable", "unlabelled", "compared", "only here", "lacking competitors", "to polymorphs")
LISTED = (
    "reduced_formula", "first", "second", "first formation", "second formation", "becomes", "lacks competitors", "id",
)  # fmt: skip


@click.group()
def validate() -> None:
    """Hold the registry against what is known, or against a higher level of theory."""


@validate.command()
@click.option("--campaign", "name", help="The campaign whose last round is judged.  [default: the newest]")
@click.option("--formulas", is_flag=True, help="Only print what is asked, to leave it out of a training.")
@as_json
def textbook(name: str | None, formulas: bool, as_json: bool) -> None:
    """Hold the labels of a round against the textbook."""
    if formulas:
        from workers.validation.textbook import load_textbook

        click.echo("\n".join(compound.reduced_formula for compound in load_textbook()))
        return
    from sqlalchemy.orm import Session

    from workers.validate import last_round, validate_textbook

    with Session(open_registry()) as session, session.begin():
        found = validate_textbook(session, last_round(session, name)).as_dict()
    print_json(found) if as_json else print_textbook(found)


@validate.command()
@click.option("--level", help="The level whose stable set is judged.  [default: the only other one with a hull]")
@click.option("--against", metavar="LEVEL", help="The level that judges.  [default: the only one of r2SCAN]")
@click.option("--chemsys", help="This chemical system (Li-Fe-O) and those within it alone.")
@click.option("--filter", "filter_", default="", help="Judge only crystals that pass: what else is there competes.")
@click.option("--own-hulls", is_flag=True, help="Each level with all its entries, not with those that both hold.")
@click.option("--list", "listed", type=click.Choice(["leavers", "entrants"]), help="The crystals, not the counts.")
@click.option("--select", is_flag=True, help="Ask for the labels that the second level lacks, instead: `lode label`.")
@click.option(
    "--within",
    default=0.05,
    show_default=True,
    type=FiniteRange(0),
    help="With --select: label competitors up to so far above the first hull, too, eV/atom.",
)
@as_json
def r2scan(
    level: str | None,
    against: str | None,
    chemsys: str | None,
    filter_: str,
    own_hulls: bool,
    listed: str | None,
    select: bool,
    within: float,
    as_json: bool,
) -> None:
    """Which crystals that are stable at one level stay so at a second, higher one.

    Compared are the crystals that both levels have labelled, on hulls of these alone. --select asks for labels of what
    is stable at the first level and of what competes with it. Shares are with their 95 % intervals.
    """
    from workers.validate_levels import Asked

    if select:
        refuse_given(("own_hulls", "listed"), "--select compares nothing")
        levels = _levels(level, against, select=True)
        picked = _select(Asked(*levels, chemsys, filter_), within)
        print_json({"level": levels[0], "against": levels[1], **asdict(picked)}) if as_json else _print_picked(picked)
        return
    refuse_given(("within",), "without --select nothing is asked for")
    _compare(Asked(*_levels(level, against), chemsys, filter_, own_hulls), listed, as_json)


def print_textbook(found: dict[str, Any]) -> None:
    """The judge's table: what was found, and why the rest was not."""
    columns = ["reduced_formula", "structure_type", "spacegroup_number", "outcome", "e_above_hull", "rivals", "reason"]
    print_table(found["rows"], columns, "Against the textbook")
    click.echo(
        f"{found['found']} of {found['asked']} textbook compounds found with {found['labels']} labels; "
        f"as many labels drawn at random would have found {found['random_found']} (expected value).\n"
        f"{found['right_structure']} of the found have the right structure lowest ({found['tied']} of them tied "
        f"within 2 meV/atom); {found['right_with_rivals']} of {found['with_rivals']} "
        "where another structure was labelled too.\n"
        f"{found['within_25meV']} of the found lie within 25 meV/atom of the hull; {found['no_competition']} are in "
        "systems where no other compound was labelled.\n"
        "Note: 7net-0 has seen most of these compounds in its training set (MPtrj); the scoring model has not seen "
        "their formulas."
    )


def print_comparison(found: LevelComparison, level: str, against: str) -> None:
    """Two tables: how many are stable and can be compared, and what they keep.

    Both senses of stable, where they differ: ties are on the hull without a negative energy.
    """
    rows = [one for one in found.tallies if (one.stable or one.compared) and _says_more(found, one)]
    hulls = "of the common entries" if found.hulls == "common" else "of each level's own entries"
    title = f"stable at {level}, held against {against} on hulls {hulls}"
    print_table([_counts(one) for one in rows], ["elements", "sense", *COUNTS], title)
    kept = ["elements", "stable at first", *SENSES.values(), "entered"]
    print_table([_kept(one) for one in rows], kept, f"of the compared, what is so at {against} (95 % intervals)")
    click.echo(
        f"{found.first_entries} entries at {level}, {found.second_entries} at {against}, {found.common_entries} at both"
    )
    if lacking := found.tally().lacking_competitors:
        click.echo(f"{lacking} of the compared lack a competing phase at {against}, which flatters them: see --select")


def _levels(level: str | None, against: str | None, *, select: bool = False) -> tuple[str, str]:
    from sqlalchemy.orm import Session

    from workers.ask_labels import ship
    from workers.validate_levels import asked_levels

    with Session(open_registry()) as session, session.begin():
        if select and against is not None:
            ship(session, against)
        return asked_levels(session, level, against)


def _select(asked: Asked, within: float) -> Picked:
    from sqlalchemy.orm import Session

    from workers.select_second import select_second

    with Session(open_registry()) as session, session.begin():
        return select_second(session, asked, within)


def _compare(asked: Asked, listed: str | None, as_json: bool) -> None:
    from sqlalchemy.orm import Session

    from registry.hull.geometry import warm
    from workers.validate_levels import compare, keep

    warm()  # before a transaction is open: the compiler may take longer than one may idle
    with Session(open_registry()) as session, session.begin():
        found = compare(session, asked)
        round_id = keep(session, asked, found)
    lists = {"leavers": found.left, "entrants": found.entered}
    if as_json:
        told = {name: [one.as_dict() for one in rows] for name, rows in lists.items()}
        print_json({**asdict(asked), **found.summary(), **told, "round": round_id})
    elif listed:
        where = asked.level if listed == "leavers" else asked.against
        print_table([_crystal(one) for one in lists[listed]], LISTED, f"on the hull of {where} alone (eV/atom)")
    else:
        print_comparison(found, asked.level, asked.against)


def _says_more(found: LevelComparison, one: Tally) -> bool:
    return one.start == "on_hull" or _without_sense(one) != _without_sense(found.tally(one.elements))


def _without_sense(one: Tally) -> dict[str, Any]:
    return {**one.as_dict(), "start": None}


def _counts(one: Tally) -> dict[str, Any]:
    named = {name: getattr(one, name.replace(" ", "_")) for name in COUNTS}
    return {"elements": one.elements, "sense": SENSES[one.start], **named}


def _kept(one: Tally) -> dict[str, Any]:
    shares = {SENSES[measure]: _shown(share) for measure, share in one.kept.items()}
    return {"elements": one.elements, "stable at first": SENSES[one.start], **shares, "entered": one.entered}


def _shown(share: Share) -> str:
    """ "37 of 40, 0.925 (0.801 to 0.974)" """
    if share.share is None:
        return "–"
    return f"{share.count} of {share.of}, {share.share:.3f} ({shown_interval(share.interval)})"


def _crystal(one: Compared) -> dict[str, Any]:
    phases = " + ".join(f"{amount:.2f} {formula}" for formula, amount in one.decomposition)
    return {
        "reduced_formula": one.reduced_formula,
        "first": one.first.decomposition_energy,
        "second": one.second.decomposition_energy,
        "first formation": one.first.formation_energy_per_atom,
        "second formation": one.second.formation_energy_per_atom,
        "becomes": "another polymorph" if one.to_polymorph else "stable" if one.second.is_stable else phases,
        "lacks competitors": one.lacks_competitors,
        "id": one.id,
    }


def _print_picked(picked: Picked) -> None:
    click.echo(
        f"{picked.stable} stable crystals, {picked.rivals} competitors, {picked.elements} crystals of elements: "
        f"{picked.labelled} labelled, {picked.waiting} asked for before, {picked.asked} asked for now: `lode label`"
    )
    for element in picked.without_crystal:
        click.echo(f"lode: no crystal of {element} is known, which the level takes its reference from", err=True)
