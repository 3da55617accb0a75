from collections import Counter
from itertools import product

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from registry.crystal import Crystal
from registry.identity.composition import SYMBOLS
from registry.identity.duplicates import same_crystal
from registry.identity.isotypes import scale
from registry.identity.prototype import prototype_of
from workers.candidates.filters import Limits
from workers.candidates.funnel import Funnel
from workers.candidates.likelihood import Weights, evidence
from workers.candidates.novelty import KnownCompositions, composition_keys
from workers.candidates.parents import Parent
from workers.candidates.pool import elements_of, keys_of, proposed
from workers.candidates.ranked import candidates, likeliest
from workers.candidates.replacements import mined_odds, paper_odds
from workers.candidates.settings import Settings
from workers.candidates.structure_types import numbers_of_codes, structure_types, typed_cell
from workers.candidates.substitution import paper_slot
from workers.candidates.table import substitution_table


def cell(group: str, lattice: Lattice, species: list[str], coords: list[list[float]]) -> Crystal:
    return Crystal.from_pymatgen(Structure.from_spacegroup(group, lattice, species, coords))


def rock_salt(a: str, b: str, length: float = 5.0) -> Crystal:
    return cell("Fm-3m", Lattice.cubic(length), [a, b], [[0] * 3, [0.5] * 3])


def perovskite(a: str, b: str, x: str = "O") -> Crystal:
    return cell("Pm-3m", Lattice.cubic(3.9), [a, b, x], [[0.5] * 3, [0] * 3, [0.5, 0, 0]])


def rutile(a: str, b: str = "O") -> Crystal:
    return cell("P4_2/mnm", Lattice.tetragonal(4.6, 2.96), [a, b], [[0] * 3, [0.305, 0.305, 0]])


PARENTS = [
    *(rock_salt(a, b) for a, b in [("Na", "Cl"), ("K", "Cl"), ("Na", "Br"), ("Mg", "O"), ("Ca", "O"), ("Ca", "S")]),
    *(perovskite(a, b) for a, b in [("Sr", "Ti"), ("Ba", "Ti"), ("Sr", "Zr"), ("Ca", "Zr")]),
    *(rutile(a) for a in ("Ti", "Sn", "Pb")),
]
KNOWN = KnownCompositions.of(parent.amounts for parent in PARENTS)


def label(crystal: Crystal) -> str:
    return prototype_of(crystal).label


def test_equivalent_places_are_one_whatever_the_order() -> None:
    """Either ion of rock salt may be the first."""
    types = {one.label: one for one in structure_types(PARENTS, partial=False)}
    salt = types[label(PARENTS[0])]
    swapped = structure_types([rock_salt("Cl", "Na"), PARENTS[0]], partial=False)[0]
    assert len(salt.permutations) == 2
    assert (salt.whole, len(swapped.members)) == (6, 1)
    assert all(member[0] < member[1] for member in salt.members.tolist())


def test_what_cannot_be_used_is_counted() -> None:
    funnel = Funnel()
    flat = Crystal(np.eye(3) * 0.01, np.array([11], np.int16), np.zeros((1, 3)))
    many = Crystal(np.eye(3) * 9, np.arange(3, 11, dtype=np.int16), np.random.default_rng(0).random((8, 3)))
    unheard_of = Crystal(np.eye(3) * 4, np.array([119, 17], np.int16), np.array([[0] * 3, [0.5] * 3]))
    types = structure_types([flat, many, unheard_of, PARENTS[0]], funnel=funnel)
    assert funnel.parents == {"no_space_group": 1, "too_many_elements": 1, "failed: IndexError": 1, "used": 1}
    assert len(types) == 1


def test_without_usable_parents_nothing_is_proposed() -> None:
    flat = Crystal(np.eye(3) * 0.01, np.array([11], np.int16), np.zeros((1, 3)))
    assert len(likeliest([], 10)) == len(likeliest([flat], 10)) == 0


def test_a_divided_place_leads_to_the_type_of_the_divided_crystal() -> None:
    """Both titaniums of rutile's cell apart: the type that TiSnO4 has on these sites."""
    parent = PARENTS[-3]
    types = {one.label: one for one in structure_types([parent])}
    numbers = parent.numbers.copy()
    numbers[np.flatnonzero(numbers == 22)[0]] = 50
    divided = parent.with_numbers(numbers)
    found = types[label(divided)]
    assert found.whole == 0
    assert Counter(found.members[0].tolist()) == {scale("Ti"): 2, scale("O"): 1}


def test_keys_hold_elements() -> None:
    codes = np.random.default_rng(0).integers(1, 119, (50, 6))
    assert np.array_equal(elements_of(keys_of(codes), 6), codes)


def test_the_pool_equals_a_brute_force() -> None:
    types = structure_types(PARENTS)
    odds = mined_odds(types)
    pool = proposed(types, odds, threshold=0.01)
    elements = np.flatnonzero(odds.table.any(axis=0))
    expected: dict[tuple[int, int], float] = {}
    for index, one in enumerate(types):
        rows = odds.rows(one)
        for number, (member, sources) in enumerate(zip(one.members, rows, strict=True)):
            for codes in product(elements.tolist(), repeat=len(member)):
                changed = [i for i, code in enumerate(codes) if code != member[i]]
                start = 1.0 if number < one.whole else 0.1
                probability = start * float(np.prod([odds.table[sources[i], codes[i]] for i in changed]))
                if changed and len(set(codes)) == len(codes) and probability >= 0.01:
                    key = (index, _canonical_key(one, codes))
                    expected[key] = max(expected.get(key, 0.0), probability)
    found = dict(
        zip(zip(pool.types.tolist(), pool.keys.tolist(), strict=True), pool.probabilities.tolist(), strict=True)
    )
    assert found == pytest.approx(expected, rel=1e-5)
    assert len(found) > 50


def _canonical_key(one, codes) -> int:
    ways = []
    for permutation in one.permutations:
        placed = np.empty(len(codes), np.int64)
        placed[permutation] = codes
        groups = [sorted(placed[one.groups == group].tolist()) for group in np.unique(one.groups)]
        ways.append([code for group in groups for code in group])
    return int(keys_of(np.array([min(ways)]))[0])


def test_a_small_room_keeps_the_most_probable() -> None:
    types = structure_types(PARENTS)
    odds = mined_odds(types)
    everything = proposed(types, odds, threshold=1e-3)
    few = proposed(types, odds, threshold=1e-3, room=20)
    assert len(few) == 20
    best = np.sort(everything.probabilities)[::-1][:20]
    assert np.allclose(np.sort(few.probabilities)[::-1], best)


def test_compositions_are_new_and_named_as_everywhere() -> None:
    ranked = likeliest(PARENTS, 200, known=KNOWN)
    assert not KNOWN.hold(ranked.pool.compositions).any()
    for row in range(0, len(ranked), 17):
        made = ranked.crystal(row, PARENTS)
        assert composition_keys(made.numbers[None, :])[0] == ranked.pool.compositions[row]


def test_candidates_come_in_the_structure_that_they_are_named_by() -> None:
    ranked = likeliest(PARENTS, 300, known=KNOWN)
    divided = 0
    for row in range(len(ranked)):
        one = ranked.types[ranked.pool.types[row]]
        divided += ranked.pool.members[row] >= one.whole
        assert label(ranked.crystal(row, PARENTS)) == one.label
    assert divided


def test_a_candidate_tells_what_it_was_made_from() -> None:
    ranked = likeliest(PARENTS, 300, known=KNOWN)
    for row in range(0, len(ranked), 7):
        parent, made = PARENTS[ranked.parent(row)], ranked.crystal(row, PARENTS)
        old, new = zip(*ranked.replaced(row), strict=True)
        assert {SYMBOLS[number] for number in parent.amounts} == set(old)
        assert {SYMBOLS[number] for number in made.amounts} == set(new)
        assert (len(set(old)) < len(old)) == (ranked.operation(row) == "partial_substitution")
        assert made.nsites == typed_cell(parent)[1].nsites


def test_what_the_isotypes_suggest_comes_first() -> None:
    """NaCl, KCl and NaBr are known: KBr is the likeliest, and in rock salt."""
    ranked = likeliest(PARENTS, 5, known=KNOWN)
    made = [ranked.crystal(row, PARENTS) for row in range(len(ranked))]
    assert any(same_crystal(one, rock_salt("K", "Br")) for one in made)
    assert np.all(np.diff(ranked.scores) <= 0)


def test_candidates_are_of_the_family_but_all_parents_speak() -> None:
    everyone = likeliest(PARENTS, 10_000, known=KNOWN)
    family = {20, 38, 22, 40, 8, 34}  # Ca, Sr, Ti, Zr, O, Se
    ranked = likeliest(PARENTS, 10_000, known=KNOWN, family=family)
    assert 0 < len(ranked) < len(everyone)
    made = [ranked.crystal(row, PARENTS) for row in range(len(ranked))]
    assert all(crystal.amounts.keys() <= family for crystal in made)
    expected = [row for row in range(len(everyone)) if everyone.crystal(row, PARENTS).amounts.keys() <= family]
    np.testing.assert_allclose(ranked.scores, everyone.scores[expected])


def test_candidates_as_crystals_tell_their_parents_and_pass_the_rules() -> None:
    """Those of a divided perovskite name the sites that they replace."""
    parents = [Parent(f"p{index}", crystal) for index, crystal in enumerate(PARENTS)]
    symbols = ("Ca", "Sr", "Ba", "Ti", "Zr", "O", "S", "Se")
    funnel = Funnel()
    found = list(candidates(parents, symbols, Settings(likeliest=10_000), funnel, KNOWN))
    assert funnel.kept.total() == len(found) > 10
    assert [one.probability for one in found] == sorted((one.probability for one in found), reverse=True)
    for one in found:
        parent = PARENTS[int(str(one.parent)[1:])]
        sites = one.arguments.get("sites")
        assert (sites is not None) == (one.operation == "partial_substitution")
        old = {name for name, _ in one.arguments["replaced"]}  # type: ignore[attr-defined]
        assert old <= {SYMBOLS[number] for number in parent.amounts}
        if isinstance(sites, list):
            assert len(set(one.crystal.numbers[sites].tolist())) == 1
    assert {one.operation for one in found} == {"ionic_substitution", "partial_substitution"}
    strict = Settings(likeliest=10_000, limits=Limits(closest=3.0))
    refused = Funnel()
    assert list(candidates(parents, symbols, strict, refused, KNOWN)) == []
    assert refused.rejected["overlap"] == len(found)


def test_cells_of_candidates_can_be_bounded() -> None:
    ranked = likeliest(PARENTS, 10_000, known=KNOWN, max_sites=4)
    sizes = {ranked.crystal(row, PARENTS).nsites for row in range(len(ranked))}
    assert sizes <= {2, 3, 4}
    with pytest.raises(ValueError, match="say how many"):
        next(candidates([], ("Na",), Settings()))


def test_one_structure_of_each_composition() -> None:
    ranked = likeliest(PARENTS, 100, known=KNOWN, per="composition")
    assert len(np.unique(ranked.pool.compositions)) == len(ranked)


def test_evidence_adds_over_members_and_counts_against() -> None:
    types = structure_types(PARENTS)
    odds = mined_odds(types)
    pool = proposed(types, odds, threshold=1e-3)
    found = evidence(pool, types, odds)
    row = int(np.argmax(found.whole))
    one = types[pool.types[row]]
    wanted = elements_of(pool.keys[row : row + 1], len(one.amounts))[0]
    sums = [0.0, 0.0]
    for member, sources in enumerate(odds.rows(one)):
        changed = np.flatnonzero(one.members[member] != wanted)
        if 0 < len(changed) <= 3:
            p = min(float(np.prod(odds.table[sources[changed], wanted[changed]])), 0.99)
            sums[member >= one.whole] -= np.log1p(-p)
    assert [found.whole[row], found.partial[row]] == pytest.approx(sums)
    assert set(np.unique(found.unbalanced)) == {0.0, 1.0}
    plain = found.scores(Weights(unbalanced=0.0, mismatch=0.0))
    assert np.all(found.scores() <= plain)


def test_the_papers_odds_are_those_of_its_slots() -> None:
    table = substitution_table()
    odds = paper_odds([{11: 1, 17: -1}, None])
    types = structure_types([PARENTS[0], PARENTS[1]], partial=False)
    rows = odds.rows(types[0])
    assert (rows[0] >= 0).all()
    assert (rows[1] == -1).all()
    sodium = odds.table[rows[0][types[0].members[0] == scale("Na")]][0]
    slot = paper_slot(table, table.ions[table.index[(11, 1)]], 1, kin=0)  # type: ignore[index]
    for ion, probability in zip(slot.ions[1:], slot.probabilities[1:].tolist(), strict=True):
        assert sodium[scale(ion.symbol)] >= probability
    pool = proposed(types, odds, threshold=1e-3, most_replaced=1)
    assert set(pool.members.tolist()) == {0}
    assert numbers_of_codes()[scale("Na")] == 11
