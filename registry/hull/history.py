"""What happened to entries on the hull: when each came, entered, moved or left, and who displaced whom, by how much.

`history` reads; two statements whatever the number of entries, beside the one that finds the level.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from registry.errors import FilterError, NotFound
from registry.hull.history_asked import Asked, Kind, nearest, read, readings
from registry.query.materials import the_level

Row = dict[str, Any]

WANTED = {
    Kind.FORMULA: "structure.composition_id = (SELECT id FROM composition WHERE reduced_formula = :formula)",
    Kind.SYSTEM: "structure.chemsys = ANY(:systems)",
    Kind.NAME: """structure.id IN (
        SELECT id FROM structure WHERE public_id = :name
        UNION SELECT structure_id FROM external_id WHERE value = :name
        UNION SELECT initial_structure_id FROM calculation
              JOIN structure AS final ON final.id = final_structure_id WHERE final.public_id = :name)""",
}
STATES = """
SELECT structure.public_id AS id, structure.origin, calculation_id, composition.reduced_formula, hull_state.chemsys,
       formation_energy_per_atom, e_above_hull, decomposition_energy, is_stable, decomposition, valid_from,
       CASE WHEN valid_to <= :until THEN valid_to END AS valid_to
FROM structure
JOIN hull_state ON hull_state.structure_id = structure.id AND hull_state.level_id = :level_id
JOIN composition ON composition.id = structure.composition_id
WHERE structure.origin <> 'relaxed' AND WANTED AND valid_from <= :until
ORDER BY valid_from, hull_state.id"""
EVENTS = """
SELECT event.at, event.fell_by, event.calculation_id, event.displaced_calculation_id AS displaced_id,
       winner.public_id AS winner, winner_of.reduced_formula AS winner_formula,
       loser.public_id AS loser, loser_of.reduced_formula AS loser_formula
FROM (SELECT * FROM hull_event WHERE displaced_calculation_id = ANY(:ids)
      UNION SELECT * FROM hull_event WHERE calculation_id = ANY(:ids)) AS event
JOIN calculation AS winning ON winning.id = event.calculation_id
JOIN structure AS winner ON winner.id = winning.initial_structure_id
JOIN composition AS winner_of ON winner_of.id = winner.composition_id
JOIN calculation AS losing ON losing.id = event.displaced_calculation_id
JOIN structure AS loser ON loser.id = losing.initial_structure_id
JOIN composition AS loser_of ON loser_of.id = loser.composition_id
WHERE event.level_id = :level_id AND event.at <= :until
ORDER BY event.at, event.id"""
NEIGHBOURS = """
SELECT reduced_formula, chemsys, EXISTS (
    SELECT FROM structure JOIN hull_state ON hull_state.structure_id = structure.id
    WHERE structure.composition_id = composition.id AND hull_state.level_id = :level_id) AS placed
FROM composition WHERE chemsys = :chemsys OR reduced_formula = ANY(:readings)"""
NAMED = """
SELECT EXISTS (SELECT FROM structure WHERE public_id = :name) OR EXISTS (SELECT FROM external_id WHERE value = :name)"""

MOVED = 1e-6
"""eV/atom; entries that differ by less haven't moved: another basis of the same hull rounds otherwise."""

END_OF_TIME = datetime.max.replace(tzinfo=UTC)

OF_AN_ENTRY = ("id", "calculation_id", "origin", "reduced_formula", "chemsys")
OF_A_STATE = (
    "formation_energy_per_atom", "e_above_hull", "decomposition_energy", "is_stable", "decomposition", "valid_from",
    "valid_to",
)  # fmt: skip


def history(session: Session, asked: str, level: str | None = None, as_of: datetime | None = None) -> Row:
    """The history of a formula in any spelling, of a structure by an id, or of all entries within a chemical system.

    level: None takes the only one with a hull; as_of: what was known then, with a time zone (None: all that is)
    {"asked", "kind", "level", "as_of", "entries"}, the entries in the order in which they came. Each has "states", one
    after another; "changes", see `changes_of`; "displaced_by" and "displaced": {"at", "id", "reduced_formula",
    "fell_by"} of the other side, fell_by of the one that fell. Energies in eV/atom, moments in UTC.
    Raises FilterError for what can't be read, NotFound for what isn't there, with what is there instead.
    """
    name, level_id = the_level(session, level)
    if level_id is None:
        raise NotFound("no level has a hull yet: label crystals, or import energies, then `lode hull rebuild`")
    wanted = _read(session, asked)
    bound = {"level_id": level_id, "until": as_of or END_OF_TIME, **wanted.bound}
    states = [_in_utc(row) for row in session.execute(text(states_of(wanted.kind)), bound).mappings()]
    if not states:
        raise NotFound(_complaint(session, wanted, level_id, f"at level {name}" + (f" as of {as_of}" if as_of else "")))
    ids = list(dict.fromkeys(row["calculation_id"] for row in states))
    events = session.execute(text(EVENTS), {**bound, "ids": ids}).mappings()
    entries = _entries(states, [_in_utc(row) for row in events])
    return {"asked": wanted.shown, "kind": wanted.kind, "level": name, "as_of": as_of, "entries": entries}


def states_of(kind: Kind) -> str:
    """The SELECT of all states of what was asked for."""
    return STATES.replace("WANTED", WANTED[kind])


def changes_of(states: Sequence[Mapping[str, Any]]) -> Iterator[Row]:
    """What happened to an entry, from its states in order: {"at", "change", "was", "e_above_hull"}, eV/atom.

    change: placed (came, above the hull), entered (took a place on it), moved (above it), left (it is above now), or
    withdrawn (the entry is no more; e_above_hull is None). was: e_above_hull before, None where it had no state.
    A state that differs neither in is_stable nor, by MOVED, in e_above_hull is no change.
    """
    before: Mapping[str, Any] | None = None
    for state in states:
        if before is not None and before["valid_to"] != state["valid_from"]:
            yield _withdrawn(before)
            before = None
        if what := _change(before, state):
            was = None if before is None else before["e_above_hull"]
            yield {"at": state["valid_from"], "change": what, "was": was, "e_above_hull": state["e_above_hull"]}
        before = state
    if before is not None and before["valid_to"] is not None:
        yield _withdrawn(before)


def _change(before: Mapping[str, Any] | None, state: Mapping[str, Any]) -> str | None:
    if before is None:
        return "entered" if state["is_stable"] else "placed"
    if before["is_stable"] != state["is_stable"]:
        return "entered" if state["is_stable"] else "left"
    return "moved" if abs(before["e_above_hull"] - state["e_above_hull"]) > MOVED else None


def _withdrawn(last: Mapping[str, Any]) -> Row:
    return {"at": last["valid_to"], "change": "withdrawn", "was": last["e_above_hull"], "e_above_hull": None}


def _entries(states: Sequence[Row], events: Sequence[Row]) -> list[Row]:
    by_entry: dict[int, list[Row]] = defaultdict(list)
    for row in states:
        by_entry[row["calculation_id"]].append(row)
    by, of = defaultdict(list), defaultdict(list)
    for event in events:
        by[event["displaced_id"]].append(_side(event, "winner"))
        of[event["calculation_id"]].append(_side(event, "loser"))
    return [_entry(rows, by[key], of[key]) for key, rows in by_entry.items()]


def _entry(rows: Sequence[Row], displaced_by: list[Row], displaced: list[Row]) -> Row:
    states = [{name: row[name] for name in OF_A_STATE} for row in rows]
    told = {"states": states, "changes": list(changes_of(states)), "displaced_by": displaced_by, "displaced": displaced}
    return {**{name: rows[0][name] for name in OF_AN_ENTRY}, **told}


def _side(event: Row, side: str) -> Row:
    other = {"id": event[side], "reduced_formula": event[f"{side}_formula"]}
    return {"at": event["at"], **other, "fell_by": event["fell_by"]}


def _in_utc(row: Mapping[Any, Any]) -> Row:
    return {name: one.astimezone(UTC) if isinstance(one, datetime) else one for name, one in row.items()}


# What to say where there is nothing.


def _read(session: Session, asked: str) -> Asked:
    """Raises FilterError, with the formulas that may have been meant where only the capitals are wrong."""
    try:
        return read(asked)
    except FilterError as error:
        found = [row.reduced_formula for row in _neighbours(session, asked, "", 0)]
        if not found:
            raise
        wrong = str(error).partition(":")[0]  # without its guess at one element
        raise FilterError(f"{wrong}; did you mean {' or '.join(sorted(found))}?") from None


def _complaint(session: Session, wanted: Asked, level_id: int, where: str) -> str:
    if wanted.kind is Kind.SYSTEM:
        return f"no entry within {wanted.shown} has been placed on the hull {where}"
    if wanted.kind is Kind.NAME:
        if session.scalar(text(NAMED), {"name": wanted.shown}):
            return (
                f"{wanted.shown} has never been placed on the hull {where}: it has no label there that may stand on it"
            )
        return f"nothing is called '{wanted.shown}': give a formula (LiFePO4), an id (lode-...) or a system (Li-Fe-O)"
    near = _neighbours(session, wanted.shown, wanted.chemsys, level_id)
    if any(row.reduced_formula == wanted.shown for row in near):
        return f"no {wanted.shown} has been placed on the hull {where}: none has a label there that may stand on it"
    others = nearest(wanted.shown, [row.reduced_formula for row in near if row.placed])
    return f"no {wanted.shown} in this registry" + (f"; placed {where} are {', '.join(others)}" if others else "")


def _neighbours(session: Session, formula: str, chemsys: str, level_id: int) -> Sequence[Any]:
    """Compositions of a system, and those that a formula may stand for if its capitals are wrong."""
    bound = {"chemsys": chemsys, "level_id": level_id, "readings": readings(formula)}
    return session.execute(text(NEIGHBOURS), bound).all()
