"""Which stored crystals equal those that just came in: formula by formula, of which some have thousands of crystals."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import groupby
from operator import attrgetter
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from registry.crystal import Crystal
from registry.identity.duplicates import DuplicateIndex, Identity, Rule
from registry.ingest import crystal_of
from registry.models import Composition, Duplicate, Structure
from registry.states import Origin

AT_ONCE = 500
"""Rows that the server sends together."""

REMEMBERED = 1 << 12
"""Crystals of common formulas, which batch after batch is compared with; 6 KB each at 20 atoms."""

Twins = dict[int, tuple[int, Rule]]
"""Id of a structure -> id of the one that it equals, and the rule that says so."""


def find_twins(session: Session, fresh: Mapping[int, Identity]) -> Twins:
    """What each structure (by its id) equals: one that was there before, or a fresh one before it."""
    by_formula: dict[str, dict[int, Identity]] = {}
    linked = _linked(session, list(fresh))
    fresh = {key: identity for key, identity in fresh.items() if key not in linked}
    for key, identity in fresh.items():
        by_formula.setdefault(identity.formula, {})[key] = identity
    twins: Twins = {}
    for formula, rows in groupby(_known(session, list(fresh), list(by_formula)), attrgetter("reduced_formula")):
        twins |= _among(by_formula.pop(formula), [(row.id, _identity(_Stored.of(row))) for row in rows])
    for identities in by_formula.values():
        twins |= _among(identities, [])
    return twins


def _linked(session: Session, ids: list[int]) -> set[int]:
    """Those of them on either side of a link: what a calculation ended with may be, before it is imported."""
    links = sa.select(Duplicate.structure_id, Duplicate.same_as_id)
    links = links.where(Duplicate.structure_id.in_(ids) | Duplicate.same_as_id.in_(ids))
    return {one for link in session.execute(links).tuples() for one in link}


def _known(session: Session, fresh: list[int], formulas: list[str]) -> Iterable[Any]:
    """What was there before the fresh ones, formula by formula; links of links aren't made."""
    query = (
        sa.select(
            Composition.reduced_formula,
            Structure.id,
            Structure.public_id,
            Structure.lattice,
            Structure.species,
            Structure.coords,
        )
        .join(Composition, Composition.id == Structure.composition_id)
        .where(Composition.reduced_formula.in_(formulas))
        .where(Structure.origin != Origin.RELAXED, Structure.id.not_in(fresh))
        .where(~sa.select(Duplicate).where(Duplicate.structure_id == Structure.id).exists())
        .order_by(Composition.reduced_formula, Structure.id)
    )
    return session.execute(query, execution_options={"yield_per": AT_ONCE}) if fresh else ()


def _among(fresh: Mapping[int, Identity], known: Iterable[tuple[int, Identity]]) -> Twins:
    """Those of one formula."""
    index: DuplicateIndex[int] = DuplicateIndex()
    for key, identity in known:
        index.add_identity(key, identity)
    twins: Twins = {}
    for key, identity in fresh.items():
        if (twin := index.find_identity(identity)) is None:
            index.add_identity(key, identity)
        else:
            twins[key] = twin
    for _, identity in known:
        identity.forget_structure()
    return twins


@dataclass(frozen=True)
class _Stored:
    """A stored crystal, known by its public id: that of its arrays."""

    public_id: str
    crystal: Crystal = field(compare=False)

    @classmethod
    def of(cls, row: Any) -> _Stored:
        return cls(row.public_id, crystal_of(row))


@lru_cache(maxsize=REMEMBERED)
def _identity(stored: _Stored) -> Identity:
    return Identity(stored.crystal)
