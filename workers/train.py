"""Training and the registry: members in processes of their own, then the model, its training set and its metrics."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from predictors.errors import BadCheckpoint
from predictors.model_files import ABOUT, WEIGHTS, ModelFiles, ModelRecord
from predictors.potentials.named import POTENTIALS
from registry import queue
from registry.errors import LevelMismatch, NotFound, SettingsError
from registry.hull.level_rows import ensure_level, level_id
from registry.hull.levels import load_level
from registry.models import Model, ModelFile, TrainingSet
from workers.crews import train_members
from workers.select import PROMOTED, named_model

if TYPE_CHECKING:
    from predictors.ensemble import Ensemble
    from predictors.train_config import TrainConfig
    from predictors.train_plan import MemberPlan
    from predictors.training_set import TrainingSet as TrainingData

SHIPPED = Path(__file__).parents[1] / "predictors" / "shipped"


@dataclass(frozen=True)
class Plan:
    """What to train: `data` are training tables (see predictors.training_set), `folder` takes checkpoints and model.

    split: a way of predictors.splits; processes: that share each batch of a member
    halved: whether the weights are kept in half precision
    """

    data: tuple[Path, ...]
    folder: Path
    level: str
    members: int
    config: TrainConfig
    split: str = "formula"
    excluded: tuple[str, ...] = ()
    processes: int = 1
    halved: bool = False

    @property
    def table(self) -> Path:
        """All data in one file, which the members' checkpoints name by its hash."""
        return self.folder / "data.parquet"

    def member(self, number: int) -> MemberPlan:
        """The plan of one member."""
        from predictors.train_plan import MemberPlan

        seed = self.config.seed + number
        return MemberPlan(self.table, self.folder / f"member{seed}", self.config, seed, self.split, self.excluded)


def train(plan: Plan, jobs: int, report: Callable[[str, int, int], None]) -> Path:
    """Train the members, `jobs` at a time, and save the ensemble with its metrics; the model's folder.

    A run that was killed goes on where its members' checkpoints stand. Raises BadTrainingSet before anything is
    trained, SettingsError if the folder holds a training on other data, TrainingFailed.
    """
    from predictors.checkpoint import save_model
    from predictors.half_precision import halved, save_halved
    from predictors.members import assemble
    from predictors.training_set import read_training_set

    _merge(plan)
    structures = plan.config.model.needs_structure
    data = read_training_set(plan.table, plan.excluded, split_by=plan.split, structures=structures)
    data.ensure_learnable()
    members = [plan.member(number) for number in range(plan.members)]
    train_members(members, jobs, plan.processes, report)
    ensemble = assemble([member.folder for member in members], plan.level)
    ensemble = judged(halved(ensemble) if plan.halved else ensemble, data, report)
    (save_halved if plan.halved else save_model)(ensemble, plan.folder / "model")
    return plan.folder / "model"


def judged(ensemble: Ensemble, data: TrainingData, report: Callable[[str, int, int], None]) -> Ensemble:
    """Centred, with its calibration, and in its record its errors on the parts of the data that it learnt from."""
    from predictors.centring import centred
    from predictors.confidence import fitted
    from predictors.evaluate import evaluate

    report("calibrating the ensemble", 0, 0)
    ensemble = fitted(centred(ensemble, data), data)
    report("judging the ensemble", 0, 0)
    metrics = {**ensemble.record.metrics, **evaluate(ensemble, data).as_metrics()}
    return replace(ensemble, record=replace(ensemble.record, rows=len(data.crystals), metrics=metrics))


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
        needs_structure=files.needs_structure(),
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
    """Make a model the one that scores for its level, or the one that is asked about formulas. Raises NotFound."""
    model = named_model(session, name)
    others = sa.update(Model).where(
        Model.level_id == model.level_id, Model.needs_structure == model.needs_structure, Model.promoted
    )
    session.execute(others.values(promoted=False))
    session.flush()
    model.promoted = True
    queue.ring(session)


def register_shipped(session: Session) -> list[str]:
    """Register the models that ship with the project; promote one where its level has none. Their names."""
    names = []
    for folder in sorted(path.parent for path in SHIPPED.glob("*/model.json")):
        ensure_level(session, load_level(ModelFiles.read(folder).record().level))
        model_id = register(session, folder.name, folder)
        level = session.scalars(sa.select(Model.level_id).where(Model.id == model_id)).one()
        if session.scalar(sa.select(Model.id).where(Model.level_id == level, PROMOTED)) is None:
            promote(session, folder.name)
        names.append(folder.name)
    return names


def shipped_model(level: str) -> Path:
    """The folder of the shipped model of a level. Raises NotFound, LevelMismatch."""
    folders = {
        ModelFiles.read(path.parent).record().level: path.parent for path in sorted(SHIPPED.glob("*/model.json"))
    }
    if not folders:
        raise NotFound("no model ships with this installation: train one with `lode model train`")
    if level not in folders:
        raise LevelMismatch(f"no shipped model predicts at level '{level}' (there are: {', '.join(folders)})")
    return folders[level]


def ensure_registrable(session: Session, name: str, plan: Plan) -> None:
    """Raises NotFound for a level that the registry doesn't hold, SettingsError for a name that is taken, unless the
    plan has been carried out already: then it may be by this very model."""
    level_id(session, plan.level)
    taken = name in POTENTIALS or session.scalar(sa.select(Model.id).where(Model.name == name)) is not None
    if taken and not (plan.folder / "model" / "model.json").exists():
        raise SettingsError(f"the name '{name}' is taken: choose another")


def _merge(plan: Plan) -> None:
    """Write all data in one table. Raises SettingsError if the folder holds another, or one of another level: its
    members learnt from that."""
    from predictors.training_table import joined, read_table, write_table

    structures = plan.config.model.needs_structure
    table = joined([read_table(path, structures) for path in plan.data], plan.level)
    plan.folder.mkdir(parents=True, exist_ok=True)
    if plan.table.exists():
        begun = read_table(plan.table)
        if begun.sha256 != table.sha256:
            raise SettingsError(f"{plan.folder} holds a training on other data: choose another folder with --out")
        if begun.level != plan.level:
            raise SettingsError(f"{plan.folder} holds a training at level {begun.level}: choose another with --out")
    beside = plan.table.with_suffix(".new")
    write_table(table, beside)
    beside.replace(plan.table)


def _training_set(session: Session, name: str, record: ModelRecord, level: int) -> int:
    key = {
        "level_id": level,
        "sha256": record.data_hash,
        "excluded_formulas": list(record.excluded),
        "split": record.dataset.get("split", "formula"),
    }
    values = {"name": name, "rows": record.rows, "parts": record.dataset.get("parts", [])}
    session.execute(insert(TrainingSet).values(**key, **values).on_conflict_do_nothing())
    return session.scalars(sa.select(TrainingSet.id).filter_by(**key)).one()
