"""Two stable sets compared, on hulls made by hand and by chance. No database."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from registry.errors import BadEntry
from registry.identity.composition import ATOMIC_NUMBERS
from registry.query.values import formula_amounts
from workers.validation.levels import (
    GROUPS,
    MEASURES,
    STARTS,
    Compared,
    LevelComparison,
    LevelEntry,
    Share,
    compare_levels,
    wilson,
)

FORMULAS = ("Li2O", "Li2O", "LiO2", "Li2O2", "Fe2O3", "FeO", "LiFeO2", "Li5FeO4", "LiFeP", "LiFePO4", "Li3PO4", "P2O5")
"""Of crystals 1, 2, ...; the first two are polymorphs."""


def level(energies: Mapping[int, float], formulas: tuple[str, ...] = FORMULAS) -> list[LevelEntry]:
    """Crystal -> formation energy, as entries."""
    return [entry(key, formulas[key - 1], energy) for key, energy in energies.items()]


def entry(key: int, formula: str, energy: float) -> LevelEntry:
    amounts = {ATOMIC_NUMBERS[element]: float(count) for element, count in formula_amounts(formula).items()}
    return LevelEntry(key, f"lode-{key}", formula, amounts, energy)


def binary(**energies: float) -> list[LevelEntry]:
    """Sodium chlorides by formula, always with the same key; elements at 0."""
    keys = {"NaCl": 1, "Na2Cl": 2, "NaCl2": 3, "Na3Cl": 4}
    return [entry(keys[formula], formula, energy) for formula, energy in energies.items()]


def kept(found: LevelComparison, elements: str = "all") -> dict[str, tuple[int, int]]:
    return {name: (share.count, share.of) for name, share in found.tally(elements).kept.items()}


def names(rows: tuple[Compared, ...]) -> list[str]:
    return [row.reduced_formula for row in rows]


def test_who_leaves_and_who_enters():
    """NaCl2 is taken down by chlorine and NaCl at the second level; Na2Cl comes onto its hull."""
    first = binary(NaCl=-2.0, NaCl2=-1.6, Na2Cl=-1.0)
    second = binary(NaCl=-2.0, NaCl2=-1.2, Na2Cl=-1.5)
    found = compare_levels(first, second)
    assert kept(found) == dict.fromkeys(MEASURES, (1, 2))
    assert (names(found.left), names(found.entered)) == (["NaCl2"], ["Na2Cl"])
    (fallen,) = found.left
    assert fallen.first.decomposition_energy == pytest.approx(-1.6 + 2 / 3 * 2.0)
    assert fallen.second.decomposition_energy == pytest.approx(-1.2 + 2 / 3 * 2.0)
    assert fallen.second.e_above_hull == pytest.approx(2 / 3 * 2.0 - 1.2)
    assert dict(fallen.decomposition) == pytest.approx({"NaCl": 2 / 3, "Cl": 1 / 3})
    assert (found.tally().entered, found.tally().stable, found.tally().compared) == (1, 2, 2)
    assert found.summary()["common_entries"] == 3


def test_a_polymorph_that_takes_over_is_told_apart():
    """The phase-separation energy, which is against other compositions, stays negative."""
    found = compare_levels(level({1: -2.0, 2: -1.9}), level({1: -1.9, 2: -2.0}))
    assert kept(found) == {
        "negative_decomposition_energy": (0, 1),
        "negative_phase_separation_energy": (1, 1),
        "on_hull": (0, 1),
    }
    assert found.tally().to_polymorphs == 1
    assert [row.to_polymorph for row in found.left] == [True]
    assert [(row.id, row.second.is_stable) for row in found.entered] == [("lode-2", True)]
    told = found.left[0].as_dict()
    assert (told["decomposition"], told["to_polymorph"]) == ([{"reduced_formula": "Li2O", "amount": 1.0}], True)


def test_a_hull_that_lacks_competitors_flatters_unless_both_lack_them():
    """NaCl competes with Na2Cl at the first level alone, where it takes Na3Cl down."""
    first = binary(NaCl=-2.0, Na2Cl=-1.0, Na3Cl=-1.0)
    second = binary(Na2Cl=-1.0, Na3Cl=-0.8)
    own = compare_levels(first, second, own_hulls=True).tally()
    assert (own.stable, own.unlabelled, own.compared) == (2, 1, 1)  # Na3Cl: on the line from Na to NaCl
    common = compare_levels(first, second)
    assert (common.tally().stable, common.tally().compared, common.tally().only_here) == (2, 2, 1)
    assert common.tally().lacking_competitors == 2
    assert [row.reduced_formula for row in common.left] == []
    assert (common.first_entries, common.second_entries, common.common_entries) == (3, 2, 2)


def test_what_the_second_level_holds_besides_competes_on_its_own_hull_alone():
    first, second = binary(Na2Cl=-1.0), binary(Na2Cl=-1.0, NaCl=-2.0)
    assert kept(compare_levels(first, second)) == dict.fromkeys(MEASURES, (1, 1))
    assert kept(compare_levels(first, second, own_hulls=True)) == dict.fromkeys(MEASURES, (0, 1))


def test_lacking_competitors_are_those_within_the_system():
    first = level({1: -2.0, 5: -1.6, 7: -2.2, 11: -2.5})
    second = level({1: -2.0, 7: -2.2, 11: -2.5})
    found = compare_levels(first, second)
    assert found.tally("3").lacking_competitors == 1  # LiFeO2 lacks Fe2O3; Li3PO4 lacks nothing
    assert found.tally("2").lacking_competitors == 0
    assert (found.tally("2").stable, found.tally("2").unlabelled) == (2, 1)


def test_only_what_is_asked_for_is_judged_and_the_rest_competes():
    first = binary(NaCl=-2.0, NaCl2=-1.6)
    second = binary(NaCl=-2.0, NaCl2=-1.2)
    found = compare_levels(first, second, counted={3})
    assert kept(found) == dict.fromkeys(MEASURES, (0, 1))
    assert found.tally().stable == 1
    assert names(found.left) == ["NaCl2"]


def test_groups_and_elements():
    """Elements compete, and aren't judged: lithium below its reference takes an oxide's place."""
    first = [*level({1: -2.0, 7: -2.2, 10: -2.5}), entry(99, "Li", 0.0)]
    second = [*level({1: -2.0, 7: -2.2, 10: -2.5}), entry(99, "Li", -4.0)]
    found = compare_levels(first, second)
    counts = {elements: found.tally(elements).compared for elements in GROUPS}
    assert counts == {"2": 1, "3": 1, "4": 1, "5+": 0, "2-3": 2, "all": 3}
    assert names(found.left)[0] == "Li2O"
    assert "Li" not in names(found.left + found.entered)
    assert found.tally("5+").kept["on_hull"] == Share(0, 0)


def test_an_entry_on_a_tie_line_is_on_the_hull_without_a_negative_energy():
    first = binary(NaCl=-1.0, Na3Cl=-0.5)
    found = compare_levels(first, first)
    tallies = {one.start: one for one in found.tallies if one.elements == "all"}
    assert {start: one.compared for start, one in tallies.items()} == {STARTS[0]: 1, STARTS[1]: 2}
    assert kept(found) == {STARTS[0]: (1, 2), "negative_phase_separation_energy": (1, 2), "on_hull": (2, 2)}


def test_an_energy_that_none_is_is_refused():
    with pytest.raises(BadEntry):
        compare_levels(binary(NaCl=float("nan")), binary(NaCl=-1.0))


energies = st.dictionaries(
    st.integers(1, len(FORMULAS)), st.integers(-3_000_000, 500_000).map(lambda micro: micro / 1e6), min_size=1
)
"""Crystal -> energy on a grid of 1e-6 eV/atom."""


@settings(max_examples=60, deadline=None)
@given(energies, st.booleans())
def test_a_level_keeps_everything_of_itself(one: dict[int, float], own_hulls: bool):
    found = compare_levels(level(one), level(one), own_hulls=own_hulls)
    assert found.left == found.entered == ()
    for tally in found.tallies:
        assert tally.kept[tally.start].count == tally.compared == tally.stable
        assert tally.unlabelled == tally.entered == tally.only_here == tally.lacking_competitors == 0


@settings(max_examples=60, deadline=None)
@given(energies, energies, st.booleans())
def test_counts_agree_with_each_other(one: dict[int, float], other: dict[int, float], own_hulls: bool):
    found = compare_levels(level(one), level(other), own_hulls=own_hulls)
    back = compare_levels(level(other), level(one), own_hulls=own_hulls)
    assert found.common_entries == back.common_entries == len(one.keys() & other.keys())
    assert [row.id for row in found.left] == [row.id for row in back.entered]
    for tally in found.tallies:
        assert tally.unlabelled <= tally.stable
        assert tally.compared - tally.only_here == tally.stable - tally.unlabelled
        counts = [tally.kept[measure].count for measure in MEASURES]
        assert counts[0] <= min(counts[1], counts[2]) <= max(counts) <= tally.compared
    on_hull = found.tally()
    assert on_hull.compared - on_hull.kept["on_hull"].count == len(found.left)
    assert len(found.entered) == on_hull.entered
    parts = [found.tally(elements) for elements in ("2", "3", "4", "5+")]
    assert sum(part.compared for part in parts) == on_hull.compared


@settings(max_examples=60, deadline=None)
@given(energies, st.floats(0.1, 3.0))
def test_a_common_scale_of_all_energies_changes_nothing(one: dict[int, float], scale: float):
    scaled = {key: energy * scale for key, energy in one.items()}
    assert compare_levels(level(one), level(scaled)).left == ()


@settings(max_examples=60, deadline=None)
@given(energies, st.integers(1, 1_000), st.data())
def test_a_crystal_that_sinks_stays(one: dict[int, float], milli: int, data: st.DataObject):
    """And no other comes onto the hull by it."""
    key = data.draw(st.sampled_from(sorted(one)))
    found = compare_levels(level(one), level({**one, key: one[key] - milli / 1e3}))
    assert f"lode-{key}" not in [row.id for row in found.left]
    assert {row.id for row in found.entered} <= {f"lode-{key}"}


@pytest.mark.parametrize(("count", "of"), [(0, 1), (1, 1), (0, 12), (37, 40), (84, 100), (868, 1000)])
def test_intervals_are_wilsons(count: int, of: int):
    expected = binomtest(count, of).proportion_ci(0.95, method="wilson")
    assert wilson(count, of) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert Share(count, of).interval == wilson(count, of)


def test_nothing_has_no_share():
    told = Share(0, 0).as_dict()
    assert told == {"count": 0, "of": 0, "share": None, "interval": None}
