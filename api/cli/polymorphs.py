"""lode polymorphs."""

from __future__ import annotations

from typing import Any

import click

from api.cli.output import as_json, print_json, print_table

SHOWN = [
    "component",
    "id",
    "prototype",
    "formation_energy_per_atom",
    "e_above_hull",
    "is_labelled",
    "predicted",
    "spread",
    "out_of_domain",
    "origin",
]


@click.command()
@click.argument("formula")
@click.option("--level", help="Level of theory.  [default: the only one with a hull]")
@click.option("--top", default=100, show_default=True, type=click.IntRange(1, 10_000), help="How many, the lowest.")
@as_json
def polymorphs(formula: str, level: str | None, top: int, as_json: bool) -> None:
    """Structures of FORMULA (any spelling), labelled or scored, the lowest first, and which of them are one crystal.

    Those of one `component` are linked by fits of pymatgen's StructureMatcher; components are numbered by their lowest,
    which is what would be labelled of them. Labelled crystals are compared as relaxed, others as proposed.
    """
    found = ranked(formula, level, top)
    if as_json:
        print_json(found)
        return
    title = f"{found['reduced_formula']} at level {found['level']} (eV/atom)"
    print_table(found["data"], SHOWN, title)
    kinds = f"{found['components']} components" if found["components"] != 1 else "one component"
    click.echo(f"{len(found['data'])} of {found['count']} structures, {kinds}")


def ranked(formula: str, level: str | None, top: int) -> dict[str, Any]:
    """The `top` lowest, each with the number of its component; what is counted is all."""
    from api.cli.database import questions
    from registry.ingest import crystals
    from registry.query.polymorphs import polymorphs as structures_of
    from workers.candidates.clusters import Scored, clusters

    with questions() as session:
        found = structures_of(session, formula, level)
        rows = found["data"][:top]
        arrays = crystals(session, [row["structure_id"] for row in rows])
    scored = [
        Scored(nth, row["formation_energy_per_atom"], arrays[row.pop("structure_id")]) for nth, row in enumerate(rows)
    ]
    parts = clusters(scored, top)
    components = {one.key: number for number, part in enumerate(parts, 1) for one in part}
    data = [{"component": components[nth], **row} for nth, row in enumerate(rows)]
    return {**found, "count": len(found["data"]), "components": len(parts), "data": data}
