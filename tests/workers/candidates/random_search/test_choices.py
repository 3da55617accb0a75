"""Choices of Wyckoff positions: counted as a brute force counts them, and drawn uniformly."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.candidates.random_search.choices import choices
from workers.candidates.random_search.stream import seeded
from workers.candidates.random_search.wyckoff import GROUPS, SpaceGroup, space_group

Choice = tuple[tuple[int, ...], ...]  # positions of each element


def brute_force(group: SpaceGroup, atoms: list[int]) -> set[Choice]:
    """Every choice, element by element, by trying all positions."""

    def fill(left: int, least: int, taken: frozenset[int]) -> Iterator[tuple[int, ...]]:
        if left == 0:
            yield ()
        for position in range(least, len(group.letters)):
            size, single = int(group.multiplicities[position]), group.freedom[position] == 0
            if size > left or position in taken:
                continue
            for rest in fill(left - size, position + single, taken):
                yield (position, *rest)

    def all_of(elements: list[int], taken: frozenset[int]) -> Iterator[Choice]:
        if not elements:
            yield ()
            return
        for one in fill(elements[0], 0, taken):
            singles = {position for position in one if group.freedom[position] == 0}
            for rest in all_of(elements[1:], taken | singles):
                yield (one, *rest)

    return set(all_of(atoms, frozenset()))


@settings(deadline=None, max_examples=150)
@given(st.integers(1, GROUPS), st.lists(st.integers(1, 5), min_size=1, max_size=3))
def test_counts_are_those_of_a_brute_force(number: int, atoms: list[int]):
    found = choices(space_group(number), dict(enumerate(atoms, 1)))
    assert found.count == len(brute_force(space_group(number), atoms))


@settings(deadline=None, max_examples=60)
@given(st.integers(1, GROUPS), st.lists(st.integers(1, 9), min_size=1, max_size=4), st.integers(0, 99))
def test_what_is_drawn_holds_the_composition(number: int, atoms: list[int], seed: int):
    group = space_group(number)
    found = choices(group, dict(enumerate(atoms, 1)))
    if not found.count:
        return
    positions, holders = found.draw(seeded(seed))
    assert np.bincount(holders, group.multiplicities[positions], len(atoms)).tolist() == atoms
    singles = positions[group.freedom[positions] == 0]
    assert len(set(singles.tolist())) == len(singles)


@pytest.mark.parametrize(("number", "atoms"), [(47, [1, 1]), (2, [2, 1]), (166, [2, 3]), (62, [4, 8])])
def test_draws_are_uniform(number: int, atoms: list[int]):
    """Chi-squared per degree of freedom, over all choices."""
    group = space_group(number)
    every, random = brute_force(group, atoms), seeded("uniform")
    found = choices(group, dict(enumerate(atoms, 1)))
    draws = 40 * len(every)
    seen: Counter[Choice] = Counter()
    for _ in range(draws):
        positions, holders = found.draw(random)
        pairs = sorted(zip(holders.tolist(), positions.tolist(), strict=True))
        seen[tuple(tuple(one for holder, one in pairs if holder == element) for element in range(len(atoms)))] += 1
    assert seen.keys() == every
    chi_squared = sum((count - 40) ** 2 / 40 for count in seen.values())
    freedom = max(len(every) - 1, 1)
    assert abs(chi_squared / freedom - 1) < 6 * np.sqrt(2 / freedom)
