"""Searches for the structure of a composition: asked for, and how far they are."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from registry import bulk, queue
from registry.errors import LodeError
from registry.hull.levels import IMPORTED
from registry.identity.composition import Composition
from registry.ingest import composition_row
from registry.models import Composition as CompositionRow
from registry.models import Level, Search

MOST_STRUCTURES = 100_000
SEEDS = 2**63
PROGRESS = """
SELECT composition.reduced_formula, level.name AS level, search.seed, search.structures AS wanted,
       run.stored, run.completed, run.failed,
       label.lowest_formation_energy_per_atom, label.formation_energy_per_atom, label.e_above_hull, label.public_id,
       label.prototype, label.spacegroup_number, search.counts, search.asked_by, search.created_at, search.finished_at,
       work.error
FROM search
JOIN composition ON composition.id = search.composition_id
JOIN level ON level.id = search.level_id
JOIN analytics.composition_labels AS label
  ON label.level = level.name AND label.reduced_formula = composition.reduced_formula
CROSS JOIN LATERAL (
    SELECT count(*) AS stored, count(converged.id) AS completed,
           count(*) FILTER (WHERE converged.id IS NULL AND EXISTS (
             SELECT FROM calculation AS attempt
             WHERE attempt.initial_structure_id = selection.structure_id AND attempt.level_id = search.level_id
               AND attempt.state = 'failed')) AS failed
    FROM selection
    LEFT JOIN calculation AS converged ON converged.initial_structure_id = selection.structure_id
         AND converged.level_id = search.level_id AND converged.state = 'converged'
    WHERE selection.search_id = search.id) AS run
LEFT JOIN work ON work.kind = 'search' AND work.subject_id = search.id AND work.target_id = search.level_id
     AND work.state = 'dead'
WHERE :level IS NULL OR level.name = :level
ORDER BY search.id
"""


class Asked(StrEnum):
    """What came of asking."""

    ADDED = "added"
    EXTENDED = "extended"
    KNOWN = "known"


def ask(
    session: Session,
    amounts: Mapping[int, int],
    level_id: int,
    structures: int,
    seed: int,
    settings: Mapping[str, object],
    round_id: int | None = None,
) -> Asked:
    """Look for the structure of a composition (atomic number -> atoms) by so many random ones.

    Asked again with more structures, a search goes on where it ended. Raises LodeError for impossible numbers, for a
    level that nothing is relaxed at, and where that seed belongs to a search with other settings.
    """
    check_numbers(structures, seed)
    _check_level(session, level_id)
    reduced = Composition.of(Composition.of(amounts).reduced)
    row = composition_row(reduced)
    composition_id = bulk.add_missing(session, CompositionRow, "reduced_formula", [row]).ids[reduced.reduced_formula]
    values = {"composition_id": composition_id, "level_id": level_id, "seed": seed, "structures": structures}
    more = {"settings": dict(settings), "round_id": round_id, "asked_by": sa.func.current_user()}
    new = insert(Search).values(**values, **more).on_conflict_do_nothing().returning(Search.id)
    if session.scalar(new) is not None:
        queue.ring(session)
        return Asked.ADDED
    return _extend(session, reduced.reduced_formula, values, settings)


def _extend(session: Session, formula: str, values: Mapping[str, int], settings: Mapping[str, object]) -> Asked:
    where = [getattr(Search, name) == values[name] for name in ("composition_id", "level_id", "seed")]
    known = session.scalars(sa.select(Search).where(*where).with_for_update(of=Search)).one()
    if known.settings != dict(settings):
        raise LodeError(f"{formula}: seed {known.seed} is that of a search with other settings: choose another --seed")
    if known.structures >= values["structures"]:
        return Asked.KNOWN
    known.structures, known.finished_at = values["structures"], None
    session.flush()
    queue.ring(session)
    return Asked.EXTENDED


def check_numbers(structures: int, seed: int) -> None:
    """Raises LodeError for numbers that no search can have."""
    if not 0 < structures <= MOST_STRUCTURES:
        raise LodeError(f"{structures} structures: ask for 1 to {MOST_STRUCTURES}")
    if not 0 <= seed < SEEDS:
        raise LodeError(f"seed {seed}: choose one from 0 to {SEEDS - 1}")


def _check_level(session: Session, level_id: int) -> None:
    level = session.get_one(Level, level_id)
    if level.engine == IMPORTED:
        raise LodeError(f"level '{level.name}' holds imported energies: nothing is relaxed at it")


def progress(session: Session, level: str | None = None) -> list[dict[str, Any]]:
    """One row a search, in the order they were asked for.

    lowest_formation_energy_per_atom is of all searches of the composition at the level; formation_energy_per_atom is
    its label, null below 10 completed runs: as in analytics.composition_labels. error: why the search was given up.
    """
    query = sa.text(PROGRESS).bindparams(sa.bindparam("level", type_=sa.Text))
    return [dict(row) for row in session.execute(query, {"level": level}).mappings()]
