"""Chemical-potential domains: by hand, by pymatgen's ChemicalPotentialDiagram, and what they must obey."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.analysis.chempot_diagram import ChemicalPotentialDiagram

from registry.errors import HullError, MissingReference
from registry.hull.geometry import Entry, compute_hull
from registry.hull.stability_domains import stability_domains
from tests.registry.hull.test_reactions import generic_hulls, pd_entry, published

LI, OXYGEN, FE = 3, 8, 26
FLOOR = -50.0
"""eV/atom, where pymatgen cuts domains off."""

OXIDES = [
    Entry("Li", {LI: 1}, 0.0),
    Entry("O2", {OXYGEN: 2}, 0.0),
    Entry("Li2O", {LI: 2, OXYGEN: 1}, -2.0),
    Entry("Li2O2", {LI: 2, OXYGEN: 2}, -1.8),
]


def test_a_binary_by_hand() -> None:
    domains = stability_domains(compute_hull(OXIDES), [LI, OXYGEN])
    assert set(domains) == {"Li", "O2", "Li2O", "Li2O2"}
    oxide, peroxide = domains["Li2O"], domains["Li2O2"]
    assert oxide.elements == (LI, OXYGEN)
    # 2 Li + O = 3 * -2.0; with Li2O2 beside it 2 Li + 2 O = 4 * -1.8, so O = -1.2 and Li = -2.4
    assert oxide.vertices == pytest.approx(np.array([[-2.4, -1.2], [0.0, -6.0]]))
    assert peroxide.vertices == pytest.approx(np.array([[-3.6, 0.0], [-2.4, -1.2]]))
    assert oxide.minimum == pytest.approx({LI: -2.4, OXYGEN: -6.0})
    assert oxide.maximum == pytest.approx({LI: 0.0, OXYGEN: -1.2})
    assert oxide.unbounded == frozenset()


def test_what_a_phase_does_not_hold_has_no_lower_bound() -> None:
    oxygen = stability_domains(compute_hull(OXIDES), [LI, OXYGEN])["O2"]
    assert (oxygen.minimum, oxygen.unbounded) == ({LI: None, OXYGEN: pytest.approx(0.0)}, {LI})
    assert oxygen.maximum == pytest.approx({LI: -3.6, OXYGEN: 0.0})


def test_one_element_is_a_point_whatever_energies_are_against() -> None:
    domains = stability_domains(compute_hull([Entry(1, {LI: 1}, 0.3), Entry(2, {LI: 1}, 0.5)]), [LI])
    assert set(domains) == {1}
    assert domains[1].vertices.tolist() == [[0.0]]


def test_elements_without_a_compound() -> None:
    elements = [Entry(number, {number: 1}, 0.0) for number in (LI, OXYGEN, FE)]
    domains = stability_domains(compute_hull(elements), [FE, OXYGEN, LI])
    for number, domain in domains.items():
        assert domain.vertices == pytest.approx(np.zeros((1, 3)))
        assert domain.unbounded == {LI, OXYGEN, FE} - {number}


def test_a_phase_on_a_tie_line_lives_where_its_neighbours_meet() -> None:
    between = Entry("Li4O3", {LI: 4, OXYGEN: 3}, (-2.0 * 3 - 1.8 * 4) / 7)
    domains = stability_domains(compute_hull([*OXIDES, between]), [LI, OXYGEN])
    assert domains["Li4O3"].vertices == pytest.approx(np.array([[-2.4, -1.2]]))
    assert domains["Li2O"].vertices == pytest.approx(np.array([[-2.4, -1.2], [0.0, -6.0]]))


def test_a_phase_that_is_stable_only_within_the_tolerance_has_its_domain() -> None:
    between = Entry("Li4O3", {LI: 4, OXYGEN: 3}, (-2.0 * 3 - 1.8 * 4) / 7 + 9e-10)
    solution = compute_hull([*OXIDES, between])
    assert solution["Li4O3"].is_stable
    assert stability_domains(solution, [LI, OXYGEN])["Li4O3"].vertices == pytest.approx(np.array([[-2.4, -1.2]]))


@settings(max_examples=40, deadline=None)
@given(generic_hulls())
def test_random_systems_as_pymatgen(rows: list[Entry]) -> None:
    assert_as_pymatgen(rows)


@pytest.mark.parametrize("name", ["mp2024_Li-Fe-P-O", "mp2021_Cl-Mn-Na-O-Y"])
def test_published_systems_as_pymatgen(name: str) -> None:
    assert_as_pymatgen(published(name))


def assert_as_pymatgen(rows: list[Entry]) -> None:
    """Vertices of pymatgen's domains that aren't at its floor are ours, each once, and there are no others."""
    elements = sorted({number for row in rows for number in row.amounts})
    solution = compute_hull(rows)
    domains = stability_domains(solution, elements)
    by_formula = {pd_entry(row).reduced_formula: row.key for row in rows if solution[row.key].is_stable}
    diagram = ChemicalPotentialDiagram([pd_entry(row) for row in rows], default_min_limit=FLOOR)
    columns = np.argsort([element.Z for element in diagram.elements])
    compared = 0
    for formula, corners in diagram.domains.items():
        real = corners[(corners > FLOOR + 1e-3).all(axis=1)][:, columns]
        if len(real):
            compared += 1
            assert_same_points(real, domains[by_formula[formula]].vertices)
    assert compared == len(domains)


def assert_same_points(theirs: np.ndarray, ours: np.ndarray) -> None:
    distances = np.abs(theirs[:, None] - ours[None]).max(axis=2)
    assert distances.min(axis=1).max() < 1e-6  # qhull's own precision
    assert distances.min(axis=0).max() < 1e-6


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(5, 7))
def test_five_to_seven_elements_obey_the_definition(seed: int, size: int) -> None:
    numbers = [3, 8, 26, 64, 15, 92, 1][:size]
    rng = np.random.default_rng(seed)
    rows = [Entry(number, {number: 1}, 0.1) for number in numbers]
    for key in range(1000, 1040):
        held = rng.choice(numbers, size=rng.integers(2, 5), replace=False)
        rows.append(Entry(key, {int(number): int(rng.integers(1, 4)) for number in held}, float(rng.uniform(-2, 0))))
    assert_obeys_the_definition(rows, numbers)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 4))
def test_ties_obey_the_definition(seed: int, size: int) -> None:
    """Coarse energies, among them compounds exactly on the plane of the elements, and compositions that come twice."""
    numbers, rng = [3, 8, 26, 64][:size], np.random.default_rng(seed)
    rows = [Entry(number, {number: 1}, 0.0) for number in numbers]
    for key in range(1000, 1000 + int(rng.integers(0, 25))):
        held = rng.choice(numbers, size=rng.integers(1, size + 1), replace=False)
        rows.append(Entry(key, {int(one): int(rng.integers(1, 4)) for one in held}, int(rng.integers(-8, 3)) / 4))
    assert_obeys_the_definition(rows, numbers)


def assert_obeys_the_definition(rows: list[Entry], numbers: list[int]) -> None:
    """Every stable phase has a domain, at whose vertices its potentials add up to its energy and undercut no other."""
    solution = compute_hull(rows)
    domains = stability_domains(solution, numbers)
    assert set(domains) == {row.key for row in rows if solution[row.key].is_stable}
    for row in rows:
        share = np.array([row.amounts.get(number, 0) for number in sorted(numbers)]) / sum(row.amounts.values())
        energy = solution[row.key].formation_energy_per_atom
        for domain in domains.values():
            assert (domain.vertices @ share <= energy + 1e-9).all()
        if row.key in domains:
            assert len(domains[row.key].vertices) > 0
            assert domains[row.key].vertices @ share == pytest.approx(energy, abs=1e-9)


def test_what_cannot_be_asked_is_refused() -> None:
    solution = compute_hull(OXIDES)
    with pytest.raises(MissingReference, match="Fe"):
        stability_domains(solution, [LI, FE, OXYGEN])
    with pytest.raises(HullError, match="not 0"):
        stability_domains(solution, [])
    with pytest.raises(HullError, match="not 8"):
        stability_domains(solution, range(1, 9))


def test_entries_of_other_elements_are_passed_over() -> None:
    iron = [Entry("Fe", {FE: 1}, 0.0), Entry("LiFeO2", {LI: 1, FE: 1, OXYGEN: 2}, -3.0)]
    alone, among = compute_hull(OXIDES), compute_hull([*OXIDES, *iron])
    for key, domain in stability_domains(among, [OXYGEN, LI]).items():
        assert domain.vertices.tolist() == stability_domains(alone, [LI, OXYGEN])[key].vertices.tolist()
