"""lode export."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import click

from api.cli.output import as_json, print_json, progress

if TYPE_CHECKING:
    from registry.exporters.materials import ExportReport, Wanted

FORMATS = ("parquet", "extxyz", "json", "entries", "cif")
TEXT = ("extxyz", "json", "entries")


@click.command()
@click.option("--format", "format_", required=True, type=click.Choice(FORMATS))
@click.option("--out", required=True, help="The file; - writes text to the standard output.")
@click.option("--partitioned", is_flag=True, help="parquet as a folder of files, for DuckDB and Spark.")
@click.option("--filter", "filter_", default="", help="Which materials.  [default: all]")
@click.option("--level", help="Level of theory of the energies.")
@click.option("--relaxed", is_flag=True, help="The structures that the level's calculations ended with.")
@click.option("--non-commercial", "sources", multiple=True, help="Take this non-commercial SOURCE along; repeatable.")
@as_json
def export(
    format_: str,
    out: str,
    partitioned: bool,
    filter_: str,
    level: str | None,
    relaxed: bool,
    sources: tuple[str, ...],
    as_json: bool,
) -> None:
    """Write materials to a file: parquet, extxyz, json (pymatgen structures), entries (pymatgen's) or cif (a zip).

    Energies come along where a --level is named or the filter asks about one. entries are the relaxed structures with
    an energy that may stand on a hull. text in a file whose name ends in .gz is packed.
    Rows of non-commercial sources stay here unless the source is named, and so do single properties of free rows.
    --partitioned makes a new folder, a part for each number of elements, with every field that can be asked for.
    """
    from registry.exporters.materials import Wanted

    if out == "-" and (format_ not in TEXT or as_json):
        raise click.UsageError("the standard output takes text alone: name a file with --out")
    if partitioned and format_ != "parquet":
        raise click.UsageError("only parquet can be --partitioned")
    report = _export(Wanted(format_, filter_, level, relaxed, frozenset(sources), partitioned), out)
    if report.left_out:
        click.echo(f"lode: {_told(report.left_out)}", err=True)
    if properties := report.properties_left_out:
        click.echo(f"lode: {_told(properties, ' properties')}", err=True)
    if as_json:
        more = {"properties_left_out": properties} if properties else {}
        print_json({"exported": report.exported, "left_out": report.left_out, **more, "file": out})
    else:
        click.echo(f"{report.exported} exported to {out}", err=out == "-")


def _export(wanted: Wanted, out: str) -> ExportReport:
    from sqlalchemy.orm import Session

    from api.cli.database import open_registry
    from registry.exporters.materials import export as export_materials

    with Session(open_registry()) as session, progress() as advance:
        return export_materials(
            session, wanted, _target(out, wanted), lambda done, total: advance("exporting", done, total)
        )


def _target(out: str, wanted: Wanted) -> AbstractContextManager[BinaryIO | Path]:
    if wanted.partitioned:
        from registry.exporters import dataset

        return dataset.destination(Path(out))
    from registry.exporters.files import destination

    return standard_output() if out == "-" else destination(Path(out), wanted.format)


@contextmanager
def standard_output() -> Iterator[BinaryIO]:
    """Flushed while a reader that went away is still an error that click knows."""
    yield sys.stdout.buffer
    sys.stdout.buffer.flush()


def _told(left_out: dict[str, int], what: str = "") -> str:
    counts = ", ".join(f"{count}{what} of {source}" for source, count in left_out.items())
    options = " ".join(f"--non-commercial {shlex.quote(source)}" for source in left_out)
    return f"left out {counts}: not for commercial use; {options} takes them along"
