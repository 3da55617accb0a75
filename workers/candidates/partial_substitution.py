"""Symmetry-aware partial substitution (SAPS), set by set; `groupings` has the same as arrays.

Replacing a part of the sites of one ion lowers the symmetry. Subsets that a symmetry operation of the parent carries
into each other give the same crystal, so one of each class is kept.
"""

from __future__ import annotations

from collections.abc import Sequence

from workers.candidates.groupings import Bounds, groupings
from workers.candidates.symmetry import Ints, Symmetry, primitive, symmetry

__all__ = ["Ints", "Symmetry", "primitive", "symmetry", "unique_subsets"]


def unique_subsets(
    found: Symmetry, sites: Sequence[int] | Ints, *, max_sites: int = 8, both_change: bool = False
) -> list[Ints]:
    """One subset of `sites` of each symmetry class, neither empty nor all, the small ones first.

    sites: all sites of one ion, closed under the group.  max_sites: of larger sets only unions of Wyckoff orbits.
    both_change: the subset and the rest are both replaced, so a subset and its complement are the same partition.
    """
    made = groupings(found, sites, Bounds(max_sites, 2**20), partitions=both_change)
    return sorted((made.subset(row) for row in range(len(made))), key=lambda subset: (len(subset), subset.tolist()))
