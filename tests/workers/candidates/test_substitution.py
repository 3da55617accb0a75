from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import Element, Species
from pymatgen.core.structure_prediction.substitution_probability import SubstitutionPredictor, SubstitutionProbability

from workers.candidates.oxidation import Ion
from workers.candidates.substitution import (
    Slot,
    cations_less_electronegative,
    enumerate_mappings,
    family_ions,
    replaces_something,
    slot,
)
from workers.candidates.table import substitution_table

TABLE = substitution_table()
PUBLISHED = TABLE.ions[: TABLE.published]
FAMILY = ("Li", "Na", "K", "Mg", "Ca", "Zn", "Al", "Ga", "Si", "F", "Cl", "O", "S", "P", "As")
IONS = family_ions(TABLE, FAMILY)


def as_species(ion: Ion) -> Species:
    return Species(Element.from_Z(ion.number).symbol, ion.charge)


def test_conditional_probability_is_pymatgens_where_lambda_is_positive() -> None:
    published = SubstitutionProbability()
    for a, b in product(PUBLISHED[::19], PUBLISHED[::17]):
        if published.get_lambda(as_species(a), as_species(b)) >= 0:
            assert TABLE.conditional(a, b) == pytest.approx(published.cond_prob(as_species(a), as_species(b)))


def test_clipping_only_raises() -> None:
    published = SubstitutionProbability()
    for a, b in product(PUBLISHED[::23], PUBLISHED[::29]):
        expected = max(published.get_lambda(as_species(a), as_species(b)), 0.0)
        assert TABLE.lambdas[TABLE.index[a], TABLE.index[b]] == expected


def test_the_predictor_of_pymatgen_finds_the_same_pairs() -> None:
    """With its definitions (all ions count, the unclipped table's normaliser) branch and bound equals its list."""
    sources, threshold = [Ion(11, 1), Ion(17, -1)], 0.004
    published = SubstitutionPredictor(threshold=threshold).list_prediction([as_species(ion) for ion in sources])
    expected = {
        tuple((Element(str(new.element)).Z, int(new.oxi_state)) for new in row["substitutions"]): row["probability"]
        for row in published
    }
    slots = []
    for kin, source in enumerate(sources):
        odds = np.array([TABLE.conditional(ion, source) for ion in PUBLISHED])
        slots.append(Slot(source, 1, PUBLISHED, odds, kin))
    found = enumerate_mappings(slots, threshold)
    ours = {tuple(found.ions(i)): p for i, p in enumerate(found.probabilities.tolist())}
    balanced = {key: p for key, p in expected.items() if key[0][1] + key[1][1] == 0 and key[0][0] != key[1][0]}
    assert ours.keys() == balanced.keys()
    assert all(ours[key] == pytest.approx(p) for key, p in balanced.items())
    assert len(ours) > 5


def brute_force(slots: list[Slot], threshold: float) -> dict[tuple[Ion, ...], float]:
    found = {}
    for chosen in product(*(range(len(s.ions)) for s in slots)):
        ions = tuple(s.ions[i] for s, i in zip(slots, chosen, strict=True))
        probability = float(np.prod([s.probabilities[i] for s, i in zip(slots, chosen, strict=True)]))
        balanced = sum(s.amount * ion.charge for s, ion in zip(slots, ions, strict=True)) == 0
        if balanced and probability >= threshold and len({ion.number for ion in ions}) == len(slots):
            found[ions] = probability
    return found


@settings(max_examples=25, deadline=None)
@given(
    sources=st.lists(st.sampled_from(PUBLISHED), min_size=2, max_size=3, unique_by=lambda ion: ion.number),
    amounts=st.lists(st.integers(1, 4), min_size=3, max_size=3),
    threshold=st.sampled_from([0.0, 1e-5, 1e-3]),
)
def test_branch_and_bound_is_exact_balanced_and_of_the_family(
    sources: list[Ion], amounts: list[int], threshold: float
) -> None:
    slots = [slot(TABLE, ion, n, IONS, kin=i) for i, (ion, n) in enumerate(zip(sources, amounts, strict=False))]
    found = enumerate_mappings(slots, threshold)
    expected = brute_force(slots, threshold)
    assert {found.ions(i): pytest.approx(p) for i, p in enumerate(found.probabilities.tolist())} == expected
    assert np.all(np.diff(found.probabilities) <= 0)
    home = {Element(symbol).Z for symbol in FAMILY}
    assert all(ion.number in home for i in range(len(found)) for ion in found.ions(i))


@given(source=st.sampled_from(TABLE.ions))
def test_replacements_are_a_distribution_and_keeping_is_free(source: Ion) -> None:
    made = slot(TABLE, source, 1, IONS, kin=0)
    replaced = np.array([ion.number != source.number for ion in made.ions])
    assert made.probabilities[replaced].sum() == pytest.approx(1.0)
    assert np.all(made.probabilities[~replaced] == 1.0)


def test_one_element_in_two_states_may_stay_one_element() -> None:
    iron, home = [Ion(26, 2), Ion(26, 3)], family_ions(TABLE, ("Ti", "O"))
    slots = [slot(TABLE, iron[0], 1, home, kin=26), slot(TABLE, iron[1], 2, home, kin=26)]
    slots.append(slot(TABLE, Ion(8, -2), 4, home, kin=8))
    found = enumerate_mappings(slots, 0.0)
    assert (Ion(22, 2), Ion(22, 3), Ion(8, -2)) in {found.ions(i) for i in range(len(found))}


def test_antitypes_put_anions_on_cation_sites() -> None:
    slots = [
        slot(TABLE, Ion(20, 2), 1, IONS, kin=0, mirrored=True),
        slot(TABLE, Ion(9, -1), 2, IONS, kin=1, mirrored=True),
    ]
    found = enumerate_mappings(slots, 0.0)
    assert {(Ion(8, -2), Ion(3, 1)), (Ion(14, -4), Ion(12, 2))} <= {found.ions(i) for i in range(len(found))}


def test_the_parent_itself_and_unordered_electronegativities_are_seen() -> None:
    slots = [slot(TABLE, Ion(30, 2), 1, IONS, kin=0), slot(TABLE, Ion(16, -2), 1, IONS, kin=1)]
    found = enumerate_mappings(slots, 0.0)
    unchanged = [found.ions(int(i)) for i in np.flatnonzero(~replaces_something(found))]
    assert unchanged == [(Ion(30, 2), Ion(16, -2))]
    for i, ordered in enumerate(cations_less_electronegative(found).tolist()):
        cation, anion = (Element.from_Z(ion.number).X for ion in found.ions(i))
        assert ordered == (cation < anion)
