"""lode model table."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--target", required=True, help="Column of formation energies, eV/atom, all at one level.")
@click.option("--level", required=True, help="That level: the table says it, and never meets one of another.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The training table to write, parquet.")
def table(file: Path, target: str, level: str, out: Path) -> None:
    """Make a training table of the crystals in FILE (parquet), a column of which is the target.

    Rows without target, rows marked `suspect` and repeated crystals are left out. The split goes by `formula` as it
    stands.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    from predictors.training_table import of_level
    from registry.exporters.files import destination
    from workers.tables import tabulated

    if out.resolve() == file.resolve():
        raise click.UsageError("--out would replace FILE: name another one")
    found = tabulated(file, target)
    with destination(out, "parquet") as sink:
        pq.write_table(of_level(pa.Table.from_pandas(found.rows, preserve_index=False), level), sink)
    for reason, count in sorted(found.left_out.items()):
        click.echo(f"left out: {count} ({reason})", err=True)
    click.echo(f"{len(found.rows)} crystals at level {level} in {out}")
