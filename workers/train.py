"""Training and the registry: members in processes of their own, then the model, its training set and its metrics."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from predictors.errors import BadCheckpoint
from predictors.model_files import ABOUT, WEIGHTS, ModelFiles, ModelRecord
from predictors.potentials.named import POTENTIALS
from registry import queue
from registry.errors import LevelMismatch, NotFound, SettingsError
from registry.hull.level_rows import level_id
from registry.models import Model, ModelFile, TrainingSet
from workers.select import named_model

if TYPE_CHECKING:
    from predictors.train import TrainConfig

SHIPPED = Path(__file__).parents[1] / "predictors" / "shipped"


@dataclass(frozen=True)
class Plan:
    """What to train: `data` are training tables (see predictors.training_set), `folder` takes checkpoints and model."""

    data: tuple[Path, ...]
    folder: Path
    level: str
    members: int
    epochs: int
    excluded: tuple[str, ...] = ()

    @property
    def table(self) -> Path:
        """All data in one file, which the members' checkpoints name by its hash."""
        return self.folder / "data.parquet"

    @property
    def config(self) -> TrainConfig:
        from predictors.train import TrainConfig

        return TrainConfig(epochs=self.epochs)


def train(plan: Plan, jobs: int, report: Callable[[str, int, int], None]) -> Path:
    """Train the members, `jobs` at a time, and save the ensemble with its metrics; the model's folder.

    A run that was killed goes on where its members' checkpoints stand.
    """
    from predictors.checkpoint import save_model
    from predictors.confidence import fitted
    from predictors.evaluate import evaluate
    from predictors.train import assemble
    from predictors.training_set import read_training_set

    _merge(plan)
    _train_members(plan, jobs, report)
    ensemble = assemble([_member_folder(plan, seed) for seed in range(plan.members)], plan.level)
    data = read_training_set(plan.table, plan.excluded)
    report("calibrating the ensemble", 0, 0)
    ensemble = fitted(ensemble, data)
    report("judging the ensemble", 0, 0)
    metrics = {**ensemble.record.metrics, **evaluate(ensemble, data).as_metrics()}
    ensemble = replace(ensemble, record=replace(ensemble.record, rows=len(data.crystals), metrics=metrics))
    save_model(ensemble, plan.folder / "model")
    return plan.folder / "model"


def register(session: Session, name: str, folder: Path) -> int:
    """Write the row and the files of the model in a folder, as `register_files` does."""
    return register_files(session, name, ModelFiles.read(folder))


def register_files(session: Session, name: str, files: ModelFiles) -> int:
    """Write a model's row and its files; its id. A name that has this very checkpoint already stays as it is.

    Raises NotFound for an unknown level, BadCheckpoint for damaged files, SettingsError if another checkpoint has the
    name: predictions that name it must stay true.
    """
    record = files.record()
    if name in POTENTIALS and name != files.checked().get("potential"):
        raise SettingsError(f"'{name}' is a pretrained potential: choose another name")
    known = session.scalar(sa.select(Model).where(Model.name == name))
    if known is not None:
        if known.checkpoint_sha256 != files.sha256:
            raise SettingsError(f"model '{name}' is registered with another checkpoint: choose another name")
        return known.id
    level = level_id(session, record.level)
    row = Model(
        name=name,
        level_id=level,
        training_set_id=_training_set(session, name, record, level),
        code_version=record.code_version,
        checkpoint_sha256=files.sha256,
        members=files.members(),
        metrics=dict(record.metrics),
        promoted=False,
    )
    session.add(row)
    session.flush()
    session.add_all(
        ModelFile(model_id=row.id, name=name, content=content)
        for name, content in ((ABOUT, files.about), (WEIGHTS, files.weights))
    )
    session.flush()
    return row.id


def model_files(session: Session, model_id: int) -> ModelFiles:
    """The checkpoint of a registered model. Raises BadCheckpoint unless it is the one that was registered."""
    model = session.get_one(Model, model_id)
    rows = session.execute(sa.select(ModelFile.name, ModelFile.content).where(ModelFile.model_id == model_id))
    content = {row.name: row.content for row in rows}
    files = ModelFiles(model.name, content.get(ABOUT, b""), content.get(WEIGHTS, b""))
    if files.sha256 != model.checkpoint_sha256:
        raise BadCheckpoint(f"model '{model.name}': its files aren't those that were registered")
    return files


def promote(session: Session, name: str) -> None:
    """Make a model the one that scores for its level. Raises NotFound."""
    model = named_model(session, name)
    session.execute(sa.update(Model).where(Model.level_id == model.level_id, Model.promoted).values(promoted=False))
    session.flush()
    model.promoted = True
    queue.ring(session)


def register_shipped(session: Session) -> list[str]:
    """Register the models that ship with the project; promote one where its level has none. Their names."""
    names = []
    for folder in sorted(path.parent for path in SHIPPED.glob("*/model.json")):
        model_id = register(session, folder.name, folder)
        level = session.scalars(sa.select(Model.level_id).where(Model.id == model_id)).one()
        if session.scalar(sa.select(Model.id).where(Model.level_id == level, Model.promoted)) is None:
            promote(session, folder.name)
        names.append(folder.name)
    return names


def shipped_model(level: str) -> Path:
    """The folder of the shipped model of a level. Raises NotFound, LevelMismatch."""
    import json

    folders = sorted(path.parent for path in SHIPPED.glob("*/model.json"))
    if not folders:
        raise NotFound("no model ships with this installation: train one with `lode model train`")
    for folder in folders:
        if json.loads((folder / "model.json").read_text())["level"] == level:
            return folder
    raise LevelMismatch(f"no shipped model predicts at level '{level}'")


def _merge(plan: Plan) -> None:
    """Write all data in one table. Raises SettingsError if the folder holds another: its members learnt from that."""
    plan.folder.mkdir(parents=True, exist_ok=True)
    columns = ["formula", "lattice", "numbers", "frac_coords", "target"]
    table = pd.concat([pd.read_parquet(path, columns=columns) for path in plan.data], ignore_index=True)
    beside = plan.table.with_suffix(".new")
    table.to_parquet(beside)
    if plan.table.exists() and plan.table.read_bytes() != beside.read_bytes():
        beside.unlink()
        raise SettingsError(f"{plan.folder} holds a training on other data: choose another folder with --out")
    beside.replace(plan.table)


def _train_members(plan: Plan, jobs: int, report: Callable[[str, int, int], None]) -> None:
    total = plan.members * plan.epochs
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        futures = [pool.submit(_train_member, plan, seed) for seed in range(plan.members)]
        while not all(future.done() for future in futures):
            report("training", sum(_epochs(plan, seed) for seed in range(plan.members)), total)
            time.sleep(1)
        _raise_first(futures)
    report("training", total, total)


def _train_member(plan: Plan, seed: int) -> None:
    from predictors.train import train_member
    from predictors.training_set import read_training_set

    for _ in train_member(read_training_set(plan.table, plan.excluded), _member_folder(plan, seed), plan.config, seed):
        pass


def _raise_first(futures: Sequence[Future[None]]) -> None:
    for future in futures:
        future.result()


def _epochs(plan: Plan, seed: int) -> int:
    file = _member_folder(plan, seed) / "metrics.jsonl"
    return len(file.read_text().splitlines()) if file.exists() else 0


def _member_folder(plan: Plan, seed: int) -> Path:
    return plan.folder / f"member{seed}"


def _training_set(session: Session, name: str, record: ModelRecord, level: int) -> int:
    key = {"sha256": record.data_hash, "excluded_formulas": list(record.excluded)}
    values = {"name": name, "rows": record.rows, "level_id": level}
    session.execute(insert(TrainingSet).values(**key, **values).on_conflict_do_nothing())
    return session.scalars(sa.select(TrainingSet.id).filter_by(**key)).one()
