"""The enumeration against exhaustive search, and what it promises about order, bounds and memory."""

from __future__ import annotations

import tracemalloc
from math import gcd

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.errors import SettingsError
from registry.identity.composition import ATOMIC_NUMBERS, SYMBOLS
from tests.workers.candidates.compositions.exhaustive import least_between, reduced_compositions
from workers.candidates.compositions.enumeration import Counts, Rules, classified, compositions, space_of
from workers.candidates.compositions.space import Bounds
from workers.candidates.compositions.states import StateTable, common_states
from workers.candidates.novelty import KnownCompositions, composition_key

ELEMENTS = st.sampled_from(["Li", "Na", "Fe", "Si", "Sb", "Te", "P", "S", "O", "Cl", "Ge", "Xe", "Ar"])
STATES = st.dictionaries(ELEMENTS, st.sets(st.integers(-5, 6), max_size=4), min_size=1, max_size=4)


def order_of(table: StateTable) -> dict[int, float]:
    return dict(zip(table.numbers.tolist(), table.electronegativities.tolist(), strict=True))


@settings(deadline=None, max_examples=150)
@given(STATES, st.integers(1, 3), st.integers(1, 5), st.integers(3, 8), st.integers(0, 2), st.booleans())
def test_what_is_found_is_what_exhaustive_search_finds(
    states: dict[str, set[int]], count: int, max_amount: int, max_atoms: int, most: int, ordered: bool
) -> None:
    table = StateTable.of({symbol: sorted(row) for symbol, row in states.items()})
    bounds, counts = Bounds(count, count, max_amount, max_atoms), Counts()
    by_number = {ATOMIC_NUMBERS[symbol]: sorted(row) for symbol, row in states.items() if row}
    found = {
        (tuple(numbers), tuple(amounts)): between
        for chunk in compositions(table, bounds, Rules(most, ordered), counts=counts, chunk=7)
        for numbers, amounts, between in zip(
            chunk.numbers.tolist(), chunk.amounts.tolist(), chunk.between.tolist(), strict=True
        )
    }
    order = order_of(table) if ordered else None
    looked_at = reduced_compositions(list(by_number), count, max_amount, max_atoms)
    expected = {one: least_between(*one, by_number, order, most) for one in looked_at}
    assert found == {one: between for one, between in expected.items() if between < 3}
    assert counts.looked_at.tolist() == [list(expected.values()).count(between) for between in range(4)]
    assert space_of(table, bounds).size == len(looked_at)


CROSSING = st.tuples(st.integers(-5, -1), st.integers(1, 5))


def test_an_order_may_need_two_between() -> None:
    """Cu and Si are equally electronegative, so with one at its state the other can't be an anion beside it."""
    table = StateTable.of({"Cu": [-5, 5], "Si": [-3, 3], "F": [-1]})
    for ordered, between in ((False, 1), (True, 2)):
        found = classified(table, Rules(2, ordered), np.array([[0, 1, 2]]), np.array([[1, 1, 1]]))
        assert found.between.tolist() == [between]
    assert [str(one) for one in next(found.balances())] == ["F -1", "Si between -3 and +3", "Cu between -5 and +5"]


@pytest.mark.parametrize("anion", ["Cl", "I"])
def test_two_between_may_both_be_neutral(anion: str) -> None:
    table = StateTable.of({"Na": [1], "Si": [-3, 3], "Cu": [-5, 5], anion: [-1]})
    one_each = np.ones((1, 4), dtype=np.int64)
    assert classified(table, Rules(2, ordered=True), np.arange(4)[None, :], one_each).between.tolist() == [2]


@settings(deadline=None, max_examples=60)
@given(st.lists(CROSSING, min_size=4, max_size=4), st.integers(-3, -1))
def test_two_between_where_an_order_keeps_means_from_passing_zero(crossing: list[tuple[int, int]], anion: int) -> None:
    states = dict(zip(("Si", "Cu", "Re", "Te"), map(list, crossing), strict=True)) | {"F": [anion], "I": [anion]}
    table = StateTable.of(states)
    by_number = {ATOMIC_NUMBERS[symbol]: row for symbol, row in states.items()}
    found = [
        (one, least_between(*one, by_number, order_of(table), 2))
        for one in reduced_compositions(list(by_number), 3, 3, 6)
    ]
    systems = np.array([[table.numbers.tolist().index(z) for z in system] for (system, _), _ in found])
    amounts = np.array([amounts for (_, amounts), _ in found])
    assert classified(table, Rules(2, ordered=True), systems, amounts).between.tolist() == [one for _, one in found]


@pytest.mark.parametrize(("count", "ordered"), [(5, False), (6, False), (5, True), (6, True)])
def test_five_and_six_elements(count: int, ordered: bool) -> None:
    states = {"Li": [0, 1], "Fe": [2, 3], "Mn": [2, 4], "Si": [-4, 4], "O": [-2, -1], "F": [-1]}
    table, counts = StateTable.of(states), Counts()
    by_number = {ATOMIC_NUMBERS[symbol]: row for symbol, row in states.items()}
    found = {
        (tuple(numbers), tuple(amounts)): between
        for chunk in compositions(table, Bounds(count, count, 3, 9), Rules(2, ordered), counts=counts)
        for numbers, amounts, between in zip(
            chunk.numbers.tolist(), chunk.amounts.tolist(), chunk.between.tolist(), strict=True
        )
    }
    looked_at = reduced_compositions(list(by_number), count, 3, 9)
    order = order_of(table) if ordered else None
    expected = {one: least_between(*one, by_number, order, 2) for one in looked_at}
    assert found == {one: between for one, between in expected.items() if between < 3}
    assert counts.looked_at.sum() == len(looked_at) > 50


@settings(deadline=None, max_examples=100)
@given(STATES, st.integers(2, 4), st.booleans())
def test_the_balance_told_is_one(states: dict[str, set[int]], count: int, ordered: bool) -> None:
    table = StateTable.of({symbol: sorted(row) for symbol, row in states.items()})
    order = order_of(table)
    for chunk in compositions(table, Bounds(count, count, 4, 8), Rules(2, ordered)):
        rows = zip(chunk.amounts.tolist(), chunk.between.tolist(), chunk.balances(), strict=True)
        for amounts, between, balance in rows:
            assert sum(one.low != one.high for one in balance) == between
            for one in balance:
                own = sorted(states[one.symbol])
                assert one.low == one.high or own[own.index(one.low) + 1] == one.high
            if between < 2:
                assert sum(n * one.mean for n, one in zip(amounts, balance, strict=True)) == 0
                assert all(one.low < one.mean < one.high for one in balance if one.low != one.high)
            else:
                lowest = sum(n * one.low for n, one in zip(amounts, balance, strict=True))
                highest = sum(n * one.high for n, one in zip(amounts, balance, strict=True))
                assert lowest < 0 < highest
            if ordered and between < 2:
                cations = [order[ATOMIC_NUMBERS[one.symbol]] for one in balance if one.mean > 0]
                anions = [order[ATOMIC_NUMBERS[one.symbol]] for one in balance if one.mean < 0]
                assert not cations or not anions or max(cations) < min(anions)


def told(formula: dict[str, int], **states: list[int]) -> tuple[int, list[str]]:
    table = StateTable.of(common_states(formula) | states)
    amounts = np.array([[formula[SYMBOLS[z]] for z in table.numbers.tolist()]])
    found = classified(table, Rules(), np.arange(len(table))[None, :], amounts)
    return int(found.between[0]), [str(one) for one in next(found.balances())]


def test_textbook_balances() -> None:
    assert told({"Li": 15, "Si": 4}) == (1, ["Li +1", "Si -15/4 between -4 and -3"])
    assert told({"Li": 15, "Si": 4}, Si=[-4, 4]) == (1, ["Li +1", "Si -15/4 between -4 and +4"])
    assert told({"Na": 1, "Cl": 1}) == (0, ["Na +1", "Cl -1"])
    assert told({"Fe": 3, "O": 4}) == (1, ["O -2", "Fe +8/3 between +2 and +3"])
    assert told({"Fe": 2, "Al": 1}) == (0, ["Al 0", "Fe 0"])
    assert told({"Fe": 1, "S": 2}) == (0, ["S -1", "Fe +2"])
    assert told({"Li": 1, "O": 1}) == (0, ["Li +1", "O -1"])
    assert told({"Cs": 1, "Au": 1}) == (0, ["Cs +1", "Au -1"])


def test_without_an_order_a_second_element_between_is_never_needed() -> None:
    counts = Counts()
    table = StateTable.of(common_states(["Na", "Fe", "C", "N", "S", "Cl"]))
    for _ in compositions(table, Bounds(2, 4, 6, 10), Rules(2), counts=counts):
        pass
    assert counts.looked_at[2] == 0 < counts.looked_at[1]


def test_the_order_of_electronegativities() -> None:
    salt = StateTable.of({"Na": [1], "Cl": [-1]})
    odd = StateTable.of({"Na": [-1], "Cl": [1]})
    for table, found in ((salt, 1), (odd, 0)):
        assert sum(map(len, compositions(table, Bounds(2, 2, 3, 4), Rules(0, ordered=True)))) == found


def test_known_compositions_and_other_filters_are_counted_apart() -> None:
    table, counts = StateTable.of(common_states(["Li", "O", "Cl"])), Counts()
    known = KnownCompositions.of([{3: 4, 8: 2}])
    found = compositions(
        table,
        Bounds(2, 2, 4, 6),
        Rules(0),
        keep={"known": lambda chunk: ~known.hold(chunk.keys), "long": lambda chunk: chunk.amounts.sum(axis=1) < 4},
        counts=counts,
    )
    rows = [
        [*zip(numbers, amounts, strict=True)]
        for chunk in found
        for numbers, amounts in zip(chunk.numbers.tolist(), chunk.amounts.tolist(), strict=True)
    ]
    assert [(3, 2), (8, 1)] not in rows
    assert [(3, 1), (17, 1)] in rows
    assert counts.dropped["known"] == 1
    assert counts.looked_at[0] == len(rows) + 1 + counts.dropped["long"]


@settings(deadline=None)
@given(st.lists(st.integers(1, 99), min_size=2, max_size=2, unique=True), st.lists(st.integers(1, 9), min_size=2))
def test_keys_are_those_of_novelty(numbers: list[int], amounts: list[int]) -> None:
    table = StateTable.of({SYMBOLS[z]: [0] for z in numbers})
    for chunk in compositions(table, Bounds(2, 2, 5, 8), Rules(0)):
        for row, key in enumerate(chunk.keys):
            pairs = zip(chunk.numbers[row].tolist(), chunk.amounts[row].tolist(), strict=True)
            assert composition_key(dict(pairs)) == key


def test_each_reduced_composition_comes_once_in_the_order_of_elements_and_amounts() -> None:
    table = StateTable.of({symbol: [0] for symbol in ("Li", "Na", "K", "Fe")})
    rows = [
        (*numbers, *amounts)
        for chunk in compositions(table, Bounds(3, 3, 4, 9), Rules(0), chunk=10)
        for numbers, amounts in zip(chunk.numbers.tolist(), chunk.amounts.tolist(), strict=True)
    ]
    assert rows == sorted(set(rows))
    assert all(gcd(*row[3:]) == 1 for row in rows)


def test_required_elements_are_in_each() -> None:
    table = StateTable.of(common_states(["Li", "Fe", "O", "S"]))
    bounds, counts = Bounds(2, 3, 4, 8), Counts()
    chunks = list(compositions(table, bounds, Rules(), required=[3, 8], counts=counts))
    assert all({3, 8} <= set(row) for chunk in chunks for row in chunk.numbers.tolist())
    assert counts.looked_at.sum() == space_of(table, bounds, [3, 8]).size


def test_memory_does_not_grow_with_the_space() -> None:
    table = StateTable.of(common_states(SYMBOLS[3:60]))
    for _ in compositions(table, Bounds(2, 2, 2, 3), Rules()):
        pass
    tracemalloc.start()
    looked_at = Counts()
    for chunk in compositions(table, Bounds(3, 3), Rules(), counts=looked_at, chunk=4096):
        assert len(chunk) <= 4096
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert looked_at.looked_at.sum() > 10_000_000
    assert peak < 10_000_000


def test_elements_without_a_state_are_told() -> None:
    table = StateTable.of(common_states(["He", "Li", "O"]))
    assert table.without_states == ("He",)
    assert table.numbers.tolist() == [3, 8]
    assert not list(compositions(StateTable.of(common_states(["He", "Ne"])), Bounds(), Rules()))


@pytest.mark.parametrize(
    ("bounds", "said"),
    [
        ((0, 3, 5, 5), "from 0 to 3 elements"),
        ((4, 3, 5, 5), "from 4 to 3 elements"),
        ((2, 7, 5, 20), "give a range within 1 to 6"),
        ((2, 3, 0, 5), "both lie within 1 to 255"),
        ((2, 3, 5, 300), "both lie within 1 to 255"),
        ((3, 3, 5, 2), "3 elements don't fit into 2 atoms"),
    ],
)
def test_bounds_that_leave_nothing(bounds: tuple[int, int, int, int], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        Bounds(*bounds)


def test_states_that_are_none() -> None:
    with pytest.raises(SettingsError, match="not an element: Xy"):
        StateTable.of({"Xy": [1]})
    with pytest.raises(SettingsError, match=r"between -9 and \+9"):
        StateTable.of({"Li": [10]})
    with pytest.raises(SettingsError, match="3 elements between"):
        Rules(3)


def test_large_formulas_and_charges_fit() -> None:
    table = StateTable.of({"Os": [8], "N": [-5]})
    (chunk,) = compositions(table, Bounds(2, 2, 255, 255), Rules(0))
    assert (chunk.numbers.tolist(), chunk.amounts.tolist()) == ([[7, 76]], [[8, 5]])
    mixed = StateTable.of({"Os": [-9, 9], "N": [-9, 8]})
    for chunk in compositions(mixed, Bounds(2, 2, 255, 255), Rules(2, ordered=True)):
        assert set(chunk.between.tolist()) <= {0, 1, 2}
