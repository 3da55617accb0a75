from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from workers.candidates.places import best

PROPOSALS = st.lists(st.tuples(st.sampled_from([0.5, 0.1, 0.01, 0.2]), st.integers(0, 3)), max_size=30)


def one_by_one(rows: list[tuple[float, int]], most: int) -> list[int]:
    """The same in plain words: the better of the place by probability and the place by turns of the patterns."""
    likeliest = sorted(range(len(rows)), key=lambda i: -rows[i][0])
    seen: Counter[int] = Counter()
    within = []
    for i in likeliest:
        within.append(seen[rows[i][1]])
        seen[rows[i][1]] += 1
    by_pattern = sorted(range(len(likeliest)), key=lambda i: (within[i], i))
    place = {i: min(i, j) for j, i in enumerate(by_pattern)}
    order = sorted(range(len(likeliest)), key=lambda i: (place[i], i))
    return [likeliest[i] for i in order[:most]]


@given(PROPOSALS, st.integers(1, 12))
def test_the_best_are_those_of_either_order(rows: list[tuple[float, int]], most: int) -> None:
    probabilities = np.array([p for p, _ in rows], dtype=np.float64)
    patterns = np.array([pattern for _, pattern in rows], dtype=np.int64)
    assert best(probabilities, patterns, most).tolist() == one_by_one(rows, most)


def test_the_likeliest_of_each_pattern_comes_early() -> None:
    chosen = best(np.array([0.9, 0.8, 0.7, 0.6, 0.001]), np.array([0, 0, 0, 0, 1]), 3)
    assert 4 in chosen.tolist()
    assert chosen[0] == 0
