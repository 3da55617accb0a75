"""Reduced cells are those of pymatgen's matcher, and what is certain of its answers is what it says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure
from pymatgen.core.structure_matcher import StructureMatcher

from registry.crystal import Crystal
from registry.identity.duplicates import Identity
from registry.identity.matching import Verdict, verdict
from registry.identity.niggli import niggli_basis
from registry.identity.reduction import Cell, reduced_cell
from tests.registry.identity.test_invariance import (
    CRYSTALS,
    baddeleyite,
    caesium_chloride,
    rock_salt,
    rutile,
    supercell,
    unimodular,
    zinc_blende,
)

MATCHER = StructureMatcher()


def accepted(one: Identity, other: Identity) -> bool:
    return bool(MATCHER.fit(one.reduced, other.reduced, skip_structure_reduction=True))


def said(one: Identity, other: Identity) -> Verdict:
    return verdict(cell_of(one), cell_of(other))


def cell_of(identity: Identity) -> Cell:
    assert identity.reduced_cell is not None
    return identity.reduced_cell


def distorted(crystal: Crystal, strain: float, shift: float, seed: int) -> Crystal:
    """Strained by up to `strain`, each site moved by up to `shift` cube roots of the volume per atom on each axis."""
    rng = np.random.default_rng(seed)
    lattice = crystal.lattice @ (np.eye(3) + rng.uniform(-strain, strain, (3, 3)))
    size = (crystal.volume / crystal.nsites) ** (1 / 3)
    moved = rng.uniform(-shift, shift, (crystal.nsites, 3)) * size @ np.linalg.inv(crystal.lattice)
    return Crystal(lattice, crystal.numbers, crystal.frac_coords + moved)


@given(st.sampled_from(CRYSTALS), st.floats(0, 0.2), st.floats(0, 0.3), st.integers(0, 10_000))
@settings(max_examples=200, deadline=None)
def test_what_is_certain_is_what_the_matcher_says(crystal: Crystal, strain: float, shift: float, seed: int):
    one, other = Identity(crystal), Identity(distorted(crystal, strain, shift, seed))
    for first, second in ((one, other), (other, one)):
        if len(first.reduced) == len(second.reduced) and (found := said(first, second)) is not Verdict.OPEN:
            assert accepted(first, second) == (found is Verdict.ACCEPTED)


@pytest.mark.parametrize("others", [(zinc_blende, caesium_chloride), (caesium_chloride, rock_salt)])
def test_the_same_crystal_is_accepted_and_other_structure_types_are_not(others):
    one, other = (Identity(make()) for make in others)
    assert said(one, Identity(others[0](7.0))) is Verdict.ACCEPTED
    assert said(one, other) is Verdict.REFUSED
    assert not accepted(one, other)


def test_polytypes_are_refused_by_their_sites():
    """Two close-packed stackings of four layers: equal lattices, different third layers."""
    lattice = np.array([[2.5, 0, 0], [-1.25, 1.25 * 3**0.5, 0], [0, 0, 8.2]])
    a, b, c = (0, 0), (1 / 3, 2 / 3), (2 / 3, 1 / 3)
    stacks = [[(*xy, z / 4) for z, xy in enumerate(order)] for order in ((a, b, a, c), (a, b, c, b))]
    shifted, mixed = stacks[1], [(*a, 0), (*b, 0.25), (*b, 0.5), (*c, 0.75)]
    one, same, other = [Identity(Crystal(lattice, [29] * 4, np.array(sites))) for sites in (stacks[0], shifted, mixed)]
    assert said(one, same) is Verdict.ACCEPTED  # the same stacking, begun elsewhere
    assert said(one, other) is Verdict.REFUSED


def test_a_mirror_image_is_accepted():
    one = baddeleyite()
    mirrored = Crystal(one.lattice * [-1, 1, 1], one.numbers, one.frac_coords)
    assert said(Identity(one), Identity(mirrored)) is Verdict.ACCEPTED


@given(st.lists(st.floats(-9, 9), min_size=9, max_size=9))
@settings(max_examples=200, deadline=None)
def test_the_niggli_basis_is_pymatgens(numbers: list[float]):
    lattice = np.array(numbers).reshape(3, 3)
    a, b, c = np.linalg.norm(lattice, axis=1)
    assume(min(a, b, c) > 1.5 and abs(np.linalg.det(lattice)) > 0.2 * a * b * c)
    assert np.allclose(niggli_basis(lattice), Lattice(lattice).get_niggli_reduced_lattice().matrix, rtol=0, atol=1e-7)


@given(st.sampled_from(CRYSTALS), unimodular, st.floats(0, 0.01), st.integers(0, 1000))
@settings(max_examples=100, deadline=None)
def test_the_niggli_basis_of_a_symmetric_lattice_is_pymatgens(crystal: Crystal, turn: np.ndarray, strain, seed: int):
    lattice = turn @ distorted(crystal, strain, 0, seed).lattice
    assert np.allclose(niggli_basis(lattice), Lattice(lattice).get_niggli_reduced_lattice().matrix, rtol=0, atol=1e-7)


@given(
    st.sampled_from([rock_salt(), rutile(), baddeleyite()]),
    st.sampled_from([(1, 1, 1), (1, 1, 2), (2, 2, 1), (3, 1, 1), (2, 2, 2)]),
    st.floats(0, 0.2),
    st.integers(0, 1000),
)
@example(rock_salt(), (1, 1, 2), 0.09375, 273)  # one ion repeats within the tolerance, the other only nearly
@settings(max_examples=150, deadline=None)
def test_the_reduced_cell_is_the_matchers(crystal: Crystal, times: tuple[int, int, int], shift: float, seed: int):
    moved = distorted(supercell(crystal, times), 0, shift, seed)
    MATCHER._get_reduced_istructure.cache_clear()  # answers with another crystal, if it is within 1e-5 A
    assert_same(reduced_cell(moved), MATCHER._get_reduced_structure(moved.to_pymatgen()))


def assert_same(cell: Cell | None, theirs: Structure):
    """Lattice, sites in order of rarity, and the site that the matcher's mask chooses."""
    assert cell is not None
    numbers = [site.specie.Z for site in theirs]
    order = sorted(range(len(numbers)), key=lambda site: (numbers.count(numbers[site]), numbers[site], site))
    assert len(cell.frac_coords) == len(order)
    assert np.allclose(cell.lattice, theirs.lattice.matrix, rtol=0, atol=1e-7)
    apart = cell.frac_coords - theirs.frac_coords[order]
    assert np.allclose(apart, np.round(apart), rtol=0, atol=1e-7)
    assert order[cell.origin] == MATCHER._get_mask(theirs, theirs, 1, True)[2]


def test_a_flat_lattice_has_no_reduced_cell():
    flat = Crystal(np.array([[1.0, 0, 0], [0, 1, 0], [1, 1, 0]]) * 3, [11, 17], [[0, 0, 0], [0.5, 0.5, 0.5]])
    assert reduced_cell(flat) is None


def test_the_rarest_species_comes_first():
    cell = cell_of(Identity(rutile()))
    assert cell.ends.tolist() == [2, 6]
    assert np.allclose((cell.frac_coords[1] - cell.frac_coords[0]) % 1, 0.5)
