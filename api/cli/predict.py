"""lode predict."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from api.cli.bridge import bridge_of, by_bridge, shown_bridge
from api.cli.database import DEFAULT_LEVEL
from api.cli.output import as_json, print_json, print_table, progress, shown_interval

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from predictors.bridge import Bridge
    from predictors.model_files import ModelFiles
    from registry.crystal import Crystal
    from registry.errors import BadRecord
    from registry.importers.record import Item
    from workers.predict import Known

LONG = 100  # crystals; fewer are done before a bar has been read


@click.command()
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@click.option("--formula", "formulas", multiple=True, help="In place of FILES: a formula without a structure.")
@click.option(
    "--model",
    "name",
    help="A model of the registry, a model's folder, or a pretrained potential: 7net-0, 7net-l3i5, "
    "chgnet, chgnet-r2scan.  [default: the promoted one]",
)
@click.option(
    "--level",
    help="Level of the energies and the hull; where the named model is of another, the registry's bridge leads there.  "
    f"[default: the named model's, else {DEFAULT_LEVEL}]",
)
@click.option(
    "--no-registry",
    is_flag=True,
    help="Use the shipped model; needs no database, says nothing of the hull and of known crystals.",
)
@click.option("--unrelaxed", is_flag=True, help="Scan 20 volumes and take the lowest: for crystals that are guesses.")
@as_json
def predict(
    files: Sequence[Path],
    formulas: Sequence[str],
    name: str | None,
    level: str | None,
    no_registry: bool,
    unrelaxed: bool,
    as_json: bool,
) -> None:
    """Predict formation energy, its 90 % interval and place on the hull of the crystals in FILES. Nothing is stored.

    The place is on the hull of all other crystals: a stored one that is the same is left out. The three nearest known
    crystals are told. A record that can't be read or predicted keeps its place in the output, with the reason among its
    flags; the exit code is 1 then.
    """
    from api.cli.predict_formulas import predict_and_print
    from registry.errors import BadRecord

    if bool(files) == bool(formulas):
        raise click.UsageError("give FILES of crystals, or formulas by --formula")
    if formulas:
        if unrelaxed:
            raise click.UsageError("--unrelaxed is about the volume of crystals: formulas have none")
        predict_and_print(formulas, name, level, as_json, no_registry)
        return
    items = _read(files)
    _complain([str(item) for item in items if isinstance(item, BadRecord)])
    inputs = [item if isinstance(item, BadRecord) else item.crystal for item in items]
    crystals = [item for item in inputs if not isinstance(item, BadRecord)]
    model, bridge, known = _model_and_known(name, level, no_registry, crystals)
    rows = _predicted(inputs, model, bridge, known, unrelaxed)
    rows = [{"record": item.record, **row} for item, row in zip(items, rows, strict=True)]
    failed = [row for row in rows if row["formation_energy_per_atom"] is None]
    _complain([f"{row['record']}: {row['flags'][-1]}" for row in failed if row["formula"] is not None])
    print_json(rows) if as_json else _print(rows)
    if failed:
        sys.exit(1)


def _read(files: Sequence[Path]) -> list[Item]:
    from registry.importers.files import read_file

    return [record for path in files for record in read_file(path)]


def _predicted(
    inputs: Sequence[Crystal | BadRecord],
    model: ModelFiles,
    bridge: Bridge | None,
    known: Known | None,
    unrelaxed: bool,
) -> list[dict[str, Any]]:
    from workers.predict import predict_crystals

    done = 0
    with progress() if len(inputs) >= LONG else nullcontext(lambda _title, _done, _total: None) as advance:

        def count(crystals: int) -> None:
            nonlocal done
            done += crystals
            advance(f"predicting with {model.name}", done, len(inputs))

        return predict_crystals(inputs, model, known, unrelaxed, count, bridge)


def _complain(lines: Sequence[str]) -> None:
    for line in lines:
        click.echo(f"lode: {line}", err=True)


def _model_and_known(
    name: str | None, level: str | None, no_registry: bool, crystals: Sequence[Crystal]
) -> tuple[ModelFiles, Bridge | None, Known | None]:
    """The model that was named, else the promoted one; without a registry the shipped one. What leads to the level.

    Raises NotFound for a name of nothing, LevelMismatch where no bridge leads from the model to the level asked for.
    """
    from sqlalchemy.orm import Session

    from api.cli.database import open_registry

    if no_registry:
        model = _model(name, level, None)
        return model, bridge_of(model, level, no_registry), None
    with Session(open_registry()) as session:
        model = _model(name, level, session)
        bridge = bridge_of(model, level, no_registry)
        return model, bridge, _known(session, crystals, level or model.record().level)


def _known(session: Session, crystals: Sequence[Crystal], level: str) -> Known | None:
    """None where nothing has been done in the registry at a level that ships with the project."""
    from registry.errors import NotFound
    from registry.hull.levels import shipped_levels
    from workers.predict import known_of

    try:
        return known_of(session, crystals, level)
    except NotFound as missing:
        if level not in shipped_levels():
            raise
        _complain([f"{missing}: nothing is told of the hull and of known crystals"])
        return None


def _model(name: str | None, level: str | None, session: Session | None) -> ModelFiles:
    return _default(level, session) if name is None else _named(name, session)


def _default(level: str | None, session: Session | None) -> ModelFiles:
    from predictors.model_files import ModelFiles
    from registry.hull.level_rows import level_id
    from workers.select import promoted_model
    from workers.train import model_files, shipped_model

    level = level or DEFAULT_LEVEL
    if session is None:
        return ModelFiles.read(shipped_model(level))
    return model_files(session, promoted_model(session, level_id(session, level)).id)


def _named(name: str, session: Session | None) -> ModelFiles:
    from predictors.model_files import ModelFiles, model_folder
    from predictors.potentials.named import POTENTIALS
    from registry.errors import NotFound
    from workers.potentials import potential_files
    from workers.select import named_model
    from workers.train import model_files

    if (folder := model_folder(name)) is not None:
        return ModelFiles.read(folder)
    if name in POTENTIALS:
        return potential_files(name)
    if session is None:
        known = ", ".join(POTENTIALS)
        raise NotFound(f"no model in a folder '{name}': without a registry a model is a folder or one of {known}")
    return model_files(session, named_model(session, name).id)


def _print(rows: Sequence[dict[str, Any]]) -> None:
    shown = [
        {
            **row,
            "decomposition": " + ".join(
                f"{p['amount']:.3f} {p['reduced_formula']}" for p in row["decomposition"] or []
            ),
            "bridge": shown_bridge(row["bridge"]),
            "interval_90": shown_interval(row["interval_90"]),
            "nearest": _nearest(row["nearest"]),
            "flags": ", ".join(row["flags"]),
        }
        for row in rows
    ]
    energies = ["formation_energy_per_atom", "interval_90", "spread", "e_above_hull", "decomposition_energy"]
    over = by_bridge(rows)
    at = f" at level {rows[0]['level']}{over}" if rows else ""
    print_table(
        shown,
        ["index", "formula", *energies, *(["bridge"] if over else []), "decomposition", "nearest", "flags"],
        f"eV/atom{at}; amounts are shares of the atoms; the hull is that of all other crystals",
    )


def _nearest(rows: Sequence[dict[str, Any]]) -> str:
    """The first alone, by a name that somebody gave it: "same crystal NaCl mp-22862"."""
    if not rows:
        return "–"
    first = rows[0]
    names = next(iter(first["external_ids"].values()), first["id"])
    return f"{first['relation']} {first['reduced_formula']} {names if isinstance(names, str) else names[0]}"
