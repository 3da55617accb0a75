from __future__ import annotations

import pytest

from registry.errors import SettingsError
from workers.candidates.elements import chosen_elements


def test_symbols_come_once_in_the_order_of_atomic_numbers() -> None:
    assert chosen_elements("Si, Li O Li") == ("Li", "O", "Si")


def test_groups_and_what_is_taken_away() -> None:
    assert len(chosen_elements("all")) == 118
    assert chosen_elements("halogens,-radioactive,-I") == ("F", "Cl", "Br")
    left = chosen_elements("-radioactive")
    assert {"Bi", "U"} <= set(left)
    assert not {"Tc", "Po", "Pu"} & set(left)
    assert "Pt" not in chosen_elements("metals -scarce")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "name at least one element"),
        ("Li,Zz", "not an element: Zz; groups are all, metals"),
        ("li", "not an element: li"),
        ("Li,-Li", "no element is left of 'Li,-Li'"),
    ],
)
def test_what_names_nothing(text: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        chosen_elements(text)
