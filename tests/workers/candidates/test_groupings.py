from collections.abc import Iterator
from itertools import combinations, islice
from math import comb
from pathlib import Path

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure
from pymatgen.core.structure_matcher import StructureMatcher

from registry.crystal import Crystal
from registry.importers.files import read_file
from registry.importers.record import ImportedRecord
from workers.candidates.groupings import Bounds, Groupings, decorations, groupings
from workers.candidates.symmetry import NoSymmetry, Symmetry, standardised, symmetry

MATCHER = StructureMatcher(ltol=0.005, stol=0.01, angle_tol=0.1, primitive_cell=False, scale=False)
SPINEL = Structure.from_spacegroup(
    "Fd-3m", Lattice.cubic(8.08), ["Mg", "Al", "O"], [[0] * 3, [0.625] * 3, [0.3874] * 3]
)
QUARTZ = Structure.from_spacegroup(
    "P3_121", Lattice.hexagonal(4.914, 5.406), ["Si", "O"], [[0.4697, 0, 1 / 3], [0.4133, 0.2672, 0.2145]]
)
COPPER = Structure.from_spacegroup("Fm-3m", Lattice.cubic(3.61), ["Cu"], [[0, 0, 0]])
D0_22 = Structure.from_spacegroup(
    "I4/mmm", Lattice.tetragonal(3.85, 8.6), ["Ti", "Al", "Al"], [[0, 0, 0], [0, 0, 0.5], [0, 0.5, 0.25]]
)


def _found(structure: Structure, **options: bool) -> Symmetry:
    return standardised(Crystal.from_pymatgen(structure), **options)


def _sites(found: Symmetry, number: int) -> np.ndarray:
    return np.flatnonzero(found.crystal.numbers == number)


def _without_symmetry(nsites: int) -> Symmetry:
    coords = np.random.default_rng(0).random((nsites, 3))
    return symmetry(Crystal(np.diag([12.0, 13.0, 14.0]), np.full(nsites, 8, np.int16), coords))


def _kinds(rows: np.ndarray, found: Symmetry) -> int:
    return len(MATCHER.group_structures([found.crystal.with_numbers(row).to_pymatgen() for row in rows]))


def _kinds_of_all(found: Symmetry, sites: np.ndarray, size: int) -> int:
    rows = []
    for subset in combinations(sites.tolist(), size):
        rows.append(found.crystal.numbers.copy())
        rows[-1][list(subset)] = 92
    return _kinds(np.array(rows), found)


def _equals_brute_force(found: Symmetry, number: int) -> None:
    sites = _sites(found, number)
    made = groupings(found, sites)
    for size in range(1, len(sites)):
        of_size = made.of_size(size)
        assert len(of_size) == _kinds_of_all(found, sites, size)
        assert _kinds(decorations(found, of_size, [92])[:, 0], found) == len(of_size)


def test_a_chiral_parent_has_as_many_as_the_matcher_finds() -> None:
    found = _found(QUARTZ)
    assert found.number == 152
    _equals_brute_force(found, 8)
    _equals_brute_force(found, 14)


def test_a_conventional_cell_has_as_many_as_the_matcher_finds() -> None:
    found = _found(COPPER, conventional=True)
    _equals_brute_force(found, 29)
    assert groupings(found, range(4)).sizes.tolist() == [1, 2, 3]
    assert len(groupings(_found(COPPER), [0])) == 0


def test_real_parents_have_as_many_as_the_matcher_finds(lode_test_data: Path) -> None:
    for found, number in islice(_small_parents(lode_test_data), 12):
        _equals_brute_force(found, number)


def _small_parents(folder: Path) -> Iterator[tuple[Symmetry, int]]:
    """With an element on 3 to 5 sites of the primitive cell."""
    for item in islice(read_file(folder / "mp_structures" / "mp_36737.parquet"), 0, None, 40):
        if isinstance(item, ImportedRecord) and item.crystal.nsites <= 12:
            found = standardised(item.crystal)
            fitting = [number for number, amount in found.crystal.amounts.items() if 3 <= amount <= 5]
            yield from [(found, fitting[0])] if fitting else []


def test_an_element_that_the_parent_holds_may_give_one_crystal_twice() -> None:
    found = _found(D0_22)
    made = groupings(found, _sites(found, 13))
    assert _kinds(decorations(found, made, [92])[:, 0], found) == len(made) == 4
    assert _kinds(decorations(found, made, [22])[:, 0], found) == 3


def test_representatives_are_the_lowest_numbers_of_their_classes() -> None:
    found = _found(SPINEL)
    sites = _sites(found, 8)
    made = groupings(found, sites)
    place = {site: i for i, site in enumerate(sites.tolist())}
    for mask, chosen in zip(made.masks.tolist(), made.chosen, strict=True):
        images = found.permutations[:, sites[chosen]].tolist()
        assert mask == min(sum(1 << place[site] for site in image) for image in images)


def test_replacements_come_onto_the_chosen_sites_alone() -> None:
    found = _found(SPINEL)
    made = groupings(found, _sites(found, 8), whole=True)
    rows = decorations(found, made, [16, 34])
    assert rows.shape == (len(made), 2, 14)
    for row, (sulfide, selenide) in enumerate(rows):
        assert np.flatnonzero(sulfide == 16).tolist() == sorted(made.subset(row).tolist())
        assert np.array_equal(sulfide != found.crystal.numbers, selenide == 34)
    assert (rows[-1] == 8).sum() == 0
    assert made.sizes[-1] == 8


def test_the_rest_may_be_replaced_in_the_same_go() -> None:
    found = _found(SPINEL)
    made = groupings(found, _sites(found, 13)).of_size(1)
    other = np.where(found.crystal.numbers == 12, 30, np.where(found.crystal.numbers == 13, 31, 8))
    rows = decorations(found, made, [49, 39], np.stack([found.crystal.numbers, other]))
    amounts = [Crystal(found.crystal.lattice, row, found.crystal.frac_coords).amounts for row in rows[0]]
    assert amounts == [{8: 8, 12: 2, 13: 3, 49: 1}, {8: 8, 30: 2, 31: 3, 39: 1}]


def test_sizes_that_are_too_many_are_counted_and_their_unions_of_orbits_kept() -> None:
    found = _without_symmetry(20)
    made = groupings(found, range(20), Bounds(max_groupings=500))
    assert np.unique(made.sizes, return_counts=True)[1].tolist() == [20, 190, 190, 20]
    assert (made.left_out, made.bound) == (2**20 - 2 - 420, "max_groupings")
    found = _found(SPINEL, conventional=True)
    made = groupings(found, range(56), Bounds(max_groupings=100))
    assert sorted(set(made.sizes.tolist())) == [1, 2, 8, 16, 24, 32, 40, 48, 54, 55]
    assert made.left_out > 1e14


def test_beyond_the_largest_ion_only_orbits_are_replaced() -> None:
    corners = np.stack(np.meshgrid(*[np.arange(5) / 5] * 3), -1).reshape(-1, 3)
    found = symmetry(Crystal(np.eye(3) * 15, np.where(np.arange(125) == 0, 30, 29).astype(np.int16), corners))
    copper = _sites(found, 29)
    orbits = len(set(found.orbits[copper].tolist()))
    made = groupings(found, copper, whole=True)
    assert len(made) == 2**orbits - 1
    assert (made.bound, made.left_out > 1e30) == ("max_sites", True)
    for row in range(0, len(made), 50):
        subset = made.subset(row)
        assert np.isin(found.orbits[copper], found.orbits[subset]).sum() == len(subset)
    assert np.array_equal(made.chosen.sum(axis=1), made.sizes)


def test_two_hundred_sites_without_symmetry_end_at_once() -> None:
    found = _without_symmetry(200)
    assert len(groupings(found, range(200))) == 0
    assert groupings(found, range(200)).left_out == pytest.approx(2.0**200)
    whole = groupings(found, range(200), whole=True)
    assert whole.subset(0).tolist() == list(range(200))
    assert np.all(decorations(found, whole, [16]) == 16)


def test_a_room_for_none_leaves_all_out() -> None:
    made = groupings(_without_symmetry(5), range(5), Bounds(max_groupings=0))
    assert (len(made), made.left_out, made.bound) == (0, 2**5 - 2, "max_groupings")


def test_one_site_is_replaced_as_a_whole_or_not() -> None:
    found = _found(COPPER)
    assert len(groupings(found, [0])) == 0
    assert decorations(found, groupings(found, [0], whole=True), [47]).tolist() == [[[47]]]
    assert decorations(found, groupings(found, [0]), [47]).shape == (0, 1, 1)
    assert len(groupings(found, [])) == 0


@pytest.mark.parametrize("max_sites", [2, 64])
def test_sites_that_are_no_whole_orbits_are_refused(max_sites: int) -> None:
    found = _found(SPINEL)
    with pytest.raises(ValueError, match="whole orbits"):
        groupings(found, _sites(found, 8)[:3], Bounds(max_sites))


@pytest.mark.parametrize("sites", [[0, 0], [0, 14], [-1, 0]])
def test_sites_that_the_parent_lacks_are_refused(sites: list[int]) -> None:
    with pytest.raises(ValueError, match="not sites of a crystal of 14, each once"):
        groupings(_found(SPINEL), sites)


@pytest.mark.parametrize("max_sites", [2, 64])
def test_permutations_that_are_no_group_are_refused(max_sites: int) -> None:
    found = _found(COPPER, conventional=True)
    rotation = np.array([[0, 1, 2, 3], [1, 2, 3, 0]])
    broken = Symmetry(found.crystal, found.number, rotation, found.orbits, found.wyckoffs)
    with pytest.raises(NoSymmetry, match="no group"):
        groupings(broken, range(4), Bounds(max_sites))


def test_partitions_are_half_as_many() -> None:
    found = _without_symmetry(6)
    made: Groupings = groupings(found, range(6), partitions=True)
    assert len(made) == sum(comb(6, k) for k in range(1, 6)) // 2
    every = np.uint64(2**6 - 1)
    assert not set(made.masks.tolist()) & set((every ^ made.masks).tolist())
