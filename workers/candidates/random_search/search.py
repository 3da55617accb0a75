"""Random symmetric structures of one composition: what is asked, what is possible, and the n-th of them.

A structure follows from the composition, the settings, a seed and an index, on every machine: random numbers come from
one word of state, and kernels use what IEEE 754 rounds alike everywhere. Each index draws, until one comes out: a space
group (uniform over those that can hold the composition), a number of formula units (uniform), a choice of Wyckoff
positions (those with few sets of equivalent sites preferred), a volume, then cells and points.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from math import gcd, prod
from typing import NamedTuple

import numpy as np

from registry.crystal import Crystal
from registry.errors import LodeError
from registry.identity.composition import SYMBOLS, Composition
from registry.identity.spacegroups import either_hand
from workers.candidates.random_search.choices import Choices, choices
from workers.candidates.random_search.placement import CROWDED, MADE, NARROW, OVERLAPPING, Positions, fill_cell
from workers.candidates.random_search.radii import estimated_volume, separations, without_radius
from workers.candidates.random_search.stream import State, next_uniform, one_of, seeded
from workers.candidates.random_search.wyckoff import GROUPS, Ints, SpaceGroup, space_group

MOST_ATOMS = 200
"""Of a primitive cell; counting where more can sit takes minutes and longer."""
MOST_STATES = 300_000
"""Of the tables of what is left to place: 30 atoms of any number of elements have fewer."""
KEPT_BYTES = 1 << 26
"""Of such tables, that a search keeps."""
OUTCOMES = {MADE: "made", NARROW: "narrow cell", CROWDED: "no room", OVERLAPPING: "overlap"}
GAVE_UP = "gave up"


class Unsearchable(LodeError):
    """No random structures can be made of a composition."""


@dataclass(frozen=True)
class Settings:
    """What the structures of a search are drawn from.

    most_atoms, most_units: of the primitive cell
    least_volume, largest_volume: shares of the summed atomic volumes, drawn uniformly
    separation: least distance of two atoms as a share of the sum of their covalent radii
    soft_spheres: whether atoms may start closer and are pushed apart
    per_set: weight of a choice of positions for each set of equivalent sites in it; at 0.3 choices are most like those
        of known crystals
    cells: tried for one choice of positions; draws: choices tried for one structure
    """

    most_atoms: int = 30
    most_units: int = 4
    least_volume: float = 0.4
    largest_volume: float = 1.2
    separation: float = 0.65
    soft_spheres: bool = True
    per_set: float = 0.3
    cells: int = 20
    draws: int = 100

    def __post_init__(self) -> None:
        """Raises LodeError for what nothing can be drawn from."""
        whole = (self.most_atoms, self.most_units, self.cells, self.draws)
        shares = (self.separation, self.per_set)
        if (
            min(whole) < 1
            or not 0 < self.least_volume <= self.largest_volume
            or not all(0 < one <= 1 for one in shares)
        ):
            raise LodeError(f"no structures can be drawn from {asdict(self)}: counts, volumes, separation above zero")
        if self.most_atoms > MOST_ATOMS:
            raise LodeError(f"cells of {self.most_atoms} atoms: at most {MOST_ATOMS} can be asked for")


@dataclass(frozen=True, eq=False)
class RandomStructure:
    """One structure, and how it came about. wyckoff: symbol -> letters, one a set of equivalent sites."""

    crystal: Crystal
    index: int
    space_group: int
    formula_units: int
    wyckoff: Mapping[str, str]
    volume_factor: float

    def arguments(self) -> dict[str, object]:
        """All but the arrays, for a record."""
        return {name: value for name, value in vars(self).items() if name != "crystal"}


class Filled(NamedTuple):
    """A cell with its atoms; wyckoff and volume_factor as in RandomStructure."""

    crystal: Crystal
    wyckoff: dict[str, str]
    volume_factor: float


@dataclass
class Tally:
    """What was tried, by what came of it: cells, and indices without any structure."""

    outcomes: Counter[str] = field(default_factory=Counter)

    @property
    def tried(self) -> int:
        """Cells."""
        return self.outcomes.total() - self.outcomes[GAVE_UP]

    def add(self, counts: Mapping[int, int]) -> None:
        self.outcomes.update({OUTCOMES[outcome]: count for outcome, count in counts.items() if count})


class RandomSearch:
    """The random structures of one composition (atomic number -> atoms, reduced or not)."""

    def __init__(self, amounts: Mapping[int, int], settings: Settings | None = None) -> None:
        """Raises Unsearchable with the reason."""
        self.settings = settings or Settings()
        divisor = gcd(*amounts.values())
        self.amounts = {number: amounts[number] // divisor for number in sorted(amounts)}
        self.formula = Composition.of(self.amounts).reduced_formula
        self._kept: dict[tuple[int, int], Choices] = {}
        self._room = KEPT_BYTES
        self._refuse()
        numbers = np.repeat(np.array(list(self.amounts), dtype=np.int16), list(self.amounts.values()))
        self.volume = estimated_volume(numbers)
        self.separations = separations(numbers, self.settings.separation)

    def _refuse(self) -> None:
        if bare := without_radius(self.amounts):
            raise Unsearchable(f"{self.formula}: no radius is known for {', '.join(bare)}")
        atoms = sum(self.amounts.values())
        if atoms > self.settings.most_atoms:
            raise Unsearchable(
                f"{self.formula}: a formula unit has {atoms} atoms, more than {self.settings.most_atoms}: allow them"
            )
        if self._states(1) > MOST_STATES:
            raise Unsearchable(f"{self.formula}: too many atoms of too many elements to count where they can sit")
        if not self.units:
            raise Unsearchable(f"{self.formula}: no space group but P1 can hold it")

    @cached_property
    def units(self) -> dict[int, list[int]]:
        """Space group -> numbers of formula units that it can hold in its primitive cell.

        P1 isn't asked, and of mirrored pairs one is.
        """
        most = min(self.settings.most_units, self.settings.most_atoms // sum(self.amounts.values()))
        tried = [z for z in range(1, most + 1) if self._states(z) <= MOST_STATES]
        groups = [number for number in range(2, GROUPS + 1) if either_hand(number) == number]
        fits = {one: [z for z in tried if self._choices_of(one, z).weight > 0] for one in groups}
        return {one: found for one, found in fits.items() if found}

    def _states(self, units: int) -> int:
        return prod(units * count + 1 for count in self.amounts.values())

    def structures(self, wanted: int, seed: int, tally: Tally | None = None) -> Iterator[RandomStructure]:
        """The first `wanted` structures, by index; fewer where most indices give up."""
        made = 0
        for index in range(3 * wanted):
            if made == wanted:
                return
            found = self.structure(seed, index, tally)
            if found is not None:
                made += 1
                yield found

    def structure(self, seed: int, index: int, tally: Tally | None = None) -> RandomStructure | None:
        """The structure of that index; None where every draw failed."""
        random = seeded(self.formula, seed, index)
        for _ in range(self.settings.draws):
            group = list(self.units)[one_of(random, len(self.units))]
            units = self.units[group][one_of(random, len(self.units[group]))]
            if (found := self.fill(group, units, random, tally)) is not None:
                return RandomStructure(found.crystal, index, group, units, found.wyckoff, found.volume_factor)
        if tally is not None:
            tally.outcomes[GAVE_UP] += 1
        return None

    def fill(self, group: int, units: int, random: State, tally: Tally | None = None) -> Filled | None:
        """One draw for that space group and number of formula units, one of `units`; None where no cell was filled."""
        chosen = self._choices_of(group, units)
        positions, holders = chosen.draw(random)
        low, high = self.settings.least_volume, self.settings.largest_volume
        factor = low + (high - low) * next_uniform(random)
        volume, outcomes = factor * units * self.volume, np.zeros(len(OUTCOMES), dtype=np.int64)
        lattice, sites, elements = fill_cell(
            _tables(chosen.group),
            positions,
            holders,
            self.separations,
            volume,
            self.settings.cells,
            self.settings.soft_spheres,
            random,
            outcomes,
        )
        if tally is not None:
            tally.add(dict(enumerate(outcomes.tolist())))
        if not len(sites):
            return None
        crystal = Crystal(lattice, chosen.elements[elements].astype(np.int16), sites)
        return Filled(crystal, _letters(chosen, positions, holders), factor)

    def _choices_of(self, group: int, units: int) -> Choices:
        if (kept := self._kept.get((group, units))) is not None:
            return kept
        made = choices(
            space_group(group), {number: units * count for number, count in self.amounts.items()}, self.settings.per_set
        )
        if made.ways.nbytes <= self._room:
            self._room -= made.ways.nbytes
            self._kept[group, units] = made
        return made


def _tables(group: SpaceGroup) -> Positions:
    return Positions(group.shape, group.primitive, group.first, group.rotations, group.translations, group.solvers)


def _letters(chosen: Choices, positions: Ints, holders: Ints) -> dict[str, str]:
    found = {SYMBOLS[number]: "" for number in chosen.elements.tolist()}
    for position, holder in zip(positions.tolist(), holders.tolist(), strict=True):
        found[SYMBOLS[chosen.elements[holder]]] += chosen.group.letters[position]
    return {symbol: "".join(sorted(letters)) for symbol, letters in found.items()}
