"""A hull that lives on equals one solved afresh, whatever came and went, and in which order."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.errors import BadEntry, MissingReference
from registry.hull.geometry import Entry, EntryTable, compute_hull
from registry.hull.incremental import LiveHull
from registry.hull.living import identify
from registry.hull.phases import masks, weights

LI, OXYGEN, FE = 3, 8, 26
ELEMENTS = (3, 8, 26, 64)
"""The last one lies in the other word of the masks."""

ENERGIES = st.integers(-40, 10).map(lambda twentieth: twentieth / 20)  # coarse: ties and tie lines are common
AMOUNTS = st.dictionaries(st.sampled_from(ELEMENTS), st.integers(1, 3), min_size=1, max_size=4)
STEPS = st.lists(
    st.lists(st.tuples(st.integers(0, 25), st.one_of(st.none(), st.tuples(AMOUNTS, ENERGIES))), min_size=1, max_size=4),
    max_size=25,
)


def agree(live: LiveHull, entries: dict[int, Entry]) -> None:
    afresh = compute_hull(EntryTable.of(entries.values()))
    assert set(live) == set(afresh)
    keys = sorted(live)
    for key, found in zip(keys, live.results(keys), strict=True):
        assert found == afresh[key]


def start() -> dict[int, Entry]:
    return {100 + z: Entry(100 + z, {z: 1}, 0.0) for z in ELEMENTS}


@settings(max_examples=150, deadline=None)
@given(STEPS)
def test_every_step_equals_a_rebuild_to_the_last_bit(steps: list[list[tuple[int, object]]]) -> None:
    entries = start()
    live = LiveHull(EntryTable.of(entries.values()))
    for step in steps:
        asked = dict(step)
        before = {key: live[key] for key in live}
        arrived = [Entry(key, *what) for key, what in asked.items() if what is not None]  # type: ignore[misc]
        gone = [key for key, what in asked.items() if what is None and key in entries]
        moved = live.update(arrived, gone)
        entries = {key: entry for key, entry in entries.items() if key not in gone} | {one.key: one for one in arrived}
        agree(live, entries)
        assert {key for key in live if live[key] != before.get(key)} <= set(moved)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.permutations(ELEMENTS))
def test_elements_may_come_last_and_leave(seed: int, order: list[int]) -> None:
    rng = random.Random(seed)
    rows = [(dict.fromkeys(rng.sample(ELEMENTS, rng.randint(2, 3)), 1), rng.uniform(-2, 0)) for _ in range(8)]
    entries = {key: Entry(key, amounts, energy) for key, (amounts, energy) in enumerate(rows)}
    live = LiveHull(EntryTable.of(entries.values()))
    assert len(live) == 0
    for number in order:
        entries[100 + number] = Entry(100 + number, {number: 1}, rng.uniform(-0.1, 0.1))
        live.update([entries[100 + number]])
        agree(live, entries)
    for number in order[:2]:
        del entries[100 + number]
        live.update(gone=[100 + number])
        agree(live, entries)


def test_a_system_without_an_element_is_refused_by_name() -> None:
    live = LiveHull(EntryTable.of([Entry(1, {LI: 2, OXYGEN: 1}, -2.0), Entry(2, {LI: 1}, 0.0)]))
    assert (list(live), live.is_placed(1)) == ([2], False)
    with pytest.raises(MissingReference, match="O"):
        live[1]
    assert live.update([Entry(3, {OXYGEN: 2}, 0.0)]) == [1, 3]
    assert live[1].is_stable


def test_what_cannot_be_done_changes_nothing() -> None:
    live = LiveHull(EntryTable.of(start().values()))
    with pytest.raises(KeyError):
        live.update([Entry(1, {LI: 2, OXYGEN: 1}, -2.0)], gone=[7])
    with pytest.raises(BadEntry):
        live.update([Entry(1, {LI: 2, OXYGEN: 1}, -2.0), Entry(1, {LI: 1, OXYGEN: 1}, -2.0)])
    with pytest.raises(BadEntry):
        LiveHull(EntryTable.of([Entry("Li", {LI: 1}, 0.0)]))
    agree(live, start())


def test_only_what_is_reached_is_told() -> None:
    entries = [*start().values(), Entry(1, {LI: 2, OXYGEN: 1}, -2.0), Entry(2, {LI: 1, FE: 1}, -0.5)]
    live = LiveHull(EntryTable.of(entries))
    assert live.update([Entry(3, {LI: 2, OXYGEN: 2}, -1.0)]) == [1, 3]  # what competes with Li2O, which it lies above
    assert live.update([Entry(4, {LI: 2, OXYGEN: 2}, -1.9)]) == [1, 3, 4]
    assert live.update(gone=[2]) == []


@settings(deadline=None)
@given(st.dictionaries(st.integers(1, 118), st.integers(1, 4_000), min_size=1, max_size=12))
def test_a_composition_is_identified_as_a_table_does(amounts: dict[int, int]) -> None:
    numbers, counts = np.array(sorted(amounts)), np.array([float(amounts[number]) for number in sorted(amounts)])
    live = LiveHull(EntryTable.of([Entry(1, {LI: 1}, 0.0)]))
    fractions = counts / counts.sum()
    known = identify(numbers, fractions, live._table, live._live().phases)
    assert known.weight == weights(np.array([0, len(numbers)]), numbers, fractions)[0]
    assert [known.high, known.low] == [word[0] for word in masks(numbers[None, :])]
