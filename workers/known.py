"""What the registry knows already of the crystals that are proposed to it, batch by batch."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterable

import sqlalchemy as sa
from sqlalchemy.orm import Session

from registry.identity.duplicates import DuplicateIndex, Identity, Rule
from registry.ingest import crystal_of
from registry.models import Composition, Duplicate, Structure
from registry.states import Origin

MATCHER_WITHIN = 0.05  # fingerprint distance: the exact matcher is asked about near neighbours only
REMEMBERED = 1 << 15
"""Crystals that stay in memory between batches, of the formulas that came up last."""

AT_ONCE = 1000
"""Rows that the server sends together."""

FAMILIES = """
SELECT DISTINCT composition.reduced_formula AS formula, family.label
FROM family
JOIN composition ON composition.id = family.composition_id
JOIN family_member ON family_member.family_id = family.id
JOIN structure ON structure.id = family_member.structure_id
WHERE structure.origin = 'imported' AND family.label = ANY(:labels)
"""

Kind = tuple[str, str]
"""Reduced formula and label of a family of order and disorder."""


class KnownCrystals:
    """Every crystal that was imported or proposed, first of its kind, by formula; read when a formula comes up."""

    def __init__(self, remembered: int = REMEMBERED) -> None:
        self._remembered = remembered
        self._indexes: OrderedDict[str, DuplicateIndex[str]] = OrderedDict()

    def __len__(self) -> int:
        return sum(map(len, self._indexes.values()))

    def read(self, session: Session, formulas: Iterable[str]) -> None:
        """Have those of these formulas at hand, and forget others where they become too many."""
        wanted = list(dict.fromkeys(formulas))
        missing = [formula for formula in wanted if formula not in self._indexes]
        for formula in wanted:
            self._indexes.setdefault(formula, DuplicateIndex(matcher_within=MATCHER_WITHIN))
            self._indexes.move_to_end(formula)
        for row, formula in _stored(session, missing):
            self._indexes[formula].add(row.public_id, crystal_of(row))
        self._forget(len(wanted))

    def find(self, identity: Identity) -> tuple[str, Rule] | None:
        """Public id of the crystal that this one equals, and the rule that says so; its formula was read before."""
        return self._indexes[identity.formula].find_identity(identity)

    def add(self, public_id: str, identity: Identity) -> None:
        self._indexes[identity.formula].add_identity(public_id, identity)

    def _forget(self, needed: int) -> None:
        total = len(self)
        while total > self._remembered and len(self._indexes) > needed:
            _, dropped = self._indexes.popitem(last=False)
            total -= len(dropped)


def imported_families(session: Session, kinds: Collection[Kind]) -> set[Kind]:
    """Those of the families that an imported crystal belongs to."""
    if not kinds:
        return set()
    rows = session.execute(sa.text(FAMILIES), {"labels": [label for _, label in kinds]})
    return {(row.formula, row.label) for row in rows} & set(kinds)


def _stored(session: Session, formulas: list[str]) -> Iterable[tuple[Structure, str]]:
    if not formulas:
        return ()
    doubled = sa.select(Duplicate).where(Duplicate.structure_id == Structure.id)
    query = (
        sa.select(Structure, Composition.reduced_formula)
        .join(Composition, Composition.id == Structure.composition_id)
        .where(Composition.reduced_formula.in_(formulas), Structure.origin != Origin.RELAXED, ~doubled.exists())
        .order_by(Structure.id)
    )
    return session.execute(query.execution_options(yield_per=AT_ONCE)).tuples()
