"""Files into the registry: one transaction a file, every refused record with its reason."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from registry.database import long_transaction
from registry.errors import BadRecord, LevelMismatch, LodeError
from registry.hull.levels import Level, shipped_levels
from registry.hull.store import ensure_level
from registry.identity.duplicates import DuplicateIndex, Identity
from registry.importers.files import read_file
from registry.importers.record import ImportedEnergy, ImportedRecord, bad_energy
from registry.ingest import NewStructure, SourceTerms, Stored, crystal_of, source_id, store
from registry.models import Calculation, Composition, Duplicate, Import, Structure
from registry.states import CalculationState, Origin, Task

BATCH = 500
IMPORT_LOCK = 0x696D706F7274  # "import"
SAME_ENERGY = 1e-6
"""eV/atom. Files write energies with six digits or more."""


@dataclass
class ImportReport:
    """read = imported + duplicates + refused. A duplicate equals a crystal that was there and is linked to it.

    Refused is also a second, other energy of a structure at one level: the structure stays as it is stored.
    """

    read: int = 0
    imported: int = 0
    duplicates: int = 0
    refused: list[BadRecord] = field(default_factory=list)

    def add(self, other: ImportReport) -> None:
        self.read += other.read
        self.imported += other.imported
        self.duplicates += other.duplicates
        self.refused += other.refused


@dataclass
class Importer:
    """Stores records of one source in one session; `level_id` takes the energies that records bring."""

    session: Session
    terms: SourceTerms
    level_id: int | None = None
    report: ImportReport = field(default_factory=ImportReport)

    def __post_init__(self) -> None:
        self._source = source_id(self.session, self.terms)

    def store(self, records: Iterable[ImportedRecord | BadRecord], progress: Callable[[int], None]) -> ImportReport:
        """Store what can be, in batches; commit is the caller's."""
        batch: list[ImportedRecord] = []
        for record in records:
            self.report.read += 1
            if isinstance(checked := self._checked(record), BadRecord):
                self.report.refused.append(checked)
            else:
                batch.append(checked)
            if len(batch) == BATCH:
                self._store_batch(batch)
                progress(len(batch))
                batch = []
        self._store_batch(batch)
        progress(len(batch))
        return self.report

    def _checked(self, record: ImportedRecord | BadRecord) -> ImportedRecord | BadRecord:
        """Where energies are kept, one that is none is a bad record."""
        if isinstance(record, BadRecord) or self.level_id is None:
            return record
        return bad_energy(record) or record

    def _store_batch(self, batch: list[ImportedRecord]) -> None:
        identities = [Identity(record.crystal) for record in batch]
        known = self._known({identity.formula for identity in identities})
        twins = [known.find_identity(identity) for identity in identities]
        new = [
            NewStructure(identity, Origin.IMPORTED, self._source, record.external_ids, record.metadata)
            for identity, record in zip(identities, batch, strict=True)
        ]
        for record, identity, place, twin in zip(batch, identities, store(self.session, new), twins, strict=True):
            if (complaint := self._store_energy(place, record)) is not None:
                self.report.refused.append(complaint)
            else:
                self._link(place, twin or known.find_identity(identity), known, identity)

    def _link(
        self, place: Stored, twin: tuple[int, str] | None, known: DuplicateIndex[int], identity: Identity
    ) -> None:
        if place.new and twin is None:
            known.add_identity(place.id, identity)
            self.report.imported += 1
            return
        self.report.duplicates += 1
        if place.new and twin is not None:
            self.session.add(Duplicate(structure_id=place.id, same_as_id=twin[0], rule=twin[1]))

    def _known(self, formulas: set[str]) -> DuplicateIndex[int]:
        query = (
            sa.select(Structure)
            .join(Composition, Composition.id == Structure.composition_id)
            .where(Composition.reduced_formula.in_(formulas), Structure.origin != Origin.RELAXED)
            .where(~sa.select(Duplicate).where(Duplicate.structure_id == Structure.id).exists())
            .order_by(Structure.id)
        )
        index: DuplicateIndex[int] = DuplicateIndex()
        for row in self.session.scalars(query):
            index.add(row.id, crystal_of(row))
        return index

    def _store_energy(self, place: Stored, record: ImportedRecord) -> BadRecord | None:
        """Store the energy that a record brings, if any. The complaint where another one is there."""
        if record.energy is None or self.level_id is None:
            return None
        values = self._energy_values(place, record.energy)
        insertion = insert(Calculation).values(**values).on_conflict_do_nothing().returning(Calculation.id)
        if self.session.scalar(insertion) is not None:
            return None
        return self._complaint(place, record.energy, record)

    def _complaint(self, place: Stored, energy: ImportedEnergy, record: ImportedRecord) -> BadRecord | None:
        converged = Calculation.state == CalculationState.CONVERGED
        query = sa.select(Calculation.energy, Calculation.correction).where(
            Calculation.initial_structure_id == place.id, Calculation.level_id == self.level_id, converged
        )
        stored = self.session.execute(query).one()
        apart = max(abs(stored.energy - energy.total), abs((stored.correction or 0.0) - energy.correction))
        if apart <= SAME_ENERGY * record.crystal.nsites:
            return None
        corrected = f", corrected by {stored.correction} eV" if stored.correction else ""
        told = f"another energy ({stored.energy} eV{corrected}) of this structure is stored at this level"
        return BadRecord(record.record, told)

    def _energy_values(self, place: Stored, energy: ImportedEnergy) -> dict[str, object]:
        return {
            "level_id": self.level_id,
            "initial_structure_id": place.id,
            "final_structure_id": place.id,
            "task": Task.STATIC,
            "state": CalculationState.CONVERGED,
            "energy": energy.total,
            "correction": energy.correction,
            "settings": {"run_type": energy.run_type, **dict(energy.parameters)},
            "engine_version": "imported",
            "attempt": 1,
            "node": "imported",
        }


def import_file(
    session: Session, path: Path, level: str | None, terms: SourceTerms, progress: Callable[[int], None]
) -> ImportReport:
    """Read a file into the session. Raises LodeError if this very file is there already; commit is the caller's.

    A file of which nothing can be stored leaves no trace, not even its source or its level.
    """
    begin_import(session)
    with session.begin_nested() as savepoint:
        level_id = _level_id(session, level) if level else None
        digest = _sha256(path)
        if digest is not None:
            _refuse_second_time(session, path, digest, level_id)
        report = Importer(session, terms, level_id).store(read_file(path), progress)
        if digest is None or len(report.refused) == report.read:
            savepoint.rollback()
        else:
            session.add(Import(name=path.name, sha256=digest, level_id=level_id, counts=_counts(report)))
    return report


def begin_import(session: Session) -> None:
    """Until this transaction ends, no other import: each sees the crystals and the files of those before it."""
    long_transaction(session)  # comparing crystals takes long, and nothing is sent to the server meanwhile
    session.execute(sa.select(sa.func.pg_advisory_xact_lock(IMPORT_LOCK)))


def _counts(report: ImportReport) -> dict[str, object]:
    return {**counted(report), "refused": len(report.refused)}


def _level_id(session: Session, name: str) -> int:
    """A level of imported energies, made where it is missing. Raises LevelMismatch for one that is computed here."""
    if name in shipped_levels():
        raise LevelMismatch(
            f"level '{name}' holds only energies computed by its own engine: choose another --level for imported ones"
        )
    note = "energies as imported; elemental references are the lowest imported elemental entries"
    return ensure_level(session, Level(name, "imported", "as imported", "as imported", {}, {}, (), note))


def _sha256(path: Path) -> str | None:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return None  # the reader says what is wrong


def _refuse_second_time(session: Session, path: Path, digest: str, level_id: int | None) -> None:
    same_level = Import.level_id.is_not_distinct_from(level_id)
    row = session.scalar(sa.select(Import).where(Import.sha256 == digest, same_level))
    if row is not None:
        raise LodeError(f"{path}: imported before, as {row.name} on {row.finished_at:%Y-%m-%d %H:%M}; nothing to do")


def counted(report: ImportReport) -> dict[str, object]:
    """The report in the words of `lode import --json`."""
    refused = [{"record": bad.record, "reason": bad.reason} for bad in report.refused]
    counts = Counter(read=report.read, imported=report.imported, duplicates=report.duplicates)
    return {**counts, "refused": refused}
