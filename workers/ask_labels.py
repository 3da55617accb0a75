"""Ask for labels of crystals that are there: by selections of a round, which any label daemon finds in `unlabelled`."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from registry.errors import LevelMismatch, NotFound
from registry.hull.level_rows import ensure_level, level_id, stored_level
from registry.hull.levels import IMPORTED, load_level, shipped_levels
from registry.models import Level, Structure
from registry.query.materials import ask
from registry.query.sql import matching
from workers.rounds import close_round, open_round
from workers.select import pick_references

LABELLED = """
SELECT initial_structure_id FROM calculation
WHERE level_id = :level AND state = 'converged' AND initial_structure_id = ANY(:ids)"""

PICKED = """
SELECT structure_id FROM selection
WHERE level_id = :level AND purpose IN ('reference', 'label') AND structure_id = ANY(:ids)"""

GIVEN_UP = """
SELECT subject_id FROM work
WHERE kind = 'label' AND state = 'dead' AND target_id = :level AND subject_id = ANY(:ids)"""

SMALL_FIRST = """
SELECT structure.id FROM structure JOIN composition ON composition.id = structure.composition_id
WHERE structure.id = ANY(:ids) ORDER BY composition.nelements, structure.nsites, structure.id"""
"""So that hulls fill from the elements to large systems, and a run that is cut short leaves whole small ones."""

UNIQUE = """
SELECT id FROM structure WHERE id = ANY(:ids)
  AND NOT EXISTS (SELECT FROM duplicate WHERE duplicate.structure_id = structure.id)"""


@dataclass(frozen=True)
class Wanted:
    """labelled: have an energy at the level already; waiting: were asked for before; given_up: of these, those that
    failed for the last time; asked: are asked for now."""

    labelled: int
    waiting: int
    asked: int
    given_up: int = 0


def ask_matching(session: Session, level: str, filter_: str, of: str | None = None, limit: int | None = None) -> Wanted:
    """Ask for labels at a level of the crystals that pass a filter, duplicates left out. Commit is the caller's.

    of: the level that the filter's energies are of, where it speaks of any; limit: at most so many that are new
    Raises NotFound where nothing passes, FilterError, LevelMismatch for a level of imported energies.
    """
    question = ask(session, filter_, of)
    found = session.scalars(matching(question.filter, set(), Structure.id.expression), question.bound).all()
    ids = session.scalars(sa.text(UNIQUE), {"ids": list(found)}).all()
    if not ids:
        raise NotFound("no crystal of the registry passes the filter")
    name = f"labels at {level}"
    settings = {"name": name, "asked_for": len(ids), "filter": filter_}
    return ask_labels(session, label_level(session, level), name, ids, settings, limit)


def ask_labels(
    session: Session,
    level: int,
    name: str,
    structure_ids: Collection[int],
    settings: Mapping[str, Any],
    limit: int | None = None,
) -> Wanted:
    """Select those that have no label at the level, in a round of campaign `name`, opened where anything is new."""
    bound = {"level": level, "ids": sorted(structure_ids)}
    labelled = set(session.scalars(sa.text(LABELLED), bound))
    waiting = set(session.scalars(sa.text(PICKED), bound)) - labelled
    left = sorted(set(structure_ids) - labelled - waiting)
    new = session.scalars(sa.text(SMALL_FIRST), {"ids": left}).all()[:limit]
    if new:
        round_id = open_round(session, level, name, settings)
        pick_references(session, round_id, level, new)
        close_round(session, round_id)
    dead = set(session.scalars(sa.text(GIVEN_UP), bound)) & waiting
    return Wanted(len(labelled), len(waiting) - len(dead), len(new), len(dead))


def ship(session: Session, name: str) -> None:
    """Make the level where it ships and is missing, which only the owner of the registry may."""
    missing = session.scalar(sa.select(Level.id).where(Level.name == name)) is None
    if missing and name in shipped_levels():
        ensure_level(session, load_level(name))


def label_level(session: Session, name: str) -> int:
    """The id of a level that an engine computes. Raises NotFound, LevelMismatch."""
    key = level_id(session, name)
    if stored_level(session, key).engine == IMPORTED:
        raise LevelMismatch(f"level '{name}' holds imported energies: nothing is labelled at it")
    return key
