"""Candidates of a composition in kinds: the lowest of each of the lowest components."""

from __future__ import annotations

from registry.crystal import Crystal
from tests.registry.identity.test_invariance import caesium_chloride, rock_salt, rutile, supercell, zinc_blende
from workers.candidates.clusters import Scored, best, clusters, first_of_each, kinds_of


def scored(*crystals: Crystal) -> list[Scored]:
    """Each a little higher than the one before, given from the highest to the lowest."""
    return [Scored(key, 0.01 * key, crystal) for key, crystal in enumerate(crystals)][::-1]


def keys(parts: list[list[Scored]]) -> list[list[int]]:
    return [[one.key for one in part] for part in parts]


FIVE = scored(rock_salt(), zinc_blende(), rock_salt(6.0), supercell(zinc_blende(), (1, 1, 2)), caesium_chloride())


def test_components_come_lowest_first():
    assert keys(clusters(FIVE)) == [[0, 2], [1, 3], [4]]


def test_a_chain_of_fits_is_one_component():
    assert keys(clusters(scored(rutile(0.20), rutile(0.38)))) == [[0], [1]]
    assert keys(clusters(scored(rutile(0.20), rutile(0.38), rutile(0.29)))) == [[0, 1, 2]]


def test_the_lowest_of_the_k_lowest_components_are_the_best():
    assert [one.key for one in best(FIVE, 2)] == [0, 1]
    assert [one.key for one in best(FIVE, 9)] == [0, 1, 4]


def test_only_the_top_is_looked_at():
    assert keys(clusters(FIVE, top=3)) == [[0, 2], [1]]


def test_equal_energies_are_ordered_by_key():
    twins = [Scored(key, -1.0, crystal) for key, crystal in ((7, rock_salt()), (3, rock_salt()), (5, zinc_blende()))]
    assert keys(clusters(twins)) == [[3, 7], [5]]


def test_kinds_of_several_compositions_are_named_by_their_lowest_id():
    found = kinds_of({9: rock_salt(), 4: rock_salt(6.0), 5: rock_salt(numbers=(11, 35)), 6: zinc_blende()})
    assert found == {4: 4, 9: 4, 5: 5, 6: 6}
    assert kinds_of({}) == {}


def test_the_first_of_each_kind_keeps_the_order():
    assert first_of_each(["bc", "a", "ad", "be"], lambda word: word[0]) == ["bc", "a"]
