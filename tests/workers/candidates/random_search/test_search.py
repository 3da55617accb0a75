"""Random structures: what is asked holds for every one of them, and the n-th is the same everywhere."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

import moyopy
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.optimization.neighbors import find_points_in_spheres

from registry.crystal import Crystal
from registry.errors import LodeError
from registry.identity.public_id import public_id
from workers.candidates.random_search import RandomSearch, RandomStructure, Settings, Tally, Unsearchable
from workers.candidates.random_search.wyckoff import crystal_system, space_group

SALT = {11: 1, 17: 1}
ALUMINA = {13: 2, 8: 3}
OLIVINE = {3: 1, 26: 1, 15: 1, 8: 4}
ALLOY = {12: 17, 13: 12}
COMPOSITIONS = [SALT, ALUMINA, OLIVINE, ALLOY, {6: 1}, {1: 2, 8: 1}, {3: 15, 14: 4}]


@pytest.fixture(scope="module")
def searches() -> dict[str, RandomSearch]:
    return {one.formula: one for one in map(RandomSearch, COMPOSITIONS)}


def closest(crystal: Crystal, search: RandomSearch) -> float:
    """The least distance of two atoms, images included, over their separation; infinite where none is near."""
    elements, lattice = sorted(search.amounts), np.ascontiguousarray(crystal.lattice)
    points = np.ascontiguousarray(crystal.frac_coords @ lattice)
    one, other, images, distances = find_points_in_spheres(points, points, 5.0, np.array([1, 1, 1]), lattice, 1e-8)
    apart = (one != other) | images.any(axis=1)
    kinds = np.searchsorted(elements, crystal.numbers)
    ratios = distances / search.separations[kinds[one], kinds[other]]
    return float(ratios[apart].min(initial=np.inf))


def keeps_the_group(found: RandomStructure) -> bool:
    """Whether every operation of the group, in its standard setting, maps the crystal onto itself."""
    operations = moyopy.operations_from_number(found.space_group, setting=moyopy.Setting.standard())
    crystal, primitive = found.crystal, space_group(found.space_group).primitive
    points = crystal.frac_coords @ primitive
    for rotation, shift in zip(operations.rotations, operations.translations, strict=True):
        moved = (points @ np.array(rotation).T + shift) @ np.linalg.inv(primitive)
        apart = moved[:, None] - crystal.frac_coords[None]
        near = np.abs(apart - np.rint(apart)).max(axis=2) < 1e-7
        alike = crystal.numbers[:, None] == crystal.numbers[None, :]
        metric = np.linalg.inv(primitive) @ crystal.lattice
        turned = np.array(rotation).T @ metric
        if not (near & alike).any(axis=1).all() or not np.allclose(turned @ turned.T, metric @ metric.T):
            return False
    return True


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(COMPOSITIONS), st.integers(0, 1000), st.integers(0, 1000), st.booleans())
def test_every_structure_is_what_was_asked_for(amounts: dict[int, int], seed: int, index: int, soft: bool):
    search = RandomSearch(amounts, Settings(soft_spheres=soft))
    found = search.structure(seed, index)
    if found is None:
        return
    crystal, units = found.crystal, found.formula_units
    assert crystal.amounts == {number: units * count for number, count in search.amounts.items()}
    assert crystal.nsites <= search.settings.most_atoms
    assert 0.4 <= found.volume_factor <= 1.2
    assert crystal.volume == pytest.approx(found.volume_factor * units * search.volume, rel=1e-9)
    assert closest(crystal, search) >= 1 - 1e-9
    assert ((crystal.frac_coords >= 0) & (crystal.frac_coords < 1)).all()
    assert keeps_the_group(found)


def test_moyopy_finds_the_group_or_a_higher_one(searches: dict[str, RandomSearch]):
    for search in searches.values():
        for found in search.structures(20, 3):
            cell = moyopy.Cell(
                found.crystal.lattice.tolist(), found.crystal.frac_coords.tolist(), found.crystal.numbers.tolist()
            )
            operations = len(moyopy.MoyoDataset(cell, symprec=1e-4).operations)
            asked = space_group(found.space_group).multiplicities[-1]
            assert operations % asked == 0


def test_letters_and_units_say_what_sits_where(searches: dict[str, RandomSearch]):
    for found in searches["Al2O3"].structures(30, 1):
        group = space_group(found.space_group)
        for symbol, count in (("Al", 2), ("O", 3)):
            sites = [group.multiplicities[group.position(letter)] for letter in found.wyckoff[symbol]]
            assert sum(sites) == count * found.formula_units


def test_every_system_and_volume_is_drawn(searches: dict[str, RandomSearch]):
    """No draw is so hard that a system or an end of the volumes is missing."""
    for formula in ("NaCl", "Al2O3", "LiFePO4"):
        found = list(searches[formula].structures(300, 0))
        assert len(found) == 300
        systems = Counter(crystal_system(one.space_group) for one in found)
        assert len(systems) == 7
        assert max(systems.values()) < 150
        factors = np.array([one.volume_factor for one in found])
        assert (factors < 0.5).mean() > 0.05
        assert (factors > 1.1).mean() > 0.05


def test_a_structure_is_the_same_on_every_machine():
    """Names of the arrays: where these differ, a registry shared by two machines gets every structure twice."""
    names = [public_id(one.crystal) for one in RandomSearch(SALT).structures(3, 7)]
    names += [public_id(one.crystal) for one in RandomSearch(OLIVINE).structures(2, 0)]
    assert names == GOLDEN


GOLDEN = [
    "lode-inyukqjudr53",
    "lode-kjgchaydpjxr",
    "lode-44qitogdhp4s",
    "lode-oxqalcsx4nlv",
    "lode-pgs6yo6lcxot",
]


def test_a_structure_follows_from_seed_and_index_alone(searches: dict[str, RandomSearch]):
    search = searches["NaCl"]
    few, many = [[public_id(one.crystal) for one in search.structures(count, 5)] for count in (5, 9)]
    assert many[:5] == few
    alone = RandomSearch({17: 2, 11: 2}).structure(5, 3)
    assert alone is not None
    assert public_id(alone.crystal) == few[3]
    assert not {public_id(one.crystal) for one in search.structures(5, 6)} & set(few)


def test_another_process_makes_the_same(searches: dict[str, RandomSearch]):
    code = (
        "import sys\nfrom workers.candidates.random_search import RandomSearch\n"
        "from registry.identity.public_id import public_id\n"
        "print(*[public_id(one.crystal) for one in RandomSearch({13: 2, 8: 3}).structures(3, 0)])\n"
        "assert 'torch' not in sys.modules"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert told == [public_id(one.crystal) for one in searches["Al2O3"].structures(3, 0)]


def test_many_elements_and_few_formula_units():
    """Formula units that would take too large tables are left out."""
    search = RandomSearch(dict.fromkeys((3, 5, 6, 7, 8, 9, 11, 12), 1), Settings(most_atoms=80, most_units=9))
    assert {units for every in search.units.values() for units in every} == {1, 2, 3}
    assert len(list(search.structures(3, 0))) == 3


def test_everything_tried_is_counted():
    search, tally = RandomSearch(SALT), Tally()
    made = list(search.structures(50, 0, tally))
    assert tally.outcomes["made"] == len(made) == 50
    assert sum(tally.outcomes.values()) > 50
    assert tally.outcomes.keys() <= {"made", "narrow cell", "no room", "overlap", "gave up"}


def test_what_can_not_be_packed_gives_up_in_the_end_and_is_counted():
    search, tally = RandomSearch(SALT, Settings(least_volume=0.01, largest_volume=0.02)), Tally()
    assert list(search.structures(2, 0, tally)) == []
    assert tally.outcomes["gave up"] == 6
    assert tally.outcomes["made"] == 0


def test_soft_spheres_make_room():
    """Of the cells that are tried, at a volume where room is scarce, more come to something."""
    rates = []
    for soft in (True, False):
        dense = Settings(soft_spheres=soft, least_volume=0.5, largest_volume=0.6)
        search, tally = RandomSearch(OLIVINE, dense), Tally()
        made = sum(1 for _ in search.structures(60, 0, tally))
        rates.append(made / tally.tried)
    assert rates[0] > 1.3 * rates[1]


@pytest.mark.parametrize(
    ("amounts", "asked", "reason"),
    [
        ({103: 1, 8: 1}, Settings(), "no radius is known for Lr"),
        (ALLOY, Settings(most_atoms=28), "a formula unit has 29 atoms, more than 28"),
        ({3: 15, 8: 16, 9: 17, 11: 18, 12: 19}, Settings(most_atoms=99), "too many atoms of too many elements"),
    ],
)
def test_what_can_not_be_searched_says_why(amounts: dict[int, int], asked: Settings, reason: str):
    with pytest.raises(Unsearchable, match=reason):
        RandomSearch(amounts, asked)


@pytest.mark.parametrize(
    "wrong", [{"most_atoms": 0}, {"least_volume": 1.3}, {"least_volume": 0.0}, {"separation": 1.1}, {"draws": -1}]
)
def test_settings_that_nothing_can_be_drawn_from_are_refused(wrong: dict[str, float]):
    with pytest.raises(LodeError, match="no structures can be drawn"):
        Settings(**wrong)  # type: ignore[arg-type]
