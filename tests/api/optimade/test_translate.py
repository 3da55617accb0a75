"""What a filter in the standard's names means here, without a database."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from optimade.models import StructureResourceAttributes
from optimade.models.utils import ANONYMOUS_ELEMENTS

from api.optimade import formulas
from api.optimade.properties import OWN, PROPERTIES, STANDARD, UNKNOWN
from api.optimade.translate import Leaf, understand, where
from registry.errors import FilterError, UnsupportedFilter
from registry.identity.composition import Composition
from registry.query.fields import FIELDS
from registry.query.filter import And, Comparison, Filter, Known, Node, Not, Or, parse


@pytest.mark.parametrize(
    ("text", "ours"),
    [
        ('id="lode-a"', 'id="lode-a"'),
        ('immutable_id="lode-a"', 'id="lode-a"'),
        ('elements HAS ALL "Li","O" AND nelements<=4', 'elements HAS ALL "Li","O" AND nelements<=4'),
        ('elements HAS "Li"', 'elements HAS "Li"'),
        ('elements HAS ANY "Li","Xx"', 'elements HAS ANY "Li"'),
        ('elements HAS ONLY "Li","X"', 'elements HAS ONLY "Li"'),
        ('species_at_sites HAS ANY "Li","O"', 'elements HAS ANY "Li","O"'),
        ("elements LENGTH 3", "nelements=3"),
        ("species LENGTH > 3", "nelements>3"),
        ("elements_ratios LENGTH <= 3", "nelements<=3"),
        ("cartesian_site_positions LENGTH 8", "nsites=8"),
        ("species_at_sites LENGTH != 8", "nsites!=8"),
        ('chemical_formula_reduced="FeLiO4P"', 'reduced_formula="LiFePO4"'),
        ('"FeLiO4P"=chemical_formula_reduced', 'reduced_formula="LiFePO4"'),
        ('chemical_formula_anonymous="A4BCD"', 'anonymous_formula="ABCD4"'),
        ('chemical_formula_hill="H2O2"', 'reduced_formula="HO"'),
        ('last_modified>="2026-01-01T00:00:00Z"', 'discovered_at>="2026-01-01"'),
        ("_lode_e_above_hull<0.05", "e_above_hull<0.05"),
        ("_lode_spacegroup_number=154", "spacegroup_number=152"),
        ('_lode_chemsys="O-Li"', 'chemsys="Li-O"'),
        ("_lode_band_gap IS UNKNOWN", "band_gap IS UNKNOWN"),
        ("NOT (nsites=1 AND NOT nelements=2)", "NOT nsites=1 OR nelements=2"),
        ('nsites=1 AND type="structures"', "nsites=1"),
        ('nsites=1 AND NOT type="references"', "nsites=1"),
        ("nsites=1 OR _exmpl_x<3", "nsites=1"),
        ("nsites=1 AND NOT (_exmpl_x<3 AND nsites=2)", "nsites=1 AND NOT nsites=2"),
        ("nsites=1 AND _exmpl_x IS UNKNOWN", "nsites=1"),
        ("nsites=1 AND nperiodic_dimensions=3", "nsites=1"),
        ("nsites=1 AND structure_features LENGTH 0", "nsites=1"),
        ('nsites=1 AND NOT structure_features HAS "disorder"', "nsites=1"),
        ("nsites=1 AND elements IS KNOWN", "nsites=1"),
        ('nsites=1 AS OF "2026-01-01"', 'nsites=1 AS OF "2026-01-01"'),
    ],
)
def test_means(text: str, ours: str) -> None:
    assert understand(text).filter == parse(ours)


@pytest.mark.parametrize(
    "text",
    [
        "",
        'type="structures"',
        "nperiodic_dimensions>=3",
        "lattice_vectors LENGTH 3 AND dimension_types LENGTH 3",
        "space_group_it_number IS UNKNOWN",
        'chemical_formula_reduced!="LiFePO4"',
        'type CONTAINS "struct" AND type STARTS WITH "s" AND type ENDS "s"',
    ],
)
def test_holds_for_all(text: str) -> None:
    assert understand(text).filter == Filter()


@pytest.mark.parametrize(
    "text",
    [
        'type="references"',
        "nperiodic_dimensions<3",
        'structure_features HAS ANY "disorder","assemblies"',
        '_exmpl_x="a" OR _exmpl_y HAS ALL "b","c" OR _exmpl_z LENGTH 3 OR _exmpl_z STARTS "a"',
        "NOT _exmpl_x=1",
        "_exmpl_x!=1 AND nsites=1",
        "assemblies IS KNOWN",
        "space_group_it_number=225",
        'elements HAS ALL "Li","Xx"',
        'chemical_formula_reduced="LiFePO4"',
        'chemical_formula_reduced="Fe2Li2O8P2"',
        'chemical_formula_anonymous="AB4"',
        'chemical_formula_anonymous="A2B2"',
        'chemical_formula_hill="HO"',
    ],
)
def test_holds_for_none(text: str) -> None:
    assert understand(text).filter is None


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("_exmpl_x=1 OR _exmpl_x=2", "_exmpl_x is known of no crystal here"),
        ('elements HAS "Xx"', "'Xx' isn't a chemical element"),
        ('chemical_formula_reduced="LiFePO4"', "in alphabetical order, FeLiO4P"),
        ('chemical_formula_anonymous="AB4"', "the largest amount first, A4BCD"),
    ],
)
def test_notes(text: str, note: str) -> None:
    (told,) = understand(text).notes
    assert note in told


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("crazyfield=2", "unknown field 'crazyfield'"),
        ("e_above_hull<0.1", "unknown field 'e_above_hull': did you mean _lode_e_above_hull?"),
        ("_lode_e_over_hull<0.1", "did you mean _lode_e_above_hull?"),
        ('nsites=1 AND last_modified>"yesterday"', "isn't a moment"),
        ("nsites=1 OR", "the filter ends too early"),
        ("energy_source IS KNOWN", "unknown field 'energy_source'"),
    ],
)
def test_refuses(text: str, message: str) -> None:
    with pytest.raises(FilterError) as refused:
        understand(text)
    assert not isinstance(refused.value, UnsupportedFilter)
    assert message in str(refused.value)
    assert "^" in str(refused.value)


@pytest.mark.parametrize(
    ("text", "marked"),
    [
        ("elements_ratios HAS >0.5", "HAS"),
        ('elements_ratios HAS "half"', '"half"'),
        ("lattice_vectors HAS 1", "HAS"),
        ('elements:elements_ratios HAS "Li":>0.3', 'elements_ratios HAS "Li":>0.3'),
        ("nsites HAS 3", "HAS"),
        ('nsites="3"', '"3"'),
        ("nsites=nelements", "nelements"),
        ('chemical_formula_hill<"B"', "<"),
        ("elements HAS 1", "1"),
        ('"a"="b"', '"b"'),
    ],
)
def test_leaves_out(text: str, marked: str) -> None:
    with pytest.raises(UnsupportedFilter) as refused:
        understand(text)
    _, shown, carets = str(refused.value).split("\n")
    assert shown[carets.index("^") : carets.rindex("^") + 1].endswith(marked[-4:])


HEAVIEST = 94
"""pymatgen warns of elements beyond, of which it knows no electronegativity."""

MOST_ELEMENTS = 26
"""The validator of optimade-python-tools sorts the 27th letter, Aa, before B; the standard writes it after Z."""

COUNTS = st.dictionaries(st.integers(1, HEAVIEST), st.integers(1, 12), min_size=1, max_size=MOST_ELEMENTS)


@given(COUNTS)
def test_formulas_are_spelt_as_the_standard_demands(counts: dict[int, int]) -> None:
    made_of = Composition.of(counts)
    reduced, anonymous = formulas.by_alphabet(made_of.reduced_formula), formulas.by_amount([*made_of.reduced.values()])
    hill = formulas.hill(made_of.reduced_formula)
    features = {"structure_features": [], "last_modified": None}
    told = {
        "chemical_formula_reduced": reduced,
        "chemical_formula_anonymous": anonymous,
        "chemical_formula_hill": hill,
    }
    StructureResourceAttributes(**told, **features)
    assert formulas.spells_by_alphabet(reduced)
    assert formulas.spells_hill(hill)
    assert formulas.from_amounts(anonymous) == made_of.anonymous_formula


def test_letters_are_the_standards() -> None:
    """A to Z, Aa, Ba, ... Za, Ab, as its text has it; the package's models think otherwise from the 28th on."""
    assert [formulas.letter(place) for place in range(27)] == list(ANONYMOUS_ELEMENTS[:27])
    assert [formulas.letter(place) for place in (27, 51, 52, 53)] == ["Ba", "Za", "Ab", "Bb"]


def test_every_field_is_there_once() -> None:
    assert {*FIELDS} == {one.sort or one.needs[0] for one in OWN.values()} | {"id", "elements", "nelements", "nsites"}
    assert {*StructureResourceAttributes.model_fields} == {*STANDARD, *UNKNOWN} - {"id", "type"}
    assert all(one.field.description for one in PROPERTIES.values())


LEAVES: dict[Leaf, bool | None] = {
    Comparison("_lode_volume", ">", 1): True,
    Comparison("_lode_volume", ">", 2): False,
    Comparison("_lode_band_gap", ">", 1): None,
    Comparison("_exmpl_x", "=", "1"): None,
    Comparison("type", "=", "structures"): True,
    Comparison("type", "=", "references"): False,
    Known("_exmpl_x", False): True,
}
"""What each is of some crystal; the first three depend on it."""

TREES = st.recursive(
    st.sampled_from(list(LEAVES)),
    lambda inner: st.one_of(
        st.builds(Not, inner),
        st.builds(And, st.lists(inner, min_size=2, max_size=3).map(tuple)),
        st.builds(Or, st.lists(inner, min_size=2, max_size=3).map(tuple)),
    ),
    max_leaves=12,
)


def holds(node: Node | bool, names: Callable[[Any], bool | None]) -> bool | None:
    """As SQL has it: true, false or unknown."""
    match node:
        case bool():
            return node
        case Not(operand):
            inner = holds(operand, names)
            return None if inner is None else not inner
        case And(operands) | Or(operands):
            parts = [holds(one, names) for one in operands]
            decisive = isinstance(node, Or)
            if decisive in parts:
                return decisive
            return None if None in parts else not decisive
    return names(node)


@given(TREES, st.booleans())
def test_unknown_stays_unknown_whatever_negates_it(tree: Node, wanted: bool) -> None:
    ours = {replace(leaf, field=leaf.field.removeprefix("_lode_")): told for leaf, told in LEAVES.items()}
    theirs = holds(tree, LEAVES.__getitem__)
    assert (holds(where(tree, wanted=wanted), ours.__getitem__) is True) == (theirs is wanted)


def test_depth_stays() -> None:
    """Negations that are moved down make no deeper tree than they were."""
    text = "NOT (" * 60 + "nsites=1 AND nelements=2" + ")" * 60
    found = understand(text).filter
    assert found is not None
    assert found == parse("nsites=1 AND nelements=2")
    other = understand("NOT (nsites=1 AND nelements=2)").filter
    assert other is not None
    assert isinstance(other.root, Or)
    assert all(isinstance(one, Not) for one in other.root.operands)
