"""lode model table."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--target", required=True, help="Column of formation energies, eV/atom, all at one level.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The training table to write, parquet.")
def table(file: Path, target: str, out: Path) -> None:
    """Make a training table of the crystals in FILE (parquet), a column of which is the target.

    Rows without target and rows marked `suspect` are left out. The split goes by the column `formula` as it stands.
    """
    from workers.tables import tabulated

    found = tabulated(file, target)
    out.parent.mkdir(parents=True, exist_ok=True)
    found.rows.to_parquet(out)
    for reason, count in sorted(found.left_out.items()):
        click.echo(f"left out: {count} ({reason})", err=True)
    click.echo(f"{len(found.rows)} crystals in {out}")
