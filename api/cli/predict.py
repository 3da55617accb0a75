"""lode predict."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from api.cli.database import DEFAULT_LEVEL
from api.cli.output import as_json, print_json, print_table

if TYPE_CHECKING:
    from registry.importers.record import ImportedRecord


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--model", "name", help="A model of the registry or a model's folder.  [default: the promoted one]")
@click.option("--level", default=DEFAULT_LEVEL, show_default=True)
@click.option("--no-registry", is_flag=True, help="Use the shipped model; needs no database, says nothing of the hull.")
@click.option("--unrelaxed", is_flag=True, help="Scan 20 volumes and take the lowest: for crystals that are guesses.")
@as_json
def predict(
    files: Sequence[Path], name: str | None, level: str, no_registry: bool, unrelaxed: bool, as_json: bool
) -> None:
    """Predict formation energy, spread and place on the hull of the crystals in FILES. Nothing is stored."""
    from registry.importers.record import ImportedRecord
    from workers.predict import predict_crystals

    records: list[ImportedRecord] = []
    refused = 0
    for record in _read(files):
        if isinstance(record, ImportedRecord):
            records.append(record)
        else:
            refused += 1
            click.echo(f"lode: {record}", err=True)
    folder, hull = _model_and_hull(name, level, no_registry)
    rows = predict_crystals([record.crystal for record in records], folder, hull, unrelaxed)
    print_json(rows) if as_json else _print(rows)
    if refused or not records:
        sys.exit(1)


def _read(files: Sequence[Path]) -> list[Any]:
    from registry.importers.files import read_file

    return [record for path in files for record in read_file(path)]


def _model_and_hull(name: str | None, level: str, no_registry: bool) -> tuple[Path, Any]:
    from workers.train import shipped_model

    if name is not None and Path(name).is_dir():
        folder: Path | None = Path(name)
    else:
        folder = None
    if no_registry:
        return folder or shipped_model(level), None
    return _from_registry(folder, name, level)


def _from_registry(folder: Path | None, name: str | None, level: str) -> tuple[Path, Any]:
    from sqlalchemy.orm import Session

    from api.cli.database import open_registry
    from registry.hull.store import level_entries, level_id
    from workers.select import check_level, named_model, promoted_model

    with Session(open_registry()) as session:
        at = level_id(session, level)
        if folder is None:
            row = named_model(session, name) if name else promoted_model(session, at)
            check_level(session, row, at)
            folder = Path(row.path)
        return folder, level_entries(session, at)


def _print(rows: Sequence[dict[str, Any]]) -> None:
    shown = [
        {
            **row,
            "decomposition": " + ".join(
                f"{p['amount']:.3f} {p['reduced_formula']}" for p in row["decomposition"] or []
            ),
            "flags": ", ".join(row["flags"]),
        }
        for row in rows
    ]
    columns = ["index", "formula", "formation_energy_per_atom", "spread", "e_above_hull", "decomposition", "flags"]
    print_table(shown, columns, "eV/atom; amounts are shares of the atoms")
