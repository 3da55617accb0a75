"""The questions that GraphQL answers."""
# mypy: disallow-subclassing-any=False
# (graphene has no types)

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

import graphene
from graphene.types.generic import GenericScalar
from graphql import GraphQLResolveInfo as Info
from sqlalchemy import select
from sqlalchemy.orm import Session

from api.graphql import lists, rows
from api.graphql.material import Material, Node, material
from api.graphql.rows import Row
from api.graphql.types import Decomposition, Model, desk, ev_per_atom, listed
from registry.models import Campaign, Level, Worker
from registry.models import Model as ModelRow
from registry.query import materials
from registry.query.fields import FIELDS
from registry.query.filter import Filter
from registry.query.materials import DEFAULT_SORT, Question, Slice
from registry.queue import summary

AS_OF = "the hull as it was then; UTC where it names no time zone"


@dataclass(frozen=True)
class Found:
    """A page of materials on its way to GraphQL."""

    question: Question
    slice: Slice
    nodes: list[Node]


class Count(graphene.ObjectType):
    """How many materials match."""

    value = graphene.NonNull(graphene.Int)
    kind = graphene.NonNull(graphene.String, description="exact, or capped: there are at least so many")


class PageInfo(graphene.ObjectType):
    """Whether and how to go on."""

    has_next_page = graphene.NonNull(graphene.Boolean)
    end_cursor = graphene.String(description="give it as `after` for the next page")


class MaterialEdge(graphene.ObjectType):
    """A material and its place in the list."""

    node = graphene.NonNull(Material)
    cursor = graphene.NonNull(graphene.String)


class MaterialConnection(graphene.ObjectType):
    """One page of materials."""

    edges = listed(MaterialEdge)
    nodes = listed(Material)
    page_info = graphene.NonNull(PageInfo)
    count = graphene.Field(graphene.NonNull(Count), up_to=lists.up_to())
    level = graphene.String(description="level that the energies belong to")

    @staticmethod
    def resolve_edges(found: Found, _: Info) -> list[Row]:
        pairs = zip(found.nodes, found.slice.cursors, strict=True)
        return [{"node": node, "cursor": cursor} for node, cursor in pairs]

    @staticmethod
    def resolve_page_info(found: Found, _: Info) -> Row:
        cursors = found.slice.cursors
        return {"has_next_page": found.slice.more, "end_cursor": cursors[-1] if cursors else None}

    @staticmethod
    async def resolve_count(found: Found, info: Info, up_to: int | None) -> materials.Count:
        cap = lists.size(up_to, materials.COUNT_CAP, lists.MOST_COUNTED)
        return await desk(info).ask(lambda session: materials.count(session, found.question, cap))

    @staticmethod
    def resolve_level(found: Found, _: Info) -> str | None:
        return found.question.level


class HullEntry(graphene.ObjectType):
    """An entry within a chemical system."""

    id = graphene.NonNull(graphene.ID)
    reduced_formula = graphene.NonNull(graphene.String)
    chemsys = graphene.NonNull(graphene.String)
    prototype = graphene.String(description=FIELDS["prototype"].explanation)
    spacegroup_number = graphene.Int(description=FIELDS["spacegroup_number"].explanation)
    external_ids = GenericScalar(description="scheme -> name")
    formation_energy_per_atom = ev_per_atom(FIELDS["formation_energy_per_atom"].description)
    e_above_hull = ev_per_atom(FIELDS["e_above_hull"].description)
    decomposition_energy = ev_per_atom(FIELDS["decomposition_energy"].description)
    phase_separation_energy = ev_per_atom(FIELDS["phase_separation_energy"].description)
    is_stable = graphene.NonNull(graphene.Boolean, description=FIELDS["is_stable"].explanation)
    decomposition = listed(Decomposition)


class Hull(graphene.ObjectType):
    """The entries of a chemical system and its subsystems, those nearest the hull first."""

    level = graphene.String()
    chemsys = graphene.NonNull(graphene.String)
    as_of = graphene.String(description="null: now")
    references = graphene.NonNull(
        graphene.List(graphene.NonNull(graphene.String)), description="elements that the level itself puts at zero"
    )
    entries = listed(HullEntry)
    truncated = graphene.NonNull(graphene.Boolean, description="whether there are more entries than `first`")


class Work(graphene.ObjectType):
    """How much of one kind of work there is."""

    kind = graphene.NonNull(graphene.String)
    waiting = graphene.NonNull(graphene.Int, description="not begun, whether a daemon has seen it yet or not")
    running = graphene.NonNull(graphene.Int)
    dead = graphene.NonNull(graphene.Int, description="gave up after the last attempt")


class WorkerType(graphene.ObjectType):
    """A daemon."""

    class Meta:
        name = "Worker"

    id = graphene.NonNull(graphene.ID)
    kinds = graphene.NonNull(graphene.List(graphene.String))
    host = graphene.NonNull(graphene.String)
    pid = graphene.NonNull(graphene.Int)
    started_at = graphene.NonNull(graphene.DateTime)
    beat_at = graphene.NonNull(graphene.DateTime, description="last sign of life")
    stopped_at = graphene.DateTime()


class FunnelStep(graphene.ObjectType):
    """How many candidates a rule dropped (rule 'kept': how many passed)."""

    stage = graphene.NonNull(graphene.String)
    rule = graphene.NonNull(graphene.String)
    candidates = graphene.NonNull(graphene.Float, description="a count; it may exceed 32 bits")


class RoundType(graphene.ObjectType):
    """One turn of the loop."""

    class Meta:
        name = "Round"

    number = graphene.NonNull(graphene.Int)
    settings = GenericScalar(description="what it ran on")
    started_at = graphene.NonNull(graphene.DateTime)
    finished_at = graphene.DateTime()
    funnel = graphene.Field(listed(FunnelStep), first=lists.first(lists.FUNNEL))

    @staticmethod
    async def resolve_funnel(row: Row, info: Info, first: int | None) -> Any:
        return await desk(info).nested(rows.funnels, row["id"], lists.size(first, lists.FUNNEL))


class CampaignType(graphene.ObjectType):
    """A search of a chemical space."""

    class Meta:
        name = "Campaign"

    name = graphene.NonNull(graphene.String)
    level = graphene.NonNull(graphene.String)
    created_at = graphene.NonNull(graphene.DateTime)
    rounds = graphene.Field(listed(RoundType), first=lists.first())

    @staticmethod
    async def resolve_rounds(row: Row, info: Info, first: int | None) -> Any:
        return await desk(info).nested(rows.rounds, row["id"], lists.size(first))


class LevelType(graphene.ObjectType):
    """A level of theory."""

    class Meta:
        name = "Level"

    name = graphene.NonNull(graphene.String)
    engine = graphene.NonNull(graphene.String)
    functional = graphene.NonNull(graphene.String)
    correction_scheme = graphene.NonNull(graphene.String)
    settings = GenericScalar()
    references = GenericScalar(description="element -> eV/atom")
    settings_hash = graphene.NonNull(graphene.String)
    created_at = graphene.NonNull(graphene.DateTime)


class FieldType(graphene.ObjectType):
    """A word of the filter language."""

    class Meta:
        name = "Field"

    name = graphene.NonNull(graphene.String)
    type = graphene.NonNull(graphene.String)
    unit = graphene.String()
    description = graphene.NonNull(graphene.String)
    operators = listed(graphene.String)


class Query(graphene.ObjectType):
    """Questions to the registry."""

    materials = graphene.Field(
        graphene.NonNull(MaterialConnection),
        description="materials that a filter finds, page by page",
        filter=graphene.String(
            default_value="",
            description='OPTIMADE filter: elements HAS ALL "Li","O" AND e_above_hull<0.05 (words: see `fields`)',
        ),
        level=graphene.String(description="level of the energies; may be left out where only one has a hull"),
        sort=graphene.String(default_value=DEFAULT_SORT, description='a field, or "-field" for the largest first'),
        first=lists.first(lists.PAGE),
        after=graphene.String(description="endCursor of the page before"),
    )
    material = graphene.Field(
        Material,
        id=graphene.NonNull(graphene.ID),
        level=graphene.String(),
        as_of=graphene.DateTime(description=AS_OF),
    )
    hull = graphene.Field(
        graphene.NonNull(Hull),
        description="the convex hull of a chemical system, now or as it was",
        chemsys=graphene.NonNull(graphene.String),
        level=graphene.String(),
        as_of=graphene.DateTime(description=AS_OF),
        first=lists.first(lists.ENTRIES, lists.MOST_ENTRIES),
    )
    work = graphene.Field(listed(Work), description="what waits, runs and died")
    workers = graphene.Field(
        listed(WorkerType), description="daemons, the last seen first", first=lists.first(lists.WORKERS)
    )
    campaigns = graphene.Field(listed(CampaignType), description="oldest first", first=lists.first())
    models = graphene.Field(listed(Model), description="oldest first", first=lists.first(lists.PAGE))
    levels = graphene.Field(listed(LevelType), description="by name", first=lists.first(lists.PAGE))
    fields = graphene.Field(listed(FieldType), description="the words of the filter language")

    @staticmethod
    async def resolve_materials(_: None, info: Info, **asked: Any) -> Found:
        return await desk(info).ask(lambda session: _materials(session, asked))

    @staticmethod
    async def resolve_material(_: None, info: Info, **asked: Any) -> Node:
        structure_id, question = await desk(info).ask(lambda session: _one(session, asked))
        return await material(info, structure_id, question)

    @staticmethod
    async def resolve_hull(_: None, info: Info, **asked: Any) -> Row:
        return await desk(info).ask(lambda session: _hull(session, **asked))

    @staticmethod
    async def resolve_work(_: None, info: Info) -> list[Row]:
        found = await desk(info).ask(summary)
        return [{"kind": kind, **states} for kind, states in found.items()]

    @staticmethod
    async def resolve_workers(_: None, info: Info, first: int | None) -> list[Row]:
        newest = select(*Worker.__table__.columns).order_by(Worker.beat_at.desc(), Worker.id)
        return await _all(info, newest.limit(lists.size(first, lists.WORKERS)))

    @staticmethod
    async def resolve_campaigns(_: None, info: Info, first: int | None) -> list[Row]:
        wanted = select(*Campaign.__table__.columns, Level.name.label("level")).limit(lists.size(first))
        return await _all(info, wanted.join(Level, Level.id == Campaign.level_id).order_by(Campaign.id))

    @staticmethod
    async def resolve_models(_: None, info: Info, first: int | None) -> list[Row]:
        return await desk(info).ask(lambda session: _models(session, lists.size(first, lists.PAGE)))

    @staticmethod
    async def resolve_levels(_: None, info: Info, first: int | None) -> list[Row]:
        wanted = select(*Level.__table__.columns).order_by(Level.name)
        return await _all(info, wanted.limit(lists.size(first, lists.PAGE)))

    @staticmethod
    def resolve_fields(_: None, _info: Info) -> list[Row]:
        names = ("name", "type", "unit", "description")
        shown = [{name: getattr(field, name) for name in names} for field in FIELDS.values()]
        return [
            {**row, "operators": [*sorted(field.operators), "IS KNOWN", "IS UNKNOWN"]}
            for row, field in zip(shown, FIELDS.values(), strict=True)
        ]


@cache
def schema() -> graphene.Schema:
    return graphene.Schema(query=Query)


def _materials(session: Session, asked: Row) -> Found:
    question = materials.ask(session, asked["filter"] or "", asked.get("level"), asked["sort"] or DEFAULT_SORT)
    found = materials.find(session, question, lists.size(asked["first"], lists.PAGE), asked.get("after"))
    data = materials.describe(session, found.ids, question)
    nodes = [Node(one, row, question) for one, row in zip(found.ids, data, strict=True)]
    return Found(question, found, nodes)


def _one(session: Session, asked: Row) -> tuple[int, Question]:
    question = materials.ask(session, Filter(as_of=asked.get("as_of")), asked.get("level"))
    return materials.structure_id(session, asked["id"]), question


def _hull(
    session: Session, first: int | None, chemsys: str, level: str | None = None, as_of: datetime | None = None
) -> Row:
    most = lists.size(first, lists.ENTRIES, lists.MOST_ENTRIES)
    found = materials.hull_entries(session, chemsys, level, as_of, most + 1)
    return {**found, "entries": found["entries"][:most], "truncated": len(found["entries"]) > most}


def _models(session: Session, first: int) -> list[Row]:
    ids = session.scalars(select(ModelRow.id).order_by(ModelRow.id).limit(first)).all()
    found = rows.models(session, ids)
    return [found[one][0] for one in ids]


async def _all(info: Info, wanted: Any) -> list[Row]:
    return await desk(info).ask(lambda session: [dict(row) for row in session.execute(wanted).mappings()])
