import numpy as np
import pytest

from registry.crystal import Crystal
from workers.candidates.oxidation import Ion, oxidation_states

FCC = np.array([[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])


def rock_salt(first: int, second: int, a: float) -> Crystal:
    return Crystal(FCC * a, np.array([first, second], np.int16), np.array([[0, 0, 0], [0.5, 0.5, 0.5]]))


def test_rock_salt_has_bond_valence_states() -> None:
    crystal = rock_salt(11, 17, 5.64)
    states = oxidation_states(crystal)
    assert states.method == "bond_valence"
    assert states.ions(crystal) == (Ion(11, 1), Ion(17, -1))


def test_an_assignment_with_unknown_ions_is_passed_over() -> None:
    assert oxidation_states(rock_salt(11, 17, 5.64), known={Ion(11, 1)}).method == "none"


def test_large_cells_use_the_composition() -> None:
    crystal = rock_salt(12, 8, 4.21)
    states = oxidation_states(crystal, max_sites=1)
    assert states.method == "composition"
    assert states.charges.tolist() == [2, -2]


@pytest.mark.parametrize(("numbers", "method"), [([74, 74], "neutral"), ([29, 79], "metallic")])
def test_elements_and_alloys_are_named(numbers: list[int], method: str) -> None:
    crystal = Crystal(np.eye(3) * 3.0, np.array(numbers, np.int16), np.array([[0, 0, 0], [0.5, 0.5, 0.5]]))
    assert oxidation_states(crystal).method == method


@pytest.mark.parametrize(("ion", "text"), [(Ion(11, 1), "Na1+"), (Ion(8, -2), "O2-"), (Ion(74, 0), "W")])
def test_ions_are_written_as_chemists_do(ion: Ion, text: str) -> None:
    assert str(ion) == text
