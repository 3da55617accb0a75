"""Training crystals that nobody made: hypothetical polymorphs with the lowest energy of an engine over their volume.

Materials Project holds mostly ground states, so a model that has seen nothing else takes wrong structure types for low.
The candidates of the generator, each at the volume where the engine's energy is lowest, show it what they cost.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from registry.crystal import Crystal
from registry.identity.composition import ATOMIC_NUMBERS, Composition
from workers.candidates.generation import Parent, Settings, generate
from workers.engines.base import Engine
from workers.relabel import Labeller

STEP = 1.13  # ratio of neighbouring volumes
FARTHEST = 5  # steps from the first volume, either way


@dataclass
class Scan:
    """Energies (eV per cell) of one crystal by step: volume = first volume * STEP ** step."""

    crystal: Crystal
    energies: dict[int, float] = field(default_factory=dict)

    def wanted(self) -> list[int]:
        """The steps to try next; none once the lowest energy has a neighbour on both sides, or is out of reach."""
        if not self.energies:
            return [-1, 0]
        if not np.isfinite(list(self.energies.values())).all():
            return []
        lowest = self.lowest
        return [step for step in (lowest - 1, lowest + 1) if step not in self.energies and abs(step) <= FARTHEST]

    @property
    def lowest(self) -> int:
        return min(self.energies, key=lambda step: self.energies[step])

    def at(self, step: float) -> Crystal:
        return self.crystal.scaled(self.crystal.volume * STEP**step)

    def minimum(self) -> tuple[Crystal, float] | None:
        """The crystal at the minimum of the parabola in V^(-2/3) through the lowest three, and the energy there."""
        steps = [self.lowest - 1, self.lowest, self.lowest + 1]
        if not np.isfinite([self.energies.get(step, np.nan) for step in steps]).all():
            return None
        x = STEP ** (-2 / 3 * np.array(steps, dtype=float))
        a, b, c = np.polyfit(x, [self.energies[step] for step in steps], 2)
        vertex = -b / (2 * a)
        return self.at(float(np.log(vertex) / np.log(STEP) * -1.5)), float(c - b * b / (4 * a))


def hypothetical(
    parents: Iterable[Crystal], families: Sequence[Sequence[str]], excluded: Iterable[str], settings: Settings
) -> list[Crystal]:
    """The compounds that the generator makes of the parents, each once.

    excluded: formulas, however they are written, that are left out
    """
    from predictors.splits import composition_key

    forbidden = {composition_key(formula) for formula in excluded}
    known = [Parent(number, crystal) for number, crystal in enumerate(parents)]
    found: dict[tuple[Hashable, bytes], Crystal] = {}
    for family in families:
        for candidate in generate(known, family, settings):
            composition = Composition.of(candidate.crystal.amounts)
            if composition.nelements > 1 and composition_key(composition.reduced_formula) not in forbidden:
                found[candidate.parent, candidate.crystal.numbers.tobytes()] = candidate.crystal
    return list(found.values())


def drawn(compounds: Sequence[Crystal], count: int, core: Sequence[str], seed: int) -> list[Crystal]:
    """`count` of them at random; binaries, and compounds of `core` elements alone, three times as likely each."""
    elements = {ATOMIC_NUMBERS[symbol] for symbol in core}
    binary = np.array([len(crystal.amounts) == 2 for crystal in compounds])
    inside = np.array([crystal.amounts.keys() <= elements for crystal in compounds])
    weights = np.where(binary, 3.0, 1.0) * np.where(inside, 3.0, 1.0)
    size = min(count, len(compounds))
    chosen = np.random.default_rng(seed).choice(len(compounds), size, replace=False, p=weights / weights.sum())
    return [compounds[index] for index in chosen]


def at_best_volume(engine: Engine) -> Labeller:
    """Each crystal at its best volume and its raw energy there; None without a minimum within reach.

    The parabola in V^(-2/3) is the leading term of the Birch-Murnaghan equation of state.
    """
    return partial(_best_volumes, engine)


def _best_volumes(engine: Engine, crystals: Sequence[Crystal]) -> list[tuple[Crystal, float] | None]:
    scans = [Scan(crystal) for crystal in crystals]
    while asked := [(scan, step) for scan in scans for step in scan.wanted()]:
        found = engine.energies([scan.at(step) for scan, step in asked])
        for (scan, step), energy in zip(asked, found, strict=True):
            scan.energies[step] = energy
    return [scan.minimum() for scan in scans]
