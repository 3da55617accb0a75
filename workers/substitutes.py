"""Training crystals that nobody made: known ones with other elements on their sites, at a guessed volume.

A model that has seen known crystals alone takes everything for stable. Most of these lie above the hull, in chemistries
that the known crystals leave out; an engine's energy of each, as it stands, shows the model what they cost. They follow
the way the test sets of discovery were made (Wang, Botti, Marques, npj Comput. Mater. 7, 12, 2021): known structure
types, elements replaced by such as stand near them, and some by any.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from registry.crystal import Crystal, Floats, Species
from registry.identity.composition import ATOMIC_NUMBERS, SYMBOLS, Composition
from registry.identity.isotypes import scale
from workers.candidates.volume import predicted_volume

NOBLE = {"He", "Ne", "Ar", "Kr", "Xe", "Rn"}
TRIES = 20
"""Draws for each crystal wanted, before the parents are taken to be exhausted."""


@dataclass(frozen=True)
class Drawing:
    """How substitutes are drawn.

    replaced: chance of each of a parent's elements to be replaced (at least one is)
    reach: decay length of the chance of an element with its distance on Pettifor's scale from the one it replaces
    anywhere: share of replacements drawn from all elements alike
    volume_noise: standard deviation of the logarithm of the volume about the guessed one
    """

    replaced: float = 0.7
    reach: float = 8.0
    anywhere: float = 0.2
    volume_noise: float = 0.03


def substitutes(
    parents: Sequence[Crystal],
    elements: Iterable[str],
    excluded: Iterable[str],
    count: int,
    seed: int,
    drawing: Drawing | None = None,
) -> list[Crystal]:
    """`count` of them, each parent with each set of elements once; fewer if they run out.

    elements: what may be put in; noble gases never are. excluded: formulas, however written, that are left out.
    The first ones are the same for every `count`. Raise ValueError without parents or elements.
    """
    from predictors.splits import composition_key

    chances = Chances(sorted(set(elements) - NOBLE), drawing or Drawing())
    if not parents or len(chances.symbols) < 2:
        raise ValueError("substitutes need parents and at least two elements")
    forbidden = {composition_key(formula) for formula in excluded}
    found: dict[tuple[int, bytes], Crystal] = {}
    for parent, crystal in _drawn(parents, chances, seed, TRIES * count):
        if composition_key(Composition.of(crystal.amounts).reduced_formula) not in forbidden:
            found.setdefault((parent, crystal.numbers.tobytes()), crystal)
        if len(found) == count:
            break
    return list(found.values())


class Chances:
    """How likely each element is to replace each other one."""

    def __init__(self, symbols: Sequence[str], drawing: Drawing) -> None:
        self.symbols, self.drawing = symbols, drawing
        self.numbers = np.array([ATOMIC_NUMBERS[symbol] for symbol in symbols], dtype=np.int16)
        self._scale = np.array([scale(symbol) for symbol in symbols], dtype=np.float64)

    def of(self, number: int) -> Floats:
        """(elements,) chances of each to replace the element `number`; 0 for itself, 1 in sum."""
        near = np.exp(-np.abs(self._scale - scale(SYMBOLS[number])) / self.drawing.reach)
        near[self.numbers == number] = 0.0
        alike = (self.numbers != number).astype(np.float64)
        share = self.drawing.anywhere
        return np.asarray((1 - share) * near / near.sum() + share * alike / alike.sum(), dtype=np.float64)


def _drawn(parents: Sequence[Crystal], chances: Chances, seed: int, tries: int) -> Iterator[tuple[int, Crystal]]:
    rng = np.random.default_rng(seed)
    for _ in range(tries):
        index = int(rng.integers(len(parents)))
        parent = parents[index]
        crystal = parent.with_numbers(_replaced(parent, chances, rng))
        noise = float(np.exp(rng.normal(0.0, chances.drawing.volume_noise)))
        if len(crystal.amounts) == len(parent.amounts):
            yield index, crystal.scaled(predicted_volume(crystal, parent) * noise)


def _replaced(parent: Crystal, chances: Chances, rng: np.random.Generator) -> Species:
    """(n,) int16: the parent's sites with new elements. Two elements may have become one."""
    old = list(parent.amounts)
    which = rng.random(len(old)) < chances.drawing.replaced
    which[rng.integers(len(old))] = True
    numbers = parent.numbers.copy()
    for number, replaced in zip(old, which, strict=True):
        if replaced:
            numbers[parent.numbers == number] = rng.choice(chances.numbers, p=chances.of(number))
    return numbers
