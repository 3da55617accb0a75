"""The N likeliest candidates over all parents: what a campaign would label if it had the choice.

Of all that can be made by replacing elements, in whole or in part (`structure_types`, `pool`), the likeliest by what
all parents together say (`likelihood`). docs/substitution.md tells how, docs/decisions/0009-ranking-candidates.md why.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from registry.crystal import Crystal
from registry.identity.composition import ATOMIC_NUMBERS, SYMBOLS
from workers.candidates.block import Candidate, Operation
from workers.candidates.filters import broken_rule, flags, neighbour_pairs
from workers.candidates.funnel import Funnel
from workers.candidates.likelihood import Weights, evidence
from workers.candidates.novelty import KnownCompositions
from workers.candidates.parents import Parent
from workers.candidates.pool import ROOM, THRESHOLD, Made, Pool, elements_of, made_of, proposed
from workers.candidates.replacements import mined_odds
from workers.candidates.settings import Settings
from workers.candidates.structure_types import StructureType, numbers_of_codes, structure_types

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Per = Literal["structure", "composition"]


@dataclass(frozen=True, eq=False)
class Ranked:
    """The likeliest candidates, best first: the rows of `pool` and their (n,) `scores`; types: those of the parents."""

    types: list[StructureType]
    pool: Pool
    scores: Floats

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def probabilities(self) -> Floats:
        """(n,) the chance that one of the ways leads to it, less what speaks against it; see `likelihood`."""
        return np.asarray(-np.expm1(-np.exp(self.scores)))

    def made(self, row: int, parents: Sequence[Crystal]) -> Made:
        """A candidate in its parent's primitive cell, at its predicted volume; see `pool.made_of`."""
        return made_of(self.pool, row, self.types, parents)

    def crystal(self, row: int, parents: Sequence[Crystal]) -> Crystal:
        return self.made(row, parents).crystal

    def operation(self, row: int) -> Operation:
        divided = self.pool.members[row] >= self.types[self.pool.types[row]].whole
        return "partial_substitution" if divided else "ionic_substitution"

    def replaced(self, row: int) -> list[tuple[str, str]]:
        """The parent's element and the candidate's at each place; one that is divided is named twice."""
        old = self.types[self.pool.types[row]].members[self.pool.members[row]]
        new = elements_of(self.pool.placed[row : row + 1], len(old))[0]
        numbers = numbers_of_codes()[np.stack([old, new], axis=1)]
        return [(SYMBOLS[source], SYMBOLS[target]) for source, target in numbers.tolist()]

    def parent(self, row: int) -> int:
        """The parent (its index) that a candidate is made from."""
        return int(self.types[self.pool.types[row]].parents[self.pool.members[row]])


def likeliest(
    parents: Sequence[Crystal],
    most: int,
    *,
    known: KnownCompositions | None = None,
    per: Per = "structure",
    partial: bool = True,
    threshold: float = THRESHOLD,
    room: int = ROOM,
    family: Collection[int] | None = None,
    max_sites: int | None = None,
    weights: Weights | None = None,
    funnel: Funnel | None = None,
) -> Ranked:
    """The `most` likeliest candidates whose compositions aren't known.

    per: "composition" takes the likeliest structure of each only.  partial: also divide places.
    threshold, room: least probability from the nearest parent, and how many candidates are scored at most.
    family: atomic numbers of the elements that candidates are made of; what replaces what is mined from all parents.
    max_sites: of the primitive cells of candidates.
    funnel: counts the parents that can't be used, each with its reason.
    """
    types = structure_types(parents, partial=partial, funnel=funnel)
    odds = mined_odds(types)
    if max_sites is not None:
        types = [one for one in types if one.sites <= max_sites]
    pool = proposed(types, odds, known=known, threshold=threshold, room=room, family=family)
    scores = evidence(pool, types, odds).scores(weights)
    rows = best(pool, scores, most, per)
    return Ranked(types, pool.select(rows), scores[rows])


def best(pool: Pool, scores: Floats, most: int, per: Per = "structure") -> Ints:
    """The rows of the `most` highest scores, best first; per composition: only the best structure of each."""
    order = np.argsort(-scores, kind="stable")
    if per == "composition":
        _, first = np.unique(pool.compositions[order], return_index=True)
        order = order[np.sort(first)]
    return np.asarray(order[:most])


def candidates(
    parents: Sequence[Parent],
    family: Sequence[str],
    settings: Settings,
    funnel: Funnel | None = None,
    known: KnownCompositions | None = None,
) -> Iterator[Candidate]:
    """The settings.likeliest likeliest ones of the elements of `family` as crystals, best first, but for those that
    break a rule, which is counted; flags are left to the caller to count.

    known: compositions that aren't proposed.  Raise ValueError where no number is asked for.
    """
    if settings.likeliest is None:
        raise ValueError("likeliest: say how many")
    funnel = Funnel() if funnel is None else funnel
    crystals = [parent.crystal for parent in parents]
    ranked = likeliest(
        crystals,
        settings.likeliest,
        known=known,
        partial=settings.partial,
        family=[ATOMIC_NUMBERS[symbol] for symbol in family],
        max_sites=settings.max_sites,
        funnel=funnel,
    )
    for row in range(len(ranked)):
        candidate = _candidate(ranked, row, parents, crystals, settings)
        if isinstance(candidate, str):
            funnel.reject(candidate)
        else:
            funnel.keep(candidate.operation)
            yield candidate


def arguments(ranked: Ranked, row: int, made: Made) -> dict[str, object]:
    """What the lineage says: "replaced" ([element, element] for each place that changes), "states"; of a part also its
    "sites" (of the primitive cell)."""
    said: dict[str, object] = {
        "states": "isotypes",
        "replaced": [[old, new] for old, new in ranked.replaced(row) if old != new],
    }
    return said | {"sites": made.sites} if made.sites else said


def _candidate(
    ranked: Ranked, row: int, parents: Sequence[Parent], crystals: Sequence[Crystal], settings: Settings
) -> Candidate | str:
    """Or the rule that it breaks."""
    try:
        made = ranked.made(row, crystals)
    except LookupError:
        return "no_such_part"
    if len(made.crystal.amounts) > settings.max_elements:
        return "too_many_elements"
    pairs = neighbour_pairs(made.crystal)
    if broken := broken_rule(made.crystal, pairs, settings.limits):
        return broken
    return Candidate(
        made.crystal,
        parents[ranked.parent(row)].key,
        ranked.operation(row),
        arguments(ranked, row, made),
        float(ranked.probabilities[row]),
        row,
        flags(made.crystal, pairs),
    )
