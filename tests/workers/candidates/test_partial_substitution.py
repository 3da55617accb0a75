from itertools import combinations

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure
from pymatgen.core.structure_matcher import StructureMatcher

from registry.crystal import Crystal
from workers.candidates.groupings import Bounds, groupings
from workers.candidates.symmetry import primitive, symmetry

CELLS = {
    "spinel": Structure.from_spacegroup(
        "Fd-3m", Lattice.cubic(8.08), ["Mg", "Al", "O"], [[0] * 3, [0.625] * 3, [0.3874] * 3]
    ),
    "rutile": Structure.from_spacegroup(
        "P4_2/mnm", Lattice.tetragonal(4.59, 2.96), ["Ti", "O"], [[0] * 3, [0.305, 0.305, 0]]
    ),
    "corundum": Structure.from_spacegroup(
        "R-3c", Lattice.hexagonal(4.76, 12.99), ["Al", "O"], [[0, 0, 0.352], [0.306, 0, 0.25]]
    ),
    "chalcopyrite": Structure.from_spacegroup(
        "I-42d", Lattice.tetragonal(5.29, 10.42), ["Cu", "Fe", "S"], [[0] * 3, [0, 0, 0.5], [0.257, 0.25, 0.125]]
    ),
    "marcasite": Structure.from_spacegroup(
        "Pnnm", Lattice.orthorhombic(4.44, 5.42, 3.39), ["Fe", "S"], [[0] * 3, [0.2, 0.378, 0]]
    ),
}


@pytest.mark.parametrize("name", CELLS)
def test_groupings_equal_brute_force_with_the_structure_matcher(name: str) -> None:
    cell = primitive(Crystal.from_pymatgen(CELLS[name]))
    found = symmetry(cell)
    matcher = StructureMatcher(stol=0.02, primitive_cell=False, scale=False)  # loose, it merges near-equal ones
    for number in cell.amounts:
        sites = np.flatnonzero(cell.numbers == number)
        if len(sites) > 6:
            continue  # 2**8 decorations take the matcher half a minute
        ours = groupings(found, sites).subsets()
        for size in range(1, len(sites)):
            decorated = [_marked(cell, subset) for subset in combinations(sites.tolist(), size)]
            groups = matcher.group_structures(decorated)
            assert sum(len(subset) == size for subset in ours) == len(groups)
            mine = [_marked(cell, subset.tolist()) for subset in ours if len(subset) == size]
            assert len(matcher.group_structures(mine)) == len(mine)


def _marked(cell: Crystal, subset: tuple[int, ...] | list[int]) -> Structure:
    numbers = cell.numbers.copy()
    numbers[list(subset)] = 92
    return cell.with_numbers(numbers).to_pymatgen()


def test_a_subset_and_its_complement_are_one_partition() -> None:
    found = symmetry(primitive(Crystal.from_pymatgen(CELLS["spinel"])))
    oxygens = np.flatnonzero(found.crystal.numbers == 8)
    all_subsets = groupings(found, oxygens).subsets()
    partitions = groupings(found, oxygens, partitions=True).subsets()
    assert len(partitions) < len(all_subsets)
    assert {len(subset) for subset in partitions} == {1, 2, 3, 4}


def test_beyond_the_limit_whole_orbits_are_replaced() -> None:
    found = symmetry(primitive(Crystal.from_pymatgen(CELLS["spinel"])))
    everything = np.arange(found.crystal.nsites)
    subsets = groupings(found, everything, Bounds(max_sites=4)).subsets()
    assert len(subsets) == 2**3 - 2
    assert all(len(np.unique(found.orbits[subset])) <= 2 for subset in subsets)


def test_permutations_form_a_group_that_keeps_elements() -> None:
    found = symmetry(primitive(Crystal.from_pymatgen(CELLS["spinel"])))
    members = {tuple(p) for p in found.permutations.tolist()}
    assert all(tuple(a[b].tolist()) in members for a in found.permutations[:6] for b in found.permutations[:6])
    assert np.all(found.crystal.numbers[found.permutations] == found.crystal.numbers)


def test_a_single_site_has_no_part() -> None:
    found = symmetry(Crystal(np.eye(3) * 3, np.array([29], np.int16), np.zeros((1, 3))))
    assert groupings(found, [0]).subsets() == []
