"""One statement for each nested list: ids of structures -> rows of them all."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import Select, select, union_all
from sqlalchemy.orm import Session, aliased

from registry.models import (
    Calculation,
    Campaign,
    Composition,
    Duplicate,
    ExternalId,
    Funnel,
    HullEvent,
    HullState,
    Level,
    Lineage,
    Model,
    Prediction,
    Prototype,
    Round,
    Selection,
    Structure,
    TrainingSet,
)

Row = dict[str, Any]
Grouped = Mapping[int, Sequence[Row]]
Fetch = Callable[[Session, Sequence[int]], Grouped]


def external_ids(session: Session, ids: Sequence[int]) -> Grouped:
    columns = (ExternalId.structure_id.label("key"), ExternalId.scheme, ExternalId.value)
    wanted = select(*columns).where(ExternalId.structure_id.in_(ids))
    return _grouped(session, wanted.order_by(ExternalId.scheme, ExternalId.value))


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


def calculations(session: Session, ids: Sequence[int]) -> Grouped:
    """Every attempt that started from the structures, oldest first."""
    plain = [column for column in Calculation.__table__.columns if column.name not in {"forces", "stress"}]
    corrected = Calculation.energy + Calculation.correction
    sums = (corrected.label("corrected_energy"), (corrected / Structure.nsites).label("corrected_energy_per_atom"))
    wanted = (
        select(Calculation.initial_structure_id.label("key"), *plain, *sums, Level.name.label("level"))
        .join(Level, Level.id == Calculation.level_id)
        .join(Structure, Structure.id == Calculation.initial_structure_id)
        .where(Calculation.initial_structure_id.in_(ids))
        .order_by(Calculation.id)
    )
    return _grouped(session, wanted)


def predictions(session: Session, ids: Sequence[int]) -> Grouped:
    wanted = (
        select(Prediction.structure_id.label("key"), *Prediction.__table__.columns, Level.name.label("level"))
        .join(Model, Model.id == Prediction.model_id)
        .join(Level, Level.id == Model.level_id)
        .where(Prediction.structure_id.in_(ids))
        .order_by(Prediction.id)
    )
    return _grouped(session, wanted)


def hull_states(session: Session, ids: Sequence[int]) -> Grouped:
    """Every place that the structures' entries ever had, oldest first."""
    wanted = (
        select(Calculation.initial_structure_id.label("key"), *HullState.__table__.columns, Level.name.label("level"))
        .join(Calculation, Calculation.id == HullState.calculation_id)
        .join(Level, Level.id == HullState.level_id)
        .where(Calculation.initial_structure_id.in_(ids))
        .order_by(HullState.valid_from, HullState.id)
    )
    return _grouped(session, wanted)


def displacements(session: Session, ids: Sequence[int]) -> Grouped:
    """Who took the structures' place on a hull, and when."""
    displaced, winner = aliased(Calculation), aliased(Calculation)
    columns = (winner.initial_structure_id.label("structure_id"), HullEvent.fell_by, HullEvent.at)
    wanted = (
        select(displaced.initial_structure_id.label("key"), *columns, Level.name.label("level"))
        .select_from(HullEvent)
        .join(displaced, displaced.id == HullEvent.displaced_calculation_id)
        .join(winner, winner.id == HullEvent.calculation_id)
        .join(Level, Level.id == HullEvent.level_id)
        .where(displaced.initial_structure_id.in_(ids))
        .order_by(HullEvent.at, HullEvent.id)
    )
    return _grouped(session, wanted)


def parents(session: Session, ids: Sequence[int]) -> Grouped:
    """The ways that led to the structures."""
    columns = [column for column in Lineage.__table__.columns if column.name != "id"]
    wanted = select(Lineage.child_id.label("key"), Lineage.parent_id.label("structure_id"), *columns)
    return _grouped(session, wanted.where(Lineage.child_id.in_(ids)).order_by(Lineage.id))


def children(session: Session, ids: Sequence[int]) -> Grouped:
    """The ways that lead on from the structures."""
    columns = [column for column in Lineage.__table__.columns if column.name != "id"]
    wanted = select(Lineage.parent_id.label("key"), Lineage.child_id.label("structure_id"), *columns)
    return _grouped(session, wanted.where(Lineage.parent_id.in_(ids)).order_by(Lineage.id))


def duplicates(session: Session, ids: Sequence[int]) -> Grouped:
    """Structures that are the same crystal, on either side of a link."""
    there = select(Duplicate.structure_id.label("key"), Duplicate.same_as_id.label("other"), Duplicate.rule)
    back = select(Duplicate.same_as_id.label("key"), Duplicate.structure_id.label("other"), Duplicate.rule)
    links = union_all(there.where(Duplicate.structure_id.in_(ids)), back.where(Duplicate.same_as_id.in_(ids)))
    link = links.subquery()
    wanted = select(link.c.key, Structure.public_id.label("id"), link.c.rule)
    return _grouped(session, wanted.join(Structure, Structure.id == link.c.other).order_by(Structure.id))


def selections(session: Session, ids: Sequence[int]) -> Grouped:
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
        .order_by(Selection.id)
    )
    return _grouped(session, wanted)


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


def rounds(session: Session, ids: Sequence[int]) -> Grouped:
    """Rounds by campaign."""
    wanted = select(Round.campaign_id.label("key"), *Round.__table__.columns).where(Round.campaign_id.in_(ids))
    return _grouped(session, wanted.order_by(Round.number))


def funnels(session: Session, ids: Sequence[int]) -> Grouped:
    """Candidates that each rule dropped, by round."""
    wanted = select(Funnel.round_id.label("key"), *Funnel.__table__.columns).where(Funnel.round_id.in_(ids))
    return _grouped(session, wanted.order_by(Funnel.stage, Funnel.rule))


def _grouped(session: Session, wanted: Select[*tuple[Any, ...]]) -> Grouped:
    groups: dict[int, list[Row]] = defaultdict(list)
    for row in session.execute(wanted).mappings():
        groups[row["key"]].append(dict(row))
    return groups
