"""The hull against answers known by hand."""

import math
import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.errors import BadEntry, MissingReference
from registry.hull.geometry import Entry, EntryTable, Hull, compute_hull, is_warm, warm

LI, OXYGEN, FE, NA = 3, 8, 26, 11

LITHIUM_OXIDES = [
    Entry("Li", {LI: 1}, 0.0),
    Entry("O2", {OXYGEN: 2}, 0.0),
    Entry("Li2O", {LI: 4, OXYGEN: 2}, -2.0),
    Entry("Li2O2", {LI: 2, OXYGEN: 2}, -1.8),
    Entry("LiO8", {LI: 1, OXYGEN: 8}, 0.2),
]


def test_a_compound_decomposes_into_its_neighbours():
    solved = compute_hull(LITHIUM_OXIDES)
    peroxide = solved["Li2O2"]
    assert peroxide.is_stable
    assert peroxide.decomposition == (("Li2O2", 1.0),)
    assert dict(peroxide.competitors) == pytest.approx({"Li2O": 0.75, "O2": 0.25})
    assert peroxide.decomposition_energy == pytest.approx(-1.8 + 0.75 * 2.0)
    assert peroxide.phase_separation_energy == peroxide.decomposition_energy


def test_an_unstable_compound_lies_above_the_hull_of_the_others():
    unstable = compute_hull(LITHIUM_OXIDES)["LiO8"]
    assert dict(unstable.decomposition) == pytest.approx({"O2": 7 / 9, "Li2O2": 2 / 9})
    assert unstable.e_above_hull == pytest.approx(0.2 + 1.8 * 2 / 9)
    assert unstable.decomposition_energy == unstable.phase_separation_energy == unstable.e_above_hull


def test_chemical_potentials_reproduce_the_hull_and_lie_below_no_entry():
    solved = compute_hull(LITHIUM_OXIDES)
    potentials = solved["LiO8"].chemical_potentials
    assert potentials[LI] / 9 + potentials[OXYGEN] * 8 / 9 == pytest.approx(0.2 - solved["LiO8"].e_above_hull)
    for entry in LITHIUM_OXIDES:
        plane = sum(n * potentials[z] for z, n in entry.amounts.items()) / sum(entry.amounts.values())
        assert plane <= entry.formation_energy + 1e-12


def test_a_metastable_polymorph_has_a_negative_phase_separation_energy_only():
    solved = compute_hull([*LITHIUM_OXIDES, Entry("Li2O2-b", {LI: 1, OXYGEN: 1}, -1.7)])
    polymorph = solved["Li2O2-b"]
    assert polymorph.e_above_hull == pytest.approx(0.1)
    assert polymorph.decomposition_energy == pytest.approx(0.1)
    assert polymorph.phase_separation_energy == pytest.approx(-0.2)
    assert polymorph.decomposition == polymorph.competitors == (("Li2O2", 1.0),)
    assert solved["Li2O2"].decomposition_energy == pytest.approx(-0.1)
    assert solved["Li2O2"].phase_separation_energy == pytest.approx(-0.3)


def test_the_only_entry_of_an_element_has_no_decomposition_energy():
    lithium = compute_hull(LITHIUM_OXIDES)["Li"]
    assert (lithium.decomposition_energy, lithium.phase_separation_energy, lithium.competitors) == (None, 0.0, ())
    assert lithium.is_stable


def test_polymorphs_of_an_element_compete():
    solved = compute_hull([*LITHIUM_OXIDES, Entry("Li-hcp", {LI: 2}, -0.01)])
    assert solved["Li"].e_above_hull == pytest.approx(0.01)
    assert solved["Li"].formation_energy_per_atom == pytest.approx(0.01)
    assert solved["Li-hcp"].decomposition_energy == pytest.approx(-0.01)
    assert solved["Li-hcp"].formation_energy_per_atom == 0.0


def test_a_lower_element_shifts_formation_energies_and_can_unseat_a_compound():
    solved = compute_hull([*LITHIUM_OXIDES, Entry("Li-new", {LI: 1}, -3.5)])
    assert solved["Li2O"].formation_energy_per_atom == pytest.approx(-2.0 + 3.5 * 2 / 3)
    assert not solved["Li2O"].is_stable
    assert solved["Li2O"].chemical_potentials[LI] <= 0.0


def test_a_system_without_an_elemental_entry_is_refused_and_the_others_go_on():
    solved = compute_hull([*LITHIUM_OXIDES, Entry("NaFeO2", {NA: 1, FE: 1, OXYGEN: 2}, -2.0)])
    assert len(solved) == len(LITHIUM_OXIDES)
    assert solved.refused["NaFeO2"].elements == ["Na", "Fe"]
    with pytest.raises(MissingReference, match="Na, Fe"):
        solved["NaFeO2"]
    assert math.isnan(solved.e_above_hull[-1])


def test_equal_energies_go_to_the_smaller_key():
    rows = [
        Entry(5, {LI: 1}, 0.0),
        Entry(6, {OXYGEN: 1}, 0.0),
        Entry(9, {LI: 1, OXYGEN: 1}, -1.0),
        Entry(7, {LI: 2, OXYGEN: 2}, -1.0),
    ]
    solved = compute_hull(rows)
    assert solved[7].is_stable
    assert not solved[9].is_stable
    assert solved[7].e_above_hull == solved[9].e_above_hull == solved[7].decomposition_energy == 0.0
    assert solved[9].phase_separation_energy == pytest.approx(-1.0)


def test_an_entry_on_a_tie_line_is_stable():
    tied = [*LITHIUM_OXIDES, Entry("Li4O3", {LI: 8, OXYGEN: 6}, (-2.0 * 6 - 1.8 * 8) / 14)]
    result = compute_hull(tied)["Li4O3"]
    assert result.is_stable
    assert result.decomposition_energy == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("energy", [math.nan, math.inf, 1e6, -1e6])
def test_absurd_energies_are_refused_at_the_door(energy):
    with pytest.raises(BadEntry, match="entry bad"):
        Entry("bad", {LI: 1}, energy)
    with pytest.raises(BadEntry, match="entry bad"):
        EntryTable.build(["bad"], [{LI: 1}], [energy])


@pytest.mark.parametrize(
    "amounts", [{}, {LI: 0}, {LI: -1, OXYGEN: 2}, {LI: math.nan}, {0: 1}, {119: 1}, {LI: math.inf}]
)
def test_absurd_amounts_are_refused_at_the_door(amounts):
    with pytest.raises(BadEntry):
        Entry("bad", amounts, 0.0)
    with pytest.raises(BadEntry):
        EntryTable.build(["bad"], [amounts], [0.0])


@pytest.mark.parametrize("keys", [[1, 1], [1, "1"], [1.5, 2.5]])
def test_keys_must_be_distinct_and_of_one_kind(keys):
    with pytest.raises(BadEntry):
        EntryTable.build(keys, [{LI: 1}, {OXYGEN: 1}], [0.0, 0.0])


def test_an_empty_hull_is_a_hull():
    solved = compute_hull([])
    assert len(solved) == 0
    assert solved.refused == {}
    with pytest.raises(MissingReference, match="Li"):
        solved.hull().energy_at({LI: 1})
    assert len(solved.hull().energies_at([])) == 0


def test_a_zero_amount_is_no_element():
    solved = compute_hull([*LITHIUM_OXIDES, Entry("odd", {LI: 2, OXYGEN: 1, FE: 0}, -1.9)])
    assert solved["odd"].decomposition == (("Li2O", 1.0),)


def test_cells_of_two_hundred_sites_share_the_composition_of_their_formula():
    solved = compute_hull(
        [*LITHIUM_OXIDES, Entry("big", {LI: 134, OXYGEN: 67}, -1.99), Entry("off", {LI: 133, OXYGEN: 67}, -1.9)]
    )
    assert solved["big"].decomposition == (("Li2O", 1.0),)
    assert len(solved["off"].decomposition) == 2


@pytest.mark.parametrize("size", [6, 7, 8, 9, 12])
def test_many_elements(size):
    rng = np.random.default_rng(size)
    numbers = sorted(rng.choice(np.arange(1, 119), size, replace=False).tolist())
    elements = [Entry(z, {z: 1}, float(rng.normal())) for z in numbers]
    pairs = [Entry(1000 + i, {numbers[i]: 1, numbers[i + 1]: 1}, -3.0 - i / 10) for i in range(size - 1)]
    whole = Entry(5000, dict.fromkeys(numbers, 1), 0.0)
    result = compute_hull([*elements, *pairs, whole])[5000]
    shares = {key: share * size for key, share in result.decomposition}
    assert sum(shares.values()) == pytest.approx(size)
    for z in numbers:
        phases = [entry for entry in [*elements, *pairs] if z in entry.amounts and entry.key in shares]
        assert sum(shares[phase.key] / len(phase.amounts) for phase in phases) == pytest.approx(1.0)


def test_the_hull_answers_for_what_is_not_in_it():
    hull = compute_hull(LITHIUM_OXIDES).hull()
    point = hull.energy_at({LI: 1, OXYGEN: 2})
    assert dict(point.decomposition) == pytest.approx({"O2": 1 / 3, "Li2O2": 2 / 3})
    assert point.energy == pytest.approx(-1.2)
    assert point.chemical_potentials == pytest.approx({LI: -3.6, OXYGEN: 0.0})
    assert hull.elements == [LI, OXYGEN]
    with pytest.raises(MissingReference, match="Fe"):
        hull.energy_at({LI: 1, FE: 1})


def test_candidates_compare_with_the_hull_and_with_their_own_composition():
    hull = Hull(LITHIUM_OXIDES)
    candidates = [{LI: 1, OXYGEN: 2}, {LI: 1, OXYGEN: 1}, {LI: 1}, {LI: 1, FE: 1}, {LI: 2, OXYGEN: 4}]
    energies = hull.decomposition_energies(candidates, np.array([-1.5, -1.7, 0.2, -1.0, -1.1]))
    assert energies[[0, 1, 2, 4]] == pytest.approx([-0.3, 0.1, 0.2, 0.1])
    assert math.isnan(energies[3])


def test_threads_change_nothing():
    rows = random_entries(random.Random(5), elements=6, count=300)
    one, four = compute_hull(rows, threads=1), compute_hull(rows, threads=4)
    np.testing.assert_array_equal(one.decomposition_energies, four.decomposition_energies)


def random_entries(rng: random.Random, elements: int, count: int) -> list[Entry]:
    numbers = list(range(20, 20 + elements))
    rows = [({z: 1}, 0.0) for z in numbers]
    for _ in range(count):
        chosen = rng.sample(numbers, rng.randint(1, elements))
        rows.append(({z: rng.randint(1, 4) for z in chosen}, rng.choice([-0.5, -0.25, 0.0, rng.gauss(-0.5, 0.5)])))
    return [Entry(key, amounts, energy) for key, (amounts, energy) in enumerate(rows)]


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), elements=st.integers(1, 4))
def test_the_order_of_entries_changes_no_bit(seed, elements):
    rng = random.Random(seed)
    rows = random_entries(rng, elements, 25)
    shuffled = rng.sample(rows, len(rows))
    first, second = compute_hull(rows), compute_hull(shuffled)
    assert {key: first[key] for key in first} == {key: second[key] for key in second}


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), elements=st.integers(2, 4))
def test_every_entry_is_placed_as_if_it_were_a_candidate_for_the_rest(seed, elements):
    rng = random.Random(seed)
    rows = random_entries(rng, elements, 15)
    solved = compute_hull(rows)
    for entry in rng.sample(rows[elements:], 5):
        rest = Hull([row for row in rows if row.key != entry.key])
        alone = rest.decomposition_energies([entry.amounts], np.array([entry.formation_energy]))[0]
        assert solved[entry.key].decomposition_energy == pytest.approx(alone, abs=1e-12)


def test_the_stable_entries_make_the_same_hull():
    rows = random_entries(random.Random(3), elements=4, count=120)
    asked = [row.amounts for row in rows]
    np.testing.assert_allclose(compute_hull(rows).hull().energies_at(asked), Hull(rows).energies_at(asked), atol=1e-13)


def test_the_cache_is_warm_after_the_first_hull():
    warm()
    assert is_warm()
    assert warm() < 1.0


def test_a_solver_that_nobody_can_cache_still_solves(tmp_path: Path):
    """Neither beside the source nor in a home: numba must compile for the process alone."""
    program = (
        "import numba.core.caching as c; c.CacheImpl._locator_classes = []; "
        "import registry.hull.geometry as g; print(g.is_warm())"
    )
    environment = {**os.environ, "HOME": str(tmp_path), "PYTHONPATH": str(Path.cwd())}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
    assert done.stdout.strip() == "False", done.stderr
