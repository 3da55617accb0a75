"""lode hull ranges | open: what follows from the hull of one chemical system."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from api.cli.database import open_registry
from api.cli.output import as_json, print_json, print_table

if TYPE_CHECKING:
    from registry.hull.system import ChemicalSystem

level_option = click.option("--level", help="Level of theory.  [default: the only one with a hull]")


@click.command()
@click.argument("chemsys")
@click.option("--phase", metavar="FORMULA", help="This stable phase alone.")
@level_option
@as_json
def ranges(chemsys: str, phase: str | None, level: str | None, as_json: bool) -> None:
    """Chemical potentials at which the stable phases of CHEMSYS (Li-Fe-O) exist.

    In eV/atom against the elements; "–" where a potential has no lower bound. JSON also has the vertices.
    """
    from registry.hull.system import stability_ranges

    found = stability_ranges(_system(chemsys, level), phase)
    if as_json:
        print_json(found)
        return
    elements = found["chemsys"].split("-")
    columns = ["reduced_formula", *(f"{element} {end}" for element in elements for end in ("min", "max")), "id"]
    title = f"{found['chemsys']} at level {found['level']} (chemical potentials, eV/atom)"
    print_table([_range_row(one) for one in found["phases"]], columns, title)


@click.command("open")
@click.argument("chemsys")
@click.option(
    "--element",
    "elements",
    multiple=True,
    required=True,
    metavar="SYMBOL=EV",
    help="An open element and its chemical potential, eV/atom against the element: O=-2.0. May be repeated.",
)
@level_option
@as_json
def open_(chemsys: str, elements: tuple[str, ...], level: str | None, as_json: bool) -> None:
    """What is stable in CHEMSYS (Li-Fe-O) where a reservoir holds elements at fixed chemical potentials.

    Energies (eV) and amounts per atom of the elements that aren't open.
    """
    from registry.hull.system import open_system

    potentials = _potentials(elements)
    found = open_system(_system(chemsys, level), potentials)
    for formula in found["reservoir_forms"]:
        click.echo(f"lode: the reservoir isn't in equilibrium: {formula} forms from it alone", err=True)
    if as_json:
        print_json(found)
        return
    columns = ["reduced_formula", "e_above_hull", "is_stable", "decomposition"]
    columns += [f"{element} taken up" for element in potentials] + ["id"]
    title = f"{found['chemsys']} at level {found['level']}, open to {', '.join(elements)} (eV per other atom)"
    print_table([_open_row(one) for one in found["entries"]], columns, title)


def with_reaction_energies(found: dict[str, Any]) -> dict[str, Any]:
    """An answer of `hull_entries` with the equilibrium reaction energy of each entry, None for unstable ones."""
    from registry.hull.system import ChemicalSystem, reaction_energies

    energies = reaction_energies(ChemicalSystem.of(found))
    for row in found["entries"]:
        row["equilibrium_reaction_energy"] = energies[row["calculation_id"]]
    return found


def _system(chemsys: str, level: str | None) -> ChemicalSystem:
    from sqlalchemy.orm import Session

    from registry.hull.system import ChemicalSystem
    from registry.query.materials import hull_entries

    with Session(open_registry()) as session:
        return ChemicalSystem.of(hull_entries(session, chemsys, level))


def _potentials(pairs: Sequence[str]) -> dict[str, float]:
    """Element -> eV/atom. Raises SettingsError for what isn't SYMBOL=NUMBER, FilterError for what is no element."""
    from registry.errors import SettingsError
    from registry.query.values import element_symbol

    found: dict[str, float] = {}
    for pair in pairs:
        symbol, separator, number = pair.partition("=")
        try:
            potential = float(number)
        except ValueError:
            separator = ""
        if not separator:
            raise SettingsError(f"--element {pair[:40]}: write an element and a number of eV/atom, such as O=-2.0")
        element = element_symbol(symbol)
        if element in found:
            raise SettingsError(f"--element {pair[:40]}: {element} has a chemical potential already")
        found[element] = potential
    return found


def _range_row(phase: dict[str, Any]) -> dict[str, Any]:
    ends = {"min": phase["minimum"], "max": phase["maximum"]}
    return phase | {f"{element} {end}": value for end, by in ends.items() for element, value in by.items()}


def _open_row(entry: dict[str, Any]) -> dict[str, Any]:
    shares = " + ".join(f"{share['amount']:.3g} {share['reduced_formula']}" for share in entry["decomposition"])
    taken_up = {f"{element} taken up": amount for element, amount in entry["taken_up"].items()}
    return entry | {"decomposition": shares} | taken_up
