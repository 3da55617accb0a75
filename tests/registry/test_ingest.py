"""Crystals into the system of record: ids by content, types and names beside them, nothing stored twice."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from registry.crystal import Crystal
from registry.errors import LodeError
from registry.families import put_into_families
from registry.identity.duplicates import Identity
from registry.identity.public_id import public_id
from registry.ingest import NewStructure, Stored, crystal_of, crystals, source_id, store
from registry.models import Composition, ExternalId, Family, FamilyMember, Prototype, Source, Structure
from registry.states import Origin
from registry.terms import OWN, SourceTerms
from tests import factories as make

SALT = Crystal(np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]) * 2.8, [11, 17], [[0, 0, 0], [0.5, 0.5, 0.5]])
CSCL = Crystal(np.eye(3) * 4.1, [55, 17], [[0, 0, 0], [0.5, 0.5, 0.5]])
DOUBLE = Crystal(  # CSCL in a cell of two
    np.diag([4.1, 4.1, 8.2]), [55, 55, 17, 17], [[0, 0, 0], [0, 0, 0.5], [0.5, 0.5, 0.25], [0.5, 0.5, 0.75]]
)
LAYERED = Crystal(np.diag([2.8, 2.8, 3.9]), [29, 79], [[0, 0, 0], [0.5, 0.5, 0.5]])


def put(session: Session, *chosen: Crystal, **columns: object) -> list[Stored]:
    source = source_id(session, OWN)
    return store(session, [NewStructure(Identity(one), Origin.IMPORTED, source, **columns) for one in chosen])  # type: ignore[arg-type]


def test_the_id_is_the_content():
    assert public_id(SALT) == public_id(Crystal(SALT.lattice.copy(), SALT.numbers, SALT.frac_coords))
    assert public_id(SALT) != public_id(SALT.scaled(SALT.volume * 1.01))
    assert public_id(SALT) != public_id(SALT.with_numbers(np.array([19, 17])))
    assert public_id(SALT).startswith("lode-")


def test_the_same_arrays_are_stored_once(session: Session):
    first = put(session, SALT, CSCL)
    again = put(session, CSCL, SALT)
    assert [one.new for one in first] == [True, True]
    assert [one.new for one in again] == [False, False]
    assert {one.id for one in first} == {one.id for one in again}
    assert first[0].public_id == public_id(SALT)


def test_the_same_arrays_twice_in_one_batch_are_new_once(session: Session):
    one, other, twin = put(session, SALT, CSCL, SALT)
    assert (one.new, other.new, twin.new) == (True, True, False)
    assert one.id == twin.id


def test_the_arrays_come_back_bit_by_bit(session: Session):
    stored = put(session, DOUBLE)[0]
    back = crystals(session, [stored.id])[stored.id]
    assert np.array_equal(back.lattice, DOUBLE.lattice)
    assert np.array_equal(back.numbers, DOUBLE.numbers)
    assert np.array_equal(back.frac_coords, DOUBLE.frac_coords)
    assert public_id(crystal_of(session.get_one(Structure, stored.id))) == stored.public_id


def test_composition_and_structure_type_are_kept(session: Session):
    stored = put(session, SALT, DOUBLE)
    rows = [session.get_one(Structure, one.id) for one in stored]
    types = [session.get_one(Prototype, row.prototype_id) for row in rows]
    assert [one.label for one in types] == ["AB_cF8_225_a_b", "AB_cP2_221_a_b"]
    assert [one.spacegroup_number for one in types] == [225, 221]
    assert {row.protostructure for row in rows} == {"AB_cF8_225_a_b:Cl-Na", "AB_cP2_221_a_b:Cl-Cs"}
    doubled = session.get_one(Composition, rows[1].composition_id)
    assert (doubled.reduced_formula, doubled.chemsys, doubled.amounts) == ("CsCl", "Cl-Cs", [1, 1])
    assert rows[1].nsites == 4


def test_compositions_and_types_are_shared(session: Session):
    put(session, CSCL, DOUBLE, SALT)
    assert len(session.scalars(select(Composition)).all()) == 2
    assert len(session.scalars(select(Prototype)).all()) == 2


def test_a_second_name_joins_the_first(session: Session):
    stored = put(session, SALT, external_ids={"mp": "mp-1"})[0]
    put(session, SALT, external_ids={"mp": "mp-2"})
    put(session, SALT, external_ids={"mp": "mp-2"})
    names = session.scalars(select(ExternalId.value).where(ExternalId.structure_id == stored.id)).all()
    assert sorted(names) == ["mp-1", "mp-2"]


def test_a_source_keeps_its_terms(session: Session):
    terms = SourceTerms("somebody", "CC-BY-NC-4.0", "Somebody (2020)", non_commercial=True)
    assert source_id(session, terms) == source_id(session, terms)
    row = session.get_one(Source, source_id(session, terms))
    assert (row.licence, row.citation, row.non_commercial) == ("CC-BY-NC-4.0", "Somebody (2020)", True)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"licence": "CC-BY-4.0"}, "(licence 'CC0-1.0')"),
        ({"citation": "Else (2021)", "non_commercial": True}, "(citation 'Somebody (2020)', non_commercial False)"),
    ],
)
def test_a_source_takes_no_other_terms(session: Session, other: dict[str, Any], said: str):
    terms = {"licence": "CC0-1.0", "citation": "Somebody (2020)"}
    source_id(session, SourceTerms("somebody", **terms))
    with pytest.raises(
        LodeError, match=r"source 'somebody' is stored with other terms .* choose another --source"
    ) as e:
        source_id(session, SourceTerms("somebody", **{**terms, **other}))
    assert said in str(e.value)


def test_terms_that_are_not_given_contradict_none(session: Session):
    first = source_id(session, SourceTerms("somebody", "CC-BY-NC-4.0", "Somebody (2020)", non_commercial=True))
    assert source_id(session, SourceTerms("somebody")) == first
    assert source_id(session, SourceTerms("somebody", "CC-BY-NC-4.0")) == first
    source_id(session, SourceTerms("nobody"))
    with pytest.raises(LodeError, match=r"\(licence 'unknown'\)"):
        source_id(session, SourceTerms("nobody", "CC0-1.0"))


def test_an_import_under_our_own_name_leaves_us_our_terms(session: Session):
    assert source_id(session, SourceTerms(OWN.name)) == source_id(session, OWN)
    assert session.get_one(Source, source_id(session, OWN)).licence == OWN.licence


def test_nothing_in_nothing_out(session: Session):
    assert store(session, []) == []


def test_a_search_of_any_size_goes_into_families(session: Session):
    """More structures than a statement has parameters."""
    row = make.structure(session, "CuAu", arrays=LAYERED)
    put_into_families(session, dict.fromkeys(range(row.id, row.id + 70_000), Identity(LAYERED)))
    assert session.scalars(select(FamilyMember.structure_id)).all() == [row.id]


def test_orderings_of_one_alloy_are_one_family(session: Session):
    """L1_0 and L1_1 CuAu on the face-centred cubic lattice; rock salt mixes nothing."""
    fcc = np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]) * 1.95
    rhombohedral = Crystal(np.array([[1, 1, 0], [0, 1, 1], [1, 0, 1]]) @ fcc, [29, 79], [[0, 0, 0], [0.5, 0.5, 0.5]])
    one, other, _salt = put(session, LAYERED, rhombohedral, SALT)
    families = {row.structure_id: row.family_id for row in session.scalars(select(FamilyMember))}
    assert families.keys() == {one.id, other.id}
    assert families[one.id] == families[other.id]
    family = session.scalars(select(Family)).one()
    assert (family.mixed, family.spacegroup_number) == (["Au", "Cu"], 225)
    put(session, LAYERED, rhombohedral)
    assert len(session.scalars(select(FamilyMember)).all()) == 2
