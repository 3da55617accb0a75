"""Every field that can be asked for, in one table: type, unit, meaning, where it lies and what it can be compared with.

The command line, GraphQL descriptions and OPTIMADE's /info are made from it. Pure: a column is named, never imported.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum

from registry.errors import FilterError


class Type(StrEnum):
    """What a field holds."""

    TEXT = "text"
    CHEMSYS = "chemical system"
    FORMULA = "formula"
    ANONYMOUS_FORMULA = "anonymous formula"
    INTEGER = "integer"
    FLOAT = "float"
    BOOLEAN = "boolean"
    TIMESTAMP = "timestamp"
    ELEMENTS = "list of elements"
    WORDS = "list of words"
    NUMBERS = "list of numbers"
    UNTOLD = "field of somebody else"


EQUALITY = frozenset({"=", "!="})
ORDER = EQUALITY | {"<", "<=", ">", ">="}
WITHIN = frozenset({"CONTAINS", "STARTS", "ENDS"})
SETS = frozenset({"HAS", "HAS ALL", "HAS ANY"})

OPERATORS: dict[Type, frozenset[str]] = {
    Type.TEXT: ORDER | WITHIN,
    Type.CHEMSYS: EQUALITY,
    Type.FORMULA: EQUALITY | WITHIN,
    Type.ANONYMOUS_FORMULA: EQUALITY | WITHIN,
    Type.INTEGER: ORDER,
    Type.FLOAT: ORDER,
    Type.BOOLEAN: EQUALITY,
    Type.TIMESTAMP: ORDER,
    Type.ELEMENTS: SETS | {"HAS ONLY", "LENGTH"},
    Type.WORDS: SETS,
    Type.NUMBERS: SETS | {"LENGTH"},
    Type.UNTOLD: ORDER | WITHIN | SETS | {"HAS ONLY", "LENGTH"},
}
"""Comparisons of each type; IS KNOWN and IS UNKNOWN go with all of them."""


@dataclass(frozen=True)
class Field:
    """One field. `column` names the SQL expression in registry/query/sql.py; `sorts` where results can be ordered.

    operators: those of the type unless others are given
    """

    name: str
    type: Type
    column: str
    description: str
    unit: str | None = None
    nullable: bool = False
    operators: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        object.__setattr__(self, "operators", self.operators or OPERATORS[self.type])

    @property
    def table(self) -> str:
        """Which table or join the column lies in."""
        return self.column.partition(".")[0]

    @property
    def sorts(self) -> bool:
        return self.type not in {Type.ELEMENTS, Type.WORDS, Type.NUMBERS}

    @property
    def explanation(self) -> str:
        """The description with its unit, as the API's schemas show it."""
        return f"{self.description} ({self.unit})" if self.unit else self.description


def _energy(name: str, description: str, table: str = "hull_state") -> Field:
    column = name.removeprefix("predicted_") if table == "prediction" else name
    return Field(name, Type.FLOAT, f"{table}.{column}", description, "eV/atom", nullable=True)


_TABLE = (
    Field("id", Type.TEXT, "structure.public_id", "public id of the structure; the same arrays have it everywhere"),
    Field("external_ids", Type.WORDS, "external_id.value", "names that others gave it: mp-149, an ICSD number"),
    Field("elements", Type.ELEMENTS, "composition.elements", "chemical elements"),
    Field("nelements", Type.INTEGER, "composition.nelements", "number of different elements"),
    Field("chemsys", Type.CHEMSYS, "structure.chemsys", 'chemical system, "Fe-Li-O"; in a filter in any order'),
    Field(
        "reduced_formula", Type.FORMULA, "composition.reduced_formula", 'reduced formula, "LiFeO2"; = takes any order'
    ),
    Field(
        "anonymous_formula",
        Type.ANONYMOUS_FORMULA,
        "composition.anonymous_formula",
        'amounts without elements, "AB2"; = takes any order',
    ),
    Field("nsites", Type.INTEGER, "structure.nsites", "atoms in the stored cell"),
    Field("volume", Type.FLOAT, "structure.volume", "volume of the stored cell", "angstrom^3"),
    Field(
        "spacegroup_number",
        Type.INTEGER,
        "prototype.spacegroup_number",
        "space group 1-230, of the relaxed crystal where there is one; of a mirrored pair the lower (152 for 154)",
        nullable=True,
    ),
    Field(
        "prototype",
        Type.TEXT,
        "prototype.label",
        "structure type in AFLOW's form, of the relaxed crystal where there is one",
        nullable=True,
    ),
    Field(
        "family",
        Type.TEXT,
        "family.label",
        "disordered crystal that it is an ordered approximant of: those of one family and formula are one material",
        nullable=True,
    ),
    Field("duplicates", Type.WORDS, "duplicate.other", "public ids of structures that are the same crystal"),
    Field("parent", Type.WORDS, "lineage.parent", "public ids of the crystals that it was proposed from"),
    Field(
        "dimensionality",
        Type.INTEGER,
        "property.dimensionality",
        "0 molecules, 1 chains, 2 layers, 3 a network; the latest value stored",
        nullable=True,
    ),
    Field("band_gap", Type.FLOAT, "property.band_gap", "the latest value stored, by any method", "eV", nullable=True),
    Field("source", Type.TEXT, "source.name", "where the structure came from"),
    Field("licence", Type.TEXT, "source.licence", "terms on which it may be passed on"),
    Field("origin", Type.TEXT, "structure.origin", "imported or generated"),
    Field("discovered_at", Type.TIMESTAMP, "structure.created_at", "when it entered the registry", "UTC"),
    Field("level", Type.TEXT, "level.name", "level of theory of its energy; null: not labelled", nullable=True),
    _energy("formation_energy_per_atom", "energy against the elements of its level"),
    _energy("e_above_hull", "distance to the convex hull that includes the entry; 0 = on it"),
    _energy("decomposition_energy", "energy against the hull of all other entries, polymorphs included; < 0 = stable"),
    _energy("phase_separation_energy", "energy against the hull without any entry of its own composition"),
    Field("is_stable", Type.BOOLEAN, "hull_state.is_stable", "whether it is on the hull", nullable=True),
    _energy("predicted_formation_energy_per_atom", "median of the promoted model of the level", "prediction"),
    Field(
        "spread",
        Type.FLOAT,
        "prediction.spread",
        "inter-quartile range of the ensemble's members; null where one member spoke",
        "eV/atom",
        nullable=True,
    ),
    Field(
        "out_of_domain",
        Type.BOOLEAN,
        "prediction.out_of_domain",
        "whether that model's training set held nothing like it: not to be trusted; null: it can't tell",
        nullable=True,
    ),
    _energy(
        "predicted_decomposition_energy",
        "predicted energy against the hull as it was when a round selected it",
        "selection",
    ),
)

FIELDS: dict[str, Field] = {one.name: one for one in _TABLE}

_COMPARED_ALONE = (
    Field("formula_by_alphabet", Type.TEXT, "composition.formula_by_alphabet", 'reduced formula, "FeLiO4P"'),
    Field("formula_by_amount", Type.TEXT, "composition.formula_by_amount", 'amounts without elements, "A4BCD"'),
    Field("formula_as_written", Type.TEXT, "composition.reduced_formula", "reduced formula as nothing but a text"),
    Field("shares", Type.NUMBERS, "composition.shares", "of each element in the atoms, elements in alphabetical order"),
    Field("energy_source", Type.TEXT, "calculation.source", "where the energy of the level came from", nullable=True),
)

COMPARABLE: dict[str, Field] = FIELDS | {one.name: one for one in _COMPARED_ALONE}
"""What a tree may compare: beside the fields, what other APIs need to say their own in it. No filter names these."""


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """The names that a filter may use.

    foreign: begins names that others give a meaning; here nobody knows the value of such a field
    own: begins such names all the same, but a field of that name would have to be here
    """

    names: Mapping[str, Field]
    foreign: str = ""
    own: str = ""

    def find(self, name: str) -> Field | None:
        """The field of that name, if there may be one."""
        if name in self.names:
            return self.names[name]
        if self.foreign and name.startswith(self.foreign) and not name.startswith(self.own):
            return Field(name, Type.UNTOLD, "", "", nullable=True)
        return None


OUR_WORDS = Vocabulary(FIELDS)


def named(name: str) -> Field:
    """The field of that name. Raises FilterError with the nearest name."""
    if name in FIELDS:
        return FIELDS[name]
    raise FilterError(f"unknown field '{name[:80]}'{suggestion(name, FIELDS)}")


def suggestion(word: str, known: Iterable[str]) -> str:
    """ ": did you mean x?" where a known word is near, else where to look."""
    folded = {one.replace("_", ""): one for one in known}
    near = get_close_matches(word.lower().replace("_", "")[:80], folded, n=1, cutoff=0.6)
    return f": did you mean {folded[near[0]]}?" if near else f": known are {', '.join(known)}"
