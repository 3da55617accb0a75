"""lode model: training tables, training, judging, and the models of the registry."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from api.cli.database import DEFAULT_LEVEL
from api.cli.model_table import table
from api.cli.output import as_json, print_json, print_table, progress
from api.cli.scaling import scaling
from api.cli.training import check, dataset, evaluate, formulas_in, register_as, train

if TYPE_CHECKING:
    from registry.crystal import Crystal


@click.group()
def model() -> None:
    """Train, judge, list and promote models."""


for command in (dataset, train, check, evaluate, scaling, table):
    model.add_command(command)


@model.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True))
@click.option("--level", default=DEFAULT_LEVEL, show_default=True)
@click.option("--max-sites", default=20, show_default=True)
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="Folder of the parts; the table goes beside it."
)
def relabel(file: Path, level: str, max_sites: int, out: Path) -> None:
    """Bring FILE to a level by single points: a training table OUT.parquet. Goes on where it stopped.

    Rows that the file itself marks `suspect` are left out.
    """
    _label_into(out, level, "as they stand", list(_records(file, max_sites)))


@model.command()
@click.option("--family", required=True, help="Elements of the compounds: Li,Na,O,...")
@click.option(
    "--wider", default="", help="More elements; compounds of the family alone are drawn three times as often."
)
@click.option("--count", default=6000, show_default=True, type=click.IntRange(1))
@click.option("--exclude", type=click.Path(path_type=Path, exists=True), help="File of formulas to leave out.")
@click.option("--level", default=DEFAULT_LEVEL, show_default=True)
@click.option("--max-sites", default=8, show_default=True)
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="Folder of the parts; the table goes beside it."
)
def polymorphs(
    family: str, wider: str, count: int, exclude: Path | None, level: str, max_sites: int, out: Path
) -> None:
    """Label hypothetical polymorphs at their best volume: OUT.parquet shows a model what wrong structures cost."""
    from api.cli.work import parse_family
    from registry.importers.prototypes import read_prototypes
    from registry.importers.record import ImportedRecord
    from workers.candidates.generation import Settings
    from workers.polymorphs import drawn, hypothetical

    core = parse_family(family)
    families = [core, parse_family(f"{family},{wider}")] if wider else [core]
    parents = [record.crystal for record in read_prototypes() if isinstance(record, ImportedRecord)]
    settings = Settings(max_sites=max_sites, max_elements=4, per_parent=500, partial_per_parent=60)
    compounds = drawn(hypothetical(parents, families, formulas_in(exclude), settings), count, core, seed=0)
    named = [(f"polymorph:{number}", compound) for number, compound in enumerate(compounds)]
    _label_into(out, level, "at best volume", named)


@model.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True))
@click.option("--count", default=20_000, show_default=True, type=click.IntRange(1))
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0))
@click.option("--exclude", type=click.Path(path_type=Path, exists=True), help="File of formulas to leave out.")
@click.option("--level", default=DEFAULT_LEVEL, show_default=True)
@click.option("--max-sites", default=12, show_default=True, help="Sites of the largest parent.")
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="Folder of the parts; the table goes beside it."
)
def substitutes(file: Path, count: int, seed: int, exclude: Path | None, level: str, max_sites: int, out: Path) -> None:
    """Label crystals of FILE with other elements on their sites, as they stand: OUT.parquet. Goes on where it stopped.

    Known crystals are mostly stable: these show a model what is not.
    """
    from registry.errors import SettingsError
    from registry.hull.levels import load_level
    from workers.substitutes import substitutes as draw

    parents = [crystal for _, crystal in _records(file, max_sites)]
    if not parents:
        raise SettingsError(f"{file} holds no crystal of up to {max_sites} sites to put other elements into")
    drawn = draw(parents, load_level(level).references, formulas_in(exclude), count, seed)
    _label_into(out, level, "as they stand", [(f"substitute:{seed}:{n}", one) for n, one in enumerate(drawn)])


def _label_into(out: Path, level: str, how: str, records: list[tuple[str, Crystal]]) -> None:
    from predictors.training_table import say_level
    from registry.hull.levels import load_level
    from workers.engines.base import engine_of
    from workers.polymorphs import at_best_volume
    from workers.relabel import as_they_stand, relabel, with_targets

    of = load_level(level)
    engine = engine_of(of)
    label = {"as they stand": as_they_stand, "at best volume": at_best_volume}[how](engine)
    done = 0
    with progress() as advance:

        def count(records_done: int) -> None:
            nonlocal done
            done += records_done
            advance(f"{of.engine}, {how}", done, len(records))

        relabel(records, label, of, out, count)
    table = with_targets(out, of)
    table.to_parquet(out.with_suffix(".parquet"))
    say_level(out.with_suffix(".parquet"), level)
    click.echo(f"{len(table)} crystals at level {level} in {out.with_suffix('.parquet')}")


def _records(file: Path, max_sites: int) -> Iterator[tuple[str, Crystal]]:
    from registry.importers.files import read_file
    from registry.importers.record import ImportedRecord

    for record in read_file(file):
        if not isinstance(record, ImportedRecord):
            click.echo(f"lode: {record}", err=True)
        elif record.crystal.nsites <= max_sites and not record.metadata.get("suspect"):
            yield record.record, record.crystal


@model.command()
@click.argument("name")
@click.argument("folder", required=False, type=click.Path(path_type=Path, exists=True))
def register(name: str, folder: Path | None) -> None:
    """Write the model in FOLDER into the registry as NAME; without FOLDER the pretrained potential NAME."""
    from predictors.potentials.named import POTENTIALS

    if folder is None and name not in POTENTIALS:
        raise click.UsageError(f"which FOLDER? Without one NAME is a potential: {', '.join(POTENTIALS)}")
    register_as(name, folder)


@model.command("list")
@as_json
def list_(as_json: bool) -> None:
    """The models of the registry."""
    import sqlalchemy as sa

    from api.cli.database import open_registry

    query = sa.text(
        "SELECT model.name, level.name AS level, CASE WHEN needs_structure THEN 'crystals' ELSE 'formulas' END AS"
        " predicts, members, promoted, metrics, checkpoint_sha256, code_version,"
        " model.created_at FROM model JOIN level ON level.id = level_id ORDER BY model.id"
    )
    with open_registry().connect() as connection:
        rows = [dict(row) for row in connection.execute(query).mappings()]
    if as_json:
        print_json(rows)
        return
    for row in rows:
        row["test_mae"] = row["metrics"].get("test_mae")
    print_table(rows, ["name", "level", "predicts", "members", "promoted", "test_mae", "created_at"])


@model.command()
@click.argument("name")
def promote(name: str) -> None:
    """Make NAME the model that scores for its level; one of formulas, the one that `lode predict --formula` asks."""
    from sqlalchemy.orm import Session

    from api.cli.database import open_registry
    from workers.train import promote as run

    with Session(open_registry()) as session, session.begin():
        run(session, name)
    click.echo(f"{name} is asked from now on")
