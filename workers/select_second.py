"""Ask for labels at a second level: of what is stable at a first one, and of what competes with it.

Labels are asked for as a campaign asks for known competing phases: by selections of a round, of a campaign of its own
at the second level. `lode label`, or any daemon, finds them in the view `unlabelled`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from registry.errors import HullError
from registry.hull.level_rows import level_id, stored_level
from registry.query.columns import subsystems
from workers.ask_labels import ask_labels, label_level
from workers.validate_levels import NAME, VALIDATED, Asked, judged, systems_within

WITHIN = 0.05
"""eV/atom above the first hull up to which competitors are labelled, too: one of them may be stable at the second."""

PLACES = """
SELECT structure_id, chemsys, nelements, e_above_hull, is_stable FROM hull_state
WHERE level_id = :level AND valid_to IS NULL AND (CAST(:systems AS text[]) IS NULL OR chemsys = ANY(:systems))"""

ELEMENTS = """
SELECT id, chemsys FROM structure
WHERE origin = 'imported' AND chemsys = ANY(:elements)
  AND NOT EXISTS (SELECT FROM duplicate WHERE duplicate.structure_id = structure.id)"""


@dataclass(frozen=True)
class Picked:
    """What a second level needs.

    stable: crystals of two or more elements that are stable at the first level and judged; rivals: other entries of
    their chemical systems near its hull, elements included; elements: known crystals of elements whose energy the
    second level takes from its own entries; of all these labelled: have an energy there already; waiting: were asked
    for before; asked: are asked for now. without_crystal: elements that neither the level nor the registry can tell
    """

    stable: int
    rivals: int
    elements: int
    labelled: int
    waiting: int
    asked: int
    without_crystal: tuple[str, ...]


@dataclass(frozen=True)
class Needed:
    """Ids of structures; see `Picked`."""

    stable: set[int]
    near: set[int]
    elements: set[int]


def select_second(session: Session, asked: Asked, within: float = WITHIN) -> Picked:
    """Select them, in a round that is opened for it where anything is new. Commit is the caller's.

    within: eV/atom above the first hull. Raises NotFound, FilterError, LevelMismatch for a second level of imported
    energies, HullError where nothing is stable.
    """
    level = level_id(session, asked.level)
    second = label_level(session, asked.against)
    places = session.execute(sa.text(PLACES), {"level": level, "systems": systems_within(asked.chemsys)}).all()
    stable = _stable(places, judged(session, asked.level, asked.filter))
    if not stable:
        raise HullError(f"nothing of what is asked for is stable at level '{asked.level}'")
    systems = {part for system in {row.chemsys for row in stable} for part in subsystems(system.split("-"))}
    near = {row.structure_id for row in places if row.chemsys in systems and row.e_above_hull <= within}
    family = sorted(one for one in systems if "-" not in one)
    elements, without = _elements(session, second, family)
    needed = Needed({row.structure_id for row in stable}, near, elements)
    name = f"{NAME} of {asked.level} at {asked.against}"
    settings = {"name": name, "family": family, VALIDATED: asked.level, "chemsys": asked.chemsys}
    ids = needed.stable | needed.near | needed.elements
    wanted = ask_labels(session, second, name, ids, {**settings, "filter": asked.filter})
    counts = len(needed.stable), len(needed.near - needed.stable), len(needed.elements)
    return Picked(*counts, wanted.labelled, wanted.waiting, wanted.asked, without)


def _stable(places: Sequence[Any], wanted: Collection[int] | None) -> list[Any]:
    compounds = (row for row in places if row.is_stable and row.nelements > 1)
    return [row for row in compounds if wanted is None or row.structure_id in wanted]


def _elements(session: Session, level: int, elements: Collection[str]) -> tuple[set[int], tuple[str, ...]]:
    """Known crystals of those whose reference the level doesn't say, and the elements that have none."""
    needed = sorted(set(elements) - stored_level(session, level).references.keys())
    rows = session.execute(sa.text(ELEMENTS), {"elements": needed}).all()
    return {row.id for row in rows}, tuple(sorted(set(needed) - {row.chemsys for row in rows}))
