"""lode predict --formula."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import click

from api.cli.output import print_json, print_table


def predict_and_print(formulas: Sequence[str], name: str | None, level: str | None, as_json: bool) -> None:
    """Say the ground-state energies of formulas; needs no database. Exit code 1 where one couldn't be predicted.

    name: the folder of a composition model; None: the one that ships for `level`. Raises NotFound.
    """
    from predictors.model_files import ModelFiles
    from registry.errors import NotFound
    from workers.predict_formulas import LEVEL, predict_formulas, shipped_composition_model

    if name is not None and not Path(name).is_dir():
        raise NotFound(f"no folder '{name}': a model of formulas is named by its folder")
    folder = Path(name) if name is not None else shipped_composition_model(level or LEVEL)
    rows = predict_formulas(formulas, ModelFiles.read(folder))
    failed = [row for row in rows if row["formation_energy_per_atom"] is None]
    for row in failed:
        click.echo(f"lode: {row['flags'][-1]}", err=True)
    if as_json:
        print_json(rows)
    else:
        shown = [{**row, "flags": ", ".join(row["flags"])} for row in rows]
        columns = ["asked", "formula", "formation_energy_per_atom", "spread", "flags"]
        print_table(shown, columns, f"eV/atom at level {rows[0]['level']}, of the ground state" if rows else "")
    if failed:
        sys.exit(1)
