"""Train one member of an ensemble. Read it from the top down: `train_member`, then the parts of `Member`.

Every random choice follows from (seed, epoch), so a run that was killed and taken up again from its last epoch
gives the same numbers as one that was left alone (as long as no `max_minutes` bends the schedule). Started by torchrun,
the processes share each batch, on a GPU each where there are some.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import huber_loss

from predictors.checkpoint import TrainingState, load_state, save_state
from predictors.cpu import tune_cpu
from predictors.distributed import Crew, join_crew
from predictors.energy_model import EnergyModel
from predictors.errors import BadCheckpoint, Diverged
from predictors.examples import Examples, Indices
from predictors.members import METRICS, STATE, EpochMetrics, claimed
from predictors.optimizer_state import optimizer_groups, restore_optimizer
from predictors.progress import progress_bar
from predictors.splits import Split
from predictors.train_config import TrainConfig, values_of
from predictors.training_set import TrainingSet, fit_baseline

VALIDATION_BATCH = 256
CONSTANTS_FROM = 2000  # crystals that the mean adjacency is taken from


def train_member(data: TrainingSet, folder: Path, config: TrainConfig, seed: int) -> Iterator[EpochMetrics]:
    """Train a member in this process on one thread, yielding once per epoch; go on from `folder` if it was begun.

    The folder keeps `state.safetensors` (weights, averages, optimizer; replaced atomically after each epoch) and
    `metrics.jsonl` (one row per epoch). Give one seed per member, one process per core. Raise BadCheckpoint if
    the folder was begun with another plan or other data, or is another process's; Diverged if the loss does.
    """
    tune_cpu(threads=1)
    with join_crew() as crew, claimed(folder) if crew.leads else nullcontext():
        member = Member(data, config, seed, crew)
        member.resume(folder)
        while not member.finished():
            metrics = member.run_epoch()
            if crew.leads:
                member.save(folder)
            yield metrics


class Member:
    """A model in training: its weights, their running average, the optimizer, and the data."""

    def __init__(self, data: TrainingSet, config: TrainConfig, seed: int, crew: Crew) -> None:
        data.ensure_learnable()
        self.data, self.config, self.seed, self.crew = data, config, seed, crew
        self.examples = Examples(data, config.model, config.perturbation, config.copies, seed)
        self.targets = torch.from_numpy(data.targets).to(crew.device)
        self.training, self.validation = self._training_part(), data.part(Split.VALIDATION)
        self.model = self._new_model().to(crew.device)
        self.shared = crew.wrap(self.model)
        self.average = deepcopy(self.model)
        self.best = copied(self.average)
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
        )
        self.metrics: list[EpochMetrics] = []
        self.updates = 0
        self.elapsed = 0.0

    def run_epoch(self) -> EpochMetrics:
        """One pass over the training part (cut short when the time is up), then the validation error."""
        started, before = time.monotonic(), self.elapsed
        self._seed_dropout()
        losses: list[float] = []
        seen, rate = 0, 0.0
        batches = self._batches(self._epoch())
        title = f"member {self.seed} epoch {self._epoch() + 1}/{self.config.epochs}"
        with progress_bar(title, len(batches), self.crew.leads) as advance:
            for step, indices in enumerate(batches):
                self.elapsed = before + time.monotonic() - started
                if losses and self._time_is_up():
                    break
                rate = self._learning_rate(self._epoch() + step / len(batches))
                losses.append(self._update(indices, rate))
                seen += len(indices)
                advance(1)
        speed = seen / (time.monotonic() - started)
        error = self._validation_error()
        self.elapsed = before + time.monotonic() - started
        return self._note(self.crew.mean(float(np.mean(losses))), error, rate, speed)

    def _seed_dropout(self) -> None:
        """Of this epoch and process, so that a run taken up again drops what it would have dropped."""
        torch.manual_seed(int(np.random.SeedSequence((self.seed, self._epoch(), self.crew.rank)).generate_state(1)[0]))

    def _update(self, indices: Indices, rate: float) -> float:
        """One step down the gradient of a batch; what its loss was on this process's share, eV per atom."""
        loss = self._loss(indices)
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

    def _loss(self, indices: Indices) -> torch.Tensor:
        """Of this process's share; its mean over the crew is that of the whole batch."""
        mine, delta = self.crew.share(indices), self.config.huber_delta
        batch = self.examples.batch(mine, self._epoch()).to(self.crew.device)
        with torch.autocast(self.crew.device.type, torch.bfloat16, enabled=self._halves_digits()):
            energies = self.shared(batch)
        loss = huber_loss(energies.float(), self.targets[torch.from_numpy(mine)], delta=delta) / delta
        return loss * self.crew.weight(indices)

    def _halves_digits(self) -> bool:
        return self.config.bfloat16 and self.crew.device.type == "cuda"

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

    def _batches(self, epoch: int) -> list[Indices]:
        order = np.random.default_rng((self.seed, epoch)).permutation(self.training)
        return np.split(order, range(self.config.batch_size, len(order), self.config.batch_size))

    def _validation_error(self) -> float:
        self.average.eval()
        errors = torch.zeros((), device=self.crew.device)
        mine = self.validation[self.crew.rank :: self.crew.size]
        with torch.no_grad():
            for start in range(0, len(mine), VALIDATION_BATCH):
                indices = mine[start : start + VALIDATION_BATCH]
                energies = self.average(self.examples.batch(indices).to(self.crew.device))
                errors += (energies - self.targets[torch.from_numpy(indices)]).abs().sum()
        return self.crew.total(float(errors)) / len(self.validation)

    def _note(self, loss: float, error: float, rate: float, speed: float) -> EpochMetrics:
        """Keep the epoch's row, and the averaged weights if they are the best so far."""
        best = min([error, *(row.validation_mae for row in self.metrics)])
        if error == best:
            self.best = copied(self.average)
        row = EpochMetrics(self._epoch(), loss, error, best, rate, speed, self.elapsed)
        self.metrics.append(row)
        return row

    def _epoch(self) -> int:
        return len(self.metrics)

    def _time_is_up(self) -> bool:
        """Nobody is asked where there is no limit: to agree costs a message."""
        most = self.config.max_minutes
        return most is not None and self.crew.agree(self.elapsed >= most * 60)

    def finished(self) -> bool:
        """Whether the plan, the time or the patience is at its end."""
        if len(self.metrics) >= self.config.epochs:
            return True
        if not self.metrics:
            return False
        if self._time_is_up():
            return True
        errors = [row.validation_mae for row in self.metrics]
        return self.config.patience is not None and len(errors) - 1 - int(np.argmin(errors)) >= self.config.patience

    def _training_part(self) -> Indices:
        part, folds = self.data.part(Split.TRAIN), self.config.folds
        if folds is not None:
            part = part[self.data.fold(folds)[part] != self.seed % folds]
        if self.config.bootstrap:
            part = np.random.default_rng((self.seed, 1 << 20)).choice(part, len(part))
        return part

    def _new_model(self) -> EnergyModel:
        """Weights by the seed; baseline, scale and the network's own constants by the training part."""
        torch.manual_seed(self.seed)
        model = self.config.model.build()
        sample = np.unique(self.training)
        if self.config.model.one_shift:
            model.baseline.fill_(float(self.data.targets[sample].mean()))
        else:
            baseline = fit_baseline(self.data, sample)
            energies = np.array([baseline[self.data.crystals[i].numbers].mean() for i in sample])
            model.baseline.copy_(torch.from_numpy(baseline))
            model.scale.fill_(max(float(np.std(self.data.targets[sample] - energies)), 1e-3))
        drawn = np.random.default_rng(self.seed).permutation(sample)[:CONSTANTS_FROM]
        model.fit_constants([self.examples.one(int(index)) for index in drawn])
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
            "dataset": json.dumps([asdict(part) for part in self.data.parts]),
            "metrics": json.dumps(rows),
            "updates": str(self.updates),
            "elapsed": repr(self.elapsed),
        }
        save_state(TrainingState(groups, about), folder / STATE)
        with (folder / METRICS).open("a") as file:
            file.write(json.dumps(rows[-1]) + "\n")

    def resume(self, folder: Path) -> None:
        """Take up the run that `folder` holds, if any, and mend its metrics file."""
        if not (folder / STATE).exists():
            if self.crew.leads:
                (folder / METRICS).write_text("")
            return
        state = load_state(folder / STATE)
        if difference := self._other_plan(state.said("plan")):
            raise BadCheckpoint(f"{folder} holds a run with another plan ({difference}): choose another folder")
        self.model.load_state_dict(state.group("model"))
        self.average.load_state_dict(state.group("average"))
        self.best = state.group("best")
        restore_optimizer(self.optimizer, self.model, state)
        self.metrics = [EpochMetrics(**row) for row in json.loads(state.said("metrics"))]
        self.updates, self.elapsed = int(state.said("updates")), float(state.said("elapsed"))
        if self.crew.leads:
            (folder / METRICS).write_text("".join(json.dumps(asdict(row)) + "\n" for row in self.metrics))

    def _plan(self) -> str:
        """What must be the same for a run to go on. Time and patience may be changed in between."""
        plan = values_of(self.config) | {"seed": self.seed}
        plan |= {"data": self.data.data_hash, "excluded": self.data.excluded, "split": self.data.split_by}
        for name in ("max_minutes", "patience"):
            plan.pop(name)
        return json.dumps(plan, sort_keys=True)

    def _other_plan(self, begun: str) -> str:
        """The names of what differs, or nothing."""
        theirs, ours = json.loads(begun), json.loads(self._plan())
        return ", ".join(sorted(name for name in theirs.keys() | ours.keys() if theirs.get(name) != ours.get(name)))


def copied(model: EnergyModel) -> dict[str, torch.Tensor]:
    """The model's weights and buffers as they are now."""
    return {name: value.clone() for name, value in model.state_dict().items()}
