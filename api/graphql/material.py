"""The Material of GraphQL: scalars from the table of fields, and everything that hangs on a crystal."""
# mypy: disallow-subclassing-any=False
# (graphene has no types)

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import graphene
from graphene.types.generic import GenericScalar
from graphql import GraphQLResolveInfo as Info

from api.graphql import lists, rows
from api.graphql.rows import Fetch, Row
from api.graphql.types import (
    Calculation,
    Duplicate,
    ExternalId,
    HullState,
    Prediction,
    Property,
    Selection,
    Structure,
    desk,
    ev_per_atom,
    listed,
    structure_of,
)
from registry.query.fields import FIELDS, Field, Type
from registry.query.materials import Question


@dataclass(frozen=True)
class Node:
    """A material in an answer: its row and how it was asked for."""

    structure_id: int
    data: Row
    question: Question


def many(kind: Any, fetch: Fetch, description: str) -> graphene.Field:
    """A nested list of a material."""

    async def resolve(node: Node, info: Info, first: int | None) -> Sequence[Row]:
        return await desk(info).nested(fetch, node.structure_id, lists.size(first))

    return graphene.Field(listed(kind), description=description, resolver=resolve, first=lists.first())


def related(kind: Any, fetch: Fetch, description: str) -> graphene.Field:
    """A nested list of rows that name another structure; each remembers the question for its `material`."""

    async def resolve(node: Node, info: Info, first: int | None) -> list[Row]:
        found = await desk(info).nested(fetch, node.structure_id, lists.size(first))
        return [{**row, "question": node.question} for row in found]

    return graphene.Field(listed(kind), description=description, resolver=resolve, first=lists.first())


async def material(info: Info, structure_id: int, question: Question) -> Node:
    """A material by its row id."""
    return Node(structure_id, await desk(info).material(structure_id, question), question)


class Way(graphene.ObjectType):
    """A step of a lineage: what was done, and the material at its other end."""

    operation = graphene.NonNull(graphene.String)
    arguments = GenericScalar()
    probability = graphene.Float()
    rule = graphene.String(description="set where the way led to a crystal that was there already: how it was seen")
    material = graphene.Field(lambda: Material, description="null: random search begins with nothing")

    @staticmethod
    async def resolve_material(row: Row, info: Info) -> Node | None:
        other = row["structure_id"]
        return None if other is None else await material(info, other, row["question"])


class FamilyMember(graphene.ObjectType):
    """Another ordered approximant of the same disordered crystal."""

    material = graphene.NonNull(lambda: Material)

    @staticmethod
    async def resolve_material(row: Row, info: Info) -> Node:
        return await material(info, row["structure_id"], row["question"])


class Displacement(graphene.ObjectType):
    """A material took another's place on the hull."""

    level = graphene.NonNull(graphene.String)
    at = graphene.NonNull(graphene.DateTime)
    fell_by = ev_per_atom("how far above the hull the displaced one fell")
    material = graphene.NonNull(lambda: Material, description="the other one: who took the place, or who lost it")

    @staticmethod
    async def resolve_material(row: Row, info: Info) -> Node:
        return await material(info, row["structure_id"], row["question"])


class LineageStep(graphene.ObjectType):
    """A step somewhere up or down the family tree."""

    generation = graphene.NonNull(graphene.Int, description="steps away")
    child = graphene.NonNull(graphene.ID)
    parent = graphene.ID(description="null: random search begins with nothing")
    operation = graphene.NonNull(graphene.String)
    arguments = GenericScalar()
    probability = graphene.Float()
    rule = graphene.String()


class Lineage(graphene.ObjectType):
    """The whole family tree, relaxations included, nearest first."""

    ancestors = many(LineageStep, rows.ancestors, "what it came from")
    descendants = many(LineageStep, rows.descendants, "what became of it")


def _from_data(field: Field) -> Callable[[Node, Info], Any]:
    if field.type is Type.TIMESTAMP:
        return lambda node, _: datetime.fromisoformat(node.data[field.name])
    return lambda node, _: node.data[field.name]


def _scalar(field: Field) -> graphene.Field:
    kinds = {
        Type.INTEGER: graphene.Int,
        Type.FLOAT: graphene.Float,
        Type.BOOLEAN: graphene.Boolean,
        Type.TIMESTAMP: graphene.DateTime,
        Type.ELEMENTS: graphene.List(graphene.NonNull(graphene.String)),
    }
    kind = graphene.ID if field.name == "id" else kinds.get(field.type, graphene.String)
    shape = kind if field.nullable else graphene.NonNull(kind)
    return graphene.Field(shape, description=field.explanation, resolver=_from_data(field))


_Scalars = type("_Scalars", (), {one.name: _scalar(one) for one in FIELDS.values() if one.type is not Type.WORDS})


class Material(_Scalars, graphene.ObjectType):  # type: ignore[valid-type, misc]  # made from the table of fields
    """A crystal that was imported or proposed, with its place on the hull of one level."""

    external_ids = many(ExternalId, rows.external_ids, FIELDS["external_ids"].explanation)
    structure = graphene.NonNull(Structure, description="as it was imported or proposed")
    relaxed_structure = graphene.Field(Structure, description="as the calculation of this level left it")
    calculations = many(Calculation, rows.calculations, "every attempt at an energy, failures included, oldest first")
    predictions = many(Prediction, rows.predictions, "what models said, oldest first")
    selections = many(Selection, rows.selections, "what rounds picked it for")
    hull_state = graphene.Field(HullState, description="its place at this level (as of the moment asked about)")
    hull_history = many(HullState, rows.hull_states, "every place it had at any level, oldest first")
    displaced_by = related(Displacement, rows.displacements, "who took its place on the hull, oldest first")
    displaced = related(Displacement, rows.conquests, "whose place on the hull it took, oldest first")
    parents = related(Way, rows.parents, "what it was made from")
    children = related(Way, rows.children, "what was made from it")
    lineage = graphene.NonNull(Lineage)
    duplicates = many(Duplicate, rows.duplicates, "stored structures that are the same crystal")
    family_members = related(FamilyMember, rows.family_members, "other materials of its `family`")
    properties = many(Property, rows.properties, "what is known beside energies, by every method, the latest first")

    @staticmethod
    async def resolve_structure(node: Node, info: Info) -> Row | None:
        return await structure_of(info, node.structure_id)

    @staticmethod
    async def resolve_relaxed_structure(node: Node, info: Info) -> Row | None:
        found = await desk(info).nested(rows.relaxations, node.structure_id, node.question.level_id)
        return await structure_of(info, found[0]["final_structure_id"] if found else None)

    @staticmethod
    async def resolve_hull_state(node: Node, info: Info) -> Row | None:
        asked = node.question
        found = await desk(info).nested(rows.places, node.structure_id, asked.level_id, asked.filter.as_of)
        return found[0] if found else None

    @staticmethod
    def resolve_lineage(node: Node, _: Info) -> Node:
        return node
