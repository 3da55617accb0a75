"""One statement for each nested list: ids of structures -> the first rows of each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Concatenate

from sqlalchemy import ColumnElement, Select, and_, func, or_, select, union_all
from sqlalchemy.orm import Session, aliased

from registry.models import (
    Calculation,
    Campaign,
    Composition,
    Duplicate,
    ExternalId,
    FamilyMember,
    Funnel,
    HullEvent,
    HullState,
    Level,
    Lineage,
    Model,
    Prediction,
    Property,
    Prototype,
    Round,
    Selection,
    Source,
    Structure,
    TrainingSet,
)
from registry.query.lineage import ways

Row = dict[str, Any]
Grouped = Mapping[int, Sequence[Row]]
Fetch = Callable[Concatenate[Session, Sequence[int], ...], Grouped]
"""Session, ids, then what else the list depends on: mostly `first`, how many rows of each id are wanted."""


def external_ids(session: Session, ids: Sequence[int], first: int) -> Grouped:
    columns = (ExternalId.structure_id.label("key"), ExternalId.scheme, ExternalId.value)
    wanted = select(*columns).where(ExternalId.structure_id.in_(ids))
    return _firsts(session, wanted, first, ExternalId.scheme, ExternalId.value)


def structures(session: Session, ids: Sequence[int]) -> Grouped:
    """Arrays, formula and structure type by structure id."""
    wanted = (
        select(Structure, Composition.reduced_formula, Prototype.label, Prototype.spacegroup_number)
        .join(Composition, Composition.id == Structure.composition_id)
        .outerjoin(Prototype, Prototype.id == Structure.prototype_id)
        .where(Structure.id.in_(ids))
    )
    return {row.id: [_arrays(row, *kind)] for row, *kind in session.execute(wanted).tuples()}


def _arrays(row: Structure, reduced_formula: object, prototype: object, spacegroup_number: object) -> Row:
    return {
        "row": row,
        "id": row.public_id,
        "origin": row.origin,
        "nsites": row.nsites,
        "volume": row.volume,
        "reduced_formula": reduced_formula,
        "prototype": prototype,
        "spacegroup_number": spacegroup_number,
    }


def calculations(session: Session, ids: Sequence[int], first: int) -> Grouped:
    """Every attempt that started from the structures, oldest first."""
    plain = [column for column in Calculation.__table__.columns if column.name not in {"forces", "stress"}]
    corrected = Calculation.energy + Calculation.correction
    sums = (corrected.label("corrected_energy"), (corrected / Structure.nsites).label("corrected_energy_per_atom"))
    wanted = (
        select(Calculation.initial_structure_id.label("key"), *plain, *sums, Level.name.label("level"))
        .join(Level, Level.id == Calculation.level_id)
        .join(Structure, Structure.id == Calculation.initial_structure_id)
        .where(Calculation.initial_structure_id.in_(ids))
    )
    return _firsts(session, wanted, first, Calculation.id)


def relaxations(session: Session, ids: Sequence[int], level_id: int | None) -> Grouped:
    """The structure that the calculation of a level left, where it relaxed."""
    wanted = select(Calculation.initial_structure_id.label("key"), Calculation.final_structure_id).where(
        Calculation.initial_structure_id.in_(ids),
        Calculation.level_id == level_id,
        Calculation.task == "relax",
        Calculation.state == "converged",
    )
    return _grouped(session, wanted)


def predictions(session: Session, ids: Sequence[int], first: int) -> Grouped:
    wanted = (
        select(Prediction.structure_id.label("key"), *Prediction.__table__.columns, Level.name.label("level"))
        .join(Model, Model.id == Prediction.model_id)
        .join(Level, Level.id == Model.level_id)
        .where(Prediction.structure_id.in_(ids))
    )
    return _firsts(session, wanted, first, Prediction.id)


def hull_states(session: Session, ids: Sequence[int], first: int) -> Grouped:
    """Every place that the structures' entries ever had, oldest first."""
    return _firsts(session, _hull_states(ids), first, HullState.valid_from, HullState.id)


def places(session: Session, ids: Sequence[int], level_id: int | None, as_of: datetime | None) -> Grouped:
    """The places of the structures' entries on the hull of a level, now or as of a moment."""
    wanted = _hull_states(ids).where(HullState.level_id == level_id, _valid(as_of))
    return _firsts(session, wanted, 1, HullState.valid_from.desc(), HullState.id.desc())


def _valid(as_of: datetime | None) -> ColumnElement[bool]:
    current = HullState.valid_to.is_(None)
    return current if as_of is None else and_(HullState.valid_from <= as_of, or_(current, HullState.valid_to > as_of))


def _hull_states(ids: Sequence[int]) -> Select[*tuple[Any, ...]]:
    return (
        select(HullState.structure_id.label("key"), *HullState.__table__.columns, Level.name.label("level"))
        .join(Level, Level.id == HullState.level_id)
        .where(HullState.structure_id.in_(ids))
    )


def displacements(session: Session, ids: Sequence[int], first: int) -> Grouped:
    """Who took the structures' place on a hull, and when."""
    return _falls(session, ids, first, HullEvent.displaced_calculation_id, HullEvent.calculation_id)


def conquests(session: Session, ids: Sequence[int], first: int) -> Grouped:
    """Whose place on a hull the structures took, and when."""
    return _falls(session, ids, first, HullEvent.calculation_id, HullEvent.displaced_calculation_id)


def _falls(session: Session, ids: Sequence[int], first: int, here: Any, there: Any) -> Grouped:
    """Events with the structures' calculations in one column of hull_event, with the structures of the other."""
    asked, other = aliased(Calculation), aliased(Calculation)
    columns = (other.initial_structure_id.label("structure_id"), HullEvent.fell_by, HullEvent.at)
    wanted = (
        select(asked.initial_structure_id.label("key"), *columns, Level.name.label("level"))
        .select_from(HullEvent)
        .join(asked, asked.id == here)
        .join(other, other.id == there)
        .join(Level, Level.id == HullEvent.level_id)
        .where(asked.initial_structure_id.in_(ids))
    )
    return _firsts(session, wanted, first, HullEvent.at, HullEvent.id)


def parents(session: Session, ids: Sequence[int], first: int) -> Grouped:
    """The ways that led to the structures."""
    columns = [column for column in Lineage.__table__.columns if column.name != "id"]
    wanted = select(Lineage.child_id.label("key"), Lineage.parent_id.label("structure_id"), *columns)
    return _firsts(session, wanted.where(Lineage.child_id.in_(ids)), first, Lineage.id)


def children(session: Session, ids: Sequence[int], first: int) -> Grouped:
    """The ways that lead on from the structures."""
    columns = [column for column in Lineage.__table__.columns if column.name != "id"]
    wanted = select(Lineage.parent_id.label("key"), Lineage.child_id.label("structure_id"), *columns)
    return _firsts(session, wanted.where(Lineage.parent_id.in_(ids)), first, Lineage.id)


def ancestors(session: Session, ids: Sequence[int], first: int) -> Grouped:
    """What the structures came from over the generations, nearest first."""
    return ways(session, "ancestors", ids, first)


def descendants(session: Session, ids: Sequence[int], first: int) -> Grouped:
    """What became of the structures over the generations, nearest first."""
    return ways(session, "descendants", ids, first)


def duplicates(session: Session, ids: Sequence[int], first: int) -> Grouped:
    """Structures that are the same crystal, on either side of a link."""
    there = select(Duplicate.structure_id.label("key"), Duplicate.same_as_id.label("other"), Duplicate.rule)
    back = select(Duplicate.same_as_id.label("key"), Duplicate.structure_id.label("other"), Duplicate.rule)
    links = union_all(there.where(Duplicate.structure_id.in_(ids)), back.where(Duplicate.same_as_id.in_(ids)))
    link = links.subquery()
    wanted = select(link.c.key, Structure.public_id.label("id"), link.c.rule)
    return _firsts(session, wanted.join(Structure, Structure.id == link.c.other), first, Structure.id)


def properties(session: Session, ids: Sequence[int], first: int) -> Grouped:
    """What is known of the structures beside energies, by name; of several methods the latest comes first."""
    wanted = select(Property.structure_id.label("key"), *Property.__table__.columns, Source.name.label("source"))
    wanted = wanted.join(Source, Source.id == Property.source_id).where(Property.structure_id.in_(ids))
    return _firsts(session, wanted, first, Property.name, Property.id.desc())


def family_members(session: Session, ids: Sequence[int], first: int) -> Grouped:
    """The other ordered approximants of the structures' disordered crystals."""
    member, other = aliased(FamilyMember), aliased(FamilyMember)
    wanted = (
        select(member.structure_id.label("key"), other.structure_id.label("structure_id"))
        .join(other, other.family_id == member.family_id)
        .where(member.structure_id.in_(ids), other.structure_id != member.structure_id)
    )
    return _firsts(session, wanted, first, other.structure_id)


def selections(session: Session, ids: Sequence[int], first: int) -> Grouped:
    """What rounds picked the structures for."""
    wanted = (
        select(
            Selection.structure_id.label("key"),
            *Selection.__table__.columns,
            Round.number.label("round"),
            Campaign.name.label("campaign"),
            Level.name.label("level"),
        )
        .join(Round, Round.id == Selection.round_id)
        .join(Campaign, Campaign.id == Round.campaign_id)
        .join(Level, Level.id == Selection.level_id)
        .where(Selection.structure_id.in_(ids))
    )
    return _firsts(session, wanted, first, Selection.id)


def models(session: Session, ids: Sequence[int]) -> Grouped:
    """Models with what they learnt from, by their own ids."""
    learnt = (TrainingSet.name.label("set_name"), TrainingSet.sha256, TrainingSet.rows, TrainingSet.excluded_formulas)
    wanted = (
        select(Model.id.label("key"), *Model.__table__.columns, Level.name.label("level"), *learnt)
        .join(Level, Level.id == Model.level_id)
        .join(TrainingSet, TrainingSet.id == Model.training_set_id)
        .order_by(Model.id)
    )
    return _grouped(session, wanted.where(Model.id.in_(ids)))


def rounds(session: Session, ids: Sequence[int], first: int) -> Grouped:
    """Rounds by campaign."""
    wanted = select(Round.campaign_id.label("key"), *Round.__table__.columns).where(Round.campaign_id.in_(ids))
    return _firsts(session, wanted, first, Round.number)


def funnels(session: Session, ids: Sequence[int], first: int) -> Grouped:
    """Candidates that each rule dropped, by round."""
    wanted = select(Funnel.round_id.label("key"), *Funnel.__table__.columns).where(Funnel.round_id.in_(ids))
    return _firsts(session, wanted, first, Funnel.stage, Funnel.rule)


def _firsts(session: Session, wanted: Select[*tuple[Any, ...]], first: int, *order: Any) -> Grouped:
    """At most `first` rows of each key, in that order."""
    place = func.row_number().over(partition_by=wanted.selected_columns["key"], order_by=order)
    ranked = wanted.add_columns(place.label("place")).subquery()
    return _grouped(session, select(ranked).where(ranked.c.place <= first).order_by(ranked.c.key, ranked.c.place))


def _grouped(session: Session, wanted: Select[*tuple[Any, ...]]) -> Grouped:
    groups: dict[int, list[Row]] = defaultdict(list)
    for row in session.execute(wanted).mappings():
        groups[row["key"]].append(dict(row))
    return groups
