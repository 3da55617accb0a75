"""The test of shapes refuses nothing that pymatgen's matcher would accept, and shortens the way to primitive cells."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pymatgen.analysis.structure_matcher import StructureMatcher

from registry.crystal import Crystal
from registry.identity.duplicates import Identity
from registry.identity.matching import cell_of, may_match, niggli_cell, surely_primitive
from tests.registry.identity.test_invariance import (
    CRYSTALS,
    baddeleyite,
    caesium_chloride,
    rock_salt,
    rutile,
    supercell,
    zinc_blende,
)

MATCHER = StructureMatcher()


def accepted(one: Identity, other: Identity) -> bool:
    return bool(MATCHER.fit(one.reduced, other.reduced, skip_structure_reduction=True))


def distorted(crystal: Crystal, strain: float, shift: float, seed: int) -> Crystal:
    """Strained by up to `strain`, each site moved by up to `shift` cube roots of the volume per atom on each axis."""
    rng = np.random.default_rng(seed)
    lattice = crystal.lattice @ (np.eye(3) + rng.uniform(-strain, strain, (3, 3)))
    size = (crystal.volume / crystal.nsites) ** (1 / 3)
    moved = rng.uniform(-shift, shift, (crystal.nsites, 3)) * size @ np.linalg.inv(crystal.lattice)
    return Crystal(lattice, crystal.numbers, crystal.frac_coords + moved)


@given(st.sampled_from(CRYSTALS), st.floats(0, 0.2), st.floats(0, 0.3), st.integers(0, 10_000))
@settings(max_examples=150, deadline=None)
def test_what_the_matcher_accepts_is_never_refused(crystal: Crystal, strain: float, shift: float, seed: int):
    one, other = Identity(crystal), Identity(distorted(crystal, strain, shift, seed))
    for first, second in ((one, other), (other, one)):
        if len(first.reduced) == len(second.reduced) and accepted(first, second):
            assert may_match(first.reduced_cell, second.reduced_cell)


@pytest.mark.parametrize("others", [(zinc_blende, caesium_chloride), (caesium_chloride, rock_salt)])
def test_the_same_crystal_may_match_and_other_structure_types_do_not(others):
    one, other = (Identity(make()) for make in others)
    assert may_match(one.reduced_cell, Identity(others[0](7.0)).reduced_cell)
    assert not may_match(one.reduced_cell, other.reduced_cell)
    assert not accepted(one, other)


def test_polytypes_are_refused_by_their_sites():
    """Two close-packed stackings of four layers: equal lattices, different third layers."""
    lattice = np.array([[2.5, 0, 0], [-1.25, 1.25 * 3**0.5, 0], [0, 0, 8.2]])
    a, b, c = (0, 0), (1 / 3, 2 / 3), (2 / 3, 1 / 3)
    stacks = [[(*xy, z / 4) for z, xy in enumerate(order)] for order in ((a, b, a, c), (a, b, c, b))]
    shifted, mixed = stacks[1], [(*a, 0), (*b, 0.25), (*b, 0.5), (*c, 0.75)]
    cells = [Identity(Crystal(lattice, [29] * 4, np.array(one))).reduced_cell for one in (stacks[0], shifted, mixed)]
    assert may_match(cells[0], cells[1])  # the same stacking, begun elsewhere
    assert not may_match(cells[0], cells[2])


@given(st.sampled_from([rock_salt(), rutile(), baddeleyite()]), st.floats(0, 0.2), st.integers(0, 1000))
@example(rock_salt(), 0.09375, 273)  # one ion repeats within the tolerance, the other only nearly
@settings(max_examples=200, deadline=None)
def test_a_cell_taken_for_primitive_is_what_pymatgen_returns(crystal: Crystal, shift: float, seed: int):
    doubled = distorted(supercell(crystal, (1, 1, 2)), 0, shift, seed)
    niggli = doubled.to_pymatgen().get_reduced_structure("niggli")
    if surely_primitive(cell_of(niggli)):
        assert len(niggli.get_primitive_structure()) == len(niggli)


def test_a_supercell_is_not_primitive():
    niggli = supercell(rutile(), (1, 1, 2)).to_pymatgen().get_reduced_structure("niggli")
    assert not surely_primitive(cell_of(niggli))
    assert surely_primitive(cell_of(rutile().to_pymatgen()))


@given(st.sampled_from([rock_salt(), rutile(), baddeleyite()]), st.floats(0, 0.2), st.integers(0, 1000))
@settings(max_examples=50, deadline=None)
def test_the_niggli_cell_is_that_of_pymatgens_structure(crystal: Crystal, shift: float, seed: int):
    moved = distorted(supercell(crystal, (1, 1, 2)), 0, shift, seed)
    ours, theirs = niggli_cell(moved), cell_of(moved.to_pymatgen().get_reduced_structure("niggli"))
    assert np.allclose(ours.lattice, theirs.lattice, rtol=0, atol=1e-9)
    apart = ours.frac_coords - theirs.frac_coords
    assert np.allclose(apart, np.round(apart), rtol=0, atol=1e-9)
    assert ours.ends.tolist() == theirs.ends.tolist()


def test_the_rarest_species_comes_first():
    cell = cell_of(rutile().to_pymatgen())
    assert cell.ends.tolist() == [2, 6]
    assert np.allclose(cell.frac_coords[:2] % 0.5, 0)
