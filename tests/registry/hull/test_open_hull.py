"""Hulls open to elements: by hand, and by pymatgen's GrandPotentialPhaseDiagram."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.analysis.phase_diagram import GrandPotentialPhaseDiagram, GrandPotPDEntry
from pymatgen.core import Element

from registry.errors import HullError, MissingReference
from registry.hull.geometry import Entry
from registry.hull.open_hull import open_hull
from tests.registry.hull.test_reactions import generic_hulls, pd_entry, published

LI, OXYGEN, FE = 3, 8, 26
EXACT = 1e-8

OXIDES = [
    Entry("Li", {LI: 1}, 0.0),
    Entry("O2", {OXYGEN: 2}, 0.0),
    Entry("Li2O", {LI: 2, OXYGEN: 1}, -2.0),
    Entry("Li2O2", {LI: 2, OXYGEN: 2}, -1.8),
]


def test_lithium_oxidises_in_steps() -> None:
    """Li2O is stable for O between -6.0 and -1.2 eV/atom, Li2O2 above (tests of stability domains)."""
    for potential, stable in ((-6.5, "Li"), (-3.0, "Li2O"), (-0.5, "Li2O2")):
        places = open_hull(OXIDES, [LI, OXYGEN], {OXYGEN: potential}).places
        assert {key for key, place in places.items() if place.is_stable} == {stable}
        assert set(places) == {"Li", "Li2O", "Li2O2"}


def test_a_metal_takes_oxygen_up_and_a_peroxide_gives_it_off() -> None:
    hull = open_hull(OXIDES, [LI, OXYGEN], {OXYGEN: -3.0})
    lithium, oxide, peroxide = (hull.places[key] for key in ("Li", "Li2O", "Li2O2"))
    assert oxide.grand_potential == pytest.approx((3 * -2.0 + 3.0) / 2)
    assert (lithium.decomposition, peroxide.decomposition) == ((("Li2O", 1.0),), (("Li2O", 1.0),))
    assert lithium.taken_up == pytest.approx({OXYGEN: 0.5})
    assert peroxide.taken_up == pytest.approx({OXYGEN: -0.5})
    assert oxide.taken_up == {OXYGEN: 0.0}
    assert lithium.e_above_hull == pytest.approx(1.5)
    assert peroxide.e_above_hull == pytest.approx((4 * -1.8 + 6.0) / 2 + 1.5)
    assert hull.condensing == ()


def test_potentials_are_against_the_lowest_entry_of_the_element() -> None:
    shifted = [Entry(row.key, row.amounts, row.formation_energy + 7.0) for row in OXIDES]
    at = {OXYGEN: -3.0}
    one, other = (open_hull(rows, [LI, OXYGEN], at).places["Li2O2"] for rows in (OXIDES, shifted))
    assert other.e_above_hull == pytest.approx(one.e_above_hull)
    assert other.grand_potential == pytest.approx(one.grand_potential)


def test_a_reservoir_that_is_not_in_equilibrium_says_what_it_forms() -> None:
    rows = [*OXIDES, Entry("Fe", {FE: 1}, 0.0), Entry("LiFe", {LI: 1, FE: 1}, -0.1)]
    assert open_hull(rows, [LI, OXYGEN, FE], {LI: -0.1, OXYGEN: -0.1}).condensing == ("Li2O", "Li2O2")
    assert open_hull(rows, [LI, OXYGEN, FE], {OXYGEN: 0.1}).condensing == ("O2",)
    assert open_hull(rows, [LI, OXYGEN, FE], {LI: -5.0, OXYGEN: 0.0}).condensing == ()


def test_few_atoms_that_are_not_open_carry_large_energies() -> None:
    """Per atom of lithium LiO400 lies beyond what an entry may, and is stable nevertheless."""
    rows = [*OXIDES, Entry("LiO400", {LI: 1, OXYGEN: 400}, -1.0)]
    places = open_hull(rows, [LI, OXYGEN], {OXYGEN: -0.5}).places
    assert places["LiO400"].grand_potential == pytest.approx(-401 + 200)
    assert places["LiO400"].is_stable
    assert places["Li"].e_above_hull == pytest.approx(201)


OPEN = st.dictionaries(st.sampled_from([8, 26, 64]), st.floats(-4, 0), min_size=1, max_size=2)


@settings(max_examples=60, deadline=None)
@given(generic_hulls(), OPEN)
def test_random_systems_as_pymatgen(rows: list[Entry], potentials: dict[int, float]) -> None:
    held = {number for row in rows for number in row.amounts}
    assert_as_pymatgen(rows, {number: value for number, value in potentials.items() if number in held} or {8: -1.0})


@pytest.mark.parametrize("potentials", [{8: -2.0}, {8: -0.5, 3: -1.5}, {3: 0.0}])
def test_a_published_system_as_pymatgen(potentials: dict[int, float]) -> None:
    assert_as_pymatgen(published("mp2024_Li-Fe-P-O"), potentials)


def assert_as_pymatgen(rows: list[Entry], potentials: dict[int, float]) -> None:
    elements = {number for row in rows for number in row.amounts}
    hull = open_hull(rows, sorted(elements), potentials)
    lowest = {z: min(row.formation_energy for row in rows if set(row.amounts) == {z}) for z in potentials}
    absolute = {Element.from_Z(z): value + lowest[z] for z, value in potentials.items()}
    diagram = GrandPotentialPhaseDiagram([pd_entry(row) for row in rows], absolute)
    assert len(diagram.all_entries) == len(hull.places)
    places, by_name = {str(key): place for key, place in hull.places.items()}, {str(row.key): row for row in rows}
    for entry in diagram.all_entries:
        place = places[entry.original_entry.name]
        assert place.e_above_hull == pytest.approx(diagram.get_e_above_hull(entry), abs=EXACT)
        assert place.is_stable == (entry in diagram.stable_entries)
        assert_balanced(entry, place.decomposition, place.taken_up, by_name)


def assert_balanced(
    entry: GrandPotPDEntry, decomposition: tuple, taken_up: dict[int, float], rows: dict[str, Entry]
) -> None:
    """Every element that goes in comes out, counted per atom of the elements that aren't open."""
    before = per_other_atom(rows[entry.original_entry.name], taken_up)
    after: dict[int, float] = {}
    for key, share in decomposition:
        for number, amount in per_other_atom(rows[str(key)], taken_up).items():
            after[number] = after.get(number, 0.0) + share * amount
    for number in before.keys() | after.keys():
        assert after.get(number, 0.0) == pytest.approx(before.get(number, 0.0) + taken_up.get(number, 0.0), abs=1e-7)


def per_other_atom(row: Entry, opened: dict[int, float]) -> dict[int, float]:
    others = sum(amount for number, amount in row.amounts.items() if number not in opened)
    return {number: amount / others for number, amount in row.amounts.items()}


@pytest.mark.parametrize(
    ("potentials", "said"),
    [
        ({}, "at least one open element"),
        ({FE: -1.0}, "Fe can't be open: it isn't of Li-O"),
        ({LI: -1.0, OXYGEN: -1.0}, "all of Li-O is open"),
        ({OXYGEN: math.nan}, "O=nan: a potential is a number"),
        ({OXYGEN: -math.inf}, "O=-inf"),
        ({OXYGEN: 1e6}, "within ±100 eV/atom"),
    ],
)
def test_what_cannot_be_open_is_refused(potentials: dict[int, float], said: str) -> None:
    with pytest.raises(HullError, match=said):
        open_hull(OXIDES, [LI, OXYGEN], potentials)


def test_a_missing_element_is_named() -> None:
    with pytest.raises(MissingReference, match="Fe"):
        open_hull(OXIDES, [LI, FE, OXYGEN], {OXYGEN: -1.0})
    with pytest.raises(MissingReference, match="O"):
        open_hull(OXIDES[:1], [LI, OXYGEN], {OXYGEN: -1.0})
