import hashlib
import json
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import Composition, Element, Lattice, Structure

from registry.crystal import Crystal
from registry.importers.prototypes import read_prototypes
from registry.importers.record import ImportedRecord
from workers.candidates.funnel import Funnel
from workers.candidates.generation import Candidate, Parent, Settings, generate
from workers.candidates.oxidation import Ion, OxidationStates
from workers.candidates.parents import Described, describe
from workers.candidates.substitution import family_ions, slot
from workers.candidates.table import substitution_table

FCC = np.array([[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
HALF = np.array([[0, 0, 0], [0.5, 0.5, 0.5]])
HALITE = Crystal(FCC * 5.64, np.array([11, 17], np.int16), HALF)
FLUORITE = Crystal(FCC * 5.46, np.array([20, 9, 9], np.int16), np.array([[0] * 3, [0.25] * 3, [0.75] * 3]))
TUNGSTEN = Crystal(np.eye(3) * 3.16, np.array([74, 74], np.int16), HALF)
SPINEL = Crystal.from_pymatgen(
    Structure.from_spacegroup("Fd-3m", Lattice.cubic(8.08), ["Mg", "Al", "O"], [[0] * 3, [0.625] * 3, [0.3874] * 3])
)
ELEMENTS = ("Li", "Na", "K", "Mg", "Ca", "Zn", "Al", "Ga", "Si", "F", "Cl", "O", "S", "P")


def formula(candidate: Candidate) -> str:
    amounts = {Element.from_Z(z).symbol: n for z, n in candidate.crystal.amounts.items()}
    return str(Composition(amounts).reduced_formula)


@settings(max_examples=20, deadline=None)
@given(family=st.sets(st.sampled_from(ELEMENTS), min_size=1), parent=st.sampled_from([HALITE, FLUORITE, SPINEL]))
def test_candidates_stay_in_the_family_and_keep_the_cell(family: set[str], parent: Crystal) -> None:
    home = {Element(symbol).Z for symbol in family}
    for candidate in generate([Parent("p", parent)], sorted(family)):
        assert candidate.crystal.amounts.keys() <= home
        assert 0 < candidate.probability <= 1
        assert candidate.parent == "p"
        assert json.loads(json.dumps(candidate.arguments)) == candidate.arguments


@pytest.mark.parametrize("parent", [HALITE, FLUORITE, SPINEL])
def test_no_two_candidates_of_an_operation_share_numbers_and_states(parent: Crystal) -> None:
    made = [json.dumps(c.arguments) + c.operation for c in generate([Parent(0, parent)], ELEMENTS)]
    assert len(made) == len(set(made))


def test_the_lineage_tells_the_operation() -> None:
    by_formula = {formula(c): c for c in generate([Parent("halite", HALITE)], ELEMENTS)}
    potassium = by_formula["KCl"]
    assert potassium.operation == "ionic_substitution"
    assert potassium.arguments["elements"] == {"Na": "K"}
    assert potassium.arguments["states"] == "bond_valence"
    assert by_formula["MgO"].arguments["mapping"] == {"Na1+": "Mg2+", "Cl1-": "O2-"}
    assert "NaCl" not in by_formula


def test_antitypes_are_told_as_such() -> None:
    found = {
        formula(c): c.arguments["antitype"] for c in generate([Parent(0, FLUORITE)], ELEMENTS, Settings(partial=False))
    }
    assert found["Li2O"] is True
    assert found["Mg2Si"] is True
    assert found["MgF2"] is False


def test_partial_substitution_balances_and_names_sites() -> None:
    partial = [c for c in generate([Parent(0, SPINEL)], ELEMENTS) if c.operation == "partial_substitution"]
    assert any(c.arguments["ion"] == "Al3+" and c.arguments["replaced_by"] == "Ga3+" for c in partial)
    for candidate in partial:
        sites = candidate.arguments["sites"]
        assert isinstance(sites, list)
        assert 0 < len(sites) < int(str(candidate.arguments["of"]))


def test_elements_are_replaced_like_for_like() -> None:
    found = {formula(c) for c in generate([Parent(0, TUNGSTEN)], ELEMENTS)}
    assert {"Na", "Zn", "Al"} <= found
    assert not {"F2", "Cl2", "O2", "S", "P"} & found


def test_bad_parents_are_counted_and_never_stop_the_stream() -> None:
    twice = Crystal(np.eye(3) * 4, np.array([11, 11], np.int16), np.array([[0, 0, 0], [0, 0, 1e-6]]))
    flat = Crystal(np.zeros((3, 3)), np.array([11], np.int16), np.zeros((1, 3)))
    alloy = Crystal(np.eye(3) * 3, np.array([29, 79], np.int16), HALF)
    funnel = Funnel()
    parents = [Parent(i, crystal) for i, crystal in enumerate([twice, flat, alloy, SPINEL, HALITE])]
    found = list(generate(parents, ("K", "Cl"), Settings(max_sites=8), funnel))
    assert [formula(c) for c in found] == ["KCl"]
    assert funnel.parents["metallic"] == 1
    assert funnel.parents["too_large"] == 1
    assert funnel.parents["used: bond_valence"] == 1
    assert sum(funnel.parents.values()) == len(parents)
    assert funnel.kept == {"ionic_substitution": 1}


def test_alloys_are_replaced_when_asked_for() -> None:
    alloy = Crystal(np.eye(3) * 3, np.array([29, 79], np.int16), HALF)
    assert "LiZn" in {formula(c) for c in generate([Parent(0, alloy)], ELEMENTS, Settings(alloys=True))}


def test_the_most_per_parent_is_kept_and_the_rest_counted() -> None:
    whole = list(generate([Parent(0, SPINEL)], ELEMENTS, Settings(partial=False, antitypes=False, per_parent=10_000)))
    funnel = Funnel()
    few = list(generate([Parent(0, SPINEL)], ELEMENTS, Settings(partial=False, antitypes=False, per_parent=5), funnel))
    assert [c.arguments for c in few] == [c.arguments for c in whole[:5]]
    assert [c.rank for c in few] == list(range(5))
    assert funnel.rejected["per_parent"] > 0


def test_what_can_not_be_described_is_counted_with_its_reason() -> None:
    funnel = Funnel()
    large = Crystal(np.eye(3) * 20, np.full(216, 11, np.int16), np.random.default_rng(0).random((216, 3)))
    flat = Crystal(np.zeros((3, 3)), np.array([11], np.int16), np.zeros((1, 3)))
    unknown = Crystal(np.eye(3) * 4, np.array([2, 86], np.int16), HALF)  # helium and radon: no states
    parents = [Parent(i, crystal) for i, crystal in enumerate([large, flat, unknown, HALITE])]
    assert list(generate(parents, ("K", "Cl"), Settings(largest_cell=200), funnel))
    assert funnel.parents["too_large"] == 1
    assert funnel.parents["no_symmetry"] == 1
    assert funnel.parents["no_oxidation_states"] == 1
    assert sum(funnel.parents.values()) == len(parents)


def test_a_fault_of_a_library_is_counted_and_the_next_parent_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("out of nowhere")

    funnel = Funnel()
    with monkeypatch.context() as patched:
        patched.setattr("workers.candidates.parents.oxidation_states", fails)
        assert not list(generate([Parent(0, HALITE)], ("K", "Cl"), funnel=funnel))
    assert funnel.parents == {"failed: RuntimeError": 1}


def test_unbalanced_charges_are_counted() -> None:
    funnel, family = Funnel(), ("Na", "Mg", "Cl", "O")
    found = [formula(c) for c in generate([Parent(0, HALITE)], family, Settings(partial=False), funnel)]
    table = substitution_table()
    ions = family_ions(table, family)
    cations, anions = (slot(table, ion, 1, ions, kin=ion.number).ions for ion in (Ion(11, 1), Ion(17, -1)))
    pairs = [(one, other) for one, other in product(cations, anions) if one.number != other.number]
    unbalanced = [(one, other) for one, other in pairs if one.charge + other.charge]
    assert found == ["MgO"]
    assert funnel.rejected["charge"] == len(unbalanced) > 0


def test_the_papers_odds_are_over_all_published_ions() -> None:
    odds = substitution_table().paper_odds(Ion(11, 1))[substitution_table().index[Ion(19, 1)]]
    settings = Settings(odds="paper", threshold=odds / 2)
    found = list(generate([Parent(0, HALITE)], ("K", "Cl"), settings))
    assert [(formula(c), c.probability) for c in found] == [("KCl", pytest.approx(odds))]
    elements = {e for c in generate([Parent(0, SPINEL)], ("Zn", "Al", "O"), settings) for e in c.crystal.amounts}
    assert elements == {8, 13, 30}


def test_at_most_so_many_ions_are_replaced() -> None:
    found = list(generate([Parent(0, SPINEL)], ELEMENTS, Settings(most_replaced=1, antitypes=False)))
    changed = [len(c.arguments["mapping"]) + ("sites" in c.arguments) for c in found]  # type: ignore[arg-type]
    assert set(changed) == {1}
    more = list(generate([Parent(0, SPINEL)], ELEMENTS, Settings(most_replaced=2, antitypes=False)))
    assert len(more) > len(found)


def test_partial_substitutions_need_not_balance() -> None:
    def partial(settings: Settings) -> set[str]:
        return {
            formula(c) for c in generate([Parent(0, SPINEL)], ("Mg", "Al", "Ca", "O"), settings)
            if c.operation == "partial_substitution"
        }  # fmt: skip

    free = partial(Settings(balanced_partial=False))
    assert "Mg3Al(AlO4)2" not in partial(Settings())
    assert partial(Settings()) < free


def test_ordered_charges_lower_the_symmetry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the four equal manganese sites of MgMn2O4 one as Mn2+, one as Mn4+: no whole orbits of the space group."""
    parent = SPINEL.with_numbers(np.where(SPINEL.numbers == 13, 25, SPINEL.numbers))
    found = describe(parent, Settings())
    assert isinstance(found, Described)
    charges = found.states.charges.copy()
    charges[np.flatnonzero(found.crystal.numbers == 25)] = 2, 4, 3, 3
    states = OxidationStates(charges, "bond_valence")
    monkeypatch.setattr("workers.candidates.parents.oxidation_states", lambda *_: states)
    funnel, settings = Funnel(), Settings(partial_threshold=1e-6)
    made = list(generate([Parent(0, parent)], ("Mg", "Mn", "Fe", "Zn", "O"), settings, funnel))
    assert {c.arguments["ion"] for c in made if c.operation == "partial_substitution"} == {"Mg2+"}
    assert not [rule for rule in funnel.rejected if rule.startswith("failed")]


def test_operations_can_be_left_out() -> None:
    def operations(which: Settings) -> set[str]:
        return {c.operation for c in generate([Parent(0, SPINEL)], ELEMENTS, which)}

    assert operations(Settings(partial=False)) == {"ionic_substitution"}
    assert operations(Settings(substitution=False)) == {"partial_substitution"}


DIGEST = "da5561ee829e7b2814b8d52233b3f822801318d61bc03601171ba3f844f0637a"


def test_the_default_settings_propose_what_they_always_did() -> None:
    """Candidates and their order, of the small prototypes over five elements, since before there were blocks.

    But for Wyckoff letters, which depend on the origin that a search chooses.
    """
    shipped = [one.crystal for one in read_prototypes() if isinstance(one, ImportedRecord)]
    parents = [Parent(i, crystal) for i, crystal in enumerate(shipped) if crystal.nsites <= 6]
    lines = [
        f"{c.parent} {c.operation} {c.rank} {c.crystal.numbers.tolist()} {c.probability:.9e} {c.crystal.volume:.4f}"
        f" {c.flags} {json.dumps({k: v for k, v in c.arguments.items() if k != 'wyckoffs'}, sort_keys=True)}"
        for c in generate(parents, ("Li", "Mg", "Al", "O", "F"))
    ]
    assert hashlib.sha256("\n".join(lines).encode()).hexdigest() == DIGEST


def test_funnels_add_up() -> None:
    first, second = Funnel(), Funnel()
    first.reject("overlap", 2)
    second.reject("overlap")
    second.reject("volume", 0)
    assert (first + second).as_dict()["rejected"] == {"overlap": 3}
    before = first.copy()
    first.reject("volume")
    first.flag(["scarce", "radioactive"])
    since = (first - before).as_dict()
    assert since == {"parents": {}, "kept": {}, "rejected": {"volume": 1}, "flagged": {"scarce": 1, "radioactive": 1}}
