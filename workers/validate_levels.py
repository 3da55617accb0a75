"""Hold the stable set of one level against that of a second one, as both stand in the registry.

Entries are those that are placed on the hulls (`hull_state`); the same crystal at two levels is the same initial
structure. What is judged of them, and how, is said in `workers.validation.levels`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session

from registry.errors import HullError, NotFound, SettingsError
from registry.hull.entries import amounts_of
from registry.hull.level_rows import level_id
from registry.hull.levels import load_level, shipped_levels
from registry.models import HullState, Level, Structure, Validation
from registry.query.columns import subsystems
from registry.query.materials import ask
from registry.query.sql import matching
from registry.query.values import element_symbol
from workers.validation.levels import LevelComparison, LevelEntry, compare_levels

NAME = "r2scan"
"""Of the comparison, in the table `validation`."""

FUNCTIONAL = "r2scan"
"""Of the second level where none is named, in lower case."""

VALIDATED = "validated_level"
"""Setting of the rounds that ask for labels at a second level: the name of the first one."""

PLACED = """
SELECT hull_state.structure_id, structure.public_id, composition.reduced_formula, composition.elements,
       composition.amounts, hull_state.formation_energy_per_atom AS energy
FROM hull_state
JOIN structure ON structure.id = hull_state.structure_id
JOIN composition ON composition.id = hull_state.composition_id
WHERE hull_state.level_id = :level AND hull_state.valid_to IS NULL
  AND (CAST(:systems AS text[]) IS NULL OR hull_state.chemsys = ANY(:systems))
ORDER BY hull_state.structure_id"""

LAST_ROUND = f"""
SELECT round.id FROM round JOIN campaign ON campaign.id = round.campaign_id
WHERE campaign.level_id = :against AND round.settings ->> '{VALIDATED}' = :level
ORDER BY round.id DESC LIMIT 1"""  # noqa: S608  (own words)


@dataclass(frozen=True)
class Asked:
    """Which sets are compared.

    level, against: names of the first and the second level
    chemsys: this chemical system and those within it alone, as "Fe-Li-O"; filter: crystals that are judged, by their
    state at the first level (registry/query); what it leaves out competes all the same
    own_hulls: each level with all its entries, not with the common ones
    """

    level: str
    against: str
    chemsys: str | None = None
    filter: str = ""
    own_hulls: bool = False


def asked_levels(session: Session, level: str | None, against: str | None) -> tuple[str, str]:
    """Names of the two levels: those given, else the only r2SCAN level and the only other one that has a hull.

    Raises SettingsError where that isn't one, or where the two are the same; NotFound for a level that isn't there.
    """
    second = against if against is not None else _r2scan_level(session, level)
    first = level if level is not None else _only(_with_hull(session, second), "--level", "has a hull")
    for name in (first, second):
        level_id(session, name)
    if first == second:
        raise SettingsError(f"level '{first}' can't be held against itself: name two levels")
    return first, second


def compare(session: Session, asked: Asked) -> LevelComparison:
    """Compare the stable sets.

    Raises NotFound, FilterError, and HullError where one of the levels has no hull there, or no crystal of two or more
    elements is on both.
    """
    first, second = _entries(session, asked.level, asked), _entries(session, asked.against, asked)
    compounds = {one.key for one in second if len(one.amounts) > 1}
    if not any(one.key in compounds for one in first):
        raise HullError(
            f"no compound{_within(asked)} is labelled at both '{asked.level}' and '{asked.against}': "
            "ask for labels with --select, then run `lode label`"
        )
    return compare_levels(first, second, judged(session, asked.level, asked.filter), own_hulls=asked.own_hulls)


def judged(session: Session, level: str, filter_: str) -> set[int] | None:
    """Ids of the structures that a filter finds, energies at that level; None without one. Raises FilterError."""
    if not filter_:
        return None
    question = ask(session, filter_, level)
    return set(session.scalars(matching(question.filter, set(), Structure.id.expression), question.bound))


def keep(session: Session, asked: Asked, found: LevelComparison) -> int | None:
    """Store a comparison with the last round that asked for labels at the second level of what the first one holds;
    its id. None where no round did: nothing is stored then. Commit is the caller's."""
    bound = {"level": asked.level, "against": level_id(session, asked.against)}
    round_id: int | None = session.scalar(sa.text(LAST_ROUND), bound)
    if round_id is not None:
        rows = [{"left": True, **one.as_dict()} for one in found.left]
        rows += [{"left": False, **one.as_dict()} for one in found.entered]
        summary = {**asdict(asked), **found.summary()}
        session.add(Validation(round_id=round_id, name=NAME, summary=summary, rows=rows))
    return round_id


def systems_within(chemsys: str | None) -> list[str] | None:
    """The chemical systems within one, itself included. Raises FilterError for what isn't one."""
    return None if chemsys is None else subsystems([element_symbol(word) for word in chemsys.split("-")])


def _entries(session: Session, level: str, asked: Asked) -> list[LevelEntry]:
    bound = {"level": level_id(session, level), "systems": systems_within(asked.chemsys)}
    rows = session.execute(sa.text(PLACED), bound).all()
    if not rows:
        raise HullError(f"level '{level}' has no hull{_within(asked)}: label crystals at it, and `lode place` them")
    return [
        LevelEntry(row.structure_id, row.public_id, row.reduced_formula, amounts_of(row), row.energy) for row in rows
    ]


def _within(asked: Asked) -> str:
    return f" within {asked.chemsys}" if asked.chemsys else ""


def _r2scan_level(session: Session, other_than: str | None) -> str:
    """Of several, the one that has a hull."""
    functional = sa.func.lower(Level.functional) == FUNCTIONAL
    names = session.scalars(sa.select(Level.name).where(functional).order_by(Level.name)).all()
    candidates = [name for name in names if name != other_than]
    placed = set(_with_hull(session))
    chosen = [name for name in candidates if name in placed] or candidates
    if not chosen:
        shipped = [name for name in shipped_levels() if load_level(name).functional.lower() == FUNCTIONAL]
        raise NotFound(
            f"no level is of r2SCAN here: name one with --against ({', '.join(shipped)} ship with Motherlode)"
        )
    return _only(chosen, "--against", "is of r2SCAN")


def _with_hull(session: Session, other_than: str | None = None) -> list[str]:
    placed = sa.select(HullState.id).where(HullState.level_id == Level.id, HullState.valid_to.is_(None)).exists()
    names = session.scalars(sa.select(Level.name).where(placed).order_by(Level.name))
    return [name for name in names if name != other_than]


def _only(names: Sequence[str], option: str, what: str) -> str:
    if not names:
        raise NotFound(f"no level {what} here: name one with {option}")
    if len(names) > 1:
        raise SettingsError(f"more than one level {what} ({', '.join(names)}): choose one with {option}")
    return names[0]
