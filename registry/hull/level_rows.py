"""Levels of theory as a registry holds them."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from registry.errors import LevelMismatch, NotFound
from registry.hull.levels import Level, load_level, shipped_levels
from registry.models import Level as LevelRow


def ensure_level(session: Session, level: Level) -> int:
    """The id of a shipped level in this registry, made where it is missing."""
    values = {
        "name": level.name,
        "engine": level.engine,
        "functional": level.functional,
        "correction_scheme": level.correction_scheme,
        "settings": dict(level.settings),
        "references": dict(level.references),
        "tabulated": list(level.tabulated),
        "note": level.note,
        "settings_hash": level.settings_hash,
    }
    session.execute(insert(LevelRow).values(**values).on_conflict_do_nothing())
    return level_id(session, level.name)


def add_level(session: Session, level: Level) -> bool:
    """Store a level; False where the same is stored. Raises LevelMismatch where its name is that of another one."""
    if level.name in shipped_levels() and level != load_level(level.name):
        raise LevelMismatch(f"level '{level.name}' ships with Motherlode: give yours another name")
    known = session.scalar(sa.select(LevelRow.id).where(LevelRow.name == level.name))
    if known is None:
        ensure_level(session, level)
    elif stored_level(session, known) != level:
        raise LevelMismatch(f"another level '{level.name}' is there: give this one another name, levels don't change")
    return known is None


def stored_level(session: Session, level_id: int) -> Level:
    """A level as this registry has it."""
    row = session.get_one(LevelRow, level_id)
    return Level(
        name=row.name,
        engine=row.engine,
        functional=row.functional,
        correction_scheme=row.correction_scheme,
        settings=row.settings,
        references=fixed_references(row),
        tabulated=tuple(row.tabulated),
        note=row.note,
    )


def level_id(session: Session, name: str) -> int:
    """Raises NotFound naming the levels that this registry holds."""
    found = session.scalar(sa.select(LevelRow.id).where(LevelRow.name == name))
    if found is None:
        known = ", ".join(session.scalars(sa.select(LevelRow.name).order_by(LevelRow.name))) or "none yet"
        raise NotFound(f"no level '{name}' in this registry (there are: {known})")
    return found


def fixed_references(row: LevelRow) -> dict[str, float]:
    """Element -> eV/atom; empty where the lowest entries of the elements are what energies are against."""
    return {str(element): float(str(energy)) for element, energy in row.references.items()}


def name_functional(session: Session, level_id: int, level: Level) -> None:
    """Keep what the energies of an imported level have told of its functional."""
    told = {"functional": level.functional, "settings_hash": level.settings_hash}
    session.execute(sa.update(LevelRow).where(LevelRow.id == level_id).values(**told))
