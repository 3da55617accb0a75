import numpy as np
import pytest

from registry.crystal import Crystal
from workers.candidates.filters import Limits, broken_rule, flags, neighbour_pairs
from workers.candidates.volume import atomic_volumes, predicted_volume, predicted_volumes, without_data

FCC = np.array([[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
HALF = np.array([[0, 0, 0], [0.5, 0.5, 0.5]])


def rock_salt(first: int, second: int, a: float) -> Crystal:
    return Crystal(FCC * a, np.array([first, second], np.int16), HALF)


@pytest.mark.parametrize(("a", "rule"), [(5.64, None), (2.0, "volume"), (12.0, "volume")])
def test_rules_name_what_is_broken(a: float, rule: str | None) -> None:
    crystal = rock_salt(11, 17, a)
    assert broken_rule(crystal, neighbour_pairs(crystal), Limits()) == rule


def test_atoms_too_close_for_their_radii_overlap() -> None:
    crystal = Crystal(FCC * 5.64, np.array([11, 17], np.int16), np.array([[0, 0, 0], [0.1, 0.1, 0.1]]))
    assert broken_rule(crystal, neighbour_pairs(crystal), Limits()) == "overlap"


def test_pairs_of_a_strained_crystal_are_the_strained_pairs() -> None:
    crystal = rock_salt(11, 17, 5.64)
    scaled = neighbour_pairs(crystal).scaled(2 ** (1 / 3))
    direct = neighbour_pairs(crystal.scaled(2 * crystal.volume))
    assert np.allclose(np.sort(scaled.distances), np.sort(direct.distances))
    assert direct.distances.min() == pytest.approx(2.82 * 2 ** (1 / 3))


def test_flags_do_not_reject_but_tell() -> None:
    fluorine = Crystal(np.eye(3) * 5.0, np.array([9, 9], np.int16), np.array([[0, 0, 0], [0.29, 0, 0]]))
    assert flags(fluorine, neighbour_pairs(fluorine)) == ("molecular_fragment",)
    for crystal, expected in [(rock_salt(94, 8, 5.4), ("radioactive",)), (rock_salt(78, 16, 5.0), ("scarce",))]:
        assert flags(crystal, neighbour_pairs(crystal)) == expected
    assert flags(rock_salt(11, 17, 5.64), neighbour_pairs(rock_salt(11, 17, 5.64))) == ()


@pytest.mark.parametrize(("numbers", "a"), [((19, 17), 6.29), ((12, 8), 4.21), ((37, 35), 6.85), ((20, 16), 5.69)])
def test_volume_of_rock_salts_from_halite(numbers: tuple[int, int], a: float) -> None:
    parent = rock_salt(11, 17, 5.64)
    predicted = predicted_volume(parent.with_numbers(np.array(numbers, np.int16)), parent)
    assert predicted == pytest.approx(a**3 / 4, rel=0.3)


def test_volumes_of_a_block_are_those_of_its_crystals() -> None:
    parent = rock_salt(11, 17, 5.64)
    numbers = np.array([[19, 17], [12, 8], [55, 35]], np.int16)
    one_by_one = [predicted_volume(parent.with_numbers(row), parent) for row in numbers]
    assert predicted_volumes(numbers, parent) == pytest.approx(one_by_one)
    assert predicted_volumes(parent.numbers[None, :], parent)[0] == pytest.approx(
        np.cbrt(parent.volume**2 * atomic_volumes(parent).sum())
    )


def test_elements_outside_the_fit_are_told_and_still_have_a_volume() -> None:
    parent = rock_salt(11, 17, 5.64)
    francium = parent.with_numbers(np.array([87, 17], np.int16))
    assert without_data(francium) == {87}
    assert 30 < predicted_volume(francium, parent) < 200
