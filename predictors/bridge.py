"""From formation energies of one level of theory to those of another: a linear map, fitted on crystals that both have.

    E(to) = E(from) + sum over elements of x_i s_i + x_a c_a

x: atomic fractions; s: a shift per element; c: a correction per anion a, of compounds whose anion it is (the form of
Materials Project's corrections: Wang et al., Sci. Rep. 11, 15496 (2021)). Ridge regression. An element alone keeps its
energy: it is the reference of both levels.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from statistics import NormalDist
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from predictors.anions import ANIONS, ELEMENT, anion_of
from predictors.calibration import LEVELS
from predictors.compositions import amounts_in
from predictors.errors import BadCheckpoint, BadTrainingSet
from predictors.graph import CrystalLike
from predictors.model_files import ModelRecord, hash_of, sealed, write_atomically
from predictors.predictor import Predictions, Predictor, Progress
from predictors.splits import Split, amounts_of, split_of

FORMAT = 1
RIDGE = 0.1
FEWEST = 20
LEAST_LEFT = 0.05  # of a crystal's residual, beside its own pull
RARE = 5  # compounds of an element; a shift that rests on fewer is little more than a guess
DIGITS = 12
"""Of a bridge's hash, as its name."""
Floats = NDArray[np.float64]
Residual = dict[str, float]


@dataclass(frozen=True)
class Bridge:
    """The map and what it is off by.

    elements, anions: eV per atom of that element; crystals: how many of each element it was fitted on
    residuals: {n, mean, std, mae} in eV/atom of E(to) - the map's: "fitted"; "held_out", the formulas from 80 of the
    MD5 split on, which it never saw; "raw", without the map; "anion O" and so on, of all crystals, each of those that
    it was fitted on by the map that the others give
    """

    from_level: str
    to_level: str
    elements: dict[str, float]
    anions: dict[str, float]
    crystals: dict[str, int]
    ridge: float
    residuals: dict[str, Residual]
    rows: int
    data_hash: str
    code_version: str

    def shift(self, amounts: Mapping[str, float]) -> float:
        """What is added to a formation energy, eV/atom; `amounts`: element -> atoms."""
        if len(amounts) < 2:
            return 0.0
        atoms = float(sum(amounts.values()))
        anion = anion_of(amounts)
        shifts = sum(self.elements.get(element, 0.0) * float(count) for element, count in amounts.items())
        return (shifts + self.anions.get(anion, 0.0) * float(amounts.get(anion, 0.0))) / atoms

    def unseen(self, elements: Sequence[str]) -> list[str]:
        """Those of a compound's elements that it was fitted without."""
        return sorted(set(elements) - self.crystals.keys()) if len(set(elements)) > 1 else []

    @property
    def name(self) -> str:
        """What it is called by: the first digits of its hash."""
        return self.sha256[:DIGITS]

    def residual(self, amounts: Mapping[str, float]) -> Residual | None:
        """{n, mean, std, mae} on compounds of the same anion; None where there are none, and of an element alone."""
        return self.residuals.get(f"anion {anion_of(amounts)}")

    def error(self, amounts: Mapping[str, float]) -> float:
        """What it is off by on such a compound, eV/atom: the root mean square over those of the same anion.

        Where these are fewer than FEWEST, that over the compounds held out counts if it is larger. An element alone: 0.
        """
        if len(amounts) < 2:
            return 0.0
        alike, held_out = self.residual(amounts), _root_mean_square(self.residuals["held_out"])
        if alike is None:
            return held_out
        own = _root_mean_square(alike)
        return own if alike["n"] >= FEWEST else max(own, held_out)

    def outside(self, amounts: Mapping[str, float]) -> str | None:
        """Why a compound lies outside of what it was fitted on: a rare anion or a rare element."""
        if len(amounts) < 2:
            return None
        few = [f"{self.crystals.get(one, 0)} of {one}" for one in sorted(amounts) if self.crystals.get(one, 0) < RARE]
        if (alike := int((self.residual(amounts) or {"n": 0})["n"])) < FEWEST:
            few.insert(0, f"{alike} with anion {anion_of(amounts)}")
        return f"outside of its fit, which holds {', '.join(few)}" if few else None

    def flag(self, amounts: Mapping[str, float]) -> str:
        """What a prediction that went over the bridge says of itself."""
        shift = f"{self.shift(amounts):+.3f} +- {self.error(amounts):.3f} eV/atom"
        outside = self.outside(amounts)
        return f"bridged from {self.from_level} to {self.to_level}: {shift}{f', {outside}' if outside else ''}"

    def told(self, amounts: Mapping[str, float]) -> dict[str, Any]:
        """The same as plain values; energies in eV/atom."""
        return {
            "name": self.name,
            "from": self.from_level,
            "shift": self.shift(amounts),
            "error": self.error(amounts),
            "anion": anion_of(amounts),
            "residual": self.residual(amounts),
        }

    def summary(self) -> str:
        """The same of many."""
        held_out = self.residuals["held_out"]
        off = f"{held_out['mean']:+.3f} +- {held_out['std']:.3f} eV/atom on {held_out['n']} compounds held out"
        return f"bridged from {self.from_level} to {self.to_level}, off by {off}"

    def text(self) -> str:
        """As JSON, the same for the same bridge, with a hash of itself."""
        return sealed({"format": FORMAT, **asdict(self)})

    @cached_property
    def sha256(self) -> str:
        return str(json.loads(self.text())["sha256"])

    def write(self, path: Path) -> None:
        """Replace the file in one step."""
        write_atomically(path, self.text().encode())

    @classmethod
    def read(cls, path: Path) -> Self:
        """Raise BadCheckpoint if the file is missing, damaged or of another format."""
        try:
            return cls.of(path.read_text(), str(path))
        except (OSError, UnicodeDecodeError) as error:
            raise BadCheckpoint(f"bridge {path} can't be read: {error}") from error

    @classmethod
    def of(cls, text: str, name: str) -> Self:
        """From its JSON; `name` it in errors. Raise BadCheckpoint."""
        try:
            told = dict(json.loads(text))
            found, written = told["format"], told.pop("sha256")
            if found == FORMAT and written == hash_of(told):
                told.pop("format")
                return cls(**told)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise BadCheckpoint(f"bridge {name} can't be read: {error}") from error
        if found != FORMAT:
            raise BadCheckpoint(f"bridge {name} is of format {found}, this code reads {FORMAT}: fit it again")
        raise BadCheckpoint(f"bridge {name} isn't what was written: fit it again")


def fit_bridge(
    levels: tuple[str, str],
    formulas: Sequence[str],
    before: Sequence[float],
    after: Sequence[float],
    ridge: float = RIDGE,
) -> Bridge:
    """Fit on crystals by their formulas and their formation energies (eV/atom) at the two levels.

    Formulas of the first 80 % by MD5 are fitted, the others held out; elements alone are left out of it all.
    Raise BadTrainingSet for numbers that aren't finite, or too few crystals on either side.
    """
    energies = np.column_stack([np.asarray(before, dtype=float), np.asarray(after, dtype=float)])
    if bad := int((~np.isfinite(energies)).any(axis=1).sum()):
        raise BadTrainingSet(f"{bad} crystals have an energy at one of the levels alone: leave them out")
    compounds = [amounts_of(formula) for formula in formulas]
    kept = [row for row, amounts in enumerate(compounds) if anion_of(amounts) != ELEMENT]
    seen = np.array([split_of(formulas[row]) is Split.TRAIN for row in kept], dtype=bool)
    if seen.sum() < FEWEST or not (~seen).any():
        raise BadTrainingSet(
            f"{int(seen.sum())} compounds to fit and {int((~seen).sum())} to hold out: "
            f"a bridge needs {FEWEST} and 1 that both levels have"
        )
    amounts = [{symbol: float(count) for symbol, count in compounds[row].items()} for row in kept]
    learnt = [one for one, fit in zip(amounts, seen, strict=True) if fit]
    bridge, leverage = _fitted(levels, learnt, energies[kept][seen], ridge)
    told = [f"{formulas[row]} {energies[row, 0]!r} {energies[row, 1]!r}" for row in kept]
    return replace(
        bridge,
        residuals=_residuals(bridge, amounts, energies[kept], seen, leverage),
        rows=len(kept),
        data_hash=hashlib.sha256("\n".join(sorted(told)).encode()).hexdigest(),
    )


def _fitted(
    levels: tuple[str, str], amounts: Sequence[Mapping[str, float]], energies: Floats, ridge: float
) -> tuple[Bridge, Floats]:
    """The bridge, and (n,) how far each crystal pulls the map to itself, from 0 to 1."""
    crystals = Counter(element for one in amounts for element in one)
    elements, anions = sorted(crystals), sorted(ANIONS & {anion_of(one) for one in amounts})
    columns = {name: place for place, name in enumerate([*elements, *(f"anion {anion}" for anion in anions)])}
    features = np.zeros((len(amounts), len(columns)))
    for row, one in enumerate(amounts):
        atoms, anion = sum(one.values()), anion_of(one)
        for element, count in one.items():
            features[row, columns[element]] = count / atoms
        if anion in ANIONS:
            features[row, columns[f"anion {anion}"]] = one[anion] / atoms
    normal = features.T @ features + ridge * np.eye(len(columns))
    found = np.linalg.solve(normal, features.T @ (energies[:, 1] - energies[:, 0])).tolist()
    leverage = np.einsum("ij,ji->i", features, np.linalg.solve(normal, features.T))
    bridge = Bridge(
        *levels,
        elements=dict(zip(elements, found, strict=False)),
        anions=dict(zip(anions, found[len(elements) :], strict=True)),
        crystals=dict(sorted(crystals.items())),
        ridge=ridge,
        residuals={},
        rows=0,
        data_hash="",
        code_version=version("motherlode"),
    )
    return bridge, leverage


def _residuals(
    bridge: Bridge,
    amounts: Sequence[Mapping[str, float]],
    energies: Floats,
    seen: NDArray[np.bool_],
    leverage: Floats,
) -> dict[str, Residual]:
    """leverage: of those seen."""
    raw = energies[:, 1] - energies[:, 0]
    off = raw - np.array([bridge.shift(one) for one in amounts])
    without_itself = off.copy()
    without_itself[seen] /= np.maximum(1 - leverage, LEAST_LEFT)
    anions = np.array([anion_of(one) for one in amounts])
    whole = {"fitted": off[seen], "held_out": off[~seen], "raw": raw}
    return {name: _residual(each) for name, each in whole.items()} | {
        f"anion {anion}": _residual(without_itself[anions == anion]) for anion in sorted(set(anions.tolist()))
    }


def _residual(off: Floats) -> Residual:
    mean, std, mae = float(off.mean()), float(off.std()), float(np.abs(off).mean())
    return {"n": len(off), "mean": mean, "std": std, "mae": mae}


def _root_mean_square(residual: Residual) -> float:
    return float(np.hypot(residual["mean"], residual["std"]))


@dataclass(frozen=True, eq=False)
class Bridged:
    """A predictor whose energies went over a bridge: its level is the bridge's second one."""

    predictor: Predictor
    bridge: Bridge

    def __post_init__(self) -> None:
        """Raise BadTrainingSet if the bridge begins at another level."""
        if self.predictor.record.level != self.bridge.from_level:
            raise BadTrainingSet(
                f"the bridge begins at level {self.bridge.from_level}, the model is of {self.predictor.record.level}"
            )

    @property
    def record(self) -> ModelRecord:
        return replace(self.predictor.record, level=self.bridge.to_level)

    def predict(
        self,
        crystals: Sequence[CrystalLike],
        members: int | None = None,
        volume_scan: bool = False,
        progress: Progress | None = None,
    ) -> Predictions:
        """As the predictor, shifted. What holds an element that the bridge never saw is refused.

        Intervals keep their middle and widen by the bridge's own error, as if it were normal and had nothing to do with
        the model's: half widths w become sqrt(w^2 + (z e)^2), e `Bridge.error`, z the normal quantile of the interval.
        The spread stays: it tells how far the members agree.
        """
        found = self.predictor.predict(crystals, members=members, volume_scan=volume_scan, progress=progress)
        refused, shifts, errors = dict(found.refused), np.full(len(crystals), np.nan), np.full(len(crystals), np.nan)
        for index in sorted(set(range(len(crystals))) - found.refused.keys()):
            amounts = amounts_in(crystals[index])
            if unseen := self.bridge.unseen(list(amounts)):
                refused[index] = f"the bridge to {self.bridge.to_level} was fitted without {', '.join(unseen)}"
            else:
                shifts[index], errors[index] = self.bridge.shift(amounts), self.bridge.error(amounts)
        return replace(
            found,
            energy=found.energy + shifts,
            member_energies=found.member_energies + shifts[:, None],
            intervals=None if found.intervals is None else _widened(found.intervals, errors) + shifts[:, None, None],
            refused=refused,
        )


def _widened(intervals: Floats, errors: Floats) -> Floats:
    """(n, levels, 2) intervals by (n,) errors, eV/atom."""
    normal = np.array([NormalDist().inv_cdf((1 + level) / 2) for level in LEVELS])
    middle, half = intervals.mean(axis=2), (intervals[:, :, 1] - intervals[:, :, 0]) / 2
    half = np.hypot(half, errors[:, None] * normal)
    return np.stack([middle - half, middle + half], axis=2)
