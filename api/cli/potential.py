"""lode potential store."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click


@click.group()
def potential() -> None:
    """Interatomic potentials of your own, as engines of levels."""


@potential.command()
@click.argument("checkpoint", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--name", help="Of the potential and its level.  [default: the folder's]")
@click.option("--functional", default="PBE/PBE+U", show_default=True, help="Of the energies that it was trained on.")
@click.option(
    "--corrections",
    type=click.Choice(["MP2020", "none"]),
    default="none",
    show_default=True,
    help="What the level adds: MP2020 where it learnt raw PBE(+U) energies with the Materials Project's settings.",
)
def store(checkpoint: Path, folder: Path, name: str | None, functional: str, corrections: str) -> None:
    """Turn a CHECKPOINT of sevenn (train with `sevenn train`) into files that a level can name, in FOLDER.

    The checkpoint is a pickle, which runs what is in it: give only your own. FOLDER gets weights as safetensors, the
    architecture as JSON, and level.json for `lode level add`. Elements take their lowest entry as reference, unless you
    write others into level.json before.
    """
    from predictors.errors import PredictorError
    from registry.errors import SettingsError
    from registry.hull.levels import level_of

    name = name or folder.resolve().name
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise SettingsError(f"{folder} is there already, and not empty: choose another folder")
    settings = {"model": str(folder.resolve()), "sha256": "", "force_tolerance": 0.03, "max_steps": 100}
    table: dict[str, Any] = {
        "name": name,
        "engine": "sevennet",
        "functional": functional,
        "correction_scheme": corrections,
        "settings": settings,
        "note": f"a SevenNet model of {checkpoint.name}",
    }
    level_of(table)
    try:
        settings["sha256"] = _stored(checkpoint, folder, name)
    except PredictorError as error:
        raise SettingsError(str(error)) from error
    (folder / "level.json").write_text(json.dumps(table, indent=1) + "\n")
    click.echo(f"{folder}: read it by `lode level add {folder / 'level.json'}`")


def _stored(checkpoint: Path, folder: Path, name: str) -> str:
    """The hash of the model. Raises BadCheckpoint, PotentialMissing, SettingsError for what isn't one of sevenn's."""
    from predictors.potentials.named import installed
    from predictors.potentials.trained import trained_files
    from registry.errors import SettingsError

    installed("sevenn")
    from sevenn.checkpoint import SevenNetCheckpoint

    try:
        read = SevenNetCheckpoint(checkpoint)
        config, network = read.config, read.build_model()
    except Exception as error:
        raise SettingsError(f"{checkpoint} is no checkpoint of sevenn: {error}") from error
    files = trained_files(name, config, network)
    files.write(folder)
    return files.sha256
