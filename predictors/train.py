"""Train one member of an ensemble. Read it from the top down: config, then `train_member`, then its parts.

Every random choice follows from (seed, epoch), so a run that was killed and taken up again from its last epoch
gives the same numbers as one that was left alone (as long as no `max_minutes` bends the schedule).
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import huber_loss

from predictors.augmentation import Perturbation, perturbed
from predictors.checkpoint import TrainingState, load_state, save_state
from predictors.cpu import tune_cpu
from predictors.ensemble import Ensemble
from predictors.errors import BadCheckpoint, BadTrainingSet, Diverged
from predictors.graph import Graph, batch_graphs, build_graph
from predictors.model_files import ModelRecord
from predictors.progress import progress_bar
from predictors.splits import Split
from predictors.structure_model import ModelConfig, StructureModel
from predictors.training_set import TrainingSet, fit_baseline

STATE = "state.safetensors"
METRICS = "metrics.jsonl"


@dataclass(frozen=True)
class TrainConfig:
    """The plan of one member's training."""

    model: ModelConfig = field(default_factory=ModelConfig)
    perturbation: Perturbation = field(default_factory=Perturbation)
    epochs: int = 30
    batch_size: int = 64
    learning_rate: float = 2e-3
    warmup_epochs: float = 1.0
    weight_decay: float = 1e-2
    huber_delta: float = 0.1  # eV per atom
    gradient_norm: float = 1.0
    ema_decay: float = 0.999
    patience: int | None = None  # epochs without a better validation error
    bootstrap: bool = False
    max_minutes: float | None = None  # the schedule is hurried so that it ends then


@dataclass(frozen=True)
class EpochMetrics:
    """What one epoch gave. Errors in eV per atom; the validation error is that of the averaged weights."""

    epoch: int
    train_loss: float
    validation_mae: float
    best_validation_mae: float
    learning_rate: float
    crystals_per_second: float
    elapsed_seconds: float


def train_member(data: TrainingSet, folder: Path, config: TrainConfig, seed: int) -> Iterator[EpochMetrics]:
    """Train a member in this process on one thread, yielding once per epoch; go on from `folder` if it was begun.

    The folder keeps `state.safetensors` (weights, averages, optimizer; replaced atomically after each epoch) and
    `metrics.jsonl` (one row per epoch). Give one seed per member, one process per core. Raise BadCheckpoint if
    the folder was begun with another plan or other data, Diverged if the loss does.
    """
    tune_cpu(threads=1)
    folder.mkdir(parents=True, exist_ok=True)
    member = Member(data, config, seed)
    member.resume(folder)
    while not member.finished():
        metrics = member.run_epoch()
        member.save(folder)
        yield metrics


def assemble(folders: list[Path], level: str) -> Ensemble:
    """The members of several folders as one ensemble at a level. Raise BadCheckpoint or BadTrainingSet."""
    from importlib.metadata import version

    states = [load_state(folder / STATE) for folder in folders]
    plans = [json.loads(state.about["plan"]) for state in states]
    if len({(plan["data"], tuple(plan["excluded"])) for plan in plans}) > 1:
        raise BadTrainingSet("the members were trained on different data or exclusions: an ensemble needs the same")
    trained = [trained_model(folder) for folder in folders]
    best = [metrics[-1].best_validation_mae for _, metrics in trained]
    record = ModelRecord(
        level=level,
        elements=tuple(sorted({z for state in states for z in json.loads(state.about["elements"])})),
        excluded=tuple(plans[0]["excluded"]) if plans else (),
        data_hash=plans[0]["data"] if plans else "",
        code_version=version("motherlode"),
        metrics={"mean_member_validation_mae": float(np.mean(best)) if best else 0.0},
    )
    return Ensemble([model for model, _ in trained], record)


def trained_model(folder: Path) -> tuple[StructureModel, list[EpochMetrics]]:
    """The best averaged weights of a member's folder, and its metrics. Raise BadCheckpoint."""
    state = load_state(folder / STATE)
    plan = json.loads(state.about["plan"])
    model = StructureModel(ModelConfig(**plan["model"]))
    model.load_state_dict(state.group("best"))
    return model.eval(), [EpochMetrics(**row) for row in json.loads(state.about["metrics"])]


class Member:
    """A model in training: its weights, their running average, the optimizer, and the data as graphs."""

    def __init__(self, data: TrainingSet, config: TrainConfig, seed: int) -> None:
        self.data, self.config, self.seed = data, config, seed
        self.graphs: dict[int, Graph] = {}
        self.validation = data.part(Split.VALIDATION)
        self.training = self._training_part()
        self.model = self._new_model()
        self.average = deepcopy(self.model)
        self.best = {name: value.clone() for name, value in self.average.state_dict().items()}
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
        )
        self.metrics: list[EpochMetrics] = []
        self.updates = 0
        self.elapsed = 0.0

    def run_epoch(self) -> EpochMetrics:
        """One pass over the training part (cut short when the time is up), then the validation error."""
        started, before = time.monotonic(), self.elapsed
        losses: list[float] = []
        seen, rate = 0, 0.0
        batches = self._batches(self._epoch())
        with progress_bar(
            f"member {self.seed} epoch {self._epoch() + 1}/{self.config.epochs}", len(batches)
        ) as advance:
            for step, (indices, rng) in enumerate(batches):
                self.elapsed = before + time.monotonic() - started
                if losses and self._out_of_time():
                    break
                rate = self._learning_rate(self._epoch() + step / len(batches))
                losses.append(self._update(indices, rng, rate))
                seen += len(indices)
                advance(1)
        speed = seen / (time.monotonic() - started)
        error = self._validation_error()
        self.elapsed = before + time.monotonic() - started
        return self._note(float(np.mean(losses)), error, rate, speed)

    def _note(self, loss: float, error: float, rate: float, speed: float) -> EpochMetrics:
        """Keep the epoch's row, and the averaged weights if they are the best so far."""
        best = min([error, *(row.validation_mae for row in self.metrics)])
        if error == best:
            self.best = {name: value.clone() for name, value in self.average.state_dict().items()}
        row = EpochMetrics(self._epoch(), loss, error, best, rate, speed, self.elapsed)
        self.metrics.append(row)
        return row

    def _epoch(self) -> int:
        return len(self.metrics)

    def _out_of_time(self) -> bool:
        return self.config.max_minutes is not None and self.elapsed >= self.config.max_minutes * 60

    def finished(self) -> bool:
        """Whether the plan, the time or the patience is at its end."""
        if len(self.metrics) >= self.config.epochs:
            return True
        if not self.metrics:
            return False
        if self._out_of_time():
            return True
        errors = [row.validation_mae for row in self.metrics]
        return self.config.patience is not None and len(errors) - 1 - int(np.argmin(errors)) >= self.config.patience

    def _update(self, indices: NDArray[np.intp], rng: np.random.Generator, rate: float) -> float:
        batch = batch_graphs([self._graph(index, rng) for index in indices])
        targets = torch.from_numpy(self.data.targets[indices])
        delta = self.config.huber_delta
        loss = huber_loss(self.model(batch), targets, delta=delta) / delta
        if not torch.isfinite(loss):
            raise Diverged("the loss became NaN or infinite: take a smaller learning rate")
        self.optimizer.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.gradient_norm)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self._follow()
        return loss.item()

    def _follow(self) -> None:
        """Move the averaged weights towards the new ones; faster at first."""
        self.updates += 1
        decay = min(self.config.ema_decay, (1 + self.updates) / (10 + self.updates))
        with torch.no_grad():
            for slow, fast in zip(self.average.parameters(), self.model.parameters(), strict=True):
                slow.lerp_(fast, 1 - decay)

    def _learning_rate(self, epochs_done: float) -> float:
        """Linear warm-up, then a cosine to zero at the end of the epochs, or of the time if that comes first."""
        share = epochs_done / self.config.epochs
        if self.config.max_minutes is not None:
            share = max(share, self.elapsed / (60 * self.config.max_minutes))
        warmup = min(1.0, (epochs_done + 0.02) / max(self.config.warmup_epochs, 0.02))
        return self.config.learning_rate * warmup * 0.5 * (1 + float(np.cos(np.pi * min(share, 1.0))))

    def _batches(self, epoch: int) -> list[tuple[NDArray[np.intp], np.random.Generator]]:
        rng = np.random.default_rng((self.seed, epoch))
        order = rng.permutation(self.training)
        cuts = range(self.config.batch_size, len(order), self.config.batch_size)
        return [(indices, rng) for indices in np.split(order, cuts)]

    def _graph(self, index: int, rng: np.random.Generator | None) -> Graph:
        """The crystal's graph as it is, or, by the dice, that of a copy."""
        config = self.config
        if rng is not None and rng.random() < config.perturbation.probability:
            copy = perturbed(self.data.crystals[index], config.perturbation, rng)
            return build_graph(copy, config.model.cutoff, config.model.max_neighbors)
        if index not in self.graphs:
            crystal = self.data.crystals[index]
            self.graphs[index] = build_graph(crystal, config.model.cutoff, config.model.max_neighbors)
        return self.graphs[index]

    def _validation_error(self) -> float:
        self.average.eval()
        errors = []
        with torch.no_grad():
            for indices in np.split(self.validation, range(256, len(self.validation), 256)):
                energies = self.average(batch_graphs([self._graph(index, None) for index in indices])).numpy()
                errors.append(np.abs(energies - self.data.targets[indices]))
        return float(np.concatenate(errors).mean())

    def _training_part(self) -> NDArray[np.intp]:
        part = self.data.part(Split.TRAIN)
        if self.config.bootstrap:
            part = np.random.default_rng((self.seed, 1 << 20)).choice(part, len(part))
        return part

    def _new_model(self) -> StructureModel:
        """Weights by the seed; baseline, scale and adjacency by the training part."""
        torch.manual_seed(self.seed)
        model = StructureModel(self.config.model)
        sample = np.unique(self.training)
        baseline = fit_baseline(self.data, sample)
        energies = np.array([baseline[self.data.crystals[i].numbers].mean() for i in sample])
        graphs = [self._graph(i, None) for i in sample[:2000]]
        adjacency = sum(len(g.src) for g in graphs) / sum(len(g.numbers) for g in graphs)
        model.baseline.copy_(torch.from_numpy(baseline))
        model.scale.fill_(max(float(np.std(self.data.targets[sample] - energies)), 1e-3))
        model.adjacency.fill_(max(adjacency, 1.0))
        return model

    def save(self, folder: Path) -> None:
        """First the state, atomically; then the metrics, which are read from the state if the second never comes."""
        groups = {
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "best": self.best,
            **optimizer_groups(self.optimizer, self.model),
        }
        rows = [asdict(row) for row in self.metrics]
        about = {
            "plan": self._plan(),
            "elements": json.dumps(self.data.elements()),
            "metrics": json.dumps(rows),
            "updates": str(self.updates),
            "elapsed": repr(self.elapsed),
        }
        save_state(TrainingState(groups, about), folder / STATE)
        with (folder / METRICS).open("a") as file:
            file.write(json.dumps(rows[-1]) + "\n")

    def resume(self, folder: Path) -> None:
        """Take up the run that `folder` holds, if any, and mend its metrics file."""
        (folder / METRICS).touch()
        if not (folder / STATE).exists():
            (folder / METRICS).write_text("")
            return
        state = load_state(folder / STATE)
        if state.about["plan"] != self._plan():
            raise BadCheckpoint(f"{folder} holds a run with another plan or other data: choose another folder")
        self.model.load_state_dict(state.group("model"))
        self.average.load_state_dict(state.group("average"))
        self.best = state.group("best")
        restore_optimizer(self.optimizer, self.model, state)
        self.metrics = [EpochMetrics(**row) for row in json.loads(state.about["metrics"])]
        self.updates, self.elapsed = int(state.about["updates"]), float(state.about["elapsed"])
        (folder / METRICS).write_text("".join(json.dumps(asdict(row)) + "\n" for row in self.metrics))

    def _plan(self) -> str:
        """What must be the same for a run to go on. Time and length may be changed in between."""
        plan = asdict(self.config) | {"seed": self.seed, "data": self.data.data_hash, "excluded": self.data.excluded}
        for name in ("max_minutes", "patience"):
            plan.pop(name)
        return json.dumps(plan, sort_keys=True)


def optimizer_groups(optimizer: torch.optim.Optimizer, model: StructureModel) -> dict[str, dict[str, torch.Tensor]]:
    """The optimizer's memory by kind ("exp_avg", ...) and parameter name."""
    groups: dict[str, dict[str, torch.Tensor]] = {}
    for name, parameter in model.named_parameters():
        for kind, value in optimizer.state[parameter].items():
            groups.setdefault(f"optimizer_{kind}", {})[name] = value
    return groups


def restore_optimizer(optimizer: torch.optim.Optimizer, model: StructureModel, state: TrainingState) -> None:
    """Give the optimizer back the memory that `optimizer_groups` took."""
    kinds = [group.removeprefix("optimizer_") for group in state.groups if group.startswith("optimizer_")]
    for name, parameter in model.named_parameters():
        optimizer.state[parameter] = {kind: state.group(f"optimizer_{kind}")[name] for kind in kinds}
