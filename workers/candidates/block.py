"""Candidates of one parent by one operation, as arrays: nothing is made for each until it has survived."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from registry.crystal import Crystal, Species
from workers.candidates.filters import Flag, Pairs, flags
from workers.candidates.oxidation import Ion
from workers.candidates.substitution import Mappings
from workers.candidates.volume import known_elements, predicted_volumes

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Layouts = NDArray[np.int8]

Operation = Literal["ionic_substitution", "partial_substitution"]
GUESSED_VOLUME = "guessed_volume"


@dataclass(frozen=True, eq=False)
class Candidate:
    """crystal: the parent's standardised primitive cell with other elements, at its predicted volume.

    arguments: JSON-able. "mapping" (ion -> ion), "elements" (element -> element), "states" (how the oxidation states
    were found), "antitype"; a partial substitution adds "ion", "replaced_by", "kept_as", "sites" (of the primitive
    cell), "wyckoffs" and "of" (number of sites of the ion). Of the likeliest over all parents: see `ranked.arguments`.
    probability: product over the replaced ions; of the likeliest over all parents what speaks for it altogether.
    rank: place among the parent's candidates of this operation, 0 first, see `places.best`; or among those of all.
    """

    crystal: Crystal
    parent: Hashable
    operation: Operation
    arguments: dict[str, object]
    probability: float
    rank: int
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Recipe:
    """Fillings of slots, each laid over the sites of a cell in several ways.

    mappings: r fillings of s slots.  layouts: (m, n) int8, which slot each of the n sites belongs to, m ways.
    wyckoffs: the letter of each site where the first slot is the replaced part of an ion and the second the rest of it;
    None where slots are whole ions.  antitype: of whole ions.
    """

    mappings: Mappings
    layouts: Layouts
    wyckoffs: tuple[str, ...] | None = None
    antitype: bool = False

    @cached_property
    def filled(self) -> Species:
        """(r, s) int16, the atomic number that each filling puts into each slot."""
        return filled_numbers(self.mappings).astype(np.int16)

    @cached_property
    def patterns(self) -> Ints:
        """(r, 2 s): the charge of the ion in each slot, and the number of its sites."""
        sizes = np.array([slot.amount for slot in self.mappings.slots], dtype=np.int64)
        return np.column_stack([filled_charges(self.mappings), np.tile(sizes, (len(self.mappings), 1))])

    def numbers(self, layouts: Ints, rows: Ints) -> Species:
        """(k, n) int16 for k pairs of a layout and a filling."""
        slots = self.layouts[layouts].astype(np.int64)
        return np.asarray(np.take_along_axis(self.filled[rows], slots, axis=1))

    def arguments(self, layout: int, row: int) -> dict[str, object]:
        """What was replaced by what; the partly replaced ion is told by itself."""
        sources = [slot.source for slot in self.mappings.slots]
        pairs = list(zip(sources, self.mappings.ions(row), strict=True))
        if self.wyckoffs is None:
            return _renamed(pairs) | {"antitype": self.antitype}
        sites = np.flatnonzero(self.layouts[layout] == 0).tolist()
        return _renamed(pairs[2:]) | {
            "ion": str(sources[0]),
            "sites": sites,
            "wyckoffs": sorted({self.wyckoffs[site] for site in sites}),
            "of": int((self.layouts[layout] <= 1).sum()),
            "replaced_by": str(pairs[0][1]),
            "kept_as": str(pairs[1][1]),
        }


def filled_numbers(mappings: Mappings) -> Ints:
    """(r, s) the atomic number that each filling puts into each slot."""
    columns = zip(mappings.slots, mappings.choices.T, strict=True)
    return np.stack([slot.numbers[choice] for slot, choice in columns], axis=1)


def filled_charges(mappings: Mappings) -> Ints:
    """(r, s) the charges of the ions that each filling puts into the slots."""
    columns = zip(mappings.slots, mappings.choices.T, strict=True)
    charges = [np.array([ion.charge for ion in slot.ions], dtype=np.int64)[choice] for slot, choice in columns]
    return np.stack(charges, axis=1)


def _renamed(pairs: list[tuple[Ion, Ion]]) -> dict[str, object]:
    return {
        "mapping": {str(source): str(ion) for source, ion in pairs if ion != source},
        "elements": {source.symbol: ion.symbol for source, ion in pairs if ion.number != source.number},
    }


@dataclass(frozen=True, eq=False)
class Source:
    """What the candidates of a block were made from.

    parent: the caller's key.  crystal: the parent's standardised primitive cell; pairs: its neighbouring sites.
    states: how its oxidation states were found.
    """

    parent: Hashable
    crystal: Crystal
    pairs: Pairs
    states: str
    operation: Operation
    recipes: tuple[Recipe, ...]


@dataclass(frozen=True, eq=False)
class Block:
    """k candidates of one parent by one operation.

    numbers: (k, n) int16, atomic numbers on the sites of source.crystal.  probabilities: (k,).
    ranks: (k,), places among all that were proposed.  made: (k, 3) int64, recipe, layout and filling of each.
    """

    source: Source
    numbers: Species
    probabilities: Floats
    ranks: Ints
    made: Ints

    def __len__(self) -> int:
        return len(self.probabilities)

    @property
    def nsites(self) -> int:
        return int(self.numbers.shape[1])

    @cached_property
    def volumes(self) -> Floats:
        """(k,) predicted volumes of the cells, cubic angstrom."""
        return predicted_volumes(self.numbers, self.source.crystal)

    @cached_property
    def lengths(self) -> Floats:
        """(k,) by what the edges of the parent's cell are multiplied."""
        return np.asarray(np.cbrt(self.volumes / self.source.crystal.volume))

    def select(self, kept: Bools | Ints) -> Block:
        """Some of the candidates."""
        some = replace(
            self,
            numbers=self.numbers[kept],
            probabilities=self.probabilities[kept],
            ranks=self.ranks[kept],
            made=self.made[kept],
        )
        if "volumes" in self.__dict__:  # as far as they are known
            some.__dict__["volumes"] = self.volumes[kept]
        return some

    def crystal(self, row: int) -> Crystal:
        """A candidate's cell at its predicted volume."""
        parent = self.source.crystal
        return Crystal(parent.lattice * self.lengths[row], self.numbers[row], parent.frac_coords)

    def arguments(self, row: int) -> dict[str, object]:
        """How a candidate was made, see `Candidate`."""
        which, layout, filling = self.made[row].tolist()
        recipe: Recipe = self.source.recipes[which]
        return {"states": self.source.states} | recipe.arguments(layout, filling)

    def candidate(self, row: int) -> Candidate:
        """One of them, with its flags and with what its lineage will say."""
        crystal = self.crystal(row)
        return Candidate(
            crystal,
            self.source.parent,
            self.source.operation,
            self.arguments(row),
            float(self.probabilities[row]),
            int(self.ranks[row]),
            self._flags(row, crystal),
        )

    def _flags(self, row: int, crystal: Crystal) -> tuple[str, ...]:
        found: tuple[Flag, ...] = flags(crystal, self.source.pairs.scaled(float(self.lengths[row])))
        guessed = bool(known_elements().guessed[self.numbers[row]].any())
        return (*found, GUESSED_VOLUME) if guessed else found


@dataclass(frozen=True, eq=False)
class Row:
    """One candidate of a block, made when it is asked for."""

    block: Block
    row: int

    @property
    def crystal(self) -> Crystal:
        return self.block.crystal(self.row)

    def candidate(self) -> Candidate:
        return self.block.candidate(self.row)
