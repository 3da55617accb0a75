"""lode predict --formula."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from api.cli.bridge import bridge_of, by_bridge, shown_bridge
from api.cli.output import print_json, print_table


def predict_and_print(
    formulas: Sequence[str], name: str | None, level: str | None, as_json: bool, no_registry: bool = False
) -> None:
    """Say the ground-state energies of formulas; needs a database for a bridge alone. Exit code 1 where one couldn't be
    predicted.

    name: the folder of a composition model; None: the one that ships for `level`. Raises NotFound, LevelMismatch.
    """
    from predictors.model_files import ModelFiles
    from registry.errors import NotFound
    from workers.predict_formulas import LEVEL, predict_formulas, shipped_composition_model

    if name is not None and not Path(name).is_dir():
        raise NotFound(f"no folder '{name}': a model of formulas is named by its folder")
    folder = Path(name) if name is not None else shipped_composition_model(level or LEVEL)
    model = ModelFiles.read(folder)
    rows = predict_formulas(formulas, model, bridge_of(model, level, no_registry))
    failed = [row for row in rows if row["formation_energy_per_atom"] is None]
    for row in failed:
        click.echo(f"lode: {row['flags'][-1]}", err=True)
    print_json(rows) if as_json else _print(rows)
    if failed:
        sys.exit(1)


def _print(rows: Sequence[dict[str, Any]]) -> None:
    shown = [{**row, "bridge": shown_bridge(row["bridge"]), "flags": ", ".join(row["flags"])} for row in rows]
    over = by_bridge(rows)
    columns = ["asked", "formula", "formation_energy_per_atom", "spread", *(["bridge"] if over else []), "flags"]
    print_table(shown, columns, f"eV/atom at level {rows[0]['level']}{over}, of the ground state" if rows else "")
