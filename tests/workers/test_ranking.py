"""Which candidates are chosen, on numbers small enough to follow by hand (no database)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.hull.phases import Entry
from workers.ranking import (
    Choice,
    LabelledComposition,
    Option,
    Rules,
    choose,
    contenders,
    decomposition_energies,
    depths_among_rivals,
    promising,
    shifted,
)

NA, CL, K = 11, 17, 19
ELEMENTS = [Entry(-number, {number: 1}, 0.0) for number in (NA, CL, K)]
FORMULAS = {"NaCl": {NA: 1, CL: 1}, "KCl": {K: 1, CL: 1}, "Na3Cl": {NA: 3, CL: 1}, "NaKCl2": {NA: 1, K: 1, CL: 2}}


def option(key: int, formula: str, energy: float) -> Option:
    return Option(key, formula, FORMULAS[formula], energy)


def chosen(
    options: list[Option],
    labelled: dict[str, LabelledComposition] | None = None,
    kinds: dict[int, int] | None = None,
    **rules: float,
) -> list[int]:
    settings = Rules(**{"budget": 10, **rules})  # type: ignore[arg-type]
    found = choose(options, ELEMENTS, labelled or {}, settings, kinds or {})
    return [choice.structure_id for choice in found]


def test_decomposition_energy_is_minus_the_hull_of_the_entries():
    hull = [*ELEMENTS, Entry(1, {NA: 1, CL: 1}, -1.0)]
    energies = decomposition_energies([option(1, "NaCl", -1.2), option(2, "Na3Cl", -0.3)], hull)
    assert energies == pytest.approx([-0.2, 0.2])


def test_the_first_of_a_composition_is_its_lowest():
    assert chosen([option(1, "NaCl", -0.8), option(2, "NaCl", -1.0), option(3, "KCl", -1.1)]) == [3, 2]


def test_what_is_predicted_to_decompose_is_not_chosen():
    assert chosen([option(1, "NaCl", 0.06)]) == []
    assert chosen([option(1, "NaCl", 0.04)]) == [1]
    assert chosen([option(1, "NaCl", 0.06)], threshold=0.1) == [1]


def test_elements_are_no_candidates():
    assert choose([Option(1, "Na", {NA: 1}, -1.0)], ELEMENTS, {}, Rules(budget=1)) == []


def test_a_ternary_is_ranked_by_what_would_compete_with_it():
    """-0.9 looks deep against the elements; completed with the binaries predicted at -1.0 it lies above the hull."""
    options = [option(1, "NaKCl2", -0.9), option(2, "NaCl", -1.0), option(3, "KCl", -1.0)]
    depths = depths_among_rivals(options, ELEMENTS)
    assert depths["NaKCl2"] == pytest.approx(0.1)
    assert depths["NaCl"] == pytest.approx(-1.0)
    assert sorted(chosen(options, budget=2)) == [2, 3]


def test_predictions_of_a_labelled_composition_move_by_its_residual():
    known = {"NaCl": LabelledComposition(-0.9, 0.0, residual=0.1)}
    moved = shifted([option(1, "NaCl", -1.0), option(2, "KCl", -1.0)], known)
    assert [one.energy for one in moved] == pytest.approx([-0.9, -1.0])


def test_rivals_are_other_structures_near_the_lowest_label():
    known = {"NaCl": LabelledComposition(-1.0, 0.0, 0.0)}
    options = [option(key, "NaCl", energy) for key, energy in enumerate((-0.99, -0.95, -0.92, -0.5), 1)]
    assert chosen(options, known) == [1, 2]
    assert chosen(options, known, per_composition=9) == [1, 2, 3]


def test_no_rivals_for_a_composition_far_above_the_hull():
    assert chosen([option(1, "NaCl", -0.9)], {"NaCl": LabelledComposition(-0.9, 0.2, 0.0)}) == []


def test_firsts_and_rivals_share_the_budget():
    known = {"NaCl": LabelledComposition(-1.0, 0.0, 0.0)}
    rivals = [option(key, "NaCl", -1.0 + 0.01 * key) for key in (1, 2)]
    firsts = [option(11, "KCl", -1.2), option(12, "Na3Cl", -0.9)]
    assert chosen([*rivals, *firsts], known, budget=2) == [11, 1]
    assert chosen([*rivals, *firsts], known, budget=2, rival_share=0.0) == [11, 12]
    assert len(chosen([*rivals, *firsts], known, budget=10)) == 4


def test_promising_takes_the_lowest_few_of_each_composition():
    options = [option(key, "NaCl", -1.0 + 0.03 * key) for key in range(4)] + [option(9, "KCl", -2.0)]
    assert structures(promising(options, ELEMENTS, count=3, per_composition=2)) == [9, 0, 1]
    assert structures(promising(options, ELEMENTS, count=9, window=0.07)) == [9, 0, 1, 2]


def structures(choices: list[Choice]) -> list[int]:
    return [choice.structure_id for choice in choices]


@given(st.permutations(range(8)), st.integers(0, 8))
def test_the_order_of_the_options_does_not_matter(order: list[int], budget: int):
    options = [option(key, list(FORMULAS)[key % 4], -0.2 - 0.1 * (key // 2)) for key in range(8)]
    known = {"KCl": LabelledComposition(-0.6, 0.0, 0.0)}
    found = chosen([options[key] for key in order], known, budget=budget)
    assert found == chosen(options, known, budget=budget)
    assert len(found) <= budget
    assert len(set(found)) == len(found)


def test_of_one_kind_a_batch_holds_the_lowest_alone():
    known = {"NaCl": LabelledComposition(-1.0, 0.0, 0.0)}
    options = [option(key, "NaCl", energy) for key, energy in enumerate((-0.99, -0.98, -0.95, -0.93), 1)]
    alike = {1: 1, 2: 1, 3: 3, 4: 4}
    assert chosen(options, known) == [1, 2]
    assert chosen(options, known, alike) == [1, 3]
    assert chosen(options, known, alike, per_composition=9) == [1, 3, 4]


def test_twins_of_what_is_labelled_come_after_all_others():
    known = {"NaCl": LabelledComposition(-1.0, 0.0, 0.0, structures=(90,))}
    options = [option(1, "NaCl", -1.05), option(2, "NaCl", -0.95), option(11, "KCl", -1.2), option(12, "Na3Cl", -0.9)]
    alike = {1: 1, 90: 1, 2: 2}
    assert chosen(options, known, alike, budget=3) == [11, 12, 2]
    assert chosen(options, known, alike, budget=4) == [11, 12, 2, 1]
    assert chosen(options, known, alike, budget=4, per_composition=1) == [11, 12, 2]


def test_beyond_the_top_nothing_is_a_rival():
    known = {"NaCl": LabelledComposition(-1.0, 0.0, 0.0)}
    options = [option(key, "NaCl", -1.0 + 0.01 * key) for key in (1, 2, 3)]
    assert chosen(options, known, {1: 1, 2: 1, 3: 3}, top=2) == [1]


def test_contenders_are_what_rivals_are_looked_for_among():
    known = {"NaCl": LabelledComposition(-1.0, 0.0, 0.1), "KCl": LabelledComposition(-1.0, 0.2, 0.0)}
    options = [option(1, "NaCl", -1.05), option(2, "NaCl", -0.5), option(3, "KCl", -1.0), option(4, "Na3Cl", -1.0)]
    found = contenders(options, known, Rules(budget=5))
    assert {formula: [one.structure_id for one in family] for formula, family in found.items()} == {"NaCl": [1, 2]}
    assert contenders(options[1:], known, Rules(budget=5)) == {}
