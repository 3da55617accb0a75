"""lode level bridge fit | show | list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from api.cli.output import as_json, print_json, print_table

if TYPE_CHECKING:
    from predictors.bridge import Bridge
    from predictors.model_files import ModelFiles

PARTS = ["part", "n", "mean", "std", "mae"]


@click.group()
def bridge() -> None:
    """Fitted maps from the formation energies of one level to those of another."""


@bridge.command()
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("--from", "from_level", required=True, metavar="LEVEL")
@click.option("--to", "to_level", required=True, metavar="LEVEL")
@click.option("--columns", nargs=2, metavar="FROM TO", help="Columns of FILE with the energies.")
@click.option("--ridge", default=0.1, show_default=True, type=click.FloatRange(0, min_open=True))
@click.option("--out", type=click.Path(path_type=Path), help="Write the bridge as JSON, too.")
@click.option("--no-registry", is_flag=True, help="Only write --out.")
@as_json
def fit(
    file: Path | None,
    from_level: str,
    to_level: str,
    columns: tuple[str, str] | None,
    ridge: float,
    out: Path | None,
    no_registry: bool,
    as_json: bool,
) -> None:
    """Fit a bridge on the crystals that the registry has at both levels, or on FILE: parquet, `formula` and --columns.

    Energies are formation energies in eV/atom. A fifth of the formulas is held out and tells what the bridge is off by.
    """
    from predictors.bridge import fit_bridge

    if (file is None) != (columns is None):
        raise click.UsageError("name FILE and --columns, or neither of them")
    if no_registry and (file is None or out is None):
        raise click.UsageError("without a registry, energies come from FILE and the bridge goes to --out")
    rows = _of_registry(from_level, to_level) if columns is None or file is None else _of_file(file, columns)
    found = fit_bridge((from_level, to_level), *rows, ridge=ridge)
    if not no_registry:
        _store(found)
    if out is not None:
        found.write(out)
    print_json(_told(found)) if as_json else _print(found)


@bridge.command()
@click.argument("from_level", metavar="FROM")
@click.argument("to_level", metavar="TO")
@click.option("--out", type=click.Path(path_type=Path), help="Write the bridge as JSON, too.")
@as_json
def show(from_level: str, to_level: str, out: Path | None, as_json: bool) -> None:
    """The bridge between two levels: what it adds, and what it is off by."""
    from sqlalchemy.orm import Session

    from api.cli.database import open_registry
    from workers.bridge import stored_bridge

    with Session(open_registry()) as session:
        found = stored_bridge(session, from_level, to_level)
    if out is not None:
        found.write(out)
    print_json(_told(found)) if as_json else _print(found)


@bridge.command("list")
@as_json
def list_(as_json: bool) -> None:
    """The bridges of the registry; of two between the same levels, the later one counts."""
    from sqlalchemy.orm import Session

    from api.cli.database import open_registry
    from workers.bridge import bridges

    with Session(open_registry()) as session:
        rows = bridges(session)
    if as_json:
        print_json(rows)
        return
    shown = [{**row, **row["residuals"]["held_out"]} for row in rows]
    print_table(shown, ["name", "from", "to", "rows", "mean", "std", "mae", "created_at"], "held out, eV/atom")


def bridge_of(model: ModelFiles, level: str | None, no_registry: bool) -> Bridge | None:
    """What leads from a model's level to the one that was asked for; None where there is nothing to bridge.

    Raises LevelMismatch where no bridge does, NotFound, BadCheckpoint.
    """
    from sqlalchemy.orm import Session

    from api.cli.database import open_registry
    from registry.errors import LevelMismatch
    from workers.bridge import bridge_to

    if level is None or level == (of := model.record().level):
        return None
    if no_registry:
        raise LevelMismatch(
            f"model '{model.name}' predicts at level '{of}', not at '{level}': bridges between levels are kept in the "
            "registry, leave out --no-registry"
        )
    with Session(open_registry()) as session:
        return bridge_to(session, model, level)


def by_bridge(rows: Sequence[Mapping[str, Any]]) -> str:
    """ " by bridge NAME from LEVEL" of predictions that went over one."""
    over = next((row["bridge"] for row in rows if row["bridge"]), None)
    return f" by bridge {over['name']} from {over['from']}" if over else ""


def shown_bridge(told: Mapping[str, Any] | None) -> str:
    """What was added, and what the bridge is off by on compounds of that anion: "-0.325 ± 0.041 (O)"."""
    return f"{told['shift']:+.3f} ± {told['error']:.3f} ({told['anion']})" if told else "–"


def _of_registry(from_level: str, to_level: str) -> tuple[list[str], list[float], list[float]]:
    from sqlalchemy.orm import Session

    from api.cli.database import open_registry
    from workers.bridge import energies_of_both

    with Session(open_registry()) as session:
        rows = energies_of_both(session, from_level, to_level)
    return [row.formula for row in rows], [row.before for row in rows], [row.after for row in rows]


def _of_file(path: Path, columns: Sequence[str]) -> tuple[list[str], list[float], list[float]]:
    """The rows that have both energies; formulas that can't be read are told and left out."""
    import pandas as pd

    from predictors.errors import BadTrainingSet
    from predictors.splits import amounts_of

    try:
        table = pd.read_parquet(path)[["formula", *columns]].dropna()
        numbers = [table[column].astype(float).tolist() for column in columns]
    except KeyError as error:
        raise BadTrainingSet(f"{path} lacks columns: {' '.join(str(error).split())[:200]}") from error
    except (OSError, ValueError) as error:
        raise BadTrainingSet(f"{path} can't be read: {' '.join(str(error).split())[:200]}") from error
    kept = []
    for row in zip(table["formula"].tolist(), *numbers, strict=True):
        try:
            amounts_of(row[0])
            kept.append(row)
        except BadTrainingSet as error:
            click.echo(f"lode: left out: {error}", err=True)
    formulas, before, after = ([row[place] for row in kept] for place in range(3))
    return formulas, before, after


def _store(found: Bridge) -> None:
    from sqlalchemy.orm import Session

    from api.cli.database import open_registry
    from workers.bridge import store_bridge

    with Session(open_registry()) as session, session.begin():
        store_bridge(session, found)


def _told(found: Bridge) -> dict[str, Any]:
    from dataclasses import asdict

    return {**asdict(found), "sha256": found.sha256}


def _print(found: Bridge) -> None:
    click.echo(f"from {found.from_level} to {found.to_level}, {found.rows} compounds, motherlode {found.code_version}")
    print_table([{"part": part, **told} for part, told in found.residuals.items()], PARTS, "off by, eV/atom")
    shifts = [{"of": name, "eV/atom": value} for name, value in found.elements.items()]
    shifts += [{"of": f"{name} as anion", "eV/atom": value} for name, value in found.anions.items()]
    print_table(shifts, ["of", "eV/atom"], "added, per atom of that element")
