"""Hull states in the system of record: read the entries of a level, solve, write what changed with its validity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from registry import bulk, queue
from registry.errors import BadEntry, HullError, MissingReference, NotFound
from registry.hull.geometry import Hull, HullResult, compute_hull
from registry.hull.levels import Level
from registry.hull.phases import ENERGY_LIMIT, Entry, energy_complaint
from registry.identity.composition import ATOMIC_NUMBERS, element_bits
from registry.models import HullEvent, HullState
from registry.models import Level as LevelRow

SAME = 1e-9  # eV/atom: a state that moved by less has not changed
PLACE_LOCK = 0x68756C6C  # "hull"

ENTRIES = """
SELECT calculation_id, corrected_energy_per_atom AS energy, reduced_formula, elements, amounts
FROM entry JOIN composition ON composition.id = entry.composition_id
WHERE level_id = :level"""

SEARCHED_BY = """
SELECT calculation.id AS calculation_id, initial.id AS structure_id, initial.composition_id, initial.chemsys,
       composition.nelements, coalesce(final.prototype_id, initial.prototype_id) AS prototype_id
FROM calculation
JOIN structure AS initial ON initial.id = calculation.initial_structure_id
JOIN composition ON composition.id = initial.composition_id
JOIN structure AS final ON final.id = calculation.final_structure_id
WHERE calculation.id = ANY(:ids)"""
BATCH = 10_000


@dataclass(frozen=True)
class Placed:
    """What one placing did."""

    entries: int
    changed: int
    displaced: int
    refused: dict[int, str]


@dataclass(frozen=True)
class LevelEntries:
    """Entries of one level by calculation id; elemental references stand in as entries -Z at 0 eV/atom."""

    level: str
    entries: tuple[Entry, ...]
    formulas: Mapping[int, str]
    formation_energies: Mapping[int, float]


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


def stored_level(session: Session, level_id: int) -> Level:
    """A level as this registry has it."""
    row = session.get_one(LevelRow, level_id)
    return Level(
        name=row.name,
        engine=row.engine,
        functional=row.functional,
        correction_scheme=row.correction_scheme,
        settings=row.settings,
        references={str(element): float(str(energy)) for element, energy in row.references.items()},
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


def level_entries(session: Session, level_id: int) -> LevelEntries:
    """All entries of a level that may stand on its hull.

    Energies are formation energies: against the level's fixed references or, at a level that has none, against the
    lowest entry of each element (`formation_energies` is empty then, since a lower element may come). Where an element
    has no entry either, the hull refuses its systems. Energies that no hull may hold are left out.
    """
    references = _references(session, level_id)
    rows = session.execute(sa.text(ENTRIES), {"level": level_id}).all()
    known = [row for row in rows if not references or set(row.elements) <= references.keys()]
    offsets = references or _lowest_elements(known)
    usable = [row for row in known if abs(_formation_energy(row, offsets)) <= ENERGY_LIMIT]
    formulas = {row.calculation_id: row.reduced_formula for row in usable}
    formulas |= {-ATOMIC_NUMBERS[element]: element for element in references}
    entries = [_entry(row, offsets) for row in usable] + [_reference(element) for element in references]
    energies = {int(entry.key): entry.formation_energy for entry in entries} if references else {}
    name = session.get_one(LevelRow, level_id).name
    return LevelEntries(name, tuple(entries), formulas, energies)


def current_hull(session: Session, level_id: int) -> Hull:
    """The hull of a level as of now, to hold candidates against."""
    return Hull(level_entries(session, level_id).entries)


def place(session: Session, level_id: int) -> Placed:
    """Bring every hull state of the level up to date; two callers take turns. Commit is the caller's."""
    session.execute(sa.select(sa.func.pg_advisory_xact_lock(PLACE_LOCK, level_id)))
    known = level_entries(session, level_id)
    solution = compute_hull(known.entries)
    old = _current_states(session, level_id)
    new = {key: _values(solution[key], known) for key in solution if isinstance(key, int) and key > 0}
    changed = [key for key, values in new.items() if key not in old or _moved(old[key], values)]
    _replace(session, level_id, changed, [key for key in old if key not in new], new)
    events = _displacements(level_id, old, new)
    if events:
        session.execute(sa.insert(HullEvent), events)
    queue.run(session.connection(), "forget_placed", {"level_id": level_id})
    refused = {key: str(error) for key, error in solution.refused.items() if isinstance(key, int)}
    return Placed(len(new), len(changed), len(events), refused)


def unplaceable(session: Session, level_id: int, calculation_ids: Sequence[int]) -> dict[int, HullError]:
    """Which of these no hull can hold, and why: an element without reference, or an energy that is no energy."""
    query = sa.text(ENTRIES + " AND (nelements = 1 OR calculation_id = ANY(:ids))")
    rows = session.execute(query, {"level": level_id, "ids": list(calculation_ids)}).all()
    offsets = _references(session, level_id) or _lowest_elements(rows)
    asked = [row for row in rows if row.calculation_id in set(calculation_ids)]
    complaints = {row.calculation_id: _complaint(row, offsets) for row in asked}
    return {key: complaint for key, complaint in complaints.items() if complaint is not None}


def _complaint(row: Any, offsets: Mapping[str, float]) -> HullError | None:
    if missing := sorted(set(row.elements) - offsets.keys()):
        return MissingReference(missing)
    energy = _formation_energy(row, offsets)
    return None if abs(energy) <= ENERGY_LIMIT else BadEntry(energy_complaint(row.calculation_id, energy))


def _references(session: Session, level_id: int) -> dict[str, float]:
    references = session.get_one(LevelRow, level_id).references
    return {str(element): float(str(energy)) for element, energy in references.items()}


def _lowest_elements(rows: Sequence[Any]) -> dict[str, float]:
    """Element -> eV/atom of its lowest entry."""
    elemental = sorted((row for row in rows if len(row.elements) == 1), key=lambda row: -row.energy)
    return {row.elements[0]: row.energy for row in elemental}


def _entry(row: Any, offsets: Mapping[str, float]) -> Entry:
    amounts = {ATOMIC_NUMBERS[element]: count for element, count in zip(row.elements, row.amounts, strict=True)}
    return Entry(row.calculation_id, amounts, _formation_energy(row, offsets))


def _formation_energy(row: Any, offsets: Mapping[str, float]) -> float:
    """eV/atom; an element without offset counts as it is."""
    elements = sum(offsets.get(e, 0.0) * count for e, count in zip(row.elements, row.amounts, strict=True))
    return float(row.energy - elements / sum(row.amounts))


def _reference(element: str) -> Entry:
    number = ATOMIC_NUMBERS[element]
    return Entry(-number, {number: 1}, 0.0)


def _values(result: HullResult, known: LevelEntries) -> dict[str, Any]:
    fixed = known.formation_energies.get(int(result.key))
    return {
        "formation_energy_per_atom": result.formation_energy_per_atom if fixed is None else fixed,
        "e_above_hull": max(result.e_above_hull, 0.0),
        "decomposition_energy": result.decomposition_energy,
        "phase_separation_energy": result.phase_separation_energy,
        "is_stable": result.is_stable,
        "decomposition": [_share(int(key), share, known.formulas) for key, share in result.decomposition],
    }


def _share(key: int, amount: float, formulas: Mapping[int, str]) -> dict[str, object]:
    return {"calculation_id": key if key > 0 else None, "reduced_formula": formulas[key], "amount": amount}


def _current_states(session: Session, level_id: int) -> dict[int, dict[str, Any]]:
    query = sa.select(HullState).where(HullState.level_id == level_id, HullState.valid_to.is_(None))
    names = ("formation_energy_per_atom", "e_above_hull", "decomposition_energy", "phase_separation_energy")
    columns = (*names, "is_stable", "decomposition")
    return {row.calculation_id: {name: getattr(row, name) for name in columns} for row in session.scalars(query)}


def _moved(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    names = ("formation_energy_per_atom", "e_above_hull", "decomposition_energy", "phase_separation_energy")
    return (
        old["is_stable"] != new["is_stable"]
        or any(_differ(old[name], new[name]) for name in names)
        or _phases(old) != _phases(new)
    )


def _differ(one: float | None, other: float | None) -> bool:
    if one is None or other is None:
        return one is not other
    return abs(one - other) > SAME


def _phases(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    return sorted((str(share["calculation_id"]), str(share["reduced_formula"])) for share in values["decomposition"])


def _replace(
    session: Session,
    level_id: int,
    keys: Sequence[int],
    gone: Sequence[int],
    values: Mapping[int, Mapping[str, Any]],
) -> None:
    """Close the states of `keys` and `gone` (taken off the hull), and open those of `keys`, at one moment."""
    if not keys and not gone:
        return
    now = session.scalar(sa.select(sa.func.clock_timestamp()))
    current = sa.update(HullState).where(HullState.calculation_id.in_([*keys, *gone]), HullState.valid_to.is_(None))
    session.execute(current.values(valid_to=now))
    rows = [{"level_id": level_id, "calculation_id": key, "valid_from": now, **values[key]} for key in keys]
    for first in range(0, len(rows), BATCH):
        batch = rows[first : first + BATCH]
        searched = _searched_by(session, [row["calculation_id"] for row in batch])
        bulk.copy(session, HullState, [{**row, **searched[row["calculation_id"]]} for row in batch])


def _searched_by(session: Session, keys: Sequence[int]) -> dict[int, dict[str, Any]]:
    """What of the crystals the hull is searched by, by calculation."""
    rows = session.execute(sa.text(SEARCHED_BY), {"ids": list(keys)}).mappings()
    return {row["calculation_id"]: {**row, **_elements_of(row["chemsys"])} for row in rows}


def _elements_of(chemsys: str) -> dict[str, int]:
    light, heavy = element_bits(chemsys.split("-"))
    return {"light_elements": light, "heavy_elements": heavy}


def _displacements(
    level_id: int, old: Mapping[int, Mapping[str, Any]], new: Mapping[int, Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """An entry that was stable and is so no more was displaced by those of its decomposition that are new there."""
    events = []
    for key, values in new.items():
        if key not in old or not old[key]["is_stable"] or values["is_stable"]:
            continue
        for share in values["decomposition"]:
            phase = share["calculation_id"]
            if phase is not None and not (phase in old and old[phase]["is_stable"]):
                fell = {"displaced_calculation_id": key, "fell_by": values["e_above_hull"]}
                events.append({"level_id": level_id, "calculation_id": phase, **fell})
    return events
