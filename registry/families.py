"""Ordered approximants of disordered crystals, put together as they come in: registry/identity/families.py says how."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import BigInteger, any_, literal, select
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.orm import Session

from registry.identity.duplicates import Identity
from registry.identity.families import Family
from registry.models import Family as FamilyRow
from registry.models import FamilyMember, Structure

Key = tuple[int, str]
"""Id of the composition, label."""


def put_into_families(session: Session, identities: Mapping[int, Identity]) -> None:
    """Find the family of each stored structure (by its id), and keep it: of several the one of the simplest parent."""
    found = {key: identity.families[0] for key, identity in identities.items() if identity.families}
    if not found:
        return
    ids = literal(list(found), ARRAY(BigInteger))  # one parameter: a statement has 65,535 at most
    rows = session.execute(select(Structure.id, Structure.composition_id).where(Structure.id == any_(ids))).tuples()
    keys = {structure_id: (composition_id, found[structure_id].label) for structure_id, composition_id in rows}
    family_ids = _family_ids(session, {key: found[structure_id] for structure_id, key in keys.items()})
    members = [{"structure_id": structure_id, "family_id": family_ids[key]} for structure_id, key in keys.items()]
    session.execute(insert(FamilyMember).on_conflict_do_nothing(), members)


def _family_ids(session: Session, families: Mapping[Key, Family]) -> dict[Key, int]:
    rows = [_row(key, families[key]) for key in sorted(families)]  # one order for everybody: no deadlocks
    session.execute(insert(FamilyRow).on_conflict_do_nothing(), rows)
    compositions = literal(list({key for key, _ in families}), ARRAY(BigInteger))
    query = select(FamilyRow.composition_id, FamilyRow.label, FamilyRow.id)
    stored = session.execute(query.where(FamilyRow.composition_id == any_(compositions)))
    return {(composition_id, label): family_id for composition_id, label, family_id in stored.tuples()}


def _row(key: Key, family: Family) -> dict[str, Any]:
    return {
        "composition_id": key[0],
        "label": family.label,
        "mixed": sorted(symbol for together in family.mixed for symbol in together),
        "spacegroup_number": family.spacegroup_number,
        "rule": family.rule,
    }
