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
    from predictors.model_files import ModelFiles
    from registry.importers.record import Item


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
    """Predict formation energy, spread and place on the hull of the crystals in FILES. Nothing is stored.

    A record that can't be read keeps its place in the output, with the reason among its flags; the exit code is 1 then.
    """
    from registry.errors import BadRecord
    from workers.predict import predict_crystals

    items = _read(files)
    refused = [item for item in items if isinstance(item, BadRecord)]
    for record in refused:
        click.echo(f"lode: {record}", err=True)
    model, hull = _model_and_hull(name, level, no_registry)
    inputs = [item if isinstance(item, BadRecord) else item.crystal for item in items]
    rows = predict_crystals(inputs, model, hull, unrelaxed)
    print_json(rows) if as_json else _print(rows)
    if refused:
        sys.exit(1)


def _read(files: Sequence[Path]) -> list[Item]:
    from registry.importers.files import read_file

    return [record for path in files for record in read_file(path)]


def _model_and_hull(name: str | None, level: str, no_registry: bool) -> tuple[ModelFiles, Any]:
    """The model that was named (a folder, or of the registry), else the promoted one; without a registry the shipped.

    Raises NotFound for a name that is neither.
    """
    from predictors.model_files import ModelFiles
    from registry.errors import NotFound
    from workers.train import shipped_model

    folder = Path(name) if name is not None and Path(name).is_dir() else None
    if not no_registry:
        return _from_registry(folder, name, level)
    if name is not None and folder is None:
        raise NotFound(f"no folder '{name}': without a registry a model is named by its folder")
    return ModelFiles.read(folder or shipped_model(level)), None


def _from_registry(folder: Path | None, name: str | None, level: str) -> tuple[ModelFiles, Any]:
    from sqlalchemy.orm import Session

    from api.cli.database import open_registry
    from predictors.model_files import ModelFiles
    from registry.hull.entries import level_entries
    from registry.hull.level_rows import level_id
    from workers.select import check_level, named_model, promoted_model
    from workers.train import model_files

    with Session(open_registry()) as session:
        at = level_id(session, level)
        if folder is not None:
            return ModelFiles.read(folder), level_entries(session, at)
        row = named_model(session, name) if name else promoted_model(session, at)
        check_level(session, row, at)
        return model_files(session, row.id), level_entries(session, at)


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
