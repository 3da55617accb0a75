from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import Element, Species
from pymatgen.core.structure_prediction.substitution_probability import SubstitutionPredictor, SubstitutionProbability

from workers.candidates.oxidation import Ion
from workers.candidates.substitution import (
    PAPER_THRESHOLD,
    Slot,
    cations_less_electronegative,
    elements_of,
    enumerate_mappings,
    family_ions,
    paper_mappings,
    paper_slot,
    predictions,
    replaces_something,
    slot,
)
from workers.candidates.table import UNSEEN, substitution_table

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


def as_ion(species: Species) -> Ion:
    return Ion(species.Z, round(species.oxi_state))


SODIUM_CHLORIDE = (Ion(11, 1), Ion(17, -1))
FORSTERITE = (Ion(12, 2), Ion(14, 4), Ion(8, -2))
ILMENITE = (Ion(26, 2), Ion(22, 4), Ion(8, -2))
PHOSPHATE = (Ion(3, 1), Ion(26, 2), Ion(15, 5), Ion(8, -2))


@pytest.mark.parametrize(
    ("ions", "threshold"),
    [
        ((Ion(56, 2),), 1e-4),
        ((Ion(9, -1),), 1e-3),
        (SODIUM_CHLORIDE, 1e-3),
        ((Ion(29, 1), Ion(29, 2)), 1e-3),
        (FORSTERITE, 1e-3),
        (ILMENITE, 3e-3),
        (PHOSPHATE, 4e-3),
    ],
)
@pytest.mark.parametrize("to_this", [True, False])
def test_predictions_are_those_of_pymatgens_predictor(ions: tuple[Ion, ...], threshold: float, to_this: bool) -> None:
    published = SubstitutionPredictor(threshold=threshold).list_prediction([as_species(ion) for ion in ions], to_this)
    expected = {}
    for row in published:
        pairs = [(as_ion(a), as_ion(b)) for a, b in row["substitutions"].items()]
        kept = {b: a for a, b in pairs} if to_this else dict(pairs)
        expected[tuple(kept[ion] for ion in ions)] = row["probability"]
    found = predictions(TABLE, ions, threshold, to_this=to_this)
    ours = {found.ions(i): pytest.approx(p, rel=1e-12) for i, p in enumerate(found.probabilities.tolist())}
    assert len(ours) == len(found) > 0
    assert ours == expected
    assert np.all(np.diff(found.probabilities) <= 0)


def test_an_ion_without_published_row_is_refused_as_pymatgen_refuses_it() -> None:
    with pytest.raises(LookupError, match="P3- is not in the published table"):
        predictions(TABLE, [Ion(31, 3), Ion(15, -3)])
    with pytest.raises(ValueError, match="not allowed"):
        SubstitutionPredictor().list_prediction([Species("Ga", 3), Species("P", -3)])


def test_the_papers_odds_are_pymatgens_with_lambdas_clipped() -> None:
    published = SubstitutionProbability()
    pairs = [(a, b) for i, a in enumerate(PUBLISHED) for b in PUBLISHED[: i + 1]]
    rows = [
        (str(as_species(a)), str(as_species(b)), published.get_lambda(as_species(a), as_species(b))) for a, b in pairs
    ]
    clipped = type(published)(lambda_table=[(a, b, max(value, 0.0)) for a, b, value in rows], alpha=0)
    for source in PUBLISHED[::37]:
        odds = TABLE.paper_odds(source)
        assert odds[: TABLE.published].sum() == pytest.approx(1.0)
        for target in PUBLISHED[::31]:
            assert odds[TABLE.index[target]] == pytest.approx(clipped.cond_prob(as_species(target), as_species(source)))


@pytest.mark.parametrize("most_replaced", [1, 2, 3])
@pytest.mark.parametrize("balanced", [True, False])
def test_the_papers_candidates_equal_a_brute_force(most_replaced: int, balanced: bool) -> None:
    slots = [
        paper_slot(TABLE, ion, n, kin=ion.number, family=IONS) for ion, n in zip(FORSTERITE, (2, 1, 4), strict=True)
    ]
    found = paper_mappings(slots, threshold=1e-4, most_replaced=most_replaced, balanced=balanced)
    expected = {}
    for ions in product(*(s.ions for s in slots)):
        changed = [s for s, ion in zip(slots, ions, strict=True) if ion != s.source]
        odds = np.prod([s.probabilities[s.ions.index(ion)] for s, ion in zip(slots, ions, strict=True)])
        charge = sum(s.amount * ion.charge for s, ion in zip(slots, ions, strict=True))
        distinct = len({ion.number for ion in ions}) == 3
        if distinct and 1 <= len(changed) <= most_replaced and odds >= 1e-4 and (charge == 0 or not balanced):
            expected[ions] = pytest.approx(float(odds))
    assert {found.ions(i): p for i, p in enumerate(found.probabilities.tolist())} == expected
    assert len(expected) > 5


def test_a_clipped_lambda_makes_the_unseen_possible() -> None:
    """Of rare ions every species passes the paper's threshold; pymatgen's own odds never let an unseen one pass."""
    source = Ion(25, 4)
    slots = [paper_slot(TABLE, ion, 1, kin=ion.number) for ion in (source, Ion(8, -2))]
    found = paper_mappings(slots, threshold=PAPER_THRESHOLD, most_replaced=1, balanced=False)
    unseen = {ion for ion in PUBLISHED if TABLE.raw[TABLE.index[ion], TABLE.index[source]] == UNSEEN}
    assert {found.ions(i)[0] for i in range(len(found))} >= {ion for ion in unseen if ion.number not in (25, 8)}
    plain = predictions(TABLE, [source], PAPER_THRESHOLD)
    assert not {plain.ions(i)[0] for i in range(len(plain))} & unseen


def test_more_than_six_elements_are_not_proposed() -> None:
    sources = [Ion(3, 1), Ion(11, 1), Ion(12, 2), Ion(20, 2), Ion(13, 3), Ion(14, 4), Ion(8, -2)]
    slots = [paper_slot(TABLE, ion, 1, kin=ion.number, family=IONS) for ion in sources]
    assert len(paper_mappings(slots, balanced=False)) == 0
    fewer = paper_mappings(slots[1:], balanced=False)
    assert len(fewer)
    assert elements_of(fewer).max() == 6


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
    assert elements_of(found).min() == 2
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
