"""Where each field lies: its SQL expression beside structure, and beside a current hull state."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    DateTime,
    Text,
    and_,
    bindparam,
    func,
    literal,
    literal_column,
    or_,
    select,
)
from sqlalchemy.orm import aliased

from registry.identity.composition import element_bits
from registry.models import (
    Calculation,
    Composition,
    HullState,
    Level,
    Model,
    Prediction,
    Prototype,
    Selection,
    Source,
    Structure,
)
from registry.query.fields import Field
from registry.query.relations import FAMILY, PROPERTIES, RELATIONS

Column = ColumnElement[Any]

MAX_SUBSETS_OF = 8

LEVEL_ID = bindparam("level_id", type_=BigInteger)
AS_OF = bindparam("as_of", type_=DateTime(timezone=True))
# Not bound: a plan that is kept for any value can't use an index of converged calculations alone.
CONVERGED: Column = literal_column("'converged'", Text)

RELAXED: Column = literal_column("'relaxed'", Text)

Final = aliased(Structure, name="final_structure")
FinalPrototype = aliased(Prototype, name="final_prototype")

Guess = (
    select(Prediction.formation_energy_per_atom, Prediction.spread)
    .join(Model, and_(Model.id == Prediction.model_id, Model.promoted))
    .where(Prediction.structure_id == Structure.id, Model.level_id == LEVEL_ID)
    .order_by(Prediction.stage)  # 'ensemble' comes before 'single'
    .limit(literal_column("1"))
    .correlate(Structure)
    .lateral("prediction_of_level")
)
Choice = (
    select(Selection.predicted_decomposition_energy)
    .where(
        Selection.structure_id == Structure.id,
        Selection.level_id == LEVEL_ID,
        Selection.predicted_decomposition_energy.is_not(None),
    )
    .order_by(Selection.purpose, Selection.id.desc())  # 'label' comes before 'recheck', that before 'refine'
    .limit(literal_column("1"))
    .correlate(Structure)
    .lateral("selection_of_level")
)


@dataclass(frozen=True)
class Place:
    """A side to ask from. own: columns that it holds itself; the others are joined to it, table by table."""

    own: Mapping[str, Column]
    joined: Mapping[str, Column]
    has_elements: Callable[[str, Sequence[str]], Column]

    def column_of(self, field: Field) -> Column:
        return self.own[field.column] if field.column in self.own else self.joined[field.column]

    def tables(self, fields: Sequence[Field]) -> set[str]:
        """What must be joined for them."""
        return {one.table for one in fields if one.column not in self.own}


def subsystems(elements: Sequence[str]) -> list[str]:
    """Every chemical system within these elements, the whole one included."""
    ordered = sorted(set(elements))
    sizes = range(1, len(ordered) + 1)
    return ["-".join(part) for size in sizes for part in combinations(ordered, size)]


def within(elements: Sequence[str]) -> Column:
    """That a structure holds no element but these: by its chemical system where the list is short."""
    if len(elements) <= MAX_SUBSETS_OF:
        return Structure.chemsys.in_(subsystems(elements))
    held: Column = Composition.elements.contained_by(elements)
    return held


def _listed(quantifier: str, elements: Sequence[str]) -> Column:
    """Of the composition that is joined."""
    if quantifier == "ONLY":
        return within(elements)
    of = Composition.elements
    held: Column = of.overlap(elements) if quantifier == "ANY" else of.contains(elements)
    return held


def _in_bits(quantifier: str, elements: Sequence[str]) -> Column:
    """Of the hull state itself, in numbers that stand in its index."""
    sides = zip((HullState.light_elements, HullState.heavy_elements), element_bits(elements), strict=True)
    asked = [(held, literal(bits, BigInteger), bits) for held, bits in sides if bits or quantifier == "ONLY"]
    if quantifier == "ANY":
        return or_(*(held.bitwise_and(bits) != 0 for held, bits, _ in asked))
    if quantifier == "ONLY":
        return and_(*(held.bitwise_or(bits) == bits for held, bits, _ in asked))
    return and_(*(held.bitwise_and(bits) == bits for held, bits, _ in asked))


FORMULA_BY_ALPHABET: Column = literal_column(
    """((SELECT string_agg(symbol || CASE amount WHEN 1 THEN '' ELSE amount::text END, '' ORDER BY place)
    FROM unnest(composition.elements, composition.amounts) WITH ORDINALITY AS part (symbol, amount, place)
    ) COLLATE "C")""",
    Text,
)
"""FeLiO4P. The elements of a composition lie in this order."""

FORMULA_BY_AMOUNT: Column = literal_column(
    """((SELECT string_agg(
        chr(65 + (place - 1) % 26) || CASE WHEN place > 26 THEN chr(96 + (place - 1) / 26) ELSE '' END
        || CASE amount WHEN 1 THEN '' ELSE amount::text END, '' ORDER BY place)
    FROM (SELECT amount, row_number() OVER (ORDER BY amount DESC)::int AS place
          FROM unnest(composition.amounts) AS one (amount)) AS part
    ) COLLATE "C")""",
    Text,
)
"""A4BCD; after Z come Aa, Ba, ..."""

SHARES: Column = literal_column(
    """(SELECT array_agg(amount / total ORDER BY place)
    FROM unnest(composition.amounts::float8[]) WITH ORDINALITY AS part (amount, place),
         LATERAL (SELECT sum(other) AS total FROM unnest(composition.amounts::float8[]) AS one (other)) AS whole)"""
)
"""Of the elements in the atoms: LiFePO4 has {0.14, 0.14, 0.57, 0.14}."""

ENERGY_SOURCE: Column = (
    select(Source.name).where(Source.id == Calculation.source_id).correlate(Calculation).scalar_subquery()
)

COLUMNS: dict[str, Column] = {
    "structure.public_id": Structure.public_id.expression,
    "structure.chemsys": Structure.chemsys.expression,
    "structure.nsites": Structure.nsites.expression,
    "structure.volume": Structure.volume.expression,
    "structure.origin": Structure.origin.expression,
    "structure.created_at": Structure.created_at.expression,
    "composition.elements": Composition.elements.expression,
    "composition.nelements": Composition.nelements.expression,
    "composition.reduced_formula": Composition.reduced_formula.expression,
    "composition.anonymous_formula": Composition.anonymous_formula.expression,
    "prototype.label": func.coalesce(FinalPrototype.label, Prototype.label),
    "prototype.spacegroup_number": func.coalesce(FinalPrototype.spacegroup_number, Prototype.spacegroup_number),
    "source.name": Source.name.expression,
    "source.licence": Source.licence.expression,
    **{name: relation.shown for name, relation in RELATIONS.items()},
    **PROPERTIES,
    "family.label": FAMILY,
    "level.name": Level.name.expression,
    "hull_state.formation_energy_per_atom": HullState.formation_energy_per_atom.expression,
    "hull_state.e_above_hull": HullState.e_above_hull.expression,
    "hull_state.decomposition_energy": HullState.decomposition_energy.expression,
    "hull_state.phase_separation_energy": HullState.phase_separation_energy.expression,
    "hull_state.is_stable": HullState.is_stable.expression,
    "prediction.formation_energy_per_atom": Guess.c.formation_energy_per_atom,
    "prediction.spread": Guess.c.spread,
    "selection.predicted_decomposition_energy": Choice.c.predicted_decomposition_energy,
    "composition.formula_by_alphabet": FORMULA_BY_ALPHABET,
    "composition.formula_by_amount": FORMULA_BY_AMOUNT,
    "composition.shares": SHARES,
    "calculation.source": ENERGY_SOURCE,
}

RECORD = Place({name: column for name, column in COLUMNS.items() if name.startswith("structure.")}, COLUMNS, _listed)
HULL = Place(
    {
        **{name: column for name, column in COLUMNS.items() if name.startswith("hull_state.")},
        "structure.chemsys": HullState.chemsys.expression,
        "composition.nelements": HullState.nelements.expression,
        "composition.elements": HullState.light_elements.expression,  # never null, and asked by has_elements alone
    },
    {
        "composition.reduced_formula": Composition.reduced_formula.expression,
        "composition.anonymous_formula": Composition.anonymous_formula.expression,
        "prototype.label": Prototype.label.expression,
        "prototype.spacegroup_number": Prototype.spacegroup_number.expression,
    },
    _in_bits,
)
"""A current hull state: it knows the relaxed crystal's structure type."""
