from math import gcd

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.candidates.novelty import KnownCompositions, composition_key, composition_keys

AMOUNTS = st.dictionaries(st.integers(1, 118), st.integers(1, 12), min_size=1, max_size=6)


def _reduced(amounts: dict[int, int]) -> dict[int, int]:
    divisor = gcd(*amounts.values())
    return {number: count // divisor for number, count in amounts.items()}


@settings(deadline=None)  # the kernel may have to be compiled
@given(AMOUNTS, AMOUNTS, st.integers(1, 5))
def test_keys_are_equal_where_reduced_compositions_are(one: dict[int, int], other: dict[int, int], times: int) -> None:
    multiple = {number: count * times for number, count in one.items()}
    assert composition_key(one) == composition_key(multiple)
    assert (composition_key(one) == composition_key(other)) == (_reduced(one) == _reduced(other))


def test_the_order_of_sites_does_not_count() -> None:
    keys = composition_keys(np.array([[3, 8, 3], [8, 3, 3], [8, 8, 3]], dtype=np.int16))
    assert keys[0] == keys[1] != keys[2]


def test_known_compositions_know_their_own() -> None:
    known = KnownCompositions.of([{3: 2, 8: 1}, {11: 4, 17: 4}])
    keys = np.array([composition_key(each) for each in ({3: 4, 8: 2}, {11: 1, 17: 1}, {3: 1, 8: 1})], dtype=np.uint64)
    assert known.hold(keys).tolist() == [True, True, False]
    assert not KnownCompositions.of([]).hold(keys).any()


def test_amounts_of_any_size_have_a_key_at_once() -> None:
    assert composition_key({1: 2 * 10**12, 8: 10**12}) == composition_key({1: 2, 8: 1})
