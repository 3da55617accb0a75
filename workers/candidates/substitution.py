"""Which ions take the places of a parent's ions: branch and bound over the dense table.

A slot is a set of sites that is filled as one: all sites of one ion of the parent, or a part of them. Each slot keeps
its ion or takes another. The probability of a candidate is a product over its slots. What a slot's options are and how
likely each is, is the mode; all modes are enumerated by one kernel (`branching`):

- `slot`: a kept ion counts as 1 (compositions are compared only where they differ). Options are the family's ions of
  other elements than s and of its sign, with

      p(t | s) = exp(max(lambda(s, t), 0)) / sum over t' of exp(max(lambda(s, t'), 0)),

  t' of the same ions: Hautier's conditional probability, given that the ion is replaced by such an ion.
- `paper_slot`, Merchant et al.: a kept ion counts as 1; the same p(t | s) for every ion t of the table, normalised over
  the published species, s among them. Nothing is said about signs.
- `published_slot`, Hautier et al. as in pymatgen: all ions count, the kept ones included, and lambda isn't clipped;
  `predictions` equals its SubstitutionPredictor.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from workers.candidates.branching import Bounds, Options, fillings
from workers.candidates.oxidation import Ion
from workers.candidates.table import SubstitutionTable

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

PAPER_THRESHOLD = 1e-3
PAPER_MOST_ELEMENTS = 6


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

    @property
    def identities(self) -> Ints:
        """(m,) int64, one number per ion: equal for equal ions of any slots."""
        return np.array([ion.number * 64 + ion.charge + 32 for ion in self.ions], dtype=np.int64)

    @property
    def replaced(self) -> Bools:
        """(m,) bool: the options that aren't the parent's ion."""
        return np.array([ion != self.source for ion in self.ions], dtype=bool)


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


def paper_slot(
    table: SubstitutionTable, source: Ion, amount: int, *, kin: int, family: Sequence[Ion] | None = None
) -> Slot:
    """A slot that keeps its ion or takes that of another element: of the family, else of the whole table."""
    odds = table.paper_odds(source)
    home = range(len(table.ions)) if family is None else [table.index[ion] for ion in family]
    targets = [i for i in home if table.ions[i].number != source.number]
    return Slot(source, amount, (source, *(table.ions[i] for i in targets)), np.array([1.0, *odds[targets]]), kin)


def published_slot(table: SubstitutionTable, ion: Ion, *, kin: int, to_this: bool = True) -> Slot:
    """A slot that takes any published species, its own included.

    to_this: probabilities are conditional on `ion` (SubstitutionPredictor's to_this_composition), else on the option.
    """
    return Slot(ion, 1, table.ions[: table.published], table.published_odds(ion, to_this), kin)


def predictions(
    table: SubstitutionTable, ions: Sequence[Ion], threshold: float = PAPER_THRESHOLD, *, to_this: bool = True
) -> Mappings:
    """Equal to pymatgen's SubstitutionPredictor(threshold=threshold).list_prediction(ions, to_this), best first.

    As there: all ions different, probabilities larger than the threshold, charges free.
    Raise LookupError for an ion that the published table lacks.
    """
    for ion in ions:
        if table.index.get(ion, table.published) >= table.published:
            raise LookupError(f"{ion} is not in the published table of substitutions")
    slots = [published_slot(table, ion, kin=i, to_this=to_this) for i, ion in enumerate(ions)]
    return enumerate_mappings(slots, threshold, balanced=False, strict=True, distinct="ions")


def paper_mappings(
    slots: Sequence[Slot], *, threshold: float = PAPER_THRESHOLD, most_replaced: int = 2, balanced: bool = True
) -> Mappings:
    """The paper's candidates from `paper_slot`s: something is replaced, up to six elements, best first."""
    found = enumerate_mappings(slots, threshold, balanced=balanced, most_replaced=most_replaced)
    return found.select(replaces_something(found) & (elements_of(found) <= PAPER_MOST_ELEMENTS))


def enumerate_mappings(
    slots: Sequence[Slot],
    threshold: float,
    *,
    balanced: bool = True,
    strict: bool = False,
    most_replaced: int | None = None,
    distinct: Literal["elements", "ions"] = "elements",
) -> Mappings:
    """All fillings with a probability of at least `threshold`, best first.

    balanced: charges add up to zero.  strict: only probabilities above the threshold.
    most_replaced: at most so many slots hold another ion than their source.
    distinct: what may fill one slot only (kin slots may share it).
    """
    order = [np.argsort(-s.probabilities, kind="stable") for s in slots]
    most = len(slots) if most_replaced is None else most_replaced
    choices, products = fillings(_options(slots, order, distinct), Bounds(threshold, strict, most, balanced))
    choices = np.stack([o[column] for o, column in zip(order, choices.T, strict=True)], axis=1) if slots else choices
    best_first = np.lexsort((*choices.T[::-1], -products))
    return Mappings(tuple(slots), choices[best_first], products[best_first])


def _options(slots: Sequence[Slot], order: Sequence[Ints], distinct: Literal["elements", "ions"]) -> Options:
    most = max((len(s.ions) for s in slots), default=0)
    shape = (len(slots), max(most, 1))
    identities, charges, replaced = (np.zeros(shape, np.int64) for _ in range(3))
    found = Options(np.zeros(shape), identities, charges, replaced, np.array([s.kin for s in slots], np.int64))
    for row, (s, by_odds) in enumerate(zip(slots, order, strict=True)):
        end = len(s.ions)
        found.probabilities[row, :end] = s.probabilities[by_odds]
        found.identities[row, :end] = (s.numbers if distinct == "elements" else s.identities)[by_odds]
        found.charges[row, :end] = s.charges[by_odds]
        found.replaced[row, :end] = s.replaced[by_odds]
    return found


def replaces_something(mappings: Mappings) -> Bools:
    """(k,) bool: not the parent itself."""
    changed = np.zeros(len(mappings), dtype=bool)
    for column, s in zip(mappings.choices.T, mappings.slots, strict=True):
        changed |= s.replaced[column]
    return changed


def elements_of(mappings: Mappings) -> Ints:
    """(k,) int64: how many elements each candidate holds."""
    if not len(mappings):
        return np.zeros(0, np.int64)
    filled = [s.numbers[column] for s, column in zip(mappings.slots, mappings.choices.T, strict=True)]
    numbers = np.sort(np.stack(filled, axis=1), axis=1)
    return np.asarray(1 + (np.diff(numbers, axis=1) != 0).sum(axis=1), dtype=np.int64)


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
