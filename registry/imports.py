"""Files into the registry: one transaction a batch, every refused record with its reason."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from registry.database import long_transaction
from registry.errors import UNPRINTABLE, AlreadyImported, BadRecord, LodeError
from registry.identity.duplicates import Identity
from registry.imported_levels import LevelDoor, level_id_of
from registry.imported_properties import store_properties
from registry.importers import gnome
from registry.importers.archive import content_of
from registry.importers.files import format_of, read_file
from registry.importers.record import ImportedEnergy, ImportedRecord, Item, bad_energy, bad_property
from registry.ingest import NewStructure, source_id, store
from registry.models import Calculation, Duplicate, Import
from registry.properties import CrystalProperty
from registry.states import CalculationState, Origin, Task
from registry.terms import UNTOLD, SourceTerms
from registry.twins import find_twins

BATCH = 500
IMPORT_LOCK = 0x696D706F7274  # "import"
NO_CORRECTION = "no correction is known for it"
KEPT = 1_000
"""Complaints that table `import` keeps, for an import that is killed; the others are counted there."""

SAME_ENERGY = 1e-6
"""eV/atom. Files write energies with six digits or more."""

GNOME_TERMS = SourceTerms(gnome.SOURCE, gnome.LICENCE, gnome.CITATION, non_commercial=True)


@dataclass(frozen=True)
class Reading:
    """How a file is read.

    structures: where the CIFs of a table lie that has none itself
    mp_shifts: whether its energies are the Materials Project's and shall stand beside GNoME's
    """

    structures: Path | None = None
    mp_shifts: bool = False

    def items(self, path: Path) -> Iterator[Item]:
        items = read_file(path, self.structures)
        return map(_beside_gnome, items) if self.mp_shifts else items

    def digest(self, path: Path) -> str | None:
        """SHA-256 of what is read, and of how; None if it can't be read: the reader says what is wrong."""
        try:
            with path.open("rb") as file:
                content = hashlib.file_digest(file, "sha256")
            if self.structures is not None:
                content.update(content_of(self.structures))
        except (OSError, BadRecord):
            return None
        content.update(b"mp_shifts" if self.mp_shifts else b"")
        return content.hexdigest()


PLAIN = Reading()


def _beside_gnome(item: Item) -> Item:
    return gnome.beside_gnome(item) if isinstance(item, ImportedRecord) else item


@dataclass
class ImportReport:
    """read = imported + duplicates + refused + forgotten.

    A duplicate equals a crystal that was there and is linked to it. Refused is also a second, other energy of a
    structure at one level, and a second, other value of a property by one method: the structure stays as it is stored.
    resumed: how many of those read had been read when an earlier import of the file was killed
    forgotten: how many of these had been refused for reasons that aren't kept
    off_hull: reason -> how many energies are kept off the hull for it, since the import went on
    """

    read: int = 0
    imported: int = 0
    duplicates: int = 0
    refused: list[BadRecord] = field(default_factory=list)
    resumed: int = 0
    forgotten: int = 0
    off_hull: Counter[str] = field(default_factory=Counter)

    def refuse(self, bad: BadRecord) -> None:
        """A copy is kept: one that was raised holds the frames that it came through, and their crystals."""
        self.refused.append(BadRecord(bad.record, bad.reason))

    def add(self, other: ImportReport) -> None:
        self.read += other.read
        self.imported += other.imported
        self.duplicates += other.duplicates
        self.refused += other.refused
        self.resumed += other.resumed
        self.forgotten += other.forgotten
        self.off_hull += other.off_hull


@dataclass
class Importer:
    """Stores records in one session; `level_id` takes the energies that records bring.

    terms: of all records that have none of their own. A record is refused whose own terms contradict them (left at
    their defaults they contradict nothing) or those under which its source is stored.
    """

    session: Session
    terms: SourceTerms
    level_id: int | None = None
    report: ImportReport = field(default_factory=ImportReport)

    def __post_init__(self) -> None:
        self._sources: dict[tuple[SourceTerms, bool], int] = {}
        self._door = None if self.level_id is None else LevelDoor(self.session, self.level_id)

    def store(self, records: Iterable[ImportedRecord | BadRecord], progress: Callable[[int], None]) -> ImportReport:
        """Store what can be, in batches; commit is the caller's."""
        batch: list[ImportedRecord] = []
        for record in records:
            self.report.read += 1
            if isinstance(checked := self._checked(record), BadRecord):
                self.report.refuse(checked)
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
        """What contradicts terms is a bad record, and so is what has a property or (if kept) an energy that is none."""
        if isinstance(record, BadRecord):
            return record
        energy = record.energy if self.level_id is not None else None
        try:
            for part in (None, energy, *record.properties):
                self._source(record, part)
        except LodeError as error:
            return BadRecord(record.record, str(error))
        bad = (bad_energy(record) if energy else None) or bad_property(record)
        return bad or (record if self._door is None else self._door.judged(record))

    def _source(self, record: ImportedRecord, part: ImportedEnergy | CrystalProperty | None = None) -> int:
        """Of the crystal, or of a part of its record. Raises LodeError where terms contradict each other."""
        own = record.terms or self.terms
        terms = own if part is None or part.terms is None else part.terms
        if (terms, terms is own) not in self._sources:
            if terms is own:
                _refuse_other_terms(own, self.terms)
            self._sources[terms, terms is own] = source_id(self.session, terms)
        return self._sources[terms, terms is own]

    def _store_batch(self, batch: list[ImportedRecord]) -> None:
        identities = [Identity(record.crystal) for record in batch]
        new = [
            NewStructure(identity, Origin.IMPORTED, self._source(record), record.external_ids, record.metadata)
            for identity, record in zip(identities, batch, strict=True)
        ]
        places = store(self.session, new)
        located = [(place.id, record) for place, record in zip(places, batch, strict=True)]
        energies, properties = self._store_energies(located), store_properties(self.session, located, self._source)
        complaints = [one or other for one, other in zip(energies, properties, strict=True)]
        twins = find_twins(
            self.session, {one.id: identity for one, identity in zip(places, identities, strict=True) if one.new}
        )
        for place, complaint in zip(places, complaints, strict=True):
            if complaint is not None:
                self.report.refuse(complaint)
            elif place.new and place.id not in twins:
                self.report.imported += 1
            else:
                self.report.duplicates += 1
        self.session.add_all(
            Duplicate(structure_id=one, same_as_id=twin, rule=rule) for one, (twin, rule) in twins.items()
        )

    def _store_energies(self, located: Sequence[tuple[int, ImportedRecord]]) -> list[BadRecord | None]:
        """Store the energies that records bring. For each record the complaint, where another one is there."""
        if self.level_id is None:
            return [None] * len(located)
        rows: dict[int, dict[str, object]] = {}
        for key, record in located:
            if (energy := record.energy) is not None:
                rows.setdefault(key, self._energy_values(key, self._source(record, energy), energy))
        if rows:
            self.session.execute(insert(Calculation).on_conflict_do_nothing(), list(rows.values()))
        self.report.off_hull.update(str(row["off_hull"]) for row in rows.values() if row["off_hull"] is not None)
        stored = self._stored_energies(rows) if rows else {}
        return [_complaint(record, stored.get(key)) for key, record in located]

    def _stored_energies(self, structure_ids: Iterable[int]) -> dict[int, Any]:
        query = sa.select(Calculation.initial_structure_id, Calculation.energy, Calculation.correction).where(
            Calculation.initial_structure_id.in_(list(structure_ids)),
            Calculation.level_id == self.level_id,
            Calculation.state == CalculationState.CONVERGED,
        )
        return {row.initial_structure_id: row for row in self.session.execute(query)}

    def _energy_values(self, structure_id: int, source: int, energy: ImportedEnergy) -> dict[str, object]:
        run_type = {} if energy.run_type is None else {"run_type": energy.run_type}
        return {
            "level_id": self.level_id,
            "source_id": source,
            "initial_structure_id": structure_id,
            "final_structure_id": structure_id,
            "task": Task.STATIC,
            "state": CalculationState.CONVERGED,
            "energy": energy.total,
            "correction": energy.correction,
            "off_hull": energy.off_hull or (NO_CORRECTION if energy.correction is None else None),
            "settings": {**run_type, **dict(energy.parameters)},
            "engine_version": "imported",
            "attempt": 1,
            "node": "imported",
        }


def _refuse_other_terms(told: SourceTerms, given: SourceTerms) -> None:
    default = asdict(SourceTerms(given.name))
    differ = [name for name, value in asdict(given).items() if value not in (default[name], getattr(told, name))]
    if given.name not in (UNTOLD.name, told.name):
        differ.insert(0, "name")
    if differ:
        raise LodeError(
            f"the file says that it comes from '{told.name}' ({told.licence}), the command says otherwise: leave out "
            f"--{'source' if differ[0] == 'name' else differ[0].replace('_', '-')}"
        )


def _complaint(record: ImportedRecord, stored: Any) -> BadRecord | None:
    """Why a record's energy isn't the stored one (a row of energy and correction)."""
    if record.energy is None:
        return None
    corrections_apart = (stored.correction or 0.0) - (record.energy.correction or 0.0)
    apart = max(abs(stored.energy - record.energy.total), abs(corrections_apart))
    if apart <= SAME_ENERGY * record.crystal.nsites:
        return None
    corrected = f", corrected by {stored.correction} eV" if stored.correction else ""
    told = f"another energy ({stored.energy} eV{corrected}) of this structure is stored at this level"
    return BadRecord(record.record, told)


def import_file(
    session: Session,
    path: Path,
    level: str | None,
    terms: SourceTerms,
    progress: Callable[[int], None],
    reading: Reading = PLAIN,
) -> ImportReport:
    """Read a file, one transaction a batch. One that was killed goes on after its last batch.

    Raises AlreadyImported if this very file is there. A file of which nothing can be stored leaves no trace, not even
    its source or its level. What GNoME released comes in on GNoME's terms, whatever `terms` say.
    """
    terms = GNOME_TERMS if format_of(path) == "gnome" else terms
    source = _Source(path, reading.digest(path), level, terms)
    report, position = ImportReport(), 0
    for batch, last in _batches(reading.items(path)):
        begin_import(session)
        with session.begin_nested() as savepoint:
            report = _import_batch(session, source, batch, position, report, progress, last=last)
            if source.digest is None or len(report.refused) == report.read:
                savepoint.rollback()
        session.commit()
        position += len(batch)
    return report


@dataclass(frozen=True)
class _Source:
    """What is imported; digest: None for what can't be read."""

    path: Path
    digest: str | None
    level: str | None
    terms: SourceTerms


def _import_batch(
    session: Session,
    source: _Source,
    batch: list[Item],
    position: int,
    report: ImportReport,
    progress: Callable[[int], None],
    *,
    last: bool,
) -> ImportReport:
    """Store what of a batch isn't stored yet, and how far that is. The report of all up to there."""
    level_id = level_id_of(session, source.level) if source.level else None
    row = _import_row(session, source, level_id)
    done = 0 if row is None else max(0, min(row.records - position, len(batch)))
    if row is not None and done:
        report = _resumed(row)
        progress(done)
    if done < len(batch) or last:
        report.add(Importer(session, source.terms, level_id).store(batch[done:], progress))
        row = row or Import(name=UNPRINTABLE.sub("?", source.path.name), sha256=source.digest or "", level_id=level_id)
        _keep(session, row, report, position + len(batch), last)
    return report


def _batches(items: Iterable[Item]) -> Iterator[tuple[list[Item], bool]]:
    """Each with whether it is the last one."""
    iterator = iter(items)
    batch = list(islice(iterator, BATCH))
    while following := list(islice(iterator, BATCH)):
        yield batch, False
        batch = following
    yield batch, True


def _import_row(session: Session, source: _Source, level_id: int | None) -> Import | None:
    """What is known of an import that didn't end. Raises AlreadyImported for one that did."""
    same_level = Import.level_id.is_not_distinct_from(level_id)
    row = session.scalar(sa.select(Import).where(Import.sha256 == source.digest, same_level))
    if row is not None and row.finished_at is not None:
        raise AlreadyImported(
            f"{source.path}: imported before, as {row.name} on {row.finished_at:%Y-%m-%d %H:%M}; nothing to do"
        )
    return row


def _resumed(row: Import) -> ImportReport:
    """What had been done when the import was killed."""
    refused = [BadRecord(one["record"], one["reason"]) for one in row.complaints]
    read, imported, duplicates, all_refused = (
        int(str(row.counts[name])) for name in ("read", "imported", "duplicates", "refused")
    )
    return ImportReport(read, imported, duplicates, refused, resumed=read, forgotten=all_refused - len(refused))


def _keep(session: Session, row: Import, report: ImportReport, position: int, last: bool) -> None:
    row.records, row.counts = position, {**_counts(report), "refused": len(report.refused) + report.forgotten}
    row.complaints = [{"record": bad.record, "reason": bad.reason} for bad in report.refused[:KEPT]]
    row.finished_at = session.scalar(sa.select(sa.func.now())) if last else None
    session.add(row)


def begin_import(session: Session) -> None:
    """Until this transaction ends, no other import: each sees the crystals and the files of those before it."""
    long_transaction(session)  # comparing crystals takes long, and nothing is sent to the server meanwhile
    session.execute(sa.select(sa.func.pg_advisory_xact_lock(IMPORT_LOCK)))


def counted(report: ImportReport) -> dict[str, object]:
    """The report in the words of `lode import --json`."""
    refused = [{"record": bad.record, "reason": bad.reason} for bad in report.refused]
    resumed = {name: count for name in ("resumed", "forgotten") if (count := getattr(report, name))}
    off_hull = {"off_hull": dict(report.off_hull)} if report.off_hull else {}
    return {**_counts(report), "refused": refused, **resumed, **off_hull}


def _counts(report: ImportReport) -> dict[str, int]:
    return {"read": report.read, "imported": report.imported, "duplicates": report.duplicates}
