from itertools import combinations
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.candidates.orderly import class_counts, decorated, list_classes, lowest_images, restricted

Row = tuple[int, ...]
GENERATORS = st.integers(1, 6).flatmap(lambda m: st.lists(st.permutations(range(m)), min_size=1, max_size=2))


def _group(generators: list[list[int]]) -> np.ndarray:
    found = {tuple(range(len(generators[0])))}
    fresh = set(found)
    while fresh:
        fresh = {tuple(row[i] for i in step) for row in fresh for step in generators} - found
        found |= fresh
    return np.array(sorted(found), dtype=np.int64)


def _image(subset: Row, permutation: list[int]) -> int:
    return sum(1 << permutation[i] for i in subset)


@settings(deadline=None)  # the kernel may have to be compiled
@given(GENERATORS)
def test_each_class_is_listed_once_by_its_lowest_number(generators: list[list[int]]) -> None:
    group = _group(generators)
    points = group.shape[1]
    masks, sizes, counts = list_classes(group, np.arange(points), 2**points, True)
    for size in range(1, points + 1):
        classes = {min(_image(subset, row) for row in group.tolist()) for subset in combinations(range(points), size)}
        assert sorted(masks[sizes == size].tolist()) == sorted(classes)
        assert counts[size] == len(classes)
    assert np.all(np.diff(sizes) >= 0)
    assert np.array_equal(lowest_images(group, masks), masks)


def test_beyond_the_room_the_sizes_in_the_middle_are_left_out() -> None:
    nobody_moves = np.arange(20)[None, :]
    _, sizes, counts = list_classes(nobody_moves, np.arange(20), 500, False)
    assert np.unique(sizes, return_counts=True)[1].tolist() == [20, 190, 190, 20]
    assert sorted(set(sizes.tolist())) == [1, 2, 18, 19]
    assert counts.tolist() == [comb(20, k) for k in range(21)]


def test_sixty_four_points_fill_a_mask() -> None:
    rotations = (np.arange(64)[:, None] + np.arange(64)) % 64
    masks, sizes, counts = list_classes(rotations, np.arange(64), 100, True)
    assert counts[:4].tolist() == [1, 1, 32, 651]
    assert len(masks) == 2 * (1 + 32) + 1
    assert masks[0] == 1
    assert masks[-1] == 2**64 - 1
    assert sizes[-2] == 63


def test_hundreds_of_points_can_be_counted() -> None:
    counts = class_counts(np.arange(200)[None, :])
    assert counts[100] == pytest.approx(comb(200, 100), rel=1e-12)


def test_only_the_sites_asked_for_are_permuted_each_way_once() -> None:
    permutations = np.array([[0, 1, 2, 3], [1, 0, 2, 3], [0, 1, 3, 2], [1, 0, 3, 2]])
    assert restricted(permutations, np.array([3, 2])).tolist() == [[0, 1], [1, 0]]
    assert len(restricted(permutations, np.array([1, 2]))) == 0


def test_what_is_no_group_is_noticed() -> None:
    without_inverse = np.array([[0, 1, 2, 3], [1, 2, 3, 0]])
    assert len(list_classes(without_inverse, np.arange(4), 100, False)[2]) == 0


def test_rows_take_the_replacements_on_the_chosen_sites() -> None:
    bases = np.array([[8, 8, 8, 26], [8, 8, 8, 27]], dtype=np.int16)
    sites, masks = np.array([0, 1, 2]), np.array([1, 6], dtype=np.uint64)
    rows = decorated(bases, sites, np.arange(3), masks, np.array([16, 34], dtype=np.int16))
    assert rows.tolist() == [[[16, 8, 8, 26], [34, 8, 8, 27]], [[8, 16, 16, 26], [8, 34, 34, 27]]]
