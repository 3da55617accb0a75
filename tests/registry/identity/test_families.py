"""Ordered crystals find the disordered ones that they may be approximants of: textbook orderings, however written."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core.lattice import Lattice

from registry.crystal import Crystal
from registry.identity.composition import ATOMIC_NUMBERS
from registry.identity.families import families_of
from registry.identity.idealise import unstrained
from registry.identity.mixing import mixing_pairs
from tests.registry.identity.test_invariance import recelled, rewritten, supercell
from tests.registry.identity.test_prototype import crystal as in_group

FCC = np.array([[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])


def filled(lattice: np.ndarray, sites: list[tuple[str, list[float]]]) -> Crystal:
    numbers = [ATOMIC_NUMBERS[symbol] for symbol, _ in sites]
    return Crystal(lattice, np.array(numbers), np.array([coords for _, coords in sites]))


def holding(crystal: Crystal, *symbols: str) -> Crystal:
    return crystal.with_numbers(np.array([ATOMIC_NUMBERS[symbol] for symbol in symbols]))


def l1_0(ratio: float = 0.926, a: float = 3.97) -> Crystal:
    lattice = np.diag([a / 2**0.5, a / 2**0.5, a * ratio])
    return filled(lattice, [("Cu", [0, 0, 0]), ("Au", [0.5, 0.5, 0.5])])


def l1_1(stretch: float = 1.03) -> Crystal:
    """Planes of one element along [111], as in CuPt; stretched along that axis."""
    lattice = 3.9 * FCC @ np.array([[1, 1, 0], [0, 1, 1], [1, 0, 1]])
    axis = np.ones(3) / 3**0.5
    lattice = lattice @ (np.eye(3) + (stretch - 1) * np.outer(axis, axis))
    return filled(lattice, [("Cu", [0, 0, 0]), ("Au", [0.5, 0.5, 0.5])])


def l1_2() -> Crystal:
    return filled(3.75 * np.eye(3), [("Au", [0, 0, 0]), *[("Cu", coords) for coords in (FCC).tolist()]])


def d0_22() -> Crystal:
    body = [("Au", [0, 0, 0]), ("Cu", [0.5, 0.5, 0]), ("Cu", [0.5, 0, 0.25]), ("Cu", [0, 0.5, 0.25])]
    centred = [(symbol, [x + 0.5, y + 0.5, z + 0.5]) for symbol, (x, y, z) in body]
    return filled(np.diag([3.76, 3.76, 7.4]), body + centred)


def b2(one: str = "Cu", other: str = "Au") -> Crystal:
    return filled(3.1 * np.eye(3), [(one, [0, 0, 0]), (other, [0.5, 0.5, 0.5])])


def layered_rock_salt(metal: str) -> Crystal:
    """Alpha-NaFeO2: Li and M in alternate (111) planes; oxygen moved 0.1 A towards M."""
    lattice = 4.15 * FCC @ np.array([[1, 1, 0], [0, 1, 1], [1, 0, 1]])
    u = 0.25 - 0.1 / np.linalg.norm(lattice.sum(axis=0))
    return filled(lattice, [("Li", [0, 0, 0]), (metal, [0.5] * 3), ("O", [u] * 3), ("O", [-u] * 3)])


def spinel_like_rock_salt(metal: str) -> Crystal:
    """Low-temperature LiCoO2: Li on 16c, M on 16d, O on 32e of Fd-3m, with x a little off 1/4."""
    body = [("Li", c) for c in tetrahedron(0)] + [(metal, c) for c in tetrahedron(0.5)]
    x = 0.255
    half = [[x, x, x], [x, 0.25 - x, 0.25 - x], [0.25 - x, x, 0.25 - x], [0.25 - x, 0.25 - x, x]]
    oxygen = [("O", [s * c for c in one]) for one in half for s in (1, -1)]
    return recelled_primitive(filled(8.3 * np.eye(3), body + oxygen))


def tetrahedron(origin: float) -> list[list[float]]:
    corners = ([0, 0, 0], [0.25, 0.25, 0], [0.25, 0, 0.25], [0, 0.25, 0.25])
    return [[c + origin for c in corner] for corner in corners]


def recelled_primitive(conventional: Crystal) -> Crystal:
    """The sites of one primitive cell, given with the axes of the face-centred one."""
    frac = conventional.frac_coords @ np.linalg.inv(FCC)
    return Crystal(FCC @ conventional.lattice, conventional.numbers, frac)


def tetragonal_rock_salt(metal: str) -> Crystal:
    """Gamma-LiFeO2, I4_1/amd: a and 2a of the rock salt."""
    cations = [("Li", c) for c in ([0, 0, 0], [0.5, 0, 0.25], [0.5, 0.5, 0.5], [0, 0.5, 0.75])]
    metals = [(metal, c) for c in ([0, 0, 0.5], [0.5, 0, 0.75], [0.5, 0.5, 0], [0, 0.5, 0.25])]
    anions = [("O", [x + dx, y + dy, z + 0.5 * h + 0.005]) for _, (x, y, z) in cations for dx, dy, h in ((0, 0, 0.5),)]
    anions += [("O", [x, y, z + 0.25 - 0.005]) for _, (x, y, z) in metals]
    return filled(np.diag([4.08, 4.08, 8.6]), cations + metals + anions)


def perovskite(order: str) -> Crystal:
    """Sr2FeMoO6 with Fe and Mo as rock salt, in layers, or as columns."""
    cell = [("Sr", [0.5] * 3), ("Fe", [0, 0, 0]), *[("O", c) for c in ([0.5, 0, 0], [0, 0.5, 0], [0, 0, 0.5])]]
    one = supercell(filled(3.94 * np.eye(3), cell), (2, 2, 2))
    iron = one.numbers == ATOMIC_NUMBERS["Fe"]
    place = np.rint(one.frac_coords * 2).astype(int)
    odd = {"rock salt": place.sum(axis=1), "layers": place[:, 2], "columns": place[:, 0] + place[:, 1]}[order] % 2 == 1
    return one.with_numbers(np.where(iron & odd, ATOMIC_NUMBERS["Mo"], one.numbers))


def quartz(left: bool) -> Crystal:
    """Quartz with Al and Ga for silicon, in a doubled cell."""
    sites = [[0.4697, 0, 1 / 3], [0.4135, 0.2669, 0.7858 - 1 / 3]]
    doubled = supercell(in_group(152, Lattice.hexagonal(5.0, 5.5), ["Al", "O"], sites), (1, 1, 2))
    aluminium = doubled.numbers == ATOMIC_NUMBERS["Al"]
    upper = doubled.frac_coords[:, 2] % 1.0 > 0.45
    numbers = np.where(aluminium & upper, ATOMIC_NUMBERS["Ga"], doubled.numbers)
    return Crystal(doubled.lattice @ np.diag([1, 1, 1 if left else -1]), numbers, doubled.frac_coords)


def rutile() -> Crystal:
    u = 0.305
    oxygen = [[u, u, 0], [-u, -u, 0], [0.5 - u, 0.5 + u, 0.5], [0.5 + u, 0.5 - u, 0.5]]
    return filled(
        np.diag([4.65, 4.65, 3.05]), [("Ti", [0, 0, 0]), ("Sn", [0.5] * 3), *[("O", coords) for coords in oxygen]]
    )


def anatase() -> Crystal:
    titanium = [[0, 0, 0], [0.5, 0.5, 0.5], [0, 0.5, 0.25], [0.5, 0, 0.75]]
    oxygen = [[x, y, z + s * 0.208] for x, y, z in titanium for s in (1, -1)]
    metals = list(zip(("Ti", "Ti", "Sn", "Sn"), titanium, strict=True))
    return filled(np.diag([3.9, 3.9, 9.6]), metals + [("O", coords) for coords in oxygen])


def spinel() -> Crystal:
    """MgAl2O4, normal."""
    metals = [("Mg", [1 / 8] * 3), ("Mg", [7 / 8] * 3), *[("Al", c) for c in tetrahedron(0.5)]]
    x = 0.2624
    half = [[x, x, x], [x, 0.25 - x, 0.25 - x], [0.25 - x, x, 0.25 - x], [0.25 - x, 0.25 - x, x]]
    return recelled_primitive(
        filled(8.08 * np.eye(3), metals + [("O", [s * c for c in o]) for o in half for s in (1, -1)])
    )


def label(crystal: Crystal) -> str:
    return families_of(crystal)[0].label


def test_copper_and_gold_order_in_many_ways_on_one_lattice():
    half, quarter = "A_cF4_225_a:(Au0.5Cu0.5)", "A_cF4_225_a:(Au0.25Cu0.75)"
    assert [label(one) for one in (l1_0(), l1_0(1.0), l1_1())] == [half] * 3
    assert [label(one) for one in (l1_2(), d0_22())] == [quarter] * 2
    family = families_of(l1_0())[0]
    assert (family.mixed, family.spacegroup_number, family.rule) == ((("Au", "Cu"),), 225, "metallic radii")


def test_another_lattice_is_another_family():
    assert label(b2()) == "A_cI2_229_a:(Au0.5Cu0.5)" != label(l1_0())


@pytest.mark.parametrize("metal", ["Fe", "Ti"])
def test_lithium_and_a_metal_of_its_size_share_the_cations_of_rock_salt(metal: str):
    mixed = "".join(f"{symbol}0.5" for symbol in sorted(("Li", metal)))
    orderings = [layered_rock_salt(metal), spinel_like_rock_salt(metal), tetragonal_rock_salt(metal)]
    assert [label(one) for one in orderings] == [f"AB_cF8_225_a_b:({mixed})-O"] * 3


def test_layered_and_spinel_like_lithium_cobalt_oxide_stay_two_materials():
    """Co3+ is 17 % smaller than Li+: LiCoO2 is never a disordered rock salt when made from its oxides."""
    assert families_of(layered_rock_salt("Co")) == families_of(spinel_like_rock_salt("Co")) == []


def test_double_perovskites_are_one_family_however_b_sites_order():
    labels = {label(perovskite(order)) for order in ("rock salt", "layers", "columns")}
    assert labels == {"ABC3_cP5_221_a_b_c:Sr-(Fe0.5Mo0.5)-O"}


def test_rutile_and_anatase_are_two_families():
    assert label(rutile()) == "AB2_tP6_136_a_f:(Sn0.5Ti0.5)-O"
    assert label(anatase()) == "AB2_tI12_141_a_e:(Sn0.5Ti0.5)-O"


def test_mirror_images_are_one_family():
    left, right = families_of(quartz(True))[0], families_of(quartz(False))[0]
    assert left == right
    assert left.spacegroup_number == 152


def test_elements_on_sites_of_their_own_do_not_mix():
    assert mixing_pairs(((8, 4), (12, 1), (13, 2))) == {}
    iron = holding(spinel(), "Mn", "Mn", *["Fe"] * 4, *["O"] * 8)
    assert mixing_pairs(((8, 4), (25, 1), (26, 2)))
    assert families_of(iron) == families_of(spinel()) == []


def test_an_inverse_spinel_is_of_the_family_of_its_disordered_parent():
    inverse = holding(spinel(), "Fe", "Fe", "Mn", "Mn", "Fe", "Fe", *["O"] * 8)
    assert label(inverse) == "A3B4_cF56_227_ad_e:(Fe0.6667Mn0.3333)-O"


def test_several_parents_come_the_simplest_first():
    """Heusler-like order of three metals: all on bcc, or two of them on one half of B2."""
    cell = [("Fe", [0.25] * 3), ("Fe", [0.75] * 3), ("Ga", [0, 0, 0]), ("Ni", [0.5] * 3)]
    labels = [family.label for family in families_of(filled(5.75 * FCC, cell))]
    assert labels[0] == "A_cI2_229_a:(Fe0.5Ga0.25Ni0.25)"
    assert "AB_cP2_221_a_b:(Ga0.5Ni0.5)-Fe" in labels


def test_no_family_without_elements_that_mix():
    rock_salt = filled(5.64 * FCC, [("Na", [0, 0, 0]), ("Cl", [0.5] * 3)])
    assert families_of(rock_salt) == []
    assert families_of(filled(3.0 * np.eye(3), [("Cu", [0, 0, 0]), ("Au", [0, 0, 0])])) == []  # no space group


@pytest.mark.parametrize(
    ("formula", "one", "other", "rule"),
    [
        ({"Li": 1, "Fe": 1, "O": 2}, "Li", "Fe", "ionic radii"),
        ({"Li": 1, "Co": 1, "O": 2}, "Li", "Co", None),
        ({"Sr": 2, "Fe": 1, "Mo": 1, "O": 6}, "Fe", "Mo", "ionic radii"),
        ({"Ba": 2, "Mg": 1, "W": 1, "O": 6}, "Mg", "W", None),  # 2+ and 6+ order always
        ({"Na": 1, "K": 1, "Cl": 2}, "Na", "K", None),
        ({"Ca": 1, "Sr": 1, "O": 2}, "Ca", "Sr", "ionic radii"),
        ({"Pb": 2, "S": 1, "Se": 1}, "S", "Se", "anions"),
        ({"Pb": 2, "S": 1, "Te": 1}, "S", "Te", None),
        ({"Ti": 2, "O": 1, "N": 1}, "O", "N", "anions"),
        ({"Bi": 1, "Sb": 1, "Te": 3}, "Bi", "Sb", "same group"),
        ({"Cu": 1, "Au": 1}, "Cu", "Au", "metallic radii"),
        ({"Na": 1, "Au": 1}, "Na", "Au", None),
        ({"U": 1, "Ru": 3}, "U", "Ru", None),
    ],
)
def test_who_may_mix(formula: dict[str, int], one: str, other: str, rule: str | None):
    amounts = tuple(sorted((ATOMIC_NUMBERS[symbol], count) for symbol, count in formula.items()))
    pair = frozenset((ATOMIC_NUMBERS[one], ATOMIC_NUMBERS[other]))
    assert mixing_pairs(amounts).get(pair) == rule


MEMBERS = [l1_0(), l1_1(), d0_22(), layered_rock_salt("Fe"), spinel_like_rock_salt("Ti"), rutile(), anatase()]


@given(st.data(), st.sampled_from(MEMBERS))
@settings(max_examples=60, deadline=None)
def test_a_family_does_not_depend_on_how_a_crystal_is_written(data: st.DataObject, crystal: Crystal):
    assert families_of(data.draw(rewritten(crystal))) == families_of(crystal)


@given(st.sampled_from(MEMBERS), st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_nor_on_what_a_relaxation_leaves_undone(crystal: Crystal, seed: int):
    rng = np.random.default_rng(seed)
    moved = rng.uniform(-0.02, 0.02, (crystal.nsites, 3)) @ np.linalg.inv(crystal.lattice)
    lattice = crystal.lattice @ (np.eye(3) + rng.uniform(-0.004, 0.004, (3, 3)))
    assert families_of(Crystal(lattice, crystal.numbers, crystal.frac_coords + moved)) == families_of(crystal)


@given(st.integers(0, 1000), st.sampled_from([np.eye(3), FCC, FCC - 0.5 * np.eye(3)]))
@settings(max_examples=60, deadline=None)
def test_a_slightly_strained_cubic_lattice_is_cubic_again(seed: int, lattice: np.ndarray):
    rng = np.random.default_rng(seed)
    strained = 4 * lattice @ (np.eye(3) + rng.uniform(-0.015, 0.015, (3, 3)))
    metric = unstrained(strained) @ unstrained(strained).T
    ideal = lattice @ lattice.T
    assert np.allclose(metric / metric[0, 0], ideal / ideal[0, 0], atol=1e-9)


def test_a_lattice_far_from_symmetric_stays():
    lattice = np.array([[3.0, 0, 0], [0.7, 4.1, 0], [0.4, 1.3, 5.9]])
    assert np.allclose(unstrained(lattice) @ unstrained(lattice).T, lattice @ lattice.T)
    turned = recelled(Crystal(lattice, [1], [[0, 0, 0]]), np.array([[1, 1, 0], [0, 1, 0], [0, 0, 1]]))
    assert np.allclose(unstrained(turned.lattice) @ unstrained(turned.lattice).T, turned.lattice @ turned.lattice.T)
