import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from registry.crystal import Crystal
from registry.importers.prototypes import read_prototypes
from registry.importers.record import ImportedRecord
from workers.candidates.symmetry import NoSymmetry, Symmetry, primitive, standardised, symmetry

ROCK_SALT = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])


def _is_group(found: Symmetry) -> bool:
    members = {tuple(row) for row in found.permutations.tolist()}
    return all(tuple(a[b].tolist()) in members for a in found.permutations for b in found.permutations[:4])


def test_one_search_finds_what_a_second_one_of_the_cell_finds() -> None:
    prototypes = [item.crystal for item in read_prototypes() if isinstance(item, ImportedRecord)]
    for crystal in prototypes[::12]:
        found, again = standardised(crystal), symmetry(primitive(crystal))
        assert np.array_equal(found.crystal.numbers, again.crystal.numbers)
        assert np.array_equal(found.orbits, again.orbits)
        assert found.wyckoffs == again.wyckoffs
        rows = {tuple(row) for row in found.permutations.tolist()}
        assert rows == {tuple(row) for row in again.permutations.tolist()}


def test_a_conventional_cell_has_the_centring_translations() -> None:
    found = standardised(Crystal.from_pymatgen(ROCK_SALT), conventional=True)
    assert found.permutations.shape == (192, 8)
    assert _is_group(found)
    letter = dict(zip(found.crystal.numbers.tolist(), found.wyckoffs, strict=True))
    assert letter == {11: "a", 17: "b"}
    assert len(set(found.orbits.tolist())) == 2


def test_a_supercell_keeps_its_translations() -> None:
    found = symmetry(Crystal.from_pymatgen(ROCK_SALT * (1, 1, 2)))
    assert found.crystal.nsites == 16
    assert len(set(found.orbits.tolist())) == 2
    assert _is_group(found)


@pytest.mark.parametrize(
    ("lattice", "coords"),
    [
        (np.eye(3) * 4, [[0, 0, 0], [np.nan, 0.5, 0.5]]),
        (np.eye(3) * np.nan, [[0, 0, 0], [0.5, 0.5, 0.5]]),
        ([[4, 0, 0], [0, 4, 0], [4, 4, 0]], [[0, 0, 0], [0.5, 0.5, 0.5]]),
        (np.eye(3) * 4, [[0, 0, 0], [0, 0, 0]]),
        (np.diag([0.1, 4, 4]), [[0, 0, 0], [0.5, 0.5, 0.5]]),
    ],
    ids=["no number", "no lattice", "flat", "one on another", "tiny period"],
)
def test_a_crystal_without_a_space_group_is_told(lattice: object, coords: object) -> None:
    with pytest.raises(NoSymmetry, match="no space group found"):
        standardised(Crystal(lattice, [11, 11], coords))  # type: ignore[arg-type]
