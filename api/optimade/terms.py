"""On whose terms rows are shown: what forbids commercial use stays here unless its source is named."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from api.optimade.translate import every
from registry.models import Property, Source
from registry.properties import BAND_GAP, DIMENSIONALITY
from registry.query.filter import And, Comparison, Known, Node, Or
from registry.query.materials import Row

Terms = dict[str, tuple[str, bool]]
"""Name of a source -> its citation, and whether it forbids commercial use."""


def withheld(session: Session, allowed: frozenset[str]) -> list[str]:
    """Names of the sources whose rows stay here."""
    names = session.scalars(select(Source.name).where(Source.non_commercial).order_by(Source.name))
    return [name for name in names if name not in allowed]


def free(names: Sequence[str]) -> Node | None:
    """That neither a crystal nor its energy comes from these sources."""
    return every(*(And((Comparison("source", "!=", name), _no_energy_of(name))) for name in names))


def _no_energy_of(name: str) -> Node:
    return Or((Known("energy_source", False), Comparison("energy_source", "!=", name)))


def hide_properties(session: Session, rows: dict[int, Row], names: Sequence[str]) -> None:
    """Empty what was last stored from one of these sources; in place."""
    latest = (
        select(Property.structure_id, Property.name, Source.name)
        .join(Source, Source.id == Property.source_id)
        .where(Property.structure_id.in_(list(rows)), Property.name.in_((BAND_GAP, DIMENSIONALITY)))
        .where(Property.value.is_not(None))
        .distinct(Property.structure_id, Property.name)
        .order_by(Property.structure_id, Property.name, Property.id.desc())
    )
    for structure_id, name, source in session.execute(latest).tuples():
        if source in names and name in rows[structure_id]:
            rows[structure_id][name] = None


def terms_of(session: Session, names: set[str]) -> Terms:
    """Of these sources."""
    wanted = select(Source.name, Source.citation, Source.non_commercial).where(Source.name.in_(names))
    return {name: (citation, forbids) for name, citation, forbids in session.execute(wanted).tuples()}
