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
    from registry.crystal import Crystal
    from registry.importers.record import Item
    from workers.predict import Known


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--model", "name", help="A model of the registry or a model's folder.  [default: the promoted one]")
@click.option("--level", default=DEFAULT_LEVEL, show_default=True)
@click.option(
    "--no-registry",
    is_flag=True,
    help="Use the shipped model; needs no database, says nothing of the hull and of known crystals.",
)
@click.option("--unrelaxed", is_flag=True, help="Scan 20 volumes and take the lowest: for crystals that are guesses.")
@as_json
def predict(
    files: Sequence[Path], name: str | None, level: str, no_registry: bool, unrelaxed: bool, as_json: bool
) -> None:
    """Predict formation energy, its 90 % interval and place on the hull of the crystals in FILES. Nothing is stored.

    The place is on the hull of all other crystals: a stored one that is the same is left out. The three nearest known
    crystals are told. A record that can't be read or predicted keeps its place in the output, with the reason among its
    flags; the exit code is 1 then.
    """
    from registry.errors import BadRecord
    from workers.predict import predict_crystals

    items = _read(files)
    _complain([str(item) for item in items if isinstance(item, BadRecord)])
    inputs = [item if isinstance(item, BadRecord) else item.crystal for item in items]
    crystals = [item for item in inputs if not isinstance(item, BadRecord)]
    model, known = _model_and_known(name, level, no_registry, crystals)
    rows = predict_crystals(inputs, model, known, unrelaxed)
    rows = [{"record": item.record, **row} for item, row in zip(items, rows, strict=True)]
    failed = [row for row in rows if row["formation_energy_per_atom"] is None]
    _complain([f"{row['record']}: {row['flags'][-1]}" for row in failed if row["formula"] is not None])
    print_json(rows) if as_json else _print(rows)
    if failed:
        sys.exit(1)


def _read(files: Sequence[Path]) -> list[Item]:
    from registry.importers.files import read_file

    return [record for path in files for record in read_file(path)]


def _complain(lines: Sequence[str]) -> None:
    for line in lines:
        click.echo(f"lode: {line}", err=True)


def _model_and_known(
    name: str | None, level: str, no_registry: bool, crystals: Sequence[Crystal]
) -> tuple[ModelFiles, Known | None]:
    """The model that was named (a folder, or of the registry), else the promoted one; without a registry the shipped.

    Raises NotFound for a name that is neither.
    """
    from predictors.model_files import ModelFiles
    from registry.errors import NotFound
    from workers.train import shipped_model

    folder = Path(name) if name is not None and Path(name).is_dir() else None
    if not no_registry:
        return _from_registry(folder, name, level, crystals)
    if name is not None and folder is None:
        raise NotFound(f"no folder '{name}': without a registry a model is named by its folder")
    return ModelFiles.read(folder or shipped_model(level)), None


def _from_registry(
    folder: Path | None, name: str | None, level: str, crystals: Sequence[Crystal]
) -> tuple[ModelFiles, Known]:
    from sqlalchemy.orm import Session

    from api.cli.database import open_registry
    from predictors.model_files import ModelFiles
    from registry.hull.level_rows import level_id
    from workers.predict import known_of
    from workers.select import check_level, named_model, promoted_model
    from workers.train import model_files

    with Session(open_registry()) as session:
        at = level_id(session, level)
        if folder is not None:
            return ModelFiles.read(folder), known_of(session, crystals, level)
        row = named_model(session, name) if name else promoted_model(session, at)
        check_level(session, row, at)
        return model_files(session, row.id), known_of(session, crystals, level)


def _print(rows: Sequence[dict[str, Any]]) -> None:
    shown = [
        {
            **row,
            "decomposition": " + ".join(
                f"{p['amount']:.3f} {p['reduced_formula']}" for p in row["decomposition"] or []
            ),
            "interval_90": _interval(row["interval_90"]),
            "nearest": _nearest(row["nearest"]),
            "flags": ", ".join(row["flags"]),
        }
        for row in rows
    ]
    energies = ["formation_energy_per_atom", "interval_90", "spread", "e_above_hull", "decomposition_energy"]
    print_table(
        shown,
        ["index", "formula", *energies, "decomposition", "nearest", "flags"],
        "eV/atom; amounts are shares of the atoms; the hull is that of all other crystals",
    )


def _interval(ends: Sequence[float] | None) -> str:
    return f"{ends[0]:.3f} to {ends[1]:.3f}" if ends else "–"


def _nearest(rows: Sequence[dict[str, Any]]) -> str:
    """The first alone, by a name that somebody gave it: "same crystal NaCl mp-22862"."""
    if not rows:
        return "–"
    first = rows[0]
    names = next(iter(first["external_ids"].values()), first["id"])
    return f"{first['relation']} {first['reduced_formula']} {names if isinstance(names, str) else names[0]}"
