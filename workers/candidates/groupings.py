"""Which parts of an ion's sites to replace: one of each class under the parent's space group, as arrays.

Two decorations of a parent with an element that it doesn't hold are the same crystal exactly if an operation of the
parent's space group carries one into the other: an isometry between them becomes one of the parent with itself as soon
as the new element is named back. So the classes are the orbits of the space group, mirror images included where the
parent is its own mirror image, and no larger group has to be looked at. Where the parent holds the new element already,
classes may coincide all the same (docs/decisions/0008).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from registry.crystal import Species
from workers.candidates.orderly import (
    MOST_POINTS,
    Counts,
    Masks,
    class_counts,
    decorated,
    list_classes,
    lowest_images,
    restricted,
)
from workers.candidates.symmetry import Ints, NoSymmetry, Symmetry

Bools = NDArray[np.bool_]
Bound = Literal["", "max_sites", "max_groupings"]


@dataclass(frozen=True)
class Bounds:
    """max_sites: an ion of more sites is replaced by whole Wyckoff orbits only; at most 64.

    max_groupings: of one ion, all sites not counted. Parts of k sites and of all but k are taken together, from k = 1
    on, as long as all of them fit; of the sizes in between unions of whole orbits, those of k orbits and of all but k
    together, as long as these fit.
    """

    max_sites: int = MOST_POINTS
    max_groupings: int = 10_000


@dataclass(frozen=True, eq=False)
class Groupings:
    """k sets of sites of one ion, by ascending size, no two of which a symmetry of the parent makes equal.

    sites: (m,) int64, all sites of the ion.  points: (m,) int64, which bit of a mask stands for each site: one of its
    own, or one for its whole orbit.  masks: (k,) uint64.  sizes: (k,) int64, number of sites in each.
    left_out: how many classes lie beyond the bounds (up to 1e60), and `bound` says beyond which one; of partitions the
    part and the rest are counted apart.
    """

    sites: Ints
    points: Ints
    masks: Masks
    sizes: Ints
    left_out: float = 0.0
    bound: Bound = ""

    def __len__(self) -> int:
        return len(self.masks)

    def __getitem__(self, rows: slice | Bools | Ints) -> Groupings:
        """Some of them; `left_out` tells of all."""
        return replace(self, masks=self.masks[rows], sizes=self.sizes[rows])

    def of_size(self, size: int) -> Groupings:
        """Those of `size` sites: what balance of charge depends on."""
        first, end = np.searchsorted(self.sizes, [size, size + 1]).tolist()
        return self[first:end]

    @property
    def chosen(self) -> Bools:
        """(k, m) bool: whether each site of the ion is replaced."""
        return _chosen(self.points, self.masks)

    def subsets(self) -> list[Ints]:
        """The sites of each, the small ones first."""
        return sorted(map(self.subset, range(len(self))), key=lambda subset: (len(subset), subset.tolist()))

    def subset(self, row: int) -> Ints:
        """The sites of one grouping, by point."""
        order = np.argsort(self.points, kind="stable")
        return np.asarray(self.sites[order][self[row : row + 1].chosen[0, order]])


def groupings(
    found: Symmetry,
    sites: Sequence[int] | Ints,
    bounds: Bounds | None = None,
    *,
    whole: bool = False,
    partitions: bool = False,
) -> Groupings:
    """The unique parts of an ion's sites, neither none nor (unless `whole`) all of them.

    sites: all sites of one ion, whole orbits of the group.
    partitions: the part and the rest are both replaced, so that a set and its complement are the same (and none
    holds all sites).
    The representative of a class is the one whose mask is the lowest number.
    Raise ValueError if the sites aren't whole orbits, NoSymmetry if the permutations aren't a group's.
    """
    limits, members = bounds or Bounds(), np.array(sites, dtype=np.int64)
    if not set(members.tolist()) <= set(range(found.crystal.nsites)) or len(set(members.tolist())) < len(members):
        raise ValueError(f"not sites of a crystal of {found.crystal.nsites}, each once: {members.tolist()}")
    if len(members) > min(limits.max_sites, MOST_POINTS):
        made = _whole_orbits(found, members, limits.max_groupings, whole)
    else:
        made = _any_sites(found, members, limits.max_groupings, whole)
    return _lower_halves(found, made) if partitions else made


def decorations(
    found: Symmetry, made: Groupings, replacements: Species | Sequence[int], bases: Species | None = None
) -> Species:
    """(k, r, n) int16: the numbers of the parent's sites after each replacement of each grouping.

    replacements: (r,) atomic numbers, what comes onto the sites of a grouping.
    bases: (r, n), what all other sites hold beside each of them, those of the parent if not given; so the rest of the
    ion and the other ions may be replaced in the same go.
    """
    new = np.array(replacements, dtype=np.int16)
    rows = np.empty((len(new), found.crystal.nsites), dtype=np.int16)
    rows[:] = found.crystal.numbers if bases is None else bases
    return decorated(rows, made.sites, made.points, made.masks, new)


def _any_sites(found: Symmetry, sites: Ints, room: int, whole: bool) -> Groupings:
    """All subsets of the sizes for which there is room, of the others the unions of orbits."""
    masks, sizes, counts = list_classes(found.permutations, sites, room, whole)
    if len(counts) == 0:
        raise _unfit(found, sites)
    made = Groupings(sites, np.arange(len(sites)), masks, sizes)
    left_out = _left_out(counts, made)
    if not left_out:
        return made
    unions = _unions(found, sites, room - len(made) + whole, whole=False)
    depth = int(sizes[2 * sizes <= len(sites)].max(initial=0))
    between = unions[(unions.sizes > depth) & (unions.sizes < len(sites) - depth)]
    bits = np.where(between.chosen, np.uint64(1) << made.points.astype(np.uint64), np.uint64(0))
    masks = np.concatenate([masks, np.bitwise_or.reduce(bits, axis=1)])
    sizes = np.concatenate([sizes, between.sizes])
    order = np.argsort(sizes, kind="stable")
    return Groupings(sites, made.points, masks[order], sizes[order], left_out - len(between), "max_groupings")


def _whole_orbits(found: Symmetry, sites: Ints, room: int, whole: bool) -> Groupings:
    acting = restricted(found.permutations, sites)
    counts = class_counts(acting)
    if len(acting) == 0 or round(counts[1]) != len(np.unique(found.orbits[sites])):
        raise _unfit(found, sites)
    made = _unions(found, sites, room, whole)
    left_out = _left_out(counts, made)
    return replace(made, left_out=left_out, bound="max_sites" if left_out else "")


def _unions(found: Symmetry, sites: Ints, room: int, whole: bool) -> Groupings:
    """Unions of orbits, which the group leaves as they are: each is a class of its own.

    More than 64 orbits are replaced as a whole or not at all.
    """
    firsts, points = np.unique(found.orbits[sites], return_inverse=True)
    if len(firsts) > MOST_POINTS:
        firsts, points = firsts[:1], np.zeros_like(points)
    alone = np.arange(len(firsts))
    masks, _, _ = list_classes(alone[None, :], alone, room, whole)
    sizes = _chosen(points, masks).sum(axis=1)
    order = np.argsort(sizes, kind="stable")
    return Groupings(sites, points.astype(np.int64), masks[order], sizes[order])


def _left_out(counts: Counts, made: Groupings) -> float:
    """How many classes are missing, all sites not counted."""
    return float(counts[1:-1].sum()) - int((made.sizes < len(made.sites)).sum())


def _unfit(found: Symmetry, sites: Ints) -> ValueError:
    if len(restricted(found.permutations, sites)):
        return NoSymmetry("the operations of the space group found are no group on the sites")
    return ValueError(f"these sites aren't whole orbits of the space group: {sites.tolist()}")


def _lower_halves(found: Symmetry, made: Groupings) -> Groupings:
    """Of a class and that of its complements, the one with the lower number."""
    last = made.points.max(initial=-1)
    by_orbits = last + 1 < len(made.points)
    acting = np.arange(last + 1)[None, :] if by_orbits else restricted(found.permutations, made.sites)
    every = np.bitwise_or.reduce(np.uint64(1) << made.points.astype(np.uint64))
    return made[made.masks <= lowest_images(acting, every ^ made.masks)]


def _chosen(points: Ints, masks: Masks) -> Bools:
    return np.asarray((masks[:, None] >> points.astype(np.uint64)) & np.uint64(1), dtype=bool)
