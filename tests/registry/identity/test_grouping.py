"""Groups are those of pymatgen's `group_structures`; components are those of the graph of its fits."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core.structure_matcher import StructureMatcher

from registry.crystal import Crystal
from registry.identity.grouping import Groups, components, group
from tests.registry.identity.test_invariance import (
    baddeleyite,
    caesium_chloride,
    rock_salt,
    rutile,
    supercell,
    zinc_blende,
)
from tests.registry.identity.test_matching import distorted

MATCHER = StructureMatcher()
KINDS = [rock_salt(), zinc_blende(), caesium_chloride(), rutile(), baddeleyite()]


def theirs(crystals: list[Crystal]) -> Groups:
    structures = [crystal.to_pymatgen() for crystal in crystals]
    places = {id(structure): index for index, structure in enumerate(structures)}
    return sorted(
        sorted(places[id(structure)] for structure in found) for found in MATCHER.group_structures(structures)
    )


def linked(crystals: list[Crystal]) -> Groups:
    """By the matcher's answer to every pair."""
    structures = [crystal.to_pymatgen() for crystal in crystals]
    kinds = list(range(len(crystals)))
    for one, other in itertools.combinations(range(len(crystals)), 2):
        if kinds[one] != kinds[other] and MATCHER.fit(structures[one], structures[other]):
            kinds = [kinds[one] if kind == kinds[other] else kind for kind in kinds]
    return sorted([index for index, kind in enumerate(kinds) if kind == wanted] for wanted in set(kinds))


crystals = st.lists(
    st.tuples(
        st.sampled_from(KINDS),
        st.sampled_from([(1, 1, 1), (1, 1, 2), (2, 1, 1)]),
        st.floats(0, 0.15),
        st.floats(0, 0.25),
        st.integers(0, 1000),
    ).map(lambda made: distorted(supercell(made[0], made[1]), *made[2:])),
    min_size=1,
    max_size=8,
)


@given(crystals)
@settings(max_examples=60, deadline=None)
def test_groups_are_those_of_group_structures(crystals: list[Crystal]):
    assert group(crystals) == theirs(crystals)


@given(crystals)
@settings(max_examples=40, deadline=None)
def test_components_are_those_of_the_matchers_graph(crystals: list[Crystal]):
    assert components(crystals) == linked(crystals)


def chain() -> list[Crystal]:
    """Rutile with its oxygen moved further and further: neighbours fit, the ends don't."""
    return [rutile(u) for u in (0.20, 0.29, 0.38)]


def test_a_chain_is_one_component_and_two_groups():
    assert group(chain()) == theirs(chain()) == [[0, 1], [2]]
    assert components(chain()) == [[0, 1, 2]]


def test_the_reference_is_the_first_that_has_no_group_yet():
    first, middle, last = chain()
    assert group([middle, first, last]) == [[0, 1, 2]]
    assert group([last, first, middle]) == theirs([last, first, middle]) == [[0, 2], [1]]


def test_other_formulas_are_never_compared():
    assert group([rock_salt(), rock_salt(numbers=(11, 35)), rock_salt(5.0)]) == [[0, 2], [1]]


def test_no_crystals_make_no_groups():
    assert group([]) == components([]) == []


@pytest.mark.parametrize("way", [group, components])
def test_a_flat_crystal_stays_alone_and_stops_nothing(way):
    flat = Crystal(np.array([[1.0, 0, 0], [0, 1, 0], [1, 1, 0]]) * 3, [11, 17], [[0, 0, 0], [0.5, 0.5, 0.5]])
    assert way([flat, rock_salt(), flat, rock_salt(6.0)]) == [[0], [1, 3], [2]]
