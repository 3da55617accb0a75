"""lode model train | dataset | check | evaluate."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from api.cli.database import DEFAULT_LEVEL
from api.cli.output import as_json, print_json, print_table, progress

if TYPE_CHECKING:
    from predictors.model_files import ModelFiles
    from workers.train import Plan

MODEL = ("kind", "width", "steps")
"""Options that are fields of the network's shape."""

WAYS = ("formula", "chemsys", "prototype", "time", "given")
PATH = click.Path(path_type=Path)
SPLIT = click.option("--split", type=click.Choice(WAYS), default="formula", show_default=True, help="What parts go by.")


def config_options(command: Callable[..., None]) -> Callable[..., None]:
    """Fields of predictors.train_config.TrainConfig; what isn't given is left to --config, or as usual."""
    options = (
        click.option("--config", "config_file", type=PATH, help="TOML or JSON file of TrainConfig's fields."),
        click.option("--kind", help="structure, published or composition.  [default: structure]"),
        click.option("--width", type=int, help="Of the network's layers."),
        click.option("--steps", type=int, help="Of message passing."),
        click.option("--epochs", type=int, help="[default: 30]"),
        click.option("--batch-size", type=int, help="Crystals.  [default: 64]"),
        click.option("--learning-rate", type=float, help="The highest of the schedule.  [default: 0.002]"),
        click.option("--patience", type=int, help="Stop after so many epochs without a better validation error."),
        click.option("--bootstrap", is_flag=True, default=None, help="Each member draws its own crystals, some twice."),
        click.option("--folds", type=int, help="Each member leaves out one of so many parts: better intervals."),
        click.option("--augmentation", type=float, help="Share of crystals seen as perturbed copies.  [default: 0.6]"),
        click.option("--copies", type=int, help="Keep so many of each crystal; 0: new ones each epoch.  [default: 0]"),
        click.option("--bfloat16", is_flag=True, default=None, help="Half the digits in matrix products, on GPUs."),
        click.option("--seed", type=int, help="Of the first member.  [default: 0]"),
        click.option("--max-minutes", type=float, help="The schedule is hurried so that each member ends then."),
    )  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


@click.command()
@click.argument("data", nargs=-1, required=True, type=PATH)
@click.option("--name", required=True, help="Name of the model in the registry.")
@click.option("--level", default=DEFAULT_LEVEL, show_default=True, help="Level of the targets in DATA.")
@click.option("--members", default=4, show_default=True, type=click.IntRange(1, 100))
@click.option("--jobs", default=1, show_default=True, type=click.IntRange(1), help="Members trained at a time.")
@click.option(
    "--processes", default=1, show_default=True, type=click.IntRange(1), help="That share a member (torchrun)."
)
@SPLIT
@click.option("--exclude", type=PATH, help="File of formulas to leave out.")
@config_options
@click.option("--out", type=PATH, help="Folder of checkpoints and model.  [default: runs/NAME]")
@click.option("--half", "halved", is_flag=True, help="Keep the weights in half precision: half the size.")
@click.option("--no-registry", is_flag=True, help="Only write the model's folder.")
def train(
    data: tuple[Path, ...],
    name: str,
    level: str,
    members: int,
    jobs: int,
    processes: int,
    split: str,
    exclude: Path | None,
    config_file: Path | None,
    out: Path | None,
    halved: bool,
    no_registry: bool,
    **options: Any,
) -> None:
    """Train an ensemble on DATA: tables of `lode model dataset`, or any parquet with formula, lattice (9), numbers,
    frac_coords, target (eV/atom at the level); for models of kind composition, formula and target alone.

    Learns from 80 % of the rows, stops by 5 %, is judged on 15 %. Interrupted or killed, the same command goes on from
    the last epoch of each member.
    """
    from predictors.train_config import read_config
    from workers.train import Plan
    from workers.train import train as run

    config = read_config(config_file, _changes(options))
    excluded = formulas_in(exclude)
    plan = Plan(data, out or Path("runs") / name, level, members, config, split, excluded, processes, halved)
    if not no_registry:
        _refuse_unregistrable(name, plan)
    with progress() as advance:
        folder = run(plan, jobs, advance)
    click.echo(f"the model is in {folder}")
    if not no_registry:
        register_as(name, folder)


def _refuse_unregistrable(name: str, plan: Plan) -> None:
    """Before hours are spent: a level or name that the registry won't take, or no registry."""
    from sqlalchemy.orm import Session

    from api.cli.database import open_registry
    from workers.train import ensure_registrable

    with Session(open_registry()) as session:
        ensure_registrable(session, name, plan)


def _changes(options: dict[str, Any]) -> dict[str, Any]:
    """What was given, as `read_config` takes it."""
    given = {name: value for name, value in options.items() if value is not None}
    shape = {name: given.pop(name) for name in MODEL if name in given}
    copies = {"probability": given.pop("augmentation")} if "augmentation" in given else {}
    return {**given, **({"model": shape} if shape else {}), **({"perturbation": copies} if copies else {})}


def formulas_in(path: Path | None) -> tuple[str, ...]:
    """The words of a file of formulas; none without a file. Raises SettingsError."""
    from registry.errors import SettingsError

    if path is None:
        return ()
    try:
        return tuple(path.read_text().split())
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} can't be read: {error}") from error


def register_as(name: str, folder: Path | None) -> None:
    """Write a model's folder into the registry, or without one the pretrained potential of that name."""
    from sqlalchemy.orm import Session

    from api.cli.database import open_registry
    from workers.potentials import register_potential
    from workers.train import register

    with Session(open_registry()) as session, session.begin():
        register_potential(session, name) if folder is None else register(session, name, folder)
    click.echo(f"registered as {name}; `lode model promote {name}` makes it the one that scores")


@click.command()
@click.option("--level", required=True, help="Of the targets: formation energies, eV/atom.")
@click.option("--filter", "filter_", default="", help="Which entries.  [default: all]")
@click.option("--as-of", type=click.DateTime(), help="The hull as it was then, UTC.  [default: now]")
@click.option("--non-commercial", "sources", multiple=True, help="Take this non-commercial SOURCE along; repeatable.")
@click.option("--out", required=True, type=PATH, help="The parquet file.")
@as_json
def dataset(
    level: str, filter_: str, as_of: datetime | None, sources: tuple[str, ...], out: Path, as_json: bool
) -> None:
    """Write a training table: the relaxed crystal and formation energy of every entry of a level.

    The file says the query and its moment; a model that learns from it keeps them, and `lode model check` asks again.
    """
    from sqlalchemy.orm import Session

    from api.cli.database import open_registry
    from registry.training_rows import left_out, training_query
    from workers.dataset import write_dataset

    with Session(open_registry()) as session, progress() as advance:
        query = training_query(session, level, filter_, as_of, frozenset(sources))
        part = write_dataset(session, query, out, lambda done: advance("writing", done, 0))
        left = left_out(session, query)
    if left.unplaced:
        click.echo(f"lode: left out {left.unplaced} entries without a place on the hull: `lode place`", err=True)
    for source, count in left.by_source.items():
        click.echo(f"lode: left out {count} of {source}: not for commercial use", err=True)
    if as_json:
        print_json({"file": str(out), "rows": part.rows, "sha256": part.sha256, "query": part.query})
    else:
        click.echo(f"{part.rows} entries of level {level} as of {query.as_of} in {out}, SHA-256 {part.sha256}")


@click.command()
@click.argument("name")
@as_json
def check(name: str, as_json: bool) -> None:
    """Build the training set of model NAME anew from its recorded query and compare; exit code 1 if it differs."""
    from sqlalchemy.orm import Session

    from api.cli.database import open_registry
    from workers.dataset import as_json as told
    from workers.dataset import check_model

    with Session(open_registry()) as session, progress() as advance:
        checks = check_model(session, name, lambda done: advance("asking again", done, 0))
    if as_json:
        print_json(told(checks))
    else:
        lines = [str(one) for one in checks]
        click.echo("\n".join(lines) or f"of the training set of {name} nothing but its hash is known")
    if any(one.same is False for one in checks):
        sys.exit(1)


@click.command()
@click.argument("name")
@click.argument("file", type=PATH)
@SPLIT
@click.option("--bridge", type=PATH, help="JSON of `lode level bridge`: from the model's level to that of FILE.")
@as_json
def evaluate(name: str, file: Path, split: str, bridge: Path | None, as_json: bool) -> None:
    """Judge model NAME (of the registry, or a folder) on a training table FILE: errors in eV/atom.

    By split; and of what isn't in its training part, by number of elements and by anion.
    """
    from dataclasses import asdict

    from predictors.bridge import Bridge
    from predictors.training_set import read_training_set
    from workers.evaluate import evaluate as run

    files = _model_files(name)
    data = read_training_set(file, split_by=split, structures=files.needs_structure())
    with progress() as advance:
        found = run(
            files, data, Bridge.read(bridge) if bridge else None, lambda done, of: advance("predicting", done, of)
        )
    if as_json:
        groups = {
            part: {group: asdict(errors) for group, errors in each.items()} for part, each in found.groups.items()
        }
        print_json({"model": files.name, "level": found.level, "flags": found.flags, "file": str(file), **groups})
        return
    for flag in found.flags:
        click.echo(flag)
    for part, each in found.groups.items():
        rows = [{part: group, **asdict(errors)} for group, errors in each.items()]
        print_table(
            rows, [part, "n", "refused", "mae", "median", "rmse", "bias"], f"{files.name}, eV/atom at {found.level}"
        )


def _model_files(name: str) -> ModelFiles:
    from predictors.model_files import ModelFiles, model_folder

    if (folder := model_folder(name)) is not None:
        return ModelFiles.read(folder)
    from sqlalchemy.orm import Session

    from api.cli.database import open_registry
    from workers.select import named_model
    from workers.train import model_files

    with Session(open_registry()) as session:
        return model_files(session, named_model(session, name).id)
