"""Which materials leave the registry, on whose terms, and their rows one after the other. The database part."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from typing import Any

import numpy as np
from sqlalchemy import ColumnElement, RowMapping, Select, Text, and_, case, cast, func, select
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.orm import Session, aliased

from registry.crystal import Crystal
from registry.database import long_transaction
from registry.errors import FilterError, NotFound
from registry.exporters.files import writer
from registry.exporters.record import ExportedEnergy, ExportedRecord
from registry.models import Calculation, Composition, HullState, Property, Source, Structure
from registry.properties import CrystalProperty
from registry.query import sql
from registry.query.columns import RECORD, Final
from registry.query.conditions import fields_of
from registry.query.fields import FIELDS
from registry.query.filter import parse
from registry.query.materials import Question, ask
from registry.query.relations import RELATIONS
from registry.terms import SourceTerms

Column = ColumnElement[Any]
Progress = Callable[[int, int], None]
"""Is told how many records are done, of how many."""

BATCH = 500
FIELD = "field "
"""Before the names of columns that hold a field of the query language."""

EnergySource = aliased(Source, name="energy_source")
PropertySource = aliased(Source, name="property_source")

OF_A_LEVEL = {"hull_state", "level", "prediction", "selection", "prototype"}
"""Tables whose fields mean something only at a level; a prototype is that of the relaxed crystal."""

TERMS = ("source", "licence", "citation", "non_commercial")


def _terms_of(source: type[Source]) -> dict[str, Column]:
    columns = (source.name, source.licence, source.citation, source.non_commercial)
    return {name: column.expression for name, column in zip(TERMS, columns, strict=True)}


PROVENANCE: dict[str, Column] = {"reduced_formula": Composition.reduced_formula.expression, **_terms_of(Source)}
ENERGY: dict[str, Column] = {
    "of": Final.public_id.expression,
    "total": Calculation.energy.expression,
    "correction": Calculation.correction.expression,
    "off_hull": Calculation.off_hull.expression,
    "formation_energy_per_atom": HullState.formation_energy_per_atom.expression,
    "e_above_hull": HullState.e_above_hull.expression,
    "parameters": Calculation.settings.expression,
}


@dataclass(frozen=True)
class Wanted:
    """What is to leave.

    level: where energies come from; without it they stay, unless the filter asks about a level's fields
    relaxed: the structures that calculations at the level ended with, instead of those that they began with
    non_commercial: names of sources whose licence forbids commercial use, and that are to come along all the same
    partitioned: parquet as the folder that registry/exporters/dataset.py writes
    """

    format: str
    filter: str = ""
    level: str | None = None
    relaxed: bool = False
    non_commercial: frozenset[str] = frozenset()
    partitioned: bool = False

    @property
    def entries(self) -> bool:
        return self.format == "entries"

    @property
    def final(self) -> bool:
        """An entry is a structure's final energy: its structure is the final one, too."""
        return self.relaxed or self.entries


@dataclass(frozen=True)
class ExportReport:
    """How many materials were written, and how many of which non-commercial source were not.

    properties_left_out: how many properties of materials that were written, of which such source, were not
    """

    exported: int
    left_out: dict[str, int] = field(default_factory=dict)
    properties_left_out: dict[str, int] = field(default_factory=dict)


def export(session: Session, wanted: Wanted, target: AbstractContextManager[Any], progress: Progress) -> ExportReport:
    """Write materials, in the order in which they came in, or in that of the partitions.

    `target`, an open file or the path of a folder, is entered when the question is understood.

    Raises FilterError, NotFound, and what the target raises.
    """
    long_transaction(session)  # whoever reads our output may take a break
    question = understood(session, wanted)
    allowed, left_out = _counts(session, question, wanted)
    held_back: Counter[str] = Counter()
    records = _records(session, question, wanted, held_back)
    with target as sink:
        exported = _writer(wanted)(_told(records, allowed, progress), sink)
    return ExportReport(exported, left_out, dict(sorted(held_back.items())))


def _writer(wanted: Wanted) -> Callable[[Iterable[ExportedRecord], Any], int]:
    if not wanted.partitioned:
        return writer(wanted.format)
    from registry.exporters import dataset

    return dataset.write


def understood(session: Session, wanted: Wanted) -> Question:
    """The filter and its level, if it needs one. Raises FilterError, NotFound."""
    asked = parse(wanted.filter)
    about_a_level = asked.as_of is not None or bool(RECORD.tables(fields_of(asked.root)) & OF_A_LEVEL)
    if not (wanted.level or wanted.final or about_a_level):
        return Question(asked, None, None, FIELDS["id"], False)
    question = ask(session, asked, wanted.level, "id")
    if wanted.final and question.level_id is None:
        raise FilterError("no level has a hull yet: say with --level where the relaxed structures come from")
    return question


def _counts(session: Session, question: Question, wanted: Wanted) -> tuple[int, dict[str, int]]:
    """How many materials may leave, and how many of each source may not. Raises NotFound for a source that isn't."""
    refuse_unknown_sources(session, wanted.non_commercial)
    by = held_back_by(wanted.non_commercial, question.level_id is not None).label("source_name")
    found = _matching(question, wanted, {"source"}, by, func.count().label("materials"))
    rows = session.execute(found.group_by(by).order_by(by), question.bound).tuples().all()
    counts: dict[str | None, int] = dict(rows)
    allowed = counts.pop(None, 0)
    return allowed, {str(name): count for name, count in counts.items()}


def held_back_by(non_commercial: frozenset[str], energies: bool) -> Column:
    """Name of the source that keeps a row here, null where none does: the crystal's or, with energies, the energy's."""
    sources: list[type[Source]] = [Source]
    if energies:
        sources.append(EnergySource)
    allowed = list(non_commercial)
    kept = [(and_(one.non_commercial, one.name.not_in(allowed)), one.name.expression) for one in sources]
    return case(*kept, else_=None)


def refuse_unknown_sources(session: Session, names: frozenset[str]) -> None:
    """Raises NotFound for a source that isn't, naming those that forbid commercial use."""
    known = session.execute(select(Source.name, Source.non_commercial).order_by(Source.name)).all()
    if unknown := sorted(names - {name for name, _ in known}):
        restricted = ", ".join(name for name, non_commercial in known if non_commercial) or "there are none"
        raise NotFound(f"there is no source '{unknown[0][:80]}'; non-commercial ones: {restricted}")


def _matching(question: Question, wanted: Wanted, tables: set[str], *columns: Column) -> Select[Any]:
    tables = tables | ({"hull_state", "prototype"} if question.level_id is not None else set())
    found = sql.matching(question.filter, tables, *columns)
    if question.level_id is not None:
        found = found.outerjoin(EnergySource, EnergySource.id == Calculation.source_id)
    if wanted.final:
        found = found.where(Calculation.id.is_not(None))
    return found.where(Calculation.off_hull.is_(None)) if wanted.entries else found


def _records(session: Session, question: Question, wanted: Wanted, held_back: Counter[str]) -> Iterator[ExportedRecord]:
    """Through a cursor on the server: no more than a batch is here at a time.

    A property that may not leave is counted, by the name of its source, and the material leaves without it.
    """
    columns = _columns(wanted.final, question.level_id is not None)
    asked = [one for one in FIELDS.values() if one.table != "property"] if wanted.partitioned else []
    columns += [RECORD.column_of(one).label(FIELD + one.name) for one in asked]
    tables = {"composition", "source", *RECORD.tables(asked)}
    free = held_back_by(wanted.non_commercial, question.level_id is not None).is_(None)
    found = _matching(question, wanted, tables, *columns).where(free).order_by(*_order(wanted))
    with session.execute(found, question.bound, execution_options={"yield_per": BATCH}) as rows:
        for row in rows.mappings():
            told = row["properties"] or []
            held_back.update(one["source"] for one in told if _stays(one, wanted))
            yield _record(row, question, [one for one in told if not _stays(one, wanted)])


def _stays(told: Mapping[str, Any], wanted: Wanted) -> bool:
    return told["non_commercial"] and told["source"] not in wanted.non_commercial


def _order(wanted: Wanted) -> tuple[Column, ...]:
    partition = (Composition.nelements.expression, Composition.chemsys.expression) if wanted.partitioned else ()
    return (*partition, Structure.id.expression)


def _columns(final: bool, at_a_level: bool) -> list[Column]:
    cell = Final if final else Structure
    columns: list[Column] = [
        cell.public_id.label("public_id"),
        cell.lattice.label("lattice"),
        cell.species.label("species"),
        cell.coords.label("coords"),
        Structure.public_id.label("material"),
        Structure.attributes.label("metadata"),
        RELATIONS["external_id.value"].shown.label("external_ids"),
        _properties().label("properties"),
        *(column.label(name) for name, column in PROVENANCE.items()),
    ]
    if not at_a_level:
        return columns
    terms = [column.label(f"energy_{name}") for name, column in _terms_of(EnergySource).items()]
    return [*columns, *(column.label(name) for name, column in ENERGY.items()), *terms]


def _properties() -> Column:
    """All of a material, as JSON; numbers as text, of which no digit and no sign of a zero is lost."""
    told = {
        "name": Property.name,
        "value": cast(Property.value, Text),
        "words": Property.words,
        "unit": Property.unit,
        "method": Property.method,
        "provenance": Property.provenance,
        **_terms_of(PropertySource),
    }
    one = func.json_build_object(*(part for pair in told.items() for part in pair))
    listed = select(func.json_agg(aggregate_order_by(one, Property.id)))
    listed = listed.select_from(Property).join(PropertySource, PropertySource.id == Property.source_id)
    return listed.where(Property.structure_id == Structure.id).correlate(Structure).scalar_subquery()


def _record(row: RowMapping, question: Question, properties: Iterable[Mapping[str, Any]]) -> ExportedRecord:
    coords = np.frombuffer(row["coords"], dtype="<f8").reshape(-1, 3)
    return ExportedRecord(
        crystal=Crystal(row["lattice"], row["species"], coords),
        public_id=row["public_id"],
        external_ids=_by_scheme(row["external_ids"] or []),
        metadata=row["metadata"],
        relaxed_from=row["material"] if row["material"] != row["public_id"] else None,
        energy=_energy(row, question) if row.get("total") is not None else None,
        properties=[_property(one, row["source"]) for one in properties],
        fields={name.removeprefix(FIELD): value for name, value in row.items() if name.startswith(FIELD)},
        **{name: row[name] for name in PROVENANCE},
    )


def _energy(row: RowMapping, question: Question) -> ExportedEnergy:
    assert question.level is not None
    said = {name: value for name, value in row["parameters"].items() if value is not None}
    moment = question.filter.as_of.isoformat() if question.filter.as_of else None
    told = {name: row[name] for name in ENERGY if name != "parameters"}
    terms = _other_terms({name: row[f"energy_{name}"] for name in TERMS}, row["source"])
    return ExportedEnergy(level=question.level, as_of=moment, parameters=said, terms=terms, **told)


def _property(told: Mapping[str, Any], source: str) -> CrystalProperty:
    return CrystalProperty(
        name=told["name"],
        value=told["words"] if told["value"] is None else float(told["value"]),
        unit=told["unit"],
        method=told["method"],
        provenance=told["provenance"],
        terms=_other_terms(told, source),
    )


def _other_terms(told: Mapping[str, Any], source: str) -> SourceTerms | None:
    """None where they are those of the crystal, which the row tells anyway."""
    return None if told["source"] == source else SourceTerms(*(told[name] for name in TERMS))


def _by_scheme(pairs: Sequence[Sequence[str]]) -> dict[str, str | list[str]]:
    """From pairs in the order of their schemes."""
    named = {scheme: [name for _, name in group] for scheme, group in groupby(pairs, itemgetter(0))}
    return {scheme: names if len(names) > 1 else names[0] for scheme, names in named.items()}


def _told(records: Iterable[ExportedRecord], total: int, progress: Progress) -> Iterator[ExportedRecord]:
    done = 0
    for done, record in enumerate(records, start=1):
        yield record
        if done % BATCH == 0:
            progress(done, total)
    progress(done, done)
