"""The stored crystals that are most like crystals that nobody stored: the same one, polymorphs, the same prototype.

Six short statements for one crystal or for a thousand, by indexes alone; what is compared is read formula by formula.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import groupby
from operator import attrgetter
from typing import Any

import numpy as np
import sqlalchemy as sa
from sqlalchemy.orm import Session

from registry.crystal import Crystal, Floats
from registry.identity.duplicates import DuplicateIndex, Identity, Rule, rule_of
from registry.identity.fingerprint import fingerprint_distance
from registry.identity.isotypes import Order, chemical_distances, geometric_distance, orders, own_order, scaled
from registry.identity.prototype import Prototype
from registry.ingest import crystal_of, crystals
from registry.query.materials import ask, describe
from registry.twins import AT_ONCE

SHOWN = 3
SHORTLIST = 8
"""Formulas of one structure type, the nearest by their elements, of which a crystal is read and held against."""

FIELDS = ("id", "external_ids", "reduced_formula", "spacegroup_number", "source", "duplicates")

SAME_FORMULA = sa.text("""
SELECT composition.reduced_formula, structure.id, structure.lattice, structure.species, structure.coords,
       coalesce(twin.same_as_id, calculation.initial_structure_id, structure.id) AS material_id
FROM composition
JOIN structure ON structure.composition_id = composition.id
LEFT JOIN calculation ON structure.origin = 'relaxed' AND calculation.final_structure_id = structure.id
    AND calculation.level_id = :level AND calculation.state = 'converged'
LEFT JOIN duplicate AS twin ON twin.structure_id = calculation.initial_structure_id
WHERE composition.reduced_formula = ANY(:formulas) AND (structure.origin <> 'relaxed' OR calculation.id IS NOT NULL)
    AND NOT EXISTS (SELECT FROM duplicate WHERE duplicate.structure_id = structure.id)
ORDER BY composition.reduced_formula, structure.id""")
"""Every crystal of some formulas, as it came in and as it relaxed at the level."""

SAME_PROTOTYPE = sa.text("""
SELECT prototype.label, structure.protostructure, min(structure.id) AS structure_id
FROM prototype JOIN structure ON structure.prototype_id = prototype.id
WHERE prototype.label = ANY(:labels) AND structure.origin <> 'relaxed' AND structure.protostructure IS NOT NULL
GROUP BY prototype.label, structure.protostructure
ORDER BY structure_id""")
"""Who sits where in crystals of some structure types, each with the one that came first."""

LABELS = sa.text("""
WITH form AS (
    SELECT * FROM unnest(CAST(:materials AS bigint[]), CAST(:forms AS bigint[])) AS pair (material_id, structure_id)
), alike AS (
    SELECT * FROM form
    UNION SELECT form.material_id, duplicate.structure_id
    FROM form JOIN duplicate ON duplicate.same_as_id = form.structure_id
), label AS (
    SELECT alike.material_id, calculation.id FROM alike
    JOIN calculation ON calculation.initial_structure_id = alike.structure_id
    WHERE calculation.level_id = :level AND calculation.state = 'converged'
    UNION SELECT alike.material_id, calculation.id FROM alike
    JOIN calculation ON calculation.final_structure_id = alike.structure_id
    WHERE calculation.level_id = :level AND calculation.state = 'converged'
)
SELECT label.material_id, array_agg(label.id ORDER BY label.id) AS calculation_ids,
       min(hull_state.e_above_hull) AS e_above_hull
FROM label LEFT JOIN hull_state ON hull_state.calculation_id = label.id AND hull_state.valid_to IS NULL
GROUP BY label.material_id""")
"""What a level says of crystals, all that are linked to them as the same included."""


class Relation(StrEnum):
    """What a stored crystal is to one that was brought; in the order in which they are told."""

    SAME = "same crystal"
    POLYMORPH = "polymorph"
    PROTOTYPE = "same prototype"


@dataclass(frozen=True)
class Neighbour:
    """A stored crystal.

    material_id: its structure as it was imported or proposed; forms: ids of its structures that were held against
    distance: of the fingerprints, in cube roots of the volume per atom; elements of the same places count as the same
    chemical_distance: mean difference of these elements on Pettifor's scale; 0 for the same formula
    rule: by which it is the same crystal
    """

    material_id: int
    relation: Relation
    distance: float
    chemical_distance: float = 0.0
    rule: str | None = None
    forms: tuple[int, ...] = ()


@dataclass(frozen=True)
class Neighbourhood:
    """The nearest stored crystals of one, as they are shown; entries: calculations at the level of the very same."""

    nearest: list[dict[str, Any]] = field(default_factory=list)
    entries: frozenset[int] = frozenset()

    @property
    def same(self) -> list[str]:
        """The public id of the very same crystal, if it is stored."""
        return [row["id"] for row in self.nearest if row["relation"] == Relation.SAME.value]


@dataclass(frozen=True)
class _Form:
    """A stored crystal as it came in, or as it relaxed."""

    id: int
    material_id: int
    identity: Identity


@dataclass(frozen=True)
class _Isotypes:
    """The stored crystals of one label, the first of each protostructure: ids, and their elements by place."""

    ids: list[int]
    orders: list[Order]
    scaled: Floats


@dataclass(frozen=True)
class _Pair:
    """A stored crystal of the same structure type, and which elements take the same places: theirs in `order`'s."""

    structure_id: int
    chemical_distance: float
    own_order: Order
    order: Order

    def held(self, one: Crystal, stored: Crystal) -> Neighbour:
        distance = geometric_distance(one, self.own_order, stored, self.order)
        return Neighbour(self.structure_id, Relation.PROTOTYPE, distance, self.chemical_distance)


def neighbourhoods(session: Session, brought: Sequence[Identity], level: str) -> list[Neighbourhood]:
    """For each crystal, in order, the SHOWN stored crystals nearest to it, the same one first, prototypes last.

    level: its hull says `e_above_hull`, its relaxed crystals are compared too. Raises NotFound for an unknown level.
    """
    if not brought:
        return []
    question = ask(session, "", level)
    near = _of_same_formula(session, brought, question.level_id)
    few = [index for index, found in enumerate(near) if len(found) < SHOWN]
    for index, found in zip(few, _of_same_prototype(session, [brought[index] for index in few]), strict=True):
        near[index] += found
    ids = sorted({one.material_id for found in near for one in found})
    rows = dict(zip(ids, describe(session, ids, question, FIELDS), strict=True))
    labels = _labels(session, near, question.level_id)
    return [_shown(one.formula, found, rows, labels) for one, found in zip(brought, near, strict=True)]


def _shown(
    formula: str, found: list[Neighbour], rows: dict[int, dict[str, Any]], labels: dict[int, Any]
) -> Neighbourhood:
    told = [
        one
        for one in found
        if one.relation != Relation.PROTOTYPE or rows[one.material_id]["reduced_formula"] != formula
    ][:SHOWN]
    same = [labels[one.material_id] for one in told if one.relation == Relation.SAME and one.material_id in labels]
    entries = frozenset(key for label in same for key in label.calculation_ids)
    return Neighbourhood([_row(one, rows[one.material_id], labels.get(one.material_id)) for one in told], entries)


def _row(one: Neighbour, row: dict[str, Any], label: Any) -> dict[str, Any]:
    return {
        **row,
        "e_above_hull": label.e_above_hull if label else None,
        "relation": one.relation.value,
        "rule": one.rule,
        "distance": one.distance,
        "chemical_distance": one.chemical_distance,
    }


def _labels(session: Session, near: Sequence[Sequence[Neighbour]], level_id: int | None) -> dict[int, Any]:
    pairs = {(one.material_id, form) for found in near for one in found for form in (one.material_id, *one.forms)}
    bound = {"materials": [one for one, _ in pairs], "forms": [form for _, form in pairs], "level": level_id}
    return {row.material_id: row for row in session.execute(LABELS, bound)}


def _of_same_formula(session: Session, brought: Sequence[Identity], level_id: int | None) -> list[list[Neighbour]]:
    """Formula by formula, since some have thousands of crystals."""
    near: list[list[Neighbour]] = [[] for _ in brought]
    places: dict[str, list[int]] = {}
    for index, one in enumerate(brought):
        places.setdefault(one.formula, []).append(index)
    bound = {"formulas": list(places), "level": level_id}
    rows: Iterable[Any] = session.execute(SAME_FORMULA, bound, execution_options={"yield_per": AT_ONCE})
    for formula, stored in groupby(rows, attrgetter("reduced_formula")):
        forms: DuplicateIndex[_Form] = DuplicateIndex()
        for row in stored:
            forms.add_identity(form := _Form(row.id, row.material_id, Identity(crystal_of(row))), form.identity)
        for index in places[formula]:
            near[index] = _polymorphs(brought[index], forms)
    return near


def _polymorphs(one: Identity, forms: DuplicateIndex[_Form]) -> list[Neighbour]:
    """The same crystal and the nearest others; of a crystal that was relaxed the nearer of its two forms counts."""
    distances: dict[int, float] = {}
    for form in forms:
        distance = fingerprint_distance(one.fingerprint, form.identity.fingerprint)
        distances[form.material_id] = min(distance, distances.get(form.material_id, distance))
    same = [_same(one, *found, forms, distances) for found in [forms.find_identity(one)] if found is not None]
    known = {neighbour.material_id for neighbour in same}
    others = sorted((distance, material) for material, distance in distances.items() if material not in known)
    return same + [Neighbour(material, Relation.POLYMORPH, distance) for distance, material in others[:SHOWN]]


def _same(one: Identity, first: _Form, rule: Rule, forms: Iterable[_Form], distances: Mapping[int, float]) -> Neighbour:
    """The crystal that it is, with each form of it that it is."""
    material = first.material_id
    own = [form.id for form in forms if form.material_id == material and rule_of(one, form.identity)]
    return Neighbour(material, Relation.SAME, distances[material], rule=rule, forms=tuple(own))


def _of_same_prototype(session: Session, brought: Sequence[Identity]) -> list[list[Neighbour]]:
    """The nearest by their elements, in that order; of those equally near the nearest by geometry first."""
    prototypes = [one.prototype for one in brought]
    stored = _by_label(session, {one.label: one for one in prototypes if one is not None})
    chosen = [_shortlist(one, stored) if one is not None else [] for one in prototypes]
    read = crystals(session, {pair.structure_id for pairs in chosen for pair in pairs})
    near = [
        [pair.held(one.crystal, read[pair.structure_id]) for pair in pairs]
        for one, pairs in zip(brought, chosen, strict=True)
    ]
    return [sorted(found, key=attrgetter("chemical_distance", "distance")) for found in near]


def _by_label(session: Session, prototypes: Mapping[str, Prototype]) -> dict[str, _Isotypes]:
    rows = session.execute(SAME_PROTOTYPE, {"labels": list(prototypes)}).all()
    found: dict[str, dict[int, Order]] = {}
    for row in rows:
        elements = row.protostructure.rpartition(":")[2].split("-")
        found.setdefault(row.label, {})[row.structure_id] = own_order(elements, prototypes[row.label])
    return {label: _Isotypes([*of.keys()], [*of.values()], scaled([*of.values()])) for label, of in found.items()}


def _shortlist(prototype: Prototype, stored: Mapping[str, _Isotypes]) -> list[_Pair]:
    if (known := stored.get(prototype.label)) is None:
        return []
    mine = orders(prototype)
    distances, which = chemical_distances(mine, known.scaled)
    nearest = np.argsort(distances, kind="stable")[:SHORTLIST].tolist()
    return [_Pair(known.ids[at], float(distances[at]), mine[which[at]], known.orders[at]) for at in nearest]
