"""Which crystals are one and the same, and by what rule.

Labels alone don't decide: equal crystals can carry different ones when a distortion lies at the symmetry tolerance.
Fingerprints alone don't either: they overlap between equal and different crystals. So crystals are compared within one
reduced formula; the structure type with its elements in place *and* a tight fingerprint accept at once; pymatgen's
StructureMatcher (default tolerances: primitive cells, volumes scaled) decides the rest, as far as `matching` can't tell
what it would say.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from typing import TYPE_CHECKING, Generic, Literal, TypeVar

from registry.crystal import Crystal
from registry.errors import BadRecord
from registry.identity.composition import Composition
from registry.identity.families import Family, families_of
from registry.identity.fingerprint import Fingerprint, fingerprint_distance, fingerprint_of, sees_whole_cell
from registry.identity.prototype import SYMPREC, Prototype, prototype_of

if TYPE_CHECKING:
    from pymatgen.core.structure import Structure
    from pymatgen.core.structure_matcher import StructureMatcher

    from registry.identity.matching import Verdict
    from registry.identity.reduction import Cell

TIGHT = 0.01
"""Fingerprint distance (cube root of the volume per atom) below which crystals of one structure type are the same."""

Rule = Literal["label+fingerprint", "structure_matcher"]
Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True, eq=False)
class Identity:
    """Everything that comparing a crystal needs, each part computed once and only when asked for."""

    crystal: Crystal
    symprec: float = SYMPREC

    @cached_property
    def formula(self) -> str:
        return Composition.of(self.crystal.amounts).reduced_formula

    @cached_property
    def prototype(self) -> Prototype | None:
        """None if no space group can be found."""
        try:
            return prototype_of(self.crystal, self.symprec)
        except BadRecord:
            return None

    @cached_property
    def families(self) -> list[Family]:
        return families_of(self.crystal)

    @cached_property
    def protostructure(self) -> str | None:
        return self.prototype.protostructure if self.prototype else None

    @cached_property
    def fingerprint(self) -> Fingerprint:
        return fingerprint_of(self.crystal)

    @cached_property
    def fingerprint_decides(self) -> bool:
        return sees_whole_cell(self.crystal, self.fingerprint)

    @cached_property
    def reduced(self) -> Structure:
        """The primitive cell of the Niggli cell, as the matcher would make it."""
        niggli = self.crystal.to_pymatgen().get_reduced_structure("niggli")
        cell = self.reduced_cell
        primitive = cell is not None and len(cell.frac_coords) == self.crystal.nsites
        return niggli if primitive else niggli.get_primitive_structure()

    @cached_property
    def reduced_cell(self) -> Cell | None:
        """That of `reduced`, made without it; None where there is no Niggli cell (pymatgen raises ValueError)."""
        from registry.identity.reduction import reduced_cell  # numba takes its time to load

        return reduced_cell(self.crystal)

    def prepare(self) -> None:
        """Find what storing asks for: milliseconds a crystal, which no open transaction should wait for."""
        _ = self.prototype, self.families

    def forget_structure(self) -> None:
        """Let go of `reduced`, which holds ten times as much memory as the rest."""
        self.__dict__.pop("reduced", None)


def same_crystal(one: Crystal, other: Crystal) -> Rule | None:
    """The rule by which two crystals are the same, or None. Volume, handedness, cell and origin don't count."""
    return rule_of(Identity(one), Identity(other))


class DuplicateIndex(Generic[Key]):
    """Crystals by reduced formula, each under the caller's key.

    Add the first of each kind only: `find` answers with the first added that matches by the cheap rule, otherwise with
    the closest by fingerprint that the matcher accepts.

    matcher_within: the matcher is asked about crystals up to this fingerprint distance only. Infinite: exact.
    Zero: the cheap rule alone, for tens of thousands of candidates that aren't relaxed yet.
    """

    def __init__(self, symprec: float = SYMPREC, matcher_within: float = math.inf) -> None:
        self._symprec = symprec
        self._matcher_within = matcher_within
        self._buckets: dict[str, list[tuple[Key, Identity]]] = {}

    def __len__(self) -> int:
        return sum(len(bucket) for bucket in self._buckets.values())

    def add(self, key: Key, crystal: Crystal) -> None:
        self.add_identity(key, Identity(crystal, self._symprec))

    def add_identity(self, key: Key, identity: Identity) -> None:
        """As `add`, when the caller holds the identity already (of the `find` before)."""
        self._buckets.setdefault(identity.formula, []).append((key, identity))

    def find(self, crystal: Crystal) -> tuple[Key, Rule] | None:
        return self.find_identity(Identity(crystal, self._symprec))

    def find_identity(self, identity: Identity) -> tuple[Key, Rule] | None:
        bucket = self._buckets.get(identity.formula, [])
        for key, known in bucket:
            if _alike(identity, known):
                return key, "label+fingerprint"
        for key, known in self._near(identity, bucket):
            if matched(identity, known):
                return key, "structure_matcher"
        return None

    def _near(self, identity: Identity, bucket: list[tuple[Key, Identity]]) -> list[tuple[Key, Identity]]:
        """Those that the matcher shall be asked about, closest first."""
        if self._matcher_within <= 0:
            return []
        if math.isinf(self._matcher_within):  # a verdict costs far less than a fingerprint
            bucket = [(key, known) for key, known in bucket if not _refused(identity, known)]
            if len(bucket) < 2:
                return bucket
        rows = [(_distance(identity, known), key, known) for key, known in bucket]
        near = [row for row in rows if row[0] <= self._matcher_within]
        return [(key, known) for _, key, known in sorted(near, key=lambda row: row[0])]

    def find_or_add(self, key: Key, crystal: Crystal) -> tuple[Key, Rule] | None:
        """What it equals, or None after keeping it under `key`."""
        identity = Identity(crystal, self._symprec)
        found = self.find_identity(identity)
        if found is None:
            self.add_identity(key, identity)
        return found

    def __iter__(self) -> Iterator[Key]:
        return (key for bucket in self._buckets.values() for key, _ in bucket)


def rule_of(one: Identity, other: Identity) -> Rule | None:
    """As `same_crystal`, when the caller holds the identities already."""
    if one.formula != other.formula:
        return None
    if _alike(one, other):
        return "label+fingerprint"
    return "structure_matcher" if matched(one, other) else None


def _alike(one: Identity, other: Identity) -> bool:
    if one.protostructure is None or one.protostructure != other.protostructure:
        return False
    if _distance(one, other) >= TIGHT:
        return False
    return one.fingerprint_decides or other.fingerprint_decides


def _distance(one: Identity, other: Identity) -> float:
    return fingerprint_distance(one.fingerprint, other.fingerprint)


def matched(one: Identity, other: Identity) -> bool:
    """What the matcher says of crystals of one formula, in this order; it is asked only where that isn't certain."""
    from registry.identity.matching import Verdict

    said = _verdict(one, other)
    if said is Verdict.OPEN:
        return bool(_matcher().fit(one.reduced, other.reduced, skip_structure_reduction=True))
    return said is Verdict.ACCEPTED


def _refused(one: Identity, other: Identity) -> bool:
    from registry.identity.matching import Verdict

    return _verdict(one, other) is Verdict.REFUSED


def _verdict(one: Identity, other: Identity) -> Verdict:
    from registry.identity.matching import Verdict, verdict

    cell, other_cell = one.reduced_cell, other.reduced_cell
    if cell is None or other_cell is None or len(cell.frac_coords) != len(other_cell.frac_coords):
        return Verdict.REFUSED
    return verdict(cell, other_cell)


@cache
def _matcher() -> StructureMatcher:
    from pymatgen.core.structure_matcher import StructureMatcher

    return StructureMatcher()
