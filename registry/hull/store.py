"""Placing: hull states of the system of record, brought up to date in one transaction.

`place` solves a level anew. `KeptHulls` keeps hulls in memory and solves again only what a batch of entries reaches.
Both give the same states to the last bit. Whoever places a level holds its lock until the end of the transaction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from registry import queue
from registry.errors import HullError, MissingReference
from registry.hull.entries import References, amounts_of, level_entries, references_of, these_entries
from registry.hull.geometry import Entry, EntryTable
from registry.hull.incremental import LiveHull
from registry.hull.states import State, current_states, formulas_of, state_of, write_states
from registry.identity.composition import ATOMIC_NUMBERS
from registry.models import Placement
from registry.states import ErrorClass

PLACE_LOCK = 0x68756C6C  # "hull"

MANY = 5_000
"""Entries to place, from which on a level is rather solved anew if they are also more than a tenth of it."""

PLACED = """
SELECT hull_state.calculation_id, formation_energy_per_atom, elements, amounts
FROM hull_state JOIN composition ON composition.id = hull_state.composition_id
WHERE level_id = :level AND valid_to IS NULL"""
PLACED_THESE = PLACED + " AND calculation_id = ANY(:ids)"

WAITING = """
SELECT (SELECT count(*) FROM (SELECT FROM unplaced WHERE level_id = :level LIMIT :limit) AS noted)
     + (SELECT count(*) FROM (SELECT FROM work WHERE kind = 'place' AND state = 'waiting' AND target_id = :level
                              LIMIT :limit) AS known)"""


@dataclass(frozen=True)
class Placed:
    """What one placing did. refused: calculation id -> why no hull may hold it, of those that were asked for."""

    entries: int
    changed: int
    displaced: int
    refused: Mapping[int, HullError]


@dataclass(frozen=True)
class Kept:
    """A hull in memory. seen: the last placing of its level that it holds."""

    hull: LiveHull
    references: References
    seen: int


@dataclass
class KeptHulls:
    """The hulls of levels, from one placing to the next. What others placed meanwhile is taken over first."""

    _kept: dict[int, Kept] = field(default_factory=dict)

    def place(self, session: Session, level_id: int, calculation_ids: Sequence[int]) -> Placed:
        """Bring the hull states of a level up to date with these calculations. Commit is the caller's.

        If the transaction is rolled back, the hull is read again at the next placing.
        """
        _lock(session, level_id)
        kept = self._current(session, level_id)
        rows = {row.calculation_id: row for row in these_entries(session, level_id, calculation_ids)}
        if (
            _is_much(session, level_id, kept.hull.size)
            or _references_changed(session, level_id, kept)
            or _references_move(kept, calculation_ids, rows)
        ):
            kept, placed = _place_all(session, level_id)
        else:
            kept, placed = _place_these(session, level_id, kept, calculation_ids, rows)
        self._kept[level_id] = kept
        asked = set(calculation_ids)
        return replace(placed, refused={key: error for key, error in placed.refused.items() if key in asked})

    def _current(self, session: Session, level_id: int) -> Kept:
        """The hull as the states of the database say. It is kept again when the placing has gone well."""
        kept = self._kept.pop(level_id, None)
        caught_up = None if kept is None else _caught_up(session, level_id, kept)
        return _read(session, level_id) if caught_up is None else caught_up


def place(session: Session, level_id: int) -> Placed:
    """Solve the whole level anew and store what changed; two callers take turns. Commit is the caller's."""
    _lock(session, level_id)
    return _place_all(session, level_id)[1]


def error_class(error: HullError) -> ErrorClass:
    return ErrorClass.MISSING_REFERENCE if isinstance(error, MissingReference) else ErrorClass.UNPHYSICAL_ENERGY


def _lock(session: Session, level_id: int) -> None:
    session.execute(sa.select(sa.func.pg_advisory_xact_lock(PLACE_LOCK, level_id)))


# One batch.


def _place_these(
    session: Session, level_id: int, kept: Kept, calculation_ids: Sequence[int], rows: Mapping[int, Any]
) -> tuple[Kept, Placed]:
    complaints = {key: kept.references.complaint(row) for key, row in rows.items()}
    refused = {key: complaint for key, complaint in complaints.items() if complaint is not None}
    arrived = [kept.references.entry(row) for key, row in rows.items() if key not in refused]
    coming = {int(entry.key) for entry in arrived}
    gone = [key for key in dict.fromkeys(calculation_ids) if key not in coming and kept.hull.holds(key)]
    moved = [key for key in kept.hull.update(arrived, gone) if key > 0]
    changes = write_states(
        session, level_id, current_states(session, level_id, [*moved, *gone]), _states(session, kept, moved)
    )
    now = Kept(kept.hull, kept.references, _noted(session, level_id, calculation_ids=list(calculation_ids)))
    return now, Placed(_entries_in(now), changes.changed, changes.displaced, refused)


def _entries_in(kept: Kept) -> int:
    return kept.hull.size - len(kept.references.stand_ins())


def _states(session: Session, kept: Kept, keys: Sequence[int]) -> dict[int, State]:
    results = kept.hull.results(keys)
    formulas = formulas_of(session, results)
    return {int(result.key): state_of(result, formulas) for result in results}


def _is_much(session: Session, level_id: int, held: int) -> bool:
    waiting = session.scalar(sa.text(WAITING), {"level": level_id, "limit": max(MANY, held // 10)})
    return int(waiting or 0) >= max(MANY, held // 10)


def _references_move(kept: Kept, calculation_ids: Sequence[int], rows: Mapping[int, Any]) -> bool:
    """Whether formation energies are against other elements with these: all of them are other energies then."""
    held = (kept.hull.element_of(key) for key in calculation_ids if kept.hull.holds(key))
    fixed = {0, *(ATOMIC_NUMBERS[element] for element in kept.references.fixed)}
    return any(map(kept.references.moves, rows.values())) or any(number not in fixed for number in held)


def _references_changed(session: Session, level_id: int, kept: Kept) -> bool:
    """Whether the level says others than those that its states are against."""
    said = references_of(session, level_id, {}).energies
    return said.keys() != kept.references.fixed or any(kept.references.energies.get(one) != said[one] for one in said)


def _noted(session: Session, level_id: int, **what: Any) -> int:
    row = Placement(level_id=level_id, **what)
    session.add(row)
    session.flush()
    return row.id


# The hull in memory, as the states of the database say.


def _read(session: Session, level_id: int) -> Kept:
    said = references_of(session, level_id, {})
    references = References(_last_references(session, level_id), said.fixed)
    rows = session.execute(sa.text(PLACED), {"level": level_id}).all()
    last = sa.select(sa.func.coalesce(sa.func.max(Placement.id), 0)).where(Placement.level_id == level_id)
    hull = LiveHull(EntryTable.of([*map(_placed_entry, rows), *references.stand_ins()]))
    return Kept(hull, references, session.execute(last).scalar_one())


def _last_references(session: Session, level_id: int) -> dict[str, float]:
    """As they were when the level was last solved anew; elements that moved since are work to do."""
    query = sa.select(Placement.references).where(Placement.level_id == level_id, Placement.references.is_not(None))
    energies = session.scalars(query.order_by(Placement.id.desc()).limit(1)).first() or {}
    return {element: float(str(energy)) for element, energy in energies.items()}


def _caught_up(session: Session, level_id: int, kept: Kept) -> Kept | None:
    """With what others placed since. None where all was solved anew, or our last placing was rolled back."""
    since = sa.select(Placement).where(Placement.level_id == level_id, Placement.id >= kept.seen).order_by(Placement.id)
    placings = session.scalars(since).all()
    if not placings:
        return kept if kept.seen == 0 else None
    if (kept.seen and placings[0].id != kept.seen) or any(one.calculation_ids is None for one in placings[1:]):
        return None
    ids = sorted({key for one in placings[1:] for key in one.calculation_ids or ()})
    if ids:
        rows = session.execute(sa.text(PLACED_THESE), {"level": level_id, "ids": ids}).all()
        present = {row.calculation_id for row in rows}
        kept.hull.update(map(_placed_entry, rows), [key for key in ids if key not in present and kept.hull.holds(key)])
    return Kept(kept.hull, kept.references, placings[-1].id)


def _placed_entry(row: Any) -> Entry:
    return Entry(row.calculation_id, amounts_of(row), row.formation_energy_per_atom)


# The whole level.


def _place_all(session: Session, level_id: int) -> tuple[Kept, Placed]:
    queue.run(session.connection(), "forget_level", {"level_id": level_id})
    known = level_entries(session, level_id)
    hull = LiveHull(EntryTable.of(known.entries))
    keys = [key for key in hull if key > 0]
    new = {int(result.key): state_of(result, known.formulas) for result in hull.results(keys)}
    changes = write_states(session, level_id, current_states(session, level_id), new)
    _bury(session, level_id, known.refused)
    kept = Kept(hull, known.references, _noted(session, level_id, references=dict(known.references.energies)))
    return kept, Placed(len(new), changes.changed, changes.displaced, known.refused)


def _bury(session: Session, level_id: int, refused: Mapping[int, HullError]) -> None:
    """Work that can't be done says why; rows that a worker holds are its own to settle."""
    rows = [
        {"calculation_id": key, "level_id": level_id, "error_class": error_class(error).value, "error": str(error)}
        for key, error in refused.items()
    ]
    queue.run_many(session.connection(), "bury_place", rows)
