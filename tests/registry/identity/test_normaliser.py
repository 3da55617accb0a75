"""Equivalent namings of Wyckoff positions: the groups that they form, against known sizes."""

from __future__ import annotations

import pytest

from registry.identity.normaliser import SPECIAL, _all, _shipped, namings


@pytest.mark.parametrize(
    ("spacegroup", "size"),
    [
        (2, 1344),  # affine maps of the 8 inversion centres
        (3, 24),  # every permutation of the 4 axes
        (10, 48),  # the same, times the two mirror planes
        (11, 24),
        (14, 8),
        (47, 48),
        (225, 2),
    ],
)
def test_sizes(spacegroup: int, size: int):
    assert len(_all(spacegroup)) == size


@pytest.mark.parametrize("spacegroup", range(1, 231))
def test_namings_are_permutations_and_hold_pymatgens(spacegroup: int):
    ours = {tuple(sorted(one.items())) for one in _all(spacegroup)}
    shipped = {tuple(sorted(one.items())) for one in _shipped()[str(spacegroup)]}
    assert shipped <= ours
    assert all(sorted(new for _, new in one) == [old for old, _ in one] for one in ours)


def test_only_the_occupied_positions_count():
    assert len(namings(2, frozenset("i"))) == 1
    assert len(namings(2, frozenset("ai"))) == 8


def test_special_positions_are_all_but_the_general_one():
    for spacegroup, special in SPECIAL.items():
        assert set(_shipped()[str(spacegroup)][0]) - set(special) == {max(_shipped()[str(spacegroup)][0])}
