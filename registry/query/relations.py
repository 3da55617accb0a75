"""Fields that are lists of words beside the structure: the names of others, parents, duplicates. And its properties."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, cast, func, select, union_all
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.orm import aliased
from sqlalchemy.types import SmallInteger

from registry.models import Duplicate, ExternalId, Family, FamilyMember, Lineage, Property, Structure

Column = ColumnElement[Any]

_Other = aliased(Structure, name="other_structure")


@dataclass(frozen=True)
class Relation:
    """owners: SELECT of structure ids, to be narrowed by `value`; shown: what a structure has, null: nothing."""

    owners: Select[Any]
    value: Column
    owner: Column
    shown: Column

    def of_any(self, words: list[str]) -> Select[Any]:
        """Ids of the structures that hold one of the words. One subquery: the planner takes minutes for a thousand."""
        return self.owners.where(self.value.in_(words))

    def of_all(self, words: list[str]) -> Select[Any]:
        """Ids of the structures that hold each of the words, which differ."""
        held = func.count(self.value.distinct())
        return self.of_any(words).group_by(self.owner).having(held == len(words))

    @property
    def known(self) -> Column:
        """Whether the structure holds any."""
        return self.owners.where(self.owner == Structure.id).correlate(Structure).exists()


def _names() -> Relation:
    """[[scheme, name], ...]"""
    pair = func.jsonb_build_array(ExternalId.scheme, ExternalId.value)
    pairs = func.jsonb_agg(aggregate_order_by(pair, ExternalId.scheme, ExternalId.value))
    shown = select(pairs).where(ExternalId.structure_id == Structure.id).correlate(Structure).scalar_subquery()
    owner = ExternalId.structure_id.expression
    return Relation(select(owner), ExternalId.value.expression, owner, shown)


def _public_ids(owner: Column, other: Column) -> Relation:
    """Relations to structures, by their public ids."""
    owners = select(owner).join(_Other, _Other.id == other)
    ids = func.array_agg(aggregate_order_by(_Other.public_id.distinct(), _Other.public_id))
    shown = select(ids).select_from(_Other).join(owner.table, _Other.id == other)
    shown = shown.where(owner == Structure.id).correlate(Structure)
    return Relation(owners, _Other.public_id.expression, owner, shown.scalar_subquery())


def _duplicates() -> Relation:
    """Either side of a link names the other."""
    there = select(Duplicate.structure_id.label("owner"), Duplicate.same_as_id.label("other"))
    back = select(Duplicate.same_as_id.label("owner"), Duplicate.structure_id.label("other"))
    links = union_all(there, back).subquery("links")
    return _public_ids(links.c.owner, links.c.other)


RELATIONS: dict[str, Relation] = {
    "external_id.value": _names(),
    "lineage.parent": _public_ids(Lineage.child_id.expression, Lineage.parent_id.expression),
    "duplicate.other": _duplicates(),
}
"""Column of a field of registry/query/fields.py -> where its words lie."""


def property_of(name: str) -> Column:
    """The number that was stored last under that name, whatever its method."""
    wanted = select(Property.value).where(
        Property.structure_id == Structure.id, Property.name == name, Property.value.is_not(None)
    )
    return wanted.order_by(Property.id.desc()).limit(1).correlate(Structure).scalar_subquery()


def with_property(name: str, holds: Column) -> Select[Any]:
    """Ids of the structures of which some value of that name fulfils the condition on property.value."""
    return select(Property.structure_id).where(Property.name == name, holds)


PROPERTIES: dict[str, Column] = {
    "property.band_gap": property_of("band_gap"),
    "property.dimensionality": cast(property_of("dimensionality"), SmallInteger),
}

FAMILY: Column = (
    select(Family.label)
    .join(FamilyMember, FamilyMember.family_id == Family.id)
    .where(FamilyMember.structure_id == Structure.id)
    .correlate(Structure)
    .scalar_subquery()
)
