"""What a round labels next, and what it labels first. Refuses a model whose level is not the hull's."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from registry import queue
from registry.crystal import Crystal
from registry.errors import LevelMismatch, NotFound, SettingsError
from registry.hull.entries import level_entries
from registry.identity.composition import ATOMIC_NUMBERS
from registry.ingest import crystals
from registry.models import Level, Model, Selection
from registry.states import Purpose, Stage
from workers.candidates.clusters import kinds_of
from workers.ranking import Choice, LabelledComposition, Option, Rules, choose, contenders, promising

AT_ONCE = 10_000  # crystals in one query

FAMILY: sa.BindParameter[Any] = sa.bindparam("family", type_=sa.ARRAY(sa.Text))

OPTIONS = """
SELECT structure.id AS structure_id, composition.reduced_formula AS formula, composition.elements,
       composition.amounts, prediction.formation_energy_per_atom AS energy,
       CASE WHEN prediction.out_of_domain
            THEN coalesce(prediction.upper_90 - prediction.formation_energy_per_atom, 0) ELSE 0 END AS doubt,
       (SELECT max(probability) FROM lineage WHERE lineage.child_id = structure.id) AS probability
FROM prediction
JOIN structure ON structure.id = prediction.structure_id
JOIN composition ON composition.id = structure.composition_id
WHERE prediction.model_id = :model AND prediction.stage = :stage AND composition.elements <@ :family
  AND NOT EXISTS (
    SELECT FROM selection
    WHERE selection.structure_id = structure.id AND selection.level_id = :level
      AND selection.purpose IN ('label', 'reference'))
ORDER BY structure.id
"""

LABELLED = """
SELECT composition.reduced_formula AS formula, hull_state.formation_energy_per_atom AS energy,
       hull_state.e_above_hull, prediction.formation_energy_per_atom AS predicted,
       calculation.initial_structure_id AS structure_id
FROM hull_state
JOIN calculation ON calculation.id = hull_state.calculation_id
JOIN structure ON structure.id = calculation.final_structure_id
JOIN composition ON composition.id = structure.composition_id
LEFT JOIN prediction ON prediction.structure_id = calculation.initial_structure_id
     AND prediction.model_id = :model AND prediction.stage = 'ensemble'
WHERE hull_state.level_id = :level AND hull_state.valid_to IS NULL
"""


PROMOTED = sa.and_(Model.promoted, Model.needs_structure)
"""Of the models of crystals."""


def promoted_model(session: Session, level_id: int) -> Model:
    """The model that scores for a level. Raises NotFound."""
    model = session.scalar(sa.select(Model).where(Model.level_id == level_id, PROMOTED))
    if model is None:
        name = session.get_one(Level, level_id).name
        raise NotFound(f"no model is promoted for level '{name}': run `lode model promote NAME`")
    return model


def named_model(session: Session, name: str) -> Model:
    """A model by its name. Raises NotFound."""
    model = session.scalar(sa.select(Model).where(Model.name == name))
    if model is None:
        known = ", ".join(session.scalars(sa.select(Model.name).order_by(Model.name))) or "none yet"
        raise NotFound(f"no model '{name}' in this registry (there are: {known})")
    return model


def check_level(session: Session, model: Model, level_id: int) -> None:
    """Raises LevelMismatch unless the model predicts at the hull's level, SettingsError for a model of formulas."""
    if not model.needs_structure:
        raise SettingsError(f"model '{model.name}' predicts formulas, which no candidates could be told apart by")
    if model.level_id != level_id:
        names = [session.get_one(Level, one).name for one in (model.level_id, level_id)]
        raise LevelMismatch(f"model '{model.name}' predicts at level '{names[0]}', the hull is of level '{names[1]}'")


def select_references(session: Session, round_id: int, level_id: int, family: Sequence[str], max_sites: int) -> int:
    """Pick the imported crystals within the family: the competing phases that are labelled before anything else."""
    query = sa.text(
        "SELECT structure.id FROM structure JOIN composition ON composition.id = structure.composition_id"
        " WHERE origin = 'imported' AND nsites <= :sites AND composition.elements <@ :family"
        " ORDER BY nsites, structure.id"
    ).bindparams(FAMILY)
    ids = session.scalars(query, {"sites": max_sites, "family": list(family)}).all()
    return pick_references(session, round_id, level_id, ids)


def pick_references(session: Session, round_id: int, level_id: int, structure_ids: Sequence[int]) -> int:
    """Pick these crystals for labels, in this order and before all candidates."""
    chosen = [Choice(one, float("nan")) for one in structure_ids]
    return _store(session, round_id, level_id, Purpose.REFERENCE, None, chosen)


def select_refine(
    session: Session, round_id: int, level_id: int, family: Sequence[str], count: int, model: Model | None = None
) -> int:
    """Pick the candidates within the family that the whole ensemble shall look at."""
    model = model or promoted_model(session, level_id)
    check_level(session, model, level_id)
    options = _options(session, model, level_id, family, Stage.SINGLE)
    chosen = promising(options, level_entries(session, level_id).entries, count)
    return _store(session, round_id, level_id, Purpose.REFINE, model, chosen)


def select_recheck(
    session: Session, round_id: int, level_id: int, family: Sequence[str], count: int, second: Model
) -> int:
    """Pick the candidates, of those that the ensemble has looked at, that a second model shall look at too.

    A structure is rechecked once at a level.
    """
    check_level(session, second, level_id)
    options = _options(session, promoted_model(session, level_id), level_id, family, Stage.ENSEMBLE)
    chosen = promising(options, level_entries(session, level_id).entries, count)
    return _store(session, round_id, level_id, Purpose.RECHECK, second, chosen)


def select_labels(
    session: Session, round_id: int, level_id: int, family: Sequence[str], rules: Rules, model: Model | None = None
) -> int:
    """Pick the candidates to label next, by predicted decomposition energy against the hull as it stands."""
    model = model or promoted_model(session, level_id)
    check_level(session, model, level_id)
    options = _options(session, model, level_id, family, Stage.ENSEMBLE)
    entries = level_entries(session, level_id).entries
    labelled = _labelled(session, model, level_id)
    chosen = choose(options, entries, labelled, rules, _kinds(session, options, labelled, rules))
    return _store(session, round_id, level_id, Purpose.LABEL, model, chosen)


def _options(session: Session, model: Model, level_id: int, family: Sequence[str], stage: Stage) -> list[Option]:
    query = sa.text(OPTIONS).bindparams(FAMILY)
    bound = {"model": model.id, "stage": stage.value, "level": level_id, "family": list(family)}
    rows = session.execute(query, bound)
    return [
        Option(
            row.structure_id,
            row.formula,
            _amounts(row.elements, row.amounts),
            row.energy + row.doubt,
            1.0 if row.probability is None else row.probability,
            row.doubt,
        )
        for row in rows
    ]


def _amounts(elements: Sequence[str], amounts: Sequence[int]) -> dict[int, int]:
    return {ATOMIC_NUMBERS[element]: count for element, count in zip(elements, amounts, strict=True)}


def _labelled(session: Session, model: Model, level_id: int) -> dict[str, LabelledComposition]:
    rows: defaultdict[str, list[sa.Row[tuple[object, ...]]]] = defaultdict(list)
    for row in session.execute(sa.text(LABELLED), {"model": model.id, "level": level_id}):
        rows[row.formula].append(row)
    return {formula: _summary(of_formula) for formula, of_formula in rows.items()}


def _kinds(
    session: Session, options: Sequence[Option], labelled: Mapping[str, LabelledComposition], rules: Rules
) -> dict[int, int]:
    """Kinds of the contenders and of what is labelled of their compositions: no other crystal is read."""
    asked: set[int] = set()
    for formula, family in contenders(options, labelled, rules).items():
        asked.update(option.structure_id for option in family)
        asked.update(labelled[formula].structures)
    ids = sorted(asked)
    found: dict[int, Crystal] = {}
    for start in range(0, len(ids), AT_ONCE):
        found |= crystals(session, ids[start : start + AT_ONCE])
    return kinds_of(found)


def _summary(rows: Sequence[sa.Row[tuple[object, ...]]]) -> LabelledComposition:
    lowest = min(rows, key=lambda row: row.energy)
    residuals = [row.energy - row.predicted for row in rows if row.predicted is not None]
    structures = tuple(row.structure_id for row in rows)
    return LabelledComposition(lowest.energy, lowest.e_above_hull, sum(residuals) / (len(residuals) + 1), structures)


def _store(
    session: Session, round_id: int, level_id: int, purpose: Purpose, model: Model | None, chosen: Sequence[Choice]
) -> int:
    rows = [
        {
            "round_id": round_id,
            "structure_id": choice.structure_id,
            "level_id": level_id,
            "purpose": purpose.value,
            "model_id": model.id if model else None,
            "rank": rank,
            "predicted_decomposition_energy": None if model is None else choice.decomposition_energy,
        }
        for rank, choice in enumerate(chosen, 1)
    ]
    if rows:
        session.execute(insert(Selection).on_conflict_do_nothing(), rows)
        queue.ring(session)
    return len(rows)
