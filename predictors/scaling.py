"""How the error falls with the number of crystals learnt from, also on crystals unlike them.

The paper's two observations (Merchant et al., Nature 624, 80, 2023): errors fall as a power of the training set's size,
and a model that saw no crystal of five or more elements gets better at them nevertheless, and at random structures.
So members are trained on nested subsets of up to four elements, and each is judged on held-out crystals like these, on
those of more elements, and on whatever other tables are given. Each size has its own folder, so a killed run goes on.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from math import ceil, sqrt
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from predictors.augmentation import PlainCrystal
from predictors.ensemble import Ensemble
from predictors.errors import BadTrainingSet
from predictors.members import trained_model
from predictors.model_files import ModelRecord, write_atomically
from predictors.power_law import PowerLaw, fit_power_law
from predictors.splits import Split, key_of
from predictors.train import train_member
from predictors.train_config import TrainConfig
from predictors.training_set import TrainingSet

REPORT = "scaling.json"
PLOT = "scaling.png"
FEWEST_SIZES = 3
FEWEST_TESTED = 20  # crystals that an error is worth stating for
MOST_VALIDATED = 500  # crystals that the best epoch is chosen by
MANY = 6  # elements; crystals of as many or more are judged together

Indices = NDArray[np.intp]
Report = Callable[[str, int, int], None]


@dataclass(frozen=True)
class ScalingPlan:
    """sizes: crystals to learn from, ascending; train: the plan of the largest, smaller ones get more epochs

    most_elements: of a crystal to learn from. most_tested: crystals of each kind to judge by. seed: of the order in
    which crystals are added, and of the weights.
    """

    sizes: tuple[int, ...]
    train: TrainConfig = field(default_factory=TrainConfig)
    most_elements: int = 4
    most_tested: int = 2000
    seed: int = 0

    def __post_init__(self) -> None:
        """Raise BadTrainingSet for sizes that give no line."""
        ascending = all(one < other for one, other in pairwise(self.sizes))
        if len(self.sizes) < FEWEST_SIZES or not ascending or self.sizes[0] < 2:
            raise BadTrainingSet(f"sizes {self.sizes}: name at least {FEWEST_SIZES}, ascending, from 2 crystals on")
        if self.most_elements < 1 or self.most_tested < FEWEST_TESTED:
            raise BadTrainingSet(f"at least 1 element and {FEWEST_TESTED} crystals to judge by must be asked for")

    def config(self, size: int) -> TrainConfig:
        """A quarter of the crystals gets twice the epochs, and so half of the updates, lest it be under-trained."""
        return replace(self.train, epochs=ceil(self.train.epochs * sqrt(self.sizes[-1] / size)))


@dataclass(frozen=True)
class Curve:
    """Errors on one kind of crystals by size, eV per atom. law: through `mae`; n: crystals judged."""

    n: int
    mae: tuple[float, ...]
    median: tuple[float, ...]
    law: PowerLaw


@dataclass(frozen=True)
class Scaling:
    """What was found. epochs: of each size; curves: kind of crystals -> errors; data_hash: the table's."""

    sizes: tuple[int, ...]
    epochs: tuple[int, ...]
    most_elements: int
    data_hash: str
    curves: dict[str, Curve]

    def save(self, folder: Path) -> None:
        """Write REPORT, in one step."""
        write_atomically(folder / REPORT, (json.dumps(asdict(self), indent=2) + "\n").encode())


@dataclass(frozen=True, eq=False)
class Crystals:
    """Crystals with their energies, (n,) eV per atom."""

    crystals: Sequence[PlainCrystal]
    targets: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.crystals)


def scale(
    data: TrainingSet,
    folder: Path,
    plan: ScalingPlan,
    others: Mapping[str, TrainingSet] | None = None,
    report: Report = lambda _what, _done, _total: None,
) -> Scaling:
    """Train and judge a member of each size in `folder`, or go on with what it holds; writes REPORT and PLOT there.

    others: further kinds to be judged on, at the same level; what shares its composition with a crystal to learn from
    is left out. report: called with what is done, epochs done, and epochs in all.
    Raise BadTrainingSet for tables of two levels or too few crystals, BadCheckpoint if the folder holds a run on other
    data or of another plan.
    """
    _ensure_one_level([data, *(others or {}).values()])
    parts = nested(data, plan)
    kinds = kinds_of(data, plan, parts, others or {})
    total = sum(plan.config(size).epochs for size in plan.sizes)
    done, errors = 0, []
    for size, part in zip(plan.sizes, parts, strict=True):
        config, where = plan.config(size), folder / f"n{size}"
        for row in train_member(part, where, config, plan.seed):
            report(f"{size} crystals", done + row.epoch + 1, total)
        done += config.epochs
        report(f"judging what {size} crystals taught", done, total)
        errors.append(_errors(where, part, kinds))
    found = _scaling(data, plan, kinds, errors)
    found.save(folder)
    plot(found, folder / PLOT)
    return found


def _ensure_one_level(sets: Sequence[TrainingSet]) -> None:
    levels = sorted({part.level for one in sets for part in one.parts if part.level is not None})
    if len(levels) > 1:
        raise BadTrainingSet(f"the tables are of the levels {' and '.join(levels)}: errors are told at one level alone")


def nested(data: TrainingSet, plan: ScalingPlan) -> list[TrainingSet]:
    """The training part's first crystals, in an order by chance, for each size; one validation part for all.

    Raise BadTrainingSet if the training part has too few of so many elements at most, or the validation part none.
    """
    few = np.array([len(set(one.numbers.tolist())) <= plan.most_elements for one in data.crystals])
    rng = np.random.default_rng(plan.seed)
    learn, stop = ([i for i in data.part(split) if few[i]] for split in (Split.TRAIN, Split.VALIDATION))
    if len(learn) < plan.sizes[-1] or not stop:
        raise BadTrainingSet(
            f"{len(learn)} crystals of up to {plan.most_elements} elements to learn from, {len(stop)} to stop by: "
            f"{plan.sizes[-1]} and 1 are needed at least"
        )
    order, chosen = rng.permutation(learn), rng.permutation(stop)[:MOST_VALIDATED]
    return [_subset(data, np.concatenate([order[:size], chosen])) for size in plan.sizes]


def _subset(data: TrainingSet, indices: Indices) -> TrainingSet:
    digest = hashlib.sha256(data.data_hash.encode() + indices.astype("<i8").tobytes()).hexdigest()
    return replace(
        data,
        crystals=[data.crystals[i] for i in indices],
        targets=data.targets[indices],
        splits=[data.splits[i] for i in indices],
        data_hash=digest,
    )


def kinds_of(
    data: TrainingSet, plan: ScalingPlan, parts: Sequence[TrainingSet], others: Mapping[str, TrainingSet]
) -> dict[str, Crystals]:
    """The crystals to judge by: all of elements that the smallest part holds, so that each size is asked the same.

    `test`: held out, of as few elements as those learnt from; `more_elements`: the others, which no part holds, from
    all splits; `elements_N`: both by their number of elements. Kinds of too few crystals are left out.
    Raise BadTrainingSet if `test` or one of `others` has too few.
    """
    known = set(parts[0].elements())
    counts = [len(set(one.numbers.tolist())) for one in data.crystals]
    unseen = [i for i, (n, s) in enumerate(zip(counts, data.splits, strict=True)) if _unseen(n, s, plan)]
    by_name: dict[str, list[int]] = {"test": [], "more_elements": []}
    by_name |= {f"elements_{count}": [] for count in range(1, MANY + 1)}
    for i in unseen:
        by_name["test" if counts[i] <= plan.most_elements else "more_elements"].append(i)
        by_name[f"elements_{min(counts[i], MANY)}"].append(i)
    found = {name: _judged(data, indices, known, plan) for name, indices in by_name.items()}
    found = {name: kind for name, kind in found.items() if len(kind) >= FEWEST_TESTED or name == "test"}
    learnt = {key_of(parts[-1].crystals[i].numbers) for i in parts[-1].part(Split.TRAIN)}
    for name, other in others.items():
        if name in by_name:
            raise BadTrainingSet(f"{name!r} is what crystals of the training table are called: choose another name")
        new = [i for i, one in enumerate(other.crystals) if key_of(one.numbers) not in learnt]
        found[name] = _judged(other, new, known, plan)
    for name, kind in found.items():
        if len(kind) < FEWEST_TESTED:
            raise BadTrainingSet(f"{len(kind)} crystals of {name} to judge by: {FEWEST_TESTED} are needed at least")
    return found


def _unseen(elements: int, split: Split, plan: ScalingPlan) -> bool:
    return split == Split.TEST or elements > plan.most_elements


def _judged(data: TrainingSet, indices: Sequence[int], known: set[int], plan: ScalingPlan) -> Crystals:
    fit = [i for i in indices if known.issuperset(data.crystals[i].numbers.tolist())]
    chosen = np.random.default_rng(plan.seed).permutation(fit).astype(np.intp)[: plan.most_tested]
    return Crystals([data.crystals[i] for i in chosen], data.targets[chosen])


def _errors(folder: Path, part: TrainingSet, kinds: Mapping[str, Crystals]) -> dict[str, NDArray[np.float64]]:
    """(n,) absolute errors of each kind by the member in `folder`, eV per atom."""
    model, _ = trained_model(folder)
    ensemble = Ensemble([model], ModelRecord("", tuple(part.elements())))
    return {name: np.abs(ensemble.predict(kind.crystals).energy - kind.targets) for name, kind in kinds.items()}


def _scaling(
    data: TrainingSet,
    plan: ScalingPlan,
    kinds: Mapping[str, Crystals],
    errors: Sequence[Mapping[str, NDArray[np.float64]]],
) -> Scaling:
    curves = {}
    for name, kind in kinds.items():
        mae = tuple(float(at_size[name].mean()) for at_size in errors)
        median = tuple(float(np.median(at_size[name])) for at_size in errors)
        curves[name] = Curve(len(kind), mae, median, fit_power_law(plan.sizes, mae))
    epochs = tuple(plan.config(size).epochs for size in plan.sizes)
    return Scaling(plan.sizes, epochs, plan.most_elements, data.data_hash, curves)


def plot(found: Scaling, path: Path) -> None:
    """Errors against sizes, both logarithmic, with the fitted lines, as PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 5), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot(xscale="log", yscale="log")
    for name, curve in found.curves.items():
        _draw(axes, found, name, curve)
    axes.set_xlabel(f"training crystals, of up to {found.most_elements} elements")
    axes.set_ylabel("mean absolute error (eV/atom)")
    axes.set_xticks(found.sizes, labels=[f"{size:,}" for size in found.sizes])
    axes.set_xticks([], minor=True)
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("{x:g}")
    axes.grid(which="both", linewidth=0.3)
    axes.legend(fontsize="small")
    figure.savefig(path)


def _draw(axes: Any, found: Scaling, name: str, curve: Curve) -> None:
    law, inside = curve.law, _is_learnt_kind(name, found.most_elements)
    label = f"{title(name)}: exponent {law.exponent:.2f} ({law.exponent_low:.2f} to {law.exponent_high:.2f})"
    (points,) = axes.plot(found.sizes, curve.mae, "o" if inside else "s", label=label, markersize=5)
    line = [law.error(size) for size in found.sizes]
    axes.plot(
        found.sizes, line, "-" if inside else "--", color=points.get_color(), linewidth=2 if name == "test" else 1
    )


def _is_learnt_kind(name: str, most_elements: int) -> bool:
    return name == "test" or name in {f"elements_{count}" for count in range(1, most_elements + 1)}


def title(name: str) -> str:
    """What a kind is called on paper."""
    if name == "test":
        return "held out"
    if not name.startswith("elements_"):
        return name.replace("_", " ")
    count = int(name.removeprefix("elements_"))
    return f"{count} element{'s' * (count > 1)}{' or more' * (count == MANY)}"
