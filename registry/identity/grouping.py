"""Crystals sorted into kinds: which are the same by pymatgen's StructureMatcher, at a hundredth of its time.

Two ways. `group` gives the partition of `StructureMatcher().group_structures`: one after the other, the first that has
no group yet is the reference of a new one, and those that fit the reference join it. `components` joins whatever a
chain of fits links: it may join what `group` keeps apart, since a reference doesn't see what only its members fit.

Either way only crystals of one reduced formula are compared, the earlier of a pair first: the matcher is not symmetric.
A crystal without a Niggli cell (a flat lattice) fits none and stays alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from math import gcd

from registry.crystal import Crystal
from registry.identity.duplicates import Identity, matched

Groups = list[list[int]]
"""Indices, ascending within a group; groups by their first."""


def group(crystals: Iterable[Crystal]) -> Groups:
    """The groups of `StructureMatcher().group_structures`; not in its order, which is by composition."""
    return grouped([Identity(crystal) for crystal in crystals])


def components(crystals: Iterable[Crystal]) -> Groups:
    """The connected components of the graph whose edges are pairs that fit."""
    return connected([Identity(crystal) for crystal in crystals])


def grouped(identities: Sequence[Identity]) -> Groups:
    """As `group`, when the caller holds the identities already."""
    return sorted(found for bucket in _by_formula(identities) for found in _around_references(identities, bucket))


def connected(identities: Sequence[Identity]) -> Groups:
    """As `components`, when the caller holds the identities already."""
    return sorted(found for bucket in _by_formula(identities) for found in _linked(identities, bucket))


def _by_formula(identities: Sequence[Identity]) -> list[list[int]]:
    buckets: defaultdict[Hashable, list[int]] = defaultdict(list)
    for index, identity in enumerate(identities):
        amounts = identity.crystal.amounts
        divisor = gcd(*amounts.values())
        buckets[tuple((number, count // divisor) for number, count in amounts.items())].append(index)
    return list(buckets.values())


def _around_references(identities: Sequence[Identity], bucket: list[int]) -> Groups:
    groups = []
    while bucket:
        reference, *rest = bucket
        joined = [index for index in rest if matched(identities[reference], identities[index])]
        taken = set(joined)
        groups.append([reference, *joined])
        bucket = [index for index in rest if index not in taken]
    return groups


def _linked(identities: Sequence[Identity], bucket: list[int]) -> Groups:
    """Each crystal against the components so far, of each until a member fits."""
    groups: Groups = []
    for index in bucket:
        met = [known for known in groups if any(matched(identities[one], identities[index]) for one in known)]
        groups = [known for known in groups if known not in met]
        groups.append(sorted([*(one for known in met for one in known), index]))
    return groups
