"""The same crystal written another way has the same identity; a different crystal hasn't."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core.composition import Composition as PymatgenComposition
from scipy.spatial.transform import Rotation

from registry.crystal import Crystal
from registry.identity.composition import SYMBOLS, Composition
from registry.identity.duplicates import DuplicateIndex, Identity, same_crystal
from registry.identity.fingerprint import fingerprint_distance, fingerprint_of
from registry.identity.prototype import prototype_of

FCC = np.array([[0.0, 0.5, 0.5], [0.5, 0.0, 0.5], [0.5, 0.5, 0.0]])


def rock_salt(a: float = 5.64, numbers: tuple[int, int] = (11, 17)) -> Crystal:
    return Crystal(FCC * a, np.array(numbers), np.array([[0, 0, 0], [0.5, 0.5, 0.5]]))


def zinc_blende(a: float = 5.64, numbers: tuple[int, int] = (11, 17)) -> Crystal:
    return Crystal(FCC * a, np.array(numbers), np.array([[0, 0, 0], [0.25, 0.25, 0.25]]))


def caesium_chloride(a: float = 4.1, numbers: tuple[int, int] = (11, 17)) -> Crystal:
    return Crystal(np.eye(3) * a, np.array(numbers), np.array([[0, 0, 0], [0.5, 0.5, 0.5]]))


def rutile(u: float = 0.305) -> Crystal:
    oxygen = [[u, u, 0], [-u, -u, 0], [0.5 - u, 0.5 + u, 0.5], [0.5 + u, 0.5 - u, 0.5]]
    coords = np.array([[0, 0, 0], [0.5, 0.5, 0.5], *oxygen])
    return Crystal(np.diag([4.594, 4.594, 2.959]), np.array([22, 22, 8, 8, 8, 8]), coords)


def baddeleyite() -> Crystal:
    """ZrO2, P2_1/c: 12 atoms without a special position."""
    sites = np.array([[0.2754, 0.0395, 0.2083], [0.0700, 0.3317, 0.3447], [0.4496, 0.7569, 0.4792]])
    images = [sites, -sites, sites * [-1, 1, -1] + [0, 0.5, 0.5], sites * [1, -1, 1] + [0, 0.5, 0.5]]
    beta = np.deg2rad(99.23)
    lattice = np.array([[5.1505, 0, 0], [0, 5.2116, 0], [5.3173 * np.cos(beta), 0, 5.3173 * np.sin(beta)]])
    return Crystal(lattice, np.array([40, 8, 8] * 4), np.concatenate(images))


CRYSTALS = [rock_salt(), zinc_blende(), caesium_chloride(), rutile(), baddeleyite()]

unimodular = st.sampled_from(
    [
        np.eye(3, dtype=int),
        np.array([[1, 1, 0], [0, 1, 0], [0, 0, 1]]),
        np.array([[0, 1, 0], [0, 0, 1], [1, 0, 0]]),
        np.array([[1, 0, 0], [2, 1, 0], [0, -1, 1]]),
        np.array([[0, 1, 0], [1, 0, 0], [0, 0, -1]]),
    ]
)


@st.composite
def rewritten(draw: st.DrawFn, crystal: Crystal) -> Crystal:
    """Another cell, supercell, orientation, origin, order and volume of a crystal."""
    one = supercell(recelled(crystal, draw(unimodular)), draw(st.sampled_from([(1, 1, 1), (2, 1, 1), (1, 2, 1)])))
    turn = Rotation.from_euler("xyz", draw(st.tuples(*[st.floats(0, 6.28)] * 3))).as_matrix()
    shift = np.array(draw(st.tuples(*[st.floats(-1, 1)] * 3)))
    order = np.array(draw(st.permutations(range(one.nsites))))
    scale = draw(st.floats(0.9, 1.1))
    return Crystal(one.lattice @ turn * scale, one.numbers[order], (one.frac_coords + shift)[order])


def recelled(crystal: Crystal, basis: np.ndarray) -> Crystal:
    return Crystal(basis @ crystal.lattice, crystal.numbers, crystal.frac_coords @ np.linalg.inv(basis))


def supercell(crystal: Crystal, times: tuple[int, int, int]) -> Crystal:
    shifts = np.stack(np.meshgrid(*[np.arange(n) for n in times], indexing="ij"), axis=-1).reshape(-1, 3)
    coords = (crystal.frac_coords[None, :, :] + shifts[:, None, :]).reshape(-1, 3) / times
    return Crystal(crystal.lattice * np.array(times)[:, None], np.tile(crystal.numbers, len(shifts)), coords)


@given(st.data(), st.sampled_from(CRYSTALS))
@settings(max_examples=60, deadline=None)
def test_identity_does_not_depend_on_how_a_crystal_is_written(data: st.DataObject, crystal: Crystal):
    other = data.draw(rewritten(crystal))
    assert prototype_of(other).protostructure == prototype_of(crystal).protostructure
    assert fingerprint_distance(fingerprint_of(other), fingerprint_of(crystal)) < 1e-4
    assert same_crystal(crystal, other) == "label+fingerprint"


@given(st.dictionaries(st.integers(1, 103), st.integers(1, 12), min_size=1, max_size=6), st.integers(1, 4))
@settings(max_examples=200, deadline=None)
def test_formulas_are_pymatgens(amounts: dict[int, int], units: int):
    ours = Composition.of({number: count * units for number, count in amounts.items()})
    theirs = PymatgenComposition({SYMBOLS[number]: count * units for number, count in amounts.items()})
    assert ours.reduced_formula == theirs.reduced_formula
    assert ours.anonymous_formula == theirs.anonymized_formula
    assert ours.chemsys == theirs.chemical_system
    assert ours.nelements == len(theirs)


@pytest.mark.parametrize("amounts", [{}, {0: 1}, {119: 1}, {8: 0}, {8: -1}])
def test_no_composition_of_nothing(amounts: dict[int, int]):
    with pytest.raises(ValueError, match=r"at least one atom|not the atomic number|whole numbers"):
        Composition.of(amounts)


def test_different_structures_of_one_formula_are_different():
    assert same_crystal(rock_salt(), zinc_blende()) is None
    assert same_crystal(rock_salt(), caesium_chloride()) is None
    assert same_crystal(rock_salt(), rock_salt(numbers=(19, 17))) is None


def test_swapped_elements_are_a_different_crystal_where_the_sites_differ():
    one = Crystal(FCC * 6.2, np.array([3, 12, 33]), np.array([[0, 0, 0], [0.5, 0.5, 0.5], [0.25, 0.25, 0.25]]))
    same = one.with_numbers(np.array([12, 3, 33]))
    other = one.with_numbers(np.array([33, 12, 3]))
    assert same_crystal(one, same) == "label+fingerprint"
    assert same_crystal(one, other) is None


def test_a_small_distortion_is_the_matchers_business():
    distorted = Crystal(rutile().lattice * [1.0, 1.06, 1.0], rutile().numbers, rutile().frac_coords)
    assert prototype_of(distorted).label != prototype_of(rutile()).label
    assert same_crystal(rutile(), distorted) == "structure_matcher"


def test_an_index_without_the_matcher_knows_the_cheap_rule_only():
    distorted = Crystal(rutile().lattice * [1.0, 1.06, 1.0], rutile().numbers, rutile().frac_coords)
    exact, cheap = DuplicateIndex[int](), DuplicateIndex[int](matcher_within=0)
    for index in (exact, cheap):
        index.add(1, rutile())
        assert index.find(rutile(0.306)) == (1, "label+fingerprint")
    assert (exact.find(distorted), cheap.find(distorted)) == ((1, "structure_matcher"), None)


def test_long_stackings_are_not_told_by_their_neighbours():
    """Polytypes share near neighbours; the fingerprint of a long cell must not decide."""
    stretched = Crystal(rock_salt().lattice * np.array([[1], [1], [9]]), rock_salt().numbers, rock_salt().frac_coords)
    assert not Identity(stretched).fingerprint_decides
    assert Identity(rock_salt()).fingerprint_decides


def test_the_index_finds_the_first_of_each_kind():
    index: DuplicateIndex[str] = DuplicateIndex()
    assert index.find(rock_salt()) is None
    assert index.find_or_add("halite", rock_salt()) is None
    assert index.find_or_add("blende", zinc_blende()) is None
    assert index.find_or_add("bigger", rock_salt(6.5)) == ("halite", "label+fingerprint")
    assert index.find_or_add("doubled", supercell(zinc_blende(), (2, 1, 1))) == ("blende", "label+fingerprint")
    assert index.find_or_add("sylvite", rock_salt(numbers=(19, 17))) is None
    assert (len(index), list(index)) == (3, ["halite", "blende", "sylvite"])


@pytest.mark.parametrize("crystal", [rock_salt(), rutile(), baddeleyite()])
def test_a_fingerprint_found_piece_by_piece_is_the_same(crystal: Crystal, monkeypatch: pytest.MonkeyPatch):
    whole = fingerprint_of(crystal)
    monkeypatch.setattr("registry.identity.fingerprint.AT_ONCE", 1)
    assert np.array_equal(fingerprint_of(crystal), whole)
