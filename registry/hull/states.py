"""Hull states with validity in time: what changed is closed and opened at one moment, with who displaced whom."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from registry import bulk
from registry.hull.results import HullResult
from registry.identity.composition import SYMBOLS, element_bits
from registry.models import HullEvent, HullState

MEASURES = ("formation_energy_per_atom", "e_above_hull", "decomposition_energy", "phase_separation_energy")
BATCH = 10_000

SEARCHED_BY = """
SELECT calculation.id AS calculation_id, initial.id AS structure_id, initial.composition_id, initial.chemsys,
       composition.nelements, coalesce(final.prototype_id, initial.prototype_id) AS prototype_id
FROM calculation
JOIN structure AS initial ON initial.id = calculation.initial_structure_id
JOIN composition ON composition.id = initial.composition_id
JOIN structure AS final ON final.id = calculation.final_structure_id
WHERE calculation.id = ANY(:ids)"""

FORMULAS = """
SELECT calculation.id, composition.reduced_formula
FROM calculation
JOIN structure ON structure.id = calculation.final_structure_id
JOIN composition ON composition.id = structure.composition_id
WHERE calculation.id = ANY(:ids)"""

CLOSE = "UPDATE hull_state SET valid_to = :now WHERE calculation_id = ANY(:ids) AND valid_to IS NULL"

State = Mapping[str, Any]
"""MEASURES, is_stable and decomposition, as in the table."""


@dataclass(frozen=True)
class Changes:
    """How many states were opened anew, and how many entries fell off the hull."""

    changed: int
    displaced: int


def state_of(result: HullResult, formulas: Mapping[int, str]) -> dict[str, Any]:
    """The state of a placed entry; formulas: key of a phase -> its reduced formula.

    Its formation energy is against the references of the level, even where an element's own entry lies below them.
    """
    return {
        "formation_energy_per_atom": result.energy,
        "e_above_hull": result.e_above_hull,
        "decomposition_energy": result.decomposition_energy,
        "phase_separation_energy": result.phase_separation_energy,
        "is_stable": result.is_stable,
        "decomposition": [_share(int(key), share, formulas) for key, share in result.decomposition],
    }


def formulas_of(session: Session, results: Iterable[HullResult]) -> dict[int, str]:
    """Reduced formulas of the phases that these entries decompose into."""
    keys = {int(key) for result in results for key, _ in result.decomposition}
    rows = session.execute(sa.text(FORMULAS), {"ids": [key for key in keys if key > 0]}).all()
    return {key: SYMBOLS[-key] for key in keys if key < 0} | {row.id: row.reduced_formula for row in rows}


def current_states(session: Session, level_id: int, keys: Collection[int] | None = None) -> dict[int, State]:
    """The present states of a level by calculation id; of all entries, or of these."""
    names = (*MEASURES, "is_stable", "decomposition")
    columns = [getattr(HullState, name) for name in names]
    query = sa.select(HullState.calculation_id, *columns).where(HullState.valid_to.is_(None))
    if keys is None:
        query = query.where(HullState.level_id == level_id)
    else:
        wanted = sa.literal(list(keys), sa.ARRAY(sa.BigInteger))
        query = query.where(HullState.calculation_id == sa.any_(wanted))
    return {row[0]: dict(zip(names, row[1:], strict=True)) for row in session.execute(query)}


def write_states(session: Session, level_id: int, old: Mapping[int, State], new: Mapping[int, State]) -> Changes:
    """Close the `old` states that moved or aren't among the `new`, and open what is new, all at one moment.

    old: the present states of all of `new` that have one. Phases of a decomposition that aren't in `new` were on the
    hull before.
    """
    changed = [key for key, state in new.items() if key not in old or _moved(old[key], state)]
    closed = [key for key in old if key not in new or _moved(old[key], new[key])]
    if not changed and not closed:
        return Changes(0, 0)
    now = session.scalar(sa.select(sa.func.clock_timestamp()))
    session.execute(sa.text(CLOSE), {"now": now, "ids": closed})
    for first in range(0, len(changed), BATCH):
        keys = changed[first : first + BATCH]
        searched = _searched_by(session, keys)
        validity = {"level_id": level_id, "valid_from": now}
        bulk.copy(session, HullState, [{**validity, **new[key], **searched[key]} for key in keys])
    events = [{"level_id": level_id, "at": now, **event} for event in _displacements(old, new)]
    if events:
        session.execute(sa.insert(HullEvent), events)
    return Changes(len(changed), len(events))


def _share(key: int, amount: float, formulas: Mapping[int, str]) -> dict[str, object]:
    return {"calculation_id": key if key > 0 else None, "reduced_formula": formulas[key], "amount": amount}


def _moved(old: State, new: State) -> bool:
    """Whether anything differs, be it in the last bit: equal entries give equal states, whichever way led to them."""
    return (
        old["is_stable"] != new["is_stable"]
        or any(old[name] != new[name] for name in MEASURES)
        or _phases(old) != _phases(new)
    )


def _phases(state: State) -> list[tuple[str, float]]:
    return sorted(
        (f"{share['calculation_id']} {share['reduced_formula']}", share["amount"]) for share in state["decomposition"]
    )


def _searched_by(session: Session, keys: Sequence[int]) -> dict[int, dict[str, Any]]:
    """What of the crystals the hull is searched by, by calculation."""
    rows = session.execute(sa.text(SEARCHED_BY), {"ids": list(keys)}).mappings()
    return {row["calculation_id"]: {**row, **_elements_of(row["chemsys"])} for row in rows}


def _elements_of(chemsys: str) -> dict[str, int]:
    light, heavy = element_bits(chemsys.split("-"))
    return {"light_elements": light, "heavy_elements": heavy}


def _displacements(old: Mapping[int, State], new: Mapping[int, State]) -> list[dict[str, Any]]:
    """An entry that was stable and is so no more was displaced by those of its decomposition that are new there."""
    events = []
    for key, state in new.items():
        if key not in old or not old[key]["is_stable"] or state["is_stable"]:
            continue
        for share in state["decomposition"]:
            phase = share["calculation_id"]
            if phase in new and not (phase in old and old[phase]["is_stable"]):
                fell = {"displaced_calculation_id": key, "fell_by": state["e_above_hull"]}
                events.append({"calculation_id": phase, **fell})
    return events
