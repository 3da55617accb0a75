"""lode model scaling."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from api.cli.output import as_json, print_json, print_table, progress

if TYPE_CHECKING:
    from predictors.scaling import Scaling

SIZES = "500,1000,2000,4000,8000,16000"


def _sizes(_context: click.Context, _parameter: click.Parameter, text: str) -> tuple[int, ...]:
    try:
        return tuple(int(size) for size in text.split(","))
    except ValueError as error:
        raise click.BadParameter(f"{text!r} isn't a list of numbers like {SIZES}") from error


def _tables(_context: click.Context, _parameter: click.Parameter, texts: tuple[str, ...]) -> dict[str, Path]:
    found = {}
    for text in texts:
        name, equals, path = text.partition("=")
        if not name or not equals:
            raise click.BadParameter(f"{text!r} isn't NAME=TABLE")
        if name in found:
            raise click.BadParameter(f"{name!r} is named twice")
        found[name] = Path(path)
    return found


@click.command()
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--sizes", default=SIZES, show_default=True, callback=_sizes, help="Crystals to learn from, ascending.")
@click.option("--epochs", default=30, show_default=True, type=click.IntRange(1), help="Of the largest size.")
@click.option("--augmentation", default=0.0, show_default=True, help="Share of crystals seen as perturbed copies.")
@click.option("--elements", default=4, show_default=True, type=click.IntRange(1), help="Most of a crystal learnt from.")
@click.option("--test", "tests", multiple=True, callback=_tables, help="NAME=TABLE: more to be judged on.")
@click.option("--tested", default=2000, show_default=True, help="Most crystals of each kind to judge by.")
@click.option("--max-sites", type=click.IntRange(1), help="Leave out crystals of more sites.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder of members, JSON and plot.")
@as_json
def scaling(
    data: Path,
    sizes: tuple[int, ...],
    epochs: int,
    augmentation: float,
    elements: int,
    tests: dict[str, Path],
    tested: int,
    max_sites: int | None,
    out: Path,
    as_json: bool,
) -> None:
    """Error against training-set size: one member for each size, trained on part of DATA.

    DATA and each TABLE: parquet with formula, lattice, numbers, frac_coords, target (eV/atom), all at one level.
    Interrupted or killed, the same command goes on from the last epoch.
    """
    from predictors.scaling import PLOT, ScalingPlan, scale
    from predictors.train_config import config_of
    from predictors.training_set import read_training_set

    train = config_of({"epochs": epochs, "perturbation": {"probability": augmentation}})
    plan = ScalingPlan(sizes, train, elements, tested)
    others = {name: read_training_set(path, max_sites=max_sites) for name, path in tests.items()}
    with progress() as advance:
        found = scale(read_training_set(data, max_sites=max_sites), out, plan, others, advance)
    if as_json:
        print_json(asdict(found))
        return
    _print(found)
    click.echo(f"the plot is {out / PLOT}")


def _print(found: Scaling) -> None:
    rows = [
        {
            "crystals": name,
            "judged": curve.n,
            **{f"{size:,}": error for size, error in zip(found.sizes, curve.mae, strict=True)},
            "exponent": f"{curve.law.exponent:.2f} ({curve.law.exponent_low:.2f} to {curve.law.exponent_high:.2f})",
        }
        for name, curve in found.curves.items()
    ]
    print_table(rows, list(rows[0]), f"MAE in eV/atom by crystals learnt from, of up to {found.most_elements} elements")
