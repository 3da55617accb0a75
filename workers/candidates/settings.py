"""What the structural pipeline may be asked for, and the values of the paper."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from workers.candidates.filters import Limits


@dataclass(frozen=True)
class Settings:
    """threshold: least probability of a substitution; partial_threshold: of a partial one.

    max_sites: of the parent's primitive cell.  largest_cell: of the cell as it is stored; beyond, no primitive cell is
    looked for.  max_elements: of parent and candidate.
    max_partial_sites: up to here all subsets of an ion's sites are tried, beyond only unions of Wyckoff orbits;
    max_groupings: at most so many of one ion, see `groupings.Bounds`.
    per_parent, partial_per_parent: at most this many of each operation per parent, see `ranking.best`.
    odds: of replacements. "family": among the family's ions of the same sign; "paper": the paper's, over all published
    ions of any sign (see docs/substitution.md).
    most_replaced: at most so many ions of a parent are replaced; None: up to all.
    substitution, partial: which operations are used.
    antitypes: also fill cation sites with anions and anion sites with cations.
    alloys: also replace metals in compounds of metals alone.
    simple_anions: elements of groups 15 to 17 only as anions.
    balanced_partial: partial substitutions too have to balance their charges.
    novel_compositions: only compositions that no reference has.
    likeliest: not the best of each parent, but so many, the likeliest over all parents together (docs/substitution.md).
    Probabilities, bounds per parent, antitypes, alloys and charges are settled by that ranking then.
    """

    threshold: float = 1e-5
    partial_threshold: float = 1e-3
    max_sites: int = 14
    max_elements: int = 6
    max_partial_sites: int = 8
    per_parent: int = 200
    partial_per_parent: int = 40
    partial: bool = True
    antitypes: bool = True
    alloys: bool = False
    simple_anions: bool = False
    symprec: float = 1e-2
    limits: Limits = field(default_factory=Limits)
    substitution: bool = True
    most_replaced: int | None = None
    balanced_partial: bool = True
    novel_compositions: bool = False
    largest_cell: int = 1000
    max_groupings: int = 1 << 14
    odds: Literal["family", "paper"] = "family"
    likeliest: int | None = None


PAPER = Settings(
    odds="paper",
    threshold=1e-3,
    partial_threshold=1e-3,
    most_replaced=2,
    max_elements=6,
    antitypes=False,
    balanced_partial=False,
    novel_compositions=True,
)
"""Merchant et al., Nature 624, 80 (2023): see docs/candidates.md for what is ours in it."""
