"""Candidates of one composition in kinds: those that are one crystal to pymatgen's StructureMatcher.

As in the paper: the lowest `TOP` of a composition, connected components by the matcher (its default tolerances, by
`registry.identity.grouping`), and of each component the lowest.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from registry.crystal import Crystal
from registry.identity.grouping import components

TOP = 100

Item = TypeVar("Item")


@dataclass(frozen=True)
class Scored:
    """A structure and what is said of it. energy: eV/atom, on one scale for all of a composition."""

    key: int
    energy: float
    crystal: Crystal


def clusters(scored: Iterable[Scored], top: int = TOP) -> list[list[Scored]]:
    """The components of the `top` lowest; lowest first, within a component and among them.

    Of several compositions no component holds two. Equal energies are ordered by key.
    """
    lowest = sorted(scored, key=lambda one: (one.energy, one.key))[:top]
    return [[lowest[index] for index in part] for part in components([one.crystal for one in lowest])]


def best(scored: Iterable[Scored], k: int, top: int = TOP) -> list[Scored]:
    """The lowest of each of the `k` lowest components: what to label."""
    return [part[0] for part in clusters(scored, top)][:k]


def kinds_of(crystals: Mapping[int, Crystal]) -> dict[int, int]:
    """Structure id -> the lowest id of its component; crystals of any compositions."""
    ids = sorted(crystals)
    parts = components([crystals[one] for one in ids])
    return {ids[index]: ids[part[0]] for part in parts for index in part}


def first_of_each(items: Sequence[Item], kind: Callable[[Item], Hashable]) -> list[Item]:
    """The first item of every kind, in the order given."""
    firsts: dict[Hashable, Item] = {}
    for item in items:
        firsts.setdefault(kind(item), item)
    return list(firsts.values())
