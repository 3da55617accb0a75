"""Structure types of hand-made textbook crystals, whatever their origin, cell or elements."""

from __future__ import annotations

import moyopy
import numpy as np
import pytest
from pymatgen.core.lattice import Lattice

from registry.crystal import Crystal
from registry.errors import BadRecord
from registry.identity.composition import ATOMIC_NUMBERS
from registry.identity.prototype import prototype_of
from registry.identity.spacegroups import ENANTIOMORPHS

A, B, C, D = [0.0, 0, 0], [0.5, 0.5, 0.5], [0.25, 0.25, 0.25], [0.75, 0.75, 0.75]
HALF = [0.5, 0.5, 0.0], [0.5, 0.0, 0.5], [0.0, 0.5, 0.5]
HALF_AXES = [0.5, 0.0, 0.0], [0.0, 0.5, 0.0], [0.0, 0.0, 0.5]


def crystal(spacegroup: int, lattice: Lattice, species: list[str], coords: list[list[float]]) -> Crystal:
    """The orbits of some sites in the International Tables' standard setting (origin 2)."""
    orbits = [orbit(spacegroup, np.array(one)) for one in coords]
    numbers = [ATOMIC_NUMBERS[symbol] for symbol, points in zip(species, orbits, strict=True) for _ in points]
    return Crystal(lattice.matrix, np.array(numbers), np.concatenate(orbits))


def orbit(spacegroup: int, point: np.ndarray) -> np.ndarray:
    group = moyopy.operations_from_number(spacegroup, setting=moyopy.Setting.standard())
    points = (np.array(group.rotations) @ point + np.array(group.translations)) % 1.0
    _, first = np.unique(np.round(points, 6) % 1.0, axis=0, return_index=True)
    return points[first]


def cubic(spacegroup: int, species: list[str], coords: list[list[float]]) -> Crystal:
    return crystal(spacegroup, Lattice.cubic(5.4), species, coords)


def label(one: Crystal) -> str:
    return prototype_of(one).label


def test_rock_salt_with_either_ion_at_the_origin():
    labels = {label(cubic(225, ["Na", "Cl"], where)) for where in ([A, B], [B, A])}
    assert labels == {"AB_cF8_225_a_b"}


def test_caesium_chloride_with_either_ion_at_the_origin():
    assert {label(cubic(221, ["Cs", "Cl"], where)) for where in ([A, B], [B, A])} == {"AB_cP2_221_a_b"}


@pytest.mark.parametrize("where", [[A, C], [A, D], [B, C], [C, A], [C, B], [D, B]])
def test_zinc_blende_at_any_origin(where: list[list[float]]):
    found = prototype_of(cubic(216, ["Zn", "S"], where))
    assert (found.label, found.protostructure) == ("AB_cF8_216_a_c", "AB_cF8_216_a_c:S-Zn")


def test_wurtzite():
    wurtzite = crystal(186, Lattice.hexagonal(3.8, 6.2), ["Zn", "S"], [[1 / 3, 2 / 3, 0], [1 / 3, 2 / 3, 0.375]])
    assert label(wurtzite) == "AB_hP4_186_b_b"


def test_fluorite_and_antifluorite_are_one_structure_type():
    fluorite = prototype_of(cubic(225, ["Ca", "F"], [A, C]))
    antifluorite = prototype_of(cubic(225, ["O", "Li"], [B, C]))
    assert fluorite.label == antifluorite.label == "AB2_cF12_225_a_c"
    assert (fluorite.elements, antifluorite.elements) == (("Ca", "F"), ("O", "Li"))


def test_perovskite_with_b_at_the_origin_or_the_centre():
    b_centred = cubic(221, ["Sr", "Ti", "O"], [A, B, HALF[0]])
    a_centred = cubic(221, ["Ti", "Sr", "O"], [A, B, HALF_AXES[0]])
    assert label(b_centred) == label(a_centred) == "ABC3_cP5_221_a_b_c"
    assert prototype_of(b_centred).protostructure == prototype_of(a_centred).protostructure


def test_perovskite_is_not_antiperovskite_in_its_elements():
    one = prototype_of(cubic(221, ["Sr", "Ti", "O"], [A, B, HALF[0]]))
    swapped = prototype_of(cubic(221, ["Ti", "Sr", "O"], [A, B, HALF[0]]))
    assert one.label == swapped.label
    assert one.protostructure != swapped.protostructure


def test_half_heusler_tells_who_sits_on_the_unique_site():
    settings = [["Li", "Mg", "As"], [A, B, C]], [["Li", "Mg", "As"], [B, A, C]], [["As", "Mg", "Li"], [D, A, B]]
    keys = {prototype_of(cubic(216, *setting)).protostructure for setting in settings}
    assert keys == {"ABC_cF12_216_a_b_c:Li-Mg-As"}
    other = prototype_of(cubic(216, ["Li", "Mg", "As"], [C, A, B]))
    assert other.protostructure == "ABC_cF12_216_a_b_c:As-Mg-Li"


def test_chalcopyrite():
    lattice = Lattice.tetragonal(5.29, 10.42)
    one = crystal(122, lattice, ["Cu", "Fe", "S"], [A, [0, 0, 0.5], [0.257, 0.25, 0.125]])
    other = crystal(122, lattice, ["Fe", "Cu", "S"], [A, [0, 0, 0.5], [0.257, 0.25, 0.125]])
    assert label(one) == label(other) == "ABC2_tI16_122_a_b_d"
    assert prototype_of(one).protostructure == prototype_of(other).protostructure


def test_spinel():
    spinel = crystal(227, Lattice.cubic(8.08), ["Mg", "Al", "O"], [[1 / 8] * 3, [1 / 2] * 3, [0.2624] * 3])
    assert label(spinel) == "AB2C4_cF56_227_a_d_e"


def test_enantiomorphs_are_one_structure_type():
    lattice = Lattice.hexagonal(4.916, 5.405)
    left = crystal(152, lattice, ["Si", "O"], [[0.4697, 0, 1 / 3], [0.4135, 0.2669, 0.7858 - 1 / 3]])
    mirrored = Crystal(left.lattice @ np.diag([1, 1, -1]), left.numbers, left.frac_coords)
    assert label(left) == label(mirrored)


def test_a_structure_type_has_one_space_group_whichever_hand_came_first():
    """The 11 pairs: what has the higher number is reported, and labelled, by the lower."""
    assert ENANTIOMORPHS == {
        78: 76, 95: 91, 96: 92, 145: 144, 153: 151, 154: 152, 170: 169, 172: 171, 179: 178, 181: 180, 213: 212
    }  # fmt: skip
    for higher, lower in ENANTIOMORPHS.items():
        found = [prototype_of(general(number)) for number in (higher, lower)]
        assert {one.spacegroup_number for one in found} == {lower}
        assert found[0].label == found[1].label


def general(spacegroup: int) -> Crystal:
    """Two elements on general positions, in a cell of the space group's family."""
    lattice = Lattice.tetragonal(8, 11) if spacegroup < 143 else Lattice.hexagonal(8, 11)
    lattice = Lattice.cubic(11) if spacegroup > 194 else lattice
    return crystal(spacegroup, lattice, ["Si", "O"], [[0.11, 0.23, 0.04], [0.37, 0.08, 0.09]])


def test_pearson_symbols_are_aflows():
    graphite_like = crystal(166, Lattice.hexagonal(3.76, 10.55), ["As"], [[0, 0, 0.227]])
    gallium = crystal(64, Lattice.orthorhombic(4.5, 7.6, 4.5), ["Ga"], [[0, 0.15, 0.08]])
    assert (label(graphite_like), label(gallium)) == ("A_hR2_166_c", "A_oC8_64_f")


def test_overlapping_atoms_give_a_reason():
    with pytest.raises(BadRecord, match=r"Na: no space group found at symprec 0.05 A.*overlapping"):
        prototype_of(Crystal(np.eye(3) * 4, [11, 11], [A, A]))


def test_a_lattice_of_no_crystal_is_refused_at_once():
    """Moyopy's search for symmetry doesn't end on this one: its shortest period, 0.43 A, is 9 times symprec."""
    lattice = [[0.4204, -0.0557, -0.0656], [-2.589, 11.5471, 3.4592], [1.0664, -1.7139, 2.8781]]
    with pytest.raises(BadRecord, match=r"Li: no space group.*repeats itself after 0.43 A"):
        prototype_of(Crystal(np.array(lattice), [3], [[0.25, 0.25, 0.5]]))
