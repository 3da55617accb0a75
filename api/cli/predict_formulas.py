"""lode predict --formula."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from api.cli.bridge import bridge_of, by_bridge, shown_bridge
from api.cli.output import print_json, print_table, shown_interval

if TYPE_CHECKING:
    from predictors.model_files import ModelFiles


def predict_and_print(
    formulas: Sequence[str], name: str | None, level: str | None, as_json: bool, no_registry: bool = False
) -> None:
    """Say the ground-state energies of formulas. Exit code 1 where one couldn't be predicted.

    name: a composition model of the registry, or its folder; None: the one that is promoted for `level`, else the one
    that ships for it. Raises NotFound.
    """
    from workers.predict_formulas import predict_formulas

    model = _model(name, level, no_registry)
    rows = predict_formulas(formulas, model, bridge_of(model, level, no_registry))
    failed = [row for row in rows if row["formation_energy_per_atom"] is None]
    for row in failed:
        click.echo(f"lode: {row['flags'][-1]}", err=True)
    print_json(rows) if as_json else _print(rows)
    if failed:
        sys.exit(1)


def _print(rows: Sequence[dict[str, Any]]) -> None:
    shown = [_shown(row) for row in rows]
    over = by_bridge(rows)
    columns = ["asked", "formula", "formation_energy_per_atom", "interval_90", "spread"]
    columns += [*(["bridge"] if over else []), "flags"]
    print_table(shown, columns, f"eV/atom at level {rows[0]['level']}{over}, of the ground state" if rows else "")


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    texts = {"interval_90": shown_interval(row["interval_90"]), "flags": ", ".join(row["flags"])}
    return {**row, **texts, "bridge": shown_bridge(row["bridge"])}


def _model(name: str | None, level: str | None, no_registry: bool) -> ModelFiles:
    """Without a database, or where none answers, what ships has to do."""
    from sqlalchemy.orm import Session

    from api.cli.database import open_registry
    from predictors.model_files import ModelFiles, model_folder
    from registry.errors import DatabaseUnavailable, NotFound
    from workers.predict_formulas import LEVEL, formula_model, shipped_composition_model

    if name is not None and (folder := model_folder(name)) is not None:
        return ModelFiles.read(folder)
    if no_registry and name is not None:
        raise NotFound(f"no model in a folder '{name}': without a registry a model of formulas is named by its folder")
    if not no_registry:
        try:
            with Session(open_registry()) as session:
                if (found := formula_model(session, name, level or LEVEL)) is not None:
                    return found
        except DatabaseUnavailable as error:
            if name is not None:
                raise NotFound(f"no model in a folder '{name}', and no registry to look for it: {error}") from error
    return ModelFiles.read(shipped_composition_model(level or LEVEL))
