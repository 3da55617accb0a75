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
    assert found.weight == len(brute_force(space_group(number), atoms))


@settings(deadline=None, max_examples=60)
@given(st.integers(1, GROUPS), st.lists(st.integers(1, 9), min_size=1, max_size=4), st.integers(0, 99))
def test_what_is_drawn_holds_the_composition(number: int, atoms: list[int], seed: int):
    group = space_group(number)
    found = choices(group, dict(enumerate(atoms, 1)))
    if not found.weight:
        return
    positions, holders = found.draw(seeded(seed))
    assert np.bincount(holders, group.multiplicities[positions], len(atoms)).tolist() == atoms
    singles = positions[group.freedom[positions] == 0]
    assert len(set(singles.tolist())) == len(singles)


@pytest.mark.parametrize("per_set", [1.0, 0.2])
@pytest.mark.parametrize(("number", "atoms"), [(47, [1, 1]), (2, [2, 1]), (166, [2, 3]), (62, [4, 8])])
def test_draws_follow_the_weights(number: int, atoms: list[int], per_set: float):
    """Chi-squared per degree of freedom, over all choices."""
    group = space_group(number)
    weights = {one: per_set ** sum(map(len, one)) for one in brute_force(group, atoms)}
    found, random = choices(group, dict(enumerate(atoms, 1)), per_set), seeded("weighted")
    assert found.weight == pytest.approx(sum(weights.values()))
    least = min(weights.values()) / found.weight
    draws = int(20 / least)
    seen: Counter[Choice] = Counter()
    for _ in range(draws):
        positions, holders = found.draw(random)
        pairs = sorted(zip(holders.tolist(), positions.tolist(), strict=True))
        seen[tuple(tuple(one for holder, one in pairs if holder == element) for element in range(len(atoms)))] += 1
    assert seen.keys() == weights.keys()
    expected = {one: draws * weight / found.weight for one, weight in weights.items()}
    chi_squared = sum((seen[one] - count) ** 2 / count for one, count in expected.items())
    freedom = max(len(weights) - 1, 1)
    assert abs(chi_squared / freedom - 1) < 6 * np.sqrt(2 / freedom)
