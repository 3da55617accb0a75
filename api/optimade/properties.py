"""The properties of an OPTIMADE structure in one table: the standard's, then ours with `_lode_` before their names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from api.optimade import formulas
from registry.crystal import Crystal
from registry.identity.composition import SYMBOLS
from registry.query.fields import EQUALITY, FIELDS, SETS, Field, Type, Vocabulary
from registry.query.values import formula_amounts

PREFIX = "_lode_"
TYPE = "structures"
ARRAYS = "arrays"
NO_FIELD = ""

LENGTH = frozenset({"LENGTH"})
ANGSTROM = "Ao"
"""UCUM's codes of units, which the standard wants."""

UNITS = {"eV": "eV", "eV/atom": "eV/{atom}", "angstrom^3": "Ao3"}
KINDS = {
    Type.INTEGER: "integer",
    Type.FLOAT: "float",
    Type.BOOLEAN: "boolean",
    Type.TIMESTAMP: "timestamp",
    Type.ELEMENTS: "list",
    Type.WORDS: "list",
    Type.NUMBERS: "list",
}


@dataclass(frozen=True)
class Entry:
    """What an entry is made from: described fields of ours, the arrays and the terms where they are needed."""

    row: dict[str, Any]
    crystal: Crystal | None = None
    citation: str | None = None
    non_commercial: bool = False

    @property
    def amounts(self) -> dict[str, int]:
        """Element -> atoms of the reduced formula, in alphabetical order."""
        return formula_amounts(self.row["reduced_formula"])

    @property
    def cell(self) -> Crystal:
        assert self.crystal is not None, "a property that needs ARRAYS says so"
        return self.crystal


@dataclass(frozen=True)
class Property:
    """field: as filters name it; needs: fields of ours that its value is made from, ARRAYS among them

    sort: our field by which results are ordered then, if they can be
    """

    field: Field
    value: Callable[[Entry], Any]
    needs: tuple[str, ...] = ()
    kind: str = "string"
    unit: str | None = None
    sort: str | None = None

    @property
    def name(self) -> str:
        return self.field.name


def _standard(
    name: str,
    type_: Type,
    description: str,
    value: Callable[[Entry], Any],
    *needs: str,
    operators: frozenset[str] = frozenset(),
    unit: str | None = None,
    sort: str | None = None,
) -> Property:
    field = Field(name, type_, NO_FIELD, description, operators=operators)
    return Property(field, value, needs, KINDS.get(type_, "string"), unit, sort)


def _symbols(entry: Entry) -> list[str]:
    return [SYMBOLS[number] for number in entry.cell.numbers]


def _ratios(entry: Entry) -> list[float]:
    amounts = entry.amounts.values()
    return [count / sum(amounts) for count in amounts]


def _species(entry: Entry) -> list[dict[str, Any]]:
    return [{"name": one, "chemical_symbols": [one], "concentration": [1.0]} for one in entry.amounts]


def moment(shown: str | None) -> str | None:
    """As RFC 3339 writes it in UTC."""
    return shown.replace("+00:00", "Z") if shown else shown


_STANDARD = (
    _standard("id", Type.TEXT, FIELDS["id"].description, lambda one: one.row["id"], "id", sort="id"),
    _standard("type", Type.TEXT, "structures, of all that is here", lambda _: TYPE),
    _standard(
        "immutable_id", Type.TEXT, "the id, which is made from the arrays", lambda one: one.row["id"], "id", sort="id"
    ),
    _standard(
        "last_modified",
        Type.TIMESTAMP,
        "when the crystal, which never changes, entered the registry; its place on the hull may be younger",
        lambda one: moment(one.row["discovered_at"]),
        "discovered_at",
        sort="discovered_at",
    ),
    _standard(
        "elements",
        Type.WORDS,
        FIELDS["elements"].description,
        lambda one: one.row["elements"],
        "elements",
        operators=SETS | {"HAS ONLY", "LENGTH"},
    ),
    _standard(
        "nelements",
        Type.INTEGER,
        FIELDS["nelements"].description,
        lambda one: one.row["nelements"],
        "nelements",
        sort="nelements",
    ),
    _standard("elements_ratios", Type.NUMBERS, "shares of the elements", _ratios, "reduced_formula"),
    _standard(
        "chemical_formula_descriptive",
        Type.TEXT,
        'reduced formula as chemists write it, "LiFePO4"',
        lambda one: one.row["reduced_formula"],
        "reduced_formula",
        sort="reduced_formula",
    ),
    _standard(
        "chemical_formula_reduced",
        Type.TEXT,
        'reduced formula in alphabetical order, "FeLiO4P"',
        lambda one: formulas.by_alphabet(one.row["reduced_formula"]),
        "reduced_formula",
    ),
    _standard(
        "chemical_formula_hill",
        Type.TEXT,
        "formula unit in Hill's order",
        lambda one: formulas.hill(one.row["reduced_formula"]),
        "reduced_formula",
        operators=EQUALITY,
    ),
    _standard(
        "chemical_formula_anonymous",
        Type.TEXT,
        'amounts without elements, the largest first, "A4BCD"',
        lambda one: formulas.by_amount(list(one.amounts.values())),
        "reduced_formula",
    ),
    _standard("dimension_types", Type.WORDS, "periodic in all three directions", lambda _: [1, 1, 1], operators=LENGTH),
    _standard("nperiodic_dimensions", Type.INTEGER, "3, of all that is here", lambda _: 3),
    _standard(
        "lattice_vectors",
        Type.WORDS,
        "vectors of the cell as rows",
        lambda one: one.cell.lattice.tolist(),
        ARRAYS,
        operators=LENGTH,
        unit=ANGSTROM,
    ),
    _standard(
        "cartesian_site_positions",
        Type.WORDS,
        "position of each site",
        lambda one: (one.cell.frac_coords @ one.cell.lattice).tolist(),
        ARRAYS,
        operators=LENGTH,
        unit=ANGSTROM,
    ),
    _standard(
        "nsites", Type.INTEGER, FIELDS["nsites"].description, lambda one: one.row["nsites"], "nsites", sort="nsites"
    ),
    _standard(
        "species", Type.WORDS, "the elements, each fully occupied", _species, "reduced_formula", operators=LENGTH
    ),
    _standard(
        "species_at_sites",
        Type.WORDS,
        "element of each site",
        _symbols,
        ARRAYS,
        operators=SETS | {"HAS ONLY", "LENGTH"},
    ),
    _standard(
        "structure_features",
        Type.WORDS,
        "none: every crystal here is ordered",
        lambda _: [],
        operators=SETS | LENGTH,
    ),
)

UNKNOWN = (
    "assemblies",
    "space_group_it_number",
    "space_group_symbol_hall",
    "space_group_symbol_hermann_mauguin",
    "space_group_symbol_hermann_mauguin_extended",
    "space_group_symmetry_operations_xyz",
)
"""Of the standard, and of no crystal here: null. `_lode_spacegroup_number` is the relaxed crystal's."""

SAME = ("id", "elements", "nelements", "nsites")
"""Fields that the standard has under the same name."""


def _own(field: Field) -> Property:
    def value(entry: Entry) -> Any:
        shown = entry.row[field.name]
        if field.name == "external_ids":
            return [name for names in shown.values() for name in ([names] if isinstance(names, str) else names)]
        return moment(shown) if field.type is Type.TIMESTAMP else shown

    sort = field.name if field.sorts else None
    ours = replace(field, name=PREFIX + field.name)
    unit = UNITS.get(field.unit or "")
    return Property(ours, value, (field.name,), KINDS.get(field.type, "string"), unit, sort)


_BESIDE = (
    Property(
        Field(f"{PREFIX}fractional_site_positions", Type.WORDS, NO_FIELD, "as stored, digit for digit"),
        lambda one: one.cell.frac_coords.tolist(),
        (ARRAYS,),
        "list",
        "1",
    ),
    Property(
        Field(f"{PREFIX}external_ids_by_scheme", Type.WORDS, NO_FIELD, "mp: mp-149, ..., or a list of several"),
        lambda one: one.row["external_ids"],
        ("external_ids",),
        "dictionary",
    ),
    Property(
        Field(f"{PREFIX}citation", Type.TEXT, NO_FIELD, "whom to cite for the crystal"),
        lambda one: one.citation,
        ("source",),
    ),
    Property(
        Field(f"{PREFIX}non_commercial", Type.BOOLEAN, NO_FIELD, "whether its licence forbids commercial use"),
        lambda one: one.non_commercial,
        ("source",),
        "boolean",
    ),
)
"""Told, but no words of the filter language."""

STANDARD: dict[str, Property] = {one.name: one for one in _STANDARD}
OWN: dict[str, Property] = {PREFIX + name: _own(field) for name, field in FIELDS.items() if name not in SAME}
PROPERTIES: dict[str, Property] = STANDARD | OWN | {one.name: one for one in _BESIDE}

VOCABULARY = Vocabulary(
    {name: one.field for name, one in (STANDARD | OWN).items()}
    | {name: Field(name, Type.UNTOLD, NO_FIELD, "of no crystal here", nullable=True) for name in UNKNOWN},
    foreign="_",
    own=PREFIX,
)
"""What filters may name."""
