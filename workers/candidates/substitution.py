"""Which ions take the places of a parent's ions: branch and bound over the dense table.

A slot is a set of sites that is filled as one: all sites of one ion of the parent, or a part of them. Each slot keeps
its ion or takes another from the family. The probability of a candidate is the product over its *replaced* slots of

    p(t | s) = exp(max(lambda(s, t), 0)) / sum over t' of exp(max(lambda(s, t'), 0)),

where t and t' are the family's ions of other elements than s and of its sign: Hautier's conditional probability,
given that the ion is replaced by such an ion. A kept ion contributes 1 (compositions are compared only where they
differ). pymatgen's product runs over all ions, the kept ones included, lets anions follow cations, and normalises
over all 230 published species: see `SubstitutionTable.conditional`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workers.candidates.oxidation import Ion
from workers.candidates.table import SubstitutionTable

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Slot:
    """Sites filled as one, and what may fill them.

    amount: number of sites.  ions: the m options.  probabilities: (m,) float64 in (0, 1], 1 for the kept ion.
    kin: slots of equal kin may hold the same element (one element of the parent in two states); others may not.
    """

    source: Ion
    amount: int
    ions: tuple[Ion, ...]
    probabilities: Floats
    kin: int

    @property
    def numbers(self) -> Ints:
        return np.array([ion.number for ion in self.ions], dtype=np.int64)

    @property
    def charges(self) -> Ints:
        """(m,) int64, the charge that each option puts on all sites of the slot."""
        return np.array([ion.charge * self.amount for ion in self.ions], dtype=np.int64)


@dataclass(frozen=True, eq=False)
class Mappings:
    """choices: (k, slots) int64, an index into each slot's ions; probabilities: (k,) float64."""

    slots: tuple[Slot, ...]
    choices: Ints
    probabilities: Floats

    def __len__(self) -> int:
        return len(self.probabilities)

    def ions(self, row: int) -> tuple[Ion, ...]:
        """What fills each slot."""
        return tuple(slot.ions[i] for slot, i in zip(self.slots, self.choices[row].tolist(), strict=True))

    def select(self, kept: Bools | Ints) -> Mappings:
        return Mappings(self.slots, self.choices[kept], self.probabilities[kept])


def family_ions(table: SubstitutionTable, family: Sequence[str]) -> tuple[Ion, ...]:
    """The table's ions of these elements in states that occur in crystals: pymatgen's common ones and, for metals,
    those of the ICSD."""
    from pymatgen.core import Element

    usual = set()
    for symbol in dict.fromkeys(family):
        element = Element(symbol)
        states = {*element.common_oxidation_states, *(element.icsd_oxidation_states if element.is_metal else ())}
        usual |= {Ion(element.Z, int(state)) for state in states}
    return tuple(ion for ion in table.ions if ion in usual)


def slot(
    table: SubstitutionTable,
    source: Ion,
    amount: int,
    family: Sequence[Ion],
    *,
    kin: int,
    keep: bool = True,
    replace: bool = True,
    mirrored: bool = False,
) -> Slot:
    """A slot that may keep its ion (if its element is of the family) and may take the ion of another element of it.

    A cation follows a cation and an anion an anion.

    mirrored: the slot of an anti-type, where an anion follows a cation and a cation an anion; nothing is kept.
    """
    at_home = source.number in {ion.number for ion in family}
    kept = [source] if keep and at_home and not mirrored else []
    sign = -source.charge if mirrored else source.charge
    targets = [ion for ion in family if ion.charge * sign > 0 and ion.number != source.number] if replace else []
    weights = table.mirrored_weights(source, targets) if mirrored else table.weights(source, targets)
    odds = weights / weights.sum() if targets else weights
    return Slot(source, amount, (*kept, *targets), np.concatenate([np.ones(len(kept)), odds]), kin)


def enumerate_mappings(slots: Sequence[Slot], threshold: float) -> Mappings:
    """All charge-balanced fillings with distinct elements and a probability of at least `threshold`, best first.

    Slot by slot; a partial filling is dropped as soon as its best completion falls below the threshold or no
    completion can balance its charge.
    """
    best = _remaining([float(s.probabilities.max(initial=0.0)) for s in slots], np.multiply, 1.0)
    lowest = _remaining([int(s.charges.min(initial=0)) for s in slots], np.add, 0.0)
    highest = _remaining([int(s.charges.max(initial=0)) for s in slots], np.add, 0.0)
    choices, probability, charge = np.zeros((1, 0), np.int64), np.ones(1), np.zeros(1, np.int64)
    for depth, new in enumerate(slots):
        p = probability[:, None] * new.probabilities
        q = charge[:, None] + new.charges
        alive = (p * best[depth + 1] >= threshold) & (q + lowest[depth + 1] <= 0) & (q + highest[depth + 1] >= 0)
        alive &= ~_element_taken(slots[:depth], choices, new)
        row, option = np.nonzero(alive)
        choices = np.column_stack([choices[row], option])
        probability, charge = p[row, option], q[row, option]
    return _best_first(Mappings(tuple(slots), choices, probability))


def replaces_something(mappings: Mappings) -> Bools:
    """(k,) bool: not the parent itself."""
    changed = np.zeros(len(mappings), dtype=bool)
    for column, s in zip(mappings.choices.T, mappings.slots, strict=True):
        changed |= np.array([ion != s.source for ion in s.ions], dtype=bool)[column]
    return changed


def cations_less_electronegative(mappings: Mappings) -> Bools:
    """(k,) bool: every cation's Pauling electronegativity lies below every anion's (the test of SMACT)."""
    from pymatgen.core import Element

    cations, anions = np.full(len(mappings), -np.inf), np.full(len(mappings), np.inf)
    for column, s in zip(mappings.choices.T, mappings.slots, strict=True):
        pauling = np.array([Element.from_Z(ion.number).X for ion in s.ions])[column]
        positive = s.charges[column] > 0
        cations = np.fmax(cations, np.where(positive, pauling, -np.inf))
        anions = np.fmin(anions, np.where(s.charges[column] < 0, pauling, np.inf))
    return np.asarray(cations < anions, dtype=bool)


def anion_formers_reduced(mappings: Mappings) -> Bools:
    """(k,) bool: no ion of groups 15 to 17 is a cation (no sulfates, phosphates, chlorates)."""
    from pymatgen.core import Element

    reduced = np.ones(len(mappings), dtype=bool)
    for column, s in zip(mappings.choices.T, mappings.slots, strict=True):
        formers = np.array([15 <= Element.from_Z(ion.number).group <= 17 for ion in s.ions])[column]
        reduced &= ~(formers & (s.charges[column] > 0))
    return reduced


def _remaining(values: Sequence[float], operation: np.ufunc, start: float) -> Floats:
    """(slots + 1,): entry d combines the values of slots d, d+1, ..."""
    return np.asarray(operation.accumulate(np.array([start, *reversed(values)], dtype=np.float64))[::-1])


def _element_taken(earlier: Sequence[Slot], choices: Ints, new: Slot) -> Bools:
    """(rows, options) bool: the option's element already fills a slot that isn't kin."""
    taken = np.zeros((len(choices), len(new.ions)), dtype=bool)
    for column, s in zip(choices.T, earlier, strict=True):
        if s.kin != new.kin:
            taken |= s.numbers[column][:, None] == new.numbers
    return taken


def _best_first(mappings: Mappings) -> Mappings:
    return mappings.select(np.argsort(-mappings.probabilities, kind="stable"))
