"""The entries of a level, read from the system of record, as a hull takes them: formation energies in eV/atom."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from registry.errors import BadEntry, HullError, MissingReference
from registry.hull.geometry import Hull
from registry.hull.level_rows import fixed_references
from registry.hull.phases import ENERGY_LIMIT, Entry, energy_complaint
from registry.identity.composition import ATOMIC_NUMBERS
from registry.models import Level as LevelRow

ENTRIES = """
SELECT calculation_id, corrected_energy_per_atom AS energy, reduced_formula, elements, amounts
FROM entry JOIN composition ON composition.id = entry.composition_id
WHERE level_id = :level"""
THESE = ENTRIES + " AND calculation_id = ANY(:ids)"
WITHIN = ENTRIES + " AND composition.chemsys = ANY(:systems)"


@dataclass(frozen=True)
class References:
    """What formation energies of a level are against.

    energies: element -> eV/atom
    fixed: the elements whose energy the level says, and which it stands in for; the others' are their lowest entries
    """

    energies: Mapping[str, float]
    fixed: frozenset[str]

    def formation_energy(self, row: Any) -> float:
        """eV/atom of a row of ENTRIES whose elements all have a reference."""
        pairs = zip(row.elements, row.amounts, strict=True)
        elements = sum(self.energies[element] * count for element, count in pairs)
        return float(row.energy - elements / sum(row.amounts))

    def complaint(self, row: Any) -> HullError | None:
        """Why no hull of the level may hold this row: an element without reference, or an energy that is none."""
        if missing := sorted(set(row.elements) - self.energies.keys()):
            return MissingReference(missing)
        energy = self.formation_energy(row)
        return None if abs(energy) <= ENERGY_LIMIT else BadEntry(energy_complaint(row.calculation_id, energy))

    def entry(self, row: Any) -> Entry:
        return Entry(row.calculation_id, amounts_of(row), self.formation_energy(row))

    def stand_ins(self) -> list[Entry]:
        """Fixed references as entries -Z at 0 eV/atom; nobody calculated them, so they get no state."""
        numbers = [ATOMIC_NUMBERS[element] for element in self.energies if element in self.fixed]
        return [Entry(-number, {number: 1}, 0.0) for number in numbers]

    def moves(self, row: Any) -> bool:
        """Whether this row gives an element its first or a lower reference."""
        if len(row.elements) > 1 or row.elements[0] in self.fixed:
            return False
        return bool(row.energy < self.energies.get(row.elements[0], float("inf")))


@dataclass(frozen=True)
class LevelEntries:
    """Entries of one level by calculation id, with its fixed references as entries -Z.

    formulas: key -> reduced formula; refused: calculation id -> why no hull may hold it
    """

    level: str
    references: References
    entries: tuple[Entry, ...]
    formulas: Mapping[int, str]
    refused: Mapping[int, HullError]


def amounts_of(row: Any) -> dict[int, float]:
    """Atomic number -> count of a row with elements and amounts."""
    return {ATOMIC_NUMBERS[element]: count for element, count in zip(row.elements, row.amounts, strict=True)}


def level_entries(session: Session, level_id: int, systems: Sequence[str] | None = None) -> LevelEntries:
    """All entries of a level that may stand on its hull, or those of some chemical systems ("Fe-Li-O") alone.

    Energies are against the references that the level says and, of other elements, against their lowest entries.
    """
    if systems is None:
        rows = session.execute(sa.text(ENTRIES), {"level": level_id}).all()
    else:
        rows = session.execute(sa.text(WITHIN), {"level": level_id, "systems": list(systems)}).all()
    references = references_of(session, level_id, lowest_energies(rows))
    complaints = {row.calculation_id: references.complaint(row) for row in rows}
    usable = [row for row in rows if complaints[row.calculation_id] is None]
    formulas = {row.calculation_id: row.reduced_formula for row in usable}
    formulas |= {-ATOMIC_NUMBERS[element]: element for element in references.fixed}
    return LevelEntries(
        session.get_one(LevelRow, level_id).name,
        references,
        (*map(references.entry, usable), *references.stand_ins()),
        formulas,
        {key: complaint for key, complaint in complaints.items() if complaint is not None},
    )


def current_hull(session: Session, level_id: int) -> Hull:
    """The hull of a level as of now, to hold candidates against."""
    return Hull(level_entries(session, level_id).entries)


def these_entries(session: Session, level_id: int, calculation_ids: Sequence[int]) -> Sequence[Any]:
    """The rows of those that are entries of the level."""
    return session.execute(sa.text(THESE), {"level": level_id, "ids": list(calculation_ids)}).all()


def references_of(session: Session, level_id: int, lowest: Mapping[str, float]) -> References:
    """What the level says, and for other elements their `lowest` entries (eV/atom)."""
    fixed = fixed_references(session.get_one(LevelRow, level_id))
    return References({**lowest, **fixed}, frozenset(fixed))


def lowest_energies(rows: Iterable[Any]) -> dict[str, float]:
    """Element -> the lowest energy in eV/atom among rows of ENTRIES."""
    elemental = sorted((row for row in rows if len(row.elements) == 1), key=lambda row: -row.energy)
    return {row.elements[0]: row.energy for row in elemental}
