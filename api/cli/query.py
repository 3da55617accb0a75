"""lode query."""

from __future__ import annotations

import click

from api.cli.output import as_json, print_json, print_table

EVERYTHING = 2**31
SHOWN = "id,reduced_formula,spacegroup_number,formation_energy_per_atom,e_above_hull,is_stable,source"


@click.command()
@click.argument("filter_", metavar="[FILTER]", default="")
@click.option("--level", help="Level of theory of the hull fields.  [default: the only one there is]")
@click.option("--fields", help="Comma-separated names.")
@click.option("--sort", default="e_above_hull", show_default=True, help="Field to sort by; -FIELD for descending.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 1_000))
@click.option("--after", help="The `next` of the page before.")
@click.option("--exact", is_flag=True, help="Count all that match, however many.")
@as_json
def query(
    filter_: str,
    level: str | None,
    fields: str | None,
    sort: str,
    limit: int,
    after: str | None,
    exact: bool,
    as_json: bool,
) -> None:
    """Find materials: lode query 'elements HAS ALL "Li","O" AND e_above_hull<0.05'."""
    from api.cli.database import questions
    from registry.query.materials import COUNT_CAP, Count, search

    names = [name.strip() for name in fields.split(",")] if fields else None
    cap = EVERYTHING if exact else COUNT_CAP
    with questions() as session:
        page = search(
            session, filter_, level=level, sort=sort, limit=limit, cursor=after, fields=names, count_up_to=cap
        )
    count = page.count or Count(len(page.data), "exact")
    if as_json:
        print_json({"data": page.data, "count": {"value": count.value, "kind": count.kind}, "next": page.next})
        return
    print_table(page.data, names or SHOWN.split(","))
    found = count.value if count.kind == "exact" else f"more than {count.value}"
    click.echo(f"{len(page.data)} of {found}" + (f"; next page: --after {page.next}" if page.next else ""))
