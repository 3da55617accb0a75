"""The textbook table is consistent, and the judge says what happened and what chance would have done."""

from __future__ import annotations

import gzip
import json
import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.crystal import Crystal
from registry.identity.composition import SYMBOLS, Composition
from registry.identity.prototype import prototype_of
from workers.validation import textbook as module
from workers.validation.reference import Reference
from workers.validation.textbook import (
    Candidate,
    Label,
    TextbookCompound,
    chance_of_finding,
    judge,
    load_textbook,
)

FAMILY = set(re.findall("[A-Z][a-z]?", "LiNaKCsMgCaSrBaTiCuZnCdAlGaInSiFClBrOSSePAsSb"))
TABLE = load_textbook()
BY_FORMULA = {compound.reduced_formula: compound for compound in TABLE}
REFERENCES = [(one.reduced_formula, reference) for one in TABLE for reference in one.references]


@cache
def aflow_formulas() -> set[str]:
    spec = find_spec("pymatgen.analysis")
    assert spec is not None
    assert spec.submodule_search_locations
    path = Path(next(iter(spec.submodule_search_locations))) / "prototypes" / "aflow_prototypes.json.gz"
    if not path.exists():
        path = path.parent.parent / "aflow_prototypes.json.gz"
    sites = [entry["snl"]["sites"] for entry in json.loads(gzip.decompress(path.read_bytes()))]
    return {_formula(each) for each in sites}


def _formula(sites: list[dict[str, list[dict[str, str]]]]) -> str:
    symbols = [site["species"][0]["element"] for site in sites]
    return Composition.of({SYMBOLS.index(el): symbols.count(el) for el in set(symbols)}).reduced_formula


# --- the table ---------------------------------------------------------------------------------------------------


def test_the_table_is_large_enough_and_asks_nothing_twice() -> None:
    assert len(TABLE) >= 80
    assert sum(len(one.reference.crystal.amounts) >= 3 for one in TABLE) >= 25
    assert len(BY_FORMULA) == len(TABLE)


def test_no_compound_is_an_imported_prototype() -> None:
    assert len(aflow_formulas()) > 150
    assert {"NaCl", "CaF2", "GaAs"} <= aflow_formulas()
    assert not aflow_formulas() & set(BY_FORMULA)


@pytest.mark.parametrize(("formula", "reference"), REFERENCES, ids=[f"{f}-{r.spacegroup}" for f, r in REFERENCES])
def test_each_reference_is_the_crystal_it_says(formula: str, reference: Reference) -> None:
    crystal = reference.crystal
    assert Composition.of(crystal.amounts).reduced_formula == formula
    assert {SYMBOLS[number] for number in crystal.amounts} <= FAMILY
    assert crystal.nsites <= 14
    assert prototype_of(crystal, 1e-3).spacegroup_number == reference.spacegroup
    distances = crystal.to_pymatgen().distance_matrix + 99 * np.eye(crystal.nsites)
    assert 1.4 < distances.min() < 4.0
    assert 8 < crystal.volume / crystal.nsites < 75


@pytest.mark.parametrize("compound", TABLE, ids=list(BY_FORMULA))
def test_each_row_names_its_own_reference(compound: TextbookCompound) -> None:
    assert compound.reference.protostructure == compound.protostructure
    letters = [(element, re.sub(r"\d", "", position)) for element, position, _ in compound.reference.sites]
    found = [
        (el, letter) for el, letter, count in prototype_of(compound.reference.crystal).wyckoffs for _ in range(count)
    ]
    assert len(letters) == len(found)
    assert compound.matches(compound.reference.crystal)
    assert bool(compound.accepted) == (compound.certainty != "established")


def test_deleting_the_table_leaves_an_empty_report(tmp_path: Path) -> None:
    nothing = load_textbook(tmp_path / "textbook.json")
    report = judge(nothing, [candidate("c", "KCl", BY_FORMULA["KCl"].reference.crystal)], [])
    assert nothing == []
    assert (report.asked, report.found, report.random_found, report.rows) == (0, 0, 0, ())


def test_nothing_but_the_judge_knows_the_file() -> None:
    packages = Path(module.__file__).parents[2]
    sources = [path for name in ("registry", "predictors", "workers") for path in (packages / name).rglob("*.py")]
    readers = [path for path in sources if '"textbook.json"' in path.read_text(encoding="utf-8")]
    assert readers == [Path(module.__file__)]


# --- matching ----------------------------------------------------------------------------------------------------


def crystal_of(spacegroup: int, lattice: tuple[float, ...], *sites: tuple[str, tuple[float, ...]]) -> Crystal:
    return Reference(spacegroup, lattice, tuple((el, "", xyz) for el, xyz in sites)).crystal


def cubic(a: float) -> tuple[float, ...]:
    return (a, a, a, 90, 90, 90)


ROCK_SALT = BY_FORMULA["KCl"].reference.crystal
CSCL_KCL = crystal_of(221, cubic(3.8), ("K", (0, 0, 0)), ("Cl", (0.5, 0.5, 0.5)))
BLENDE_KCL = crystal_of(216, cubic(6.9), ("K", (0, 0, 0)), ("Cl", (0.25, 0.25, 0.25)))


def shaken(crystal: Crystal, by: float) -> Crystal:
    noise = np.random.default_rng(7).normal(scale=by, size=crystal.frac_coords.shape)
    return Crystal(crystal.lattice, crystal.numbers, crystal.frac_coords + noise @ np.linalg.inv(crystal.lattice))


def test_relaxation_noise_and_another_volume_still_match() -> None:
    zno = BY_FORMULA["ZnO"]
    assert zno.matches(shaken(zno.reference.crystal.scaled(1.15 * zno.reference.crystal.volume), 0.01))


def test_other_structures_of_the_formula_do_not_match() -> None:
    assert not BY_FORMULA["KCl"].matches(CSCL_KCL)
    assert not BY_FORMULA["KCl"].matches(BLENDE_KCL)


def test_one_label_can_hold_two_structures() -> None:
    compound = BY_FORMULA["NaInO2"]
    delafossite = crystal_of(
        166, (3.2, 3.2, 18.5, 90, 90, 120), ("In", (0, 0, 0)), ("Na", (0, 0, 0.5)), ("O", (0, 0, 0.384))
    )
    assert prototype_of(delafossite).label == prototype_of(compound.reference.crystal).label
    assert not compound.matches(delafossite)


def test_the_ferroelectric_is_not_its_cubic_parent() -> None:
    cubic_batio3 = crystal_of(221, cubic(4.01), ("Ba", (0, 0, 0)), ("Ti", (0.5, 0.5, 0.5)), ("O", (0, 0.5, 0.5)))
    assert not BY_FORMULA["BaTiO3"].matches(cubic_batio3)


def test_elements_on_exchanged_sites_do_not_match() -> None:
    swapped = crystal_of(216, cubic(5.77), ("Zn", (0.25, 0.25, 0.25)), ("Li", (0, 0, 0)), ("P", (0.5, 0.5, 0.5)))
    assert not BY_FORMULA["LiZnP"].matches(swapped)
    assert not BY_FORMULA["LiZnP"].may_become(swapped)


# --- the judge ---------------------------------------------------------------------------------------------------


def candidate(key: str, formula: str, crystal: Crystal, *scored: float | int, failure: str | None = None) -> Candidate:
    predicted, rank = (*scored, None, None)[:2]
    return Candidate(key, formula, crystal, predicted, None if rank is None else int(rank), failure)


def label(key: str, formula: str, crystal: Crystal, energy: float, above: float = 0.0, competing: bool = True) -> Label:
    return Label(key, formula, crystal, energy, above, competing)


KCL = [BY_FORMULA["KCl"]]
B1, B2 = candidate("b1", "KCl", ROCK_SALT, -0.2, 3), candidate("b2", "KCl", CSCL_KCL, -0.1, 9)


def test_found_and_lowest() -> None:
    report = judge(KCL, [B1, B2], [label("b1", "KCl", ROCK_SALT, -3.40), label("b2", "KCl", CSCL_KCL, -3.35, 0.05)])
    (row,) = report.rows
    assert (row.outcome, row.label_id, row.rivals) == ("right structure", "b1", 1)
    assert row.margin == pytest.approx(-0.05)
    assert (report.found, report.right_structure, report.tied, report.within_25mev) == (1, 1, 0, 1)
    assert (report.with_rivals, report.right_with_rivals, report.no_competition) == (1, 1, 0)


def test_a_lone_structure_is_said_to_be_alone() -> None:
    report = judge(KCL, [B1, B2], [label("b1", "KCl", ROCK_SALT, -3.40, competing=False)])
    assert (report.right_structure, report.with_rivals, report.no_competition) == (1, 0, 1)
    assert "only structure" in report.rows[0].reason


@pytest.mark.parametrize(("gap", "outcome", "right"), [(0.0015, "tied", 1), (0.0125, "another lower", 0)])
def test_ties_below_2_mev_are_told_from_defeats(gap: float, outcome: str, right: int) -> None:
    labels = [label("b1", "KCl", ROCK_SALT, -3.40, gap), label("b2", "KCl", CSCL_KCL, -3.40 - gap)]
    report = judge(KCL, [B1, B2], labels)
    assert (report.rows[0].outcome, report.right_structure, report.tied) == (outcome, right, right)
    assert f"lower by {1000 * gap:.1f} meV/atom (AB_cP2_221_a_b:Cl-K)" in report.rows[0].reason


def test_far_above_the_hull_is_found_but_not_near_it() -> None:
    report = judge(KCL, [B1], [label("b1", "KCl", ROCK_SALT, -3.40, 0.026)])
    assert (report.found, report.within_25mev) == (1, 0)


def test_relaxed_into_another_structure() -> None:
    report = judge(KCL, [B1], [label("b1", "KCl", CSCL_KCL, -3.3)])
    assert report.found == 0
    assert report.rows[0].reason == "relaxed to another prototype (AB_cP2_221_a_b:Cl-K)"


def test_relaxed_into_the_textbook_structure_from_another() -> None:
    report = judge(KCL, [B2], [label("b2", "KCl", ROCK_SALT, -3.4)])
    assert (report.found, report.random_found) == (1, 1.0)


@pytest.mark.parametrize(
    ("candidates", "reason"),
    [
        ([], "never generated"),
        ([B2], "never generated (its composition was, in 1 other structures)"),
        ([B1, B2], "generated, not selected (predicted decomposition energy -0.200 eV/atom, rank 3)"),
        ([candidate("b1", "KCl", ROCK_SALT)], "generated, not among those that the ensemble looked at (never scored)"),
        ([candidate("b1", "KCl", ROCK_SALT, failure="did not converge")], "label failed: did not converge"),
    ],
)
def test_each_miss_has_its_reason(candidates: list[Candidate], reason: str) -> None:
    report = judge(KCL, candidates, [])
    assert report.found == 0
    assert [row.reason for row in report.misses] == [reason]


def test_labels_of_known_crystals_are_rivals_only() -> None:
    known = [label("known", "KCl", ROCK_SALT, -3.4), label("other", "KCl", BLENDE_KCL, -3.5)]
    report = judge(KCL, [B1], known)
    assert (report.found, report.labels) == (0, 0)
    won = judge(KCL, [B1], [label("b1", "KCl", ROCK_SALT, -3.4), *known])
    assert (won.rows[0].outcome, won.labels) == ("another lower", 1)


def test_an_unlabelled_candidate_counts_for_chance() -> None:
    filler = [candidate(f"f{i}", "NaF", CSCL_KCL) for i in range(6)]
    tried = [label(f"f{i}", "NaF", CSCL_KCL, -1.0) for i in range(2)]
    twice = [B1, candidate("b1 again", "KCl", ROCK_SALT.scaled(80.0))]
    report = judge(KCL, [*twice, *filler], tried)
    assert report.random_found == pytest.approx(1 - (6 * 5) / (8 * 7))


def test_summary_has_the_keys_of_the_demo() -> None:
    summary = judge(KCL, [B1], []).summary()
    assert {"asked", "found", "random_found", "right_structure", "within_25meV"} <= set(summary)
    json.dumps(judge(KCL, [B1], []).as_dict())


# --- chance ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("matching", "candidates", "labels"), [(1, 40, 10), (3, 40, 10), (8, 25, 5), (2, 30, 29)])
def test_chance_agrees_with_drawing(matching: int, candidates: int, labels: int) -> None:
    draws = np.random.default_rng(1).permuted(np.tile(np.arange(candidates), (20_000, 1)), axis=1)[:, :labels]
    drawn = (draws < matching).any(axis=1).mean()
    assert chance_of_finding(matching, candidates, labels) == pytest.approx(drawn, abs=0.015)


@given(st.integers(1, 300), st.data())
def test_chance_is_a_probability_with_its_limits(candidates: int, data: st.DataObject) -> None:
    matching = data.draw(st.integers(1, candidates))
    labels = data.draw(st.integers(0, candidates))
    chance = chance_of_finding(matching, candidates, labels)
    assert 0 <= chance <= 1
    assert chance_of_finding(matching, candidates, 0) == 0
    assert chance_of_finding(matching, candidates, candidates) == 1
    assert chance_of_finding(1, candidates, labels) == pytest.approx(labels / candidates)
