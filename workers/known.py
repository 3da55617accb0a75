"""What the registry knows already of the crystals that are proposed to it, batch by batch."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

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


@dataclass(eq=False)
class _OfFormula:
    """newest: the highest id that was read.  names: public ids, of what was added here too."""

    index: DuplicateIndex[str] = field(default_factory=lambda: DuplicateIndex(matcher_within=MATCHER_WITHIN))
    newest: int = 0
    names: set[str] = field(default_factory=set)


class KnownCrystals:
    """Every crystal that was imported or proposed, first of its kind, by formula; read when a formula comes up."""

    def __init__(self, remembered: int = REMEMBERED) -> None:
        self._remembered = remembered
        self._known: OrderedDict[str, _OfFormula] = OrderedDict()

    def __len__(self) -> int:
        return sum(len(one.index) for one in self._known.values())

    def read(self, session: Session, formulas: Iterable[str]) -> None:
        """Have those of these formulas at hand, also what others have stored since, and forget other formulas where
        they become too many."""
        wanted = list(dict.fromkeys(formulas))
        for formula in wanted:
            self._known.setdefault(formula, _OfFormula())
            self._known.move_to_end(formula)
        for row, formula in _stored(session, {formula: self._known[formula].newest for formula in wanted}):
            known = self._known[formula]
            known.newest = row.id
            if row.public_id not in known.names:
                known.names.add(row.public_id)
                known.index.add(row.public_id, crystal_of(row))
        self._forget(len(wanted))

    def find(self, identity: Identity) -> tuple[str, Rule] | None:
        """Public id of the crystal that this one equals, and the rule that says so; its formula was read before."""
        return self._known[identity.formula].index.find_identity(identity)

    def add(self, public_id: str, identity: Identity) -> None:
        known = self._known[identity.formula]
        known.names.add(public_id)
        known.index.add_identity(public_id, identity)

    def _forget(self, needed: int) -> None:
        total = len(self)
        while total > self._remembered and len(self._known) > needed:
            _, dropped = self._known.popitem(last=False)
            total -= len(dropped.index)


def imported_families(session: Session, kinds: Collection[Kind]) -> set[Kind]:
    """Those of the families that an imported crystal belongs to."""
    if not kinds:
        return set()
    rows = session.execute(sa.text(FAMILIES), {"labels": [label for _, label in kinds]})
    return {(row.formula, row.label) for row in rows} & set(kinds)


def _stored(session: Session, newest: Mapping[str, int]) -> Iterable[tuple[Structure, str]]:
    """Crystals of the formulas, by ascending ids, those above the one that is named for each."""
    if not newest:
        return ()
    columns = sa.column("formula", sa.Text), sa.column("newest", sa.BigInteger)
    read = sa.values(*columns, name="read").data(list(newest.items()))
    doubled = sa.select(Duplicate).where(Duplicate.structure_id == Structure.id)
    query = (
        sa.select(Structure, Composition.reduced_formula)
        .join(Composition, Composition.id == Structure.composition_id)
        .join(read, read.c.formula == Composition.reduced_formula)
        .where(Structure.id > read.c.newest, Structure.origin != Origin.RELAXED, ~doubled.exists())
        .order_by(Structure.id)
    )
    return session.execute(query.execution_options(yield_per=AT_ONCE)).tuples()
