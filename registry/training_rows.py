"""The entries of one level as rows to learn from: relaxed crystals and formation energies, as of a moment."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
from sqlalchemy import ColumnElement, RowMapping, Select, func, select
from sqlalchemy.orm import Session

from registry.database import long_transaction
from registry.errors import FilterError, LevelMismatch
from registry.exporters.materials import EnergySource, held_back_by, refuse_unknown_sources
from registry.identity.composition import Composition
from registry.models import Calculation, HullState, Structure
from registry.query import sql
from registry.query.columns import COLUMNS, Final
from registry.query.conditions import conjuncts
from registry.query.filter import Comparison, Filter, parse, write
from registry.query.materials import Question, ask

BATCH = 500
Row = dict[str, Any]

SHOWN: tuple[ColumnElement[Any], ...] = (
    Final.public_id.label("id"),
    Final.lattice.label("lattice"),
    Final.species.label("species"),
    Final.coords.label("coords"),
    HullState.formation_energy_per_atom.label("target"),
    COLUMNS["prototype.label"].label("prototype"),
    Structure.created_at.label("created_at"),
)


@dataclass(frozen=True)
class TrainingQuery:
    """Which entries: the filter at one level, the hull as of a moment (ISO 8601), and the non-commercial sources that
    come along."""

    level: str
    filter: str
    as_of: str
    sources: tuple[str, ...] = ()

    def told(self) -> Row:
        """As JSON says it; `TrainingQuery.of` reads it."""
        return {**asdict(self), "sources": list(self.sources)}

    @classmethod
    def of(cls, told: Row) -> TrainingQuery:
        return cls(told["level"], told["filter"], told["as_of"], tuple(told.get("sources", ())))


@dataclass(frozen=True)
class Left:
    """What isn't among the rows: entries without a place on the hull, and those of each source that forbids it."""

    unplaced: int
    by_source: dict[str, int]


def training_query(
    session: Session, level: str, text: str, as_of: datetime | None = None, sources: frozenset[str] = frozenset()
) -> TrainingQuery:
    """The question, as of now unless it says another moment, so that it can be asked again.

    Raises FilterError, NotFound (level, sources), and LevelMismatch where the filter asks about another level.
    """
    asked = parse(text)
    if asked.as_of is not None and as_of is not None:
        raise FilterError("the filter says AS OF by itself: leave one of the two moments away")
    for node in conjuncts(asked.root):
        if isinstance(node, Comparison) and (node.field, node.operator) == ("level", "=") and node.value != level:
            raise LevelMismatch(f"the filter asks for level '{node.value}', the targets are of level '{level}'")
    refuse_unknown_sources(session, sources)
    now = session.execute(select(func.now())).scalar_one()
    moment = as_of or asked.as_of or now
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    if moment > now:
        raise FilterError(f"{moment.isoformat()} is yet to come: nobody knows that hull")
    question = ask(session, replace(asked, as_of=moment), level)
    assert question.filter.as_of is not None
    return TrainingQuery(level, write(Filter(asked.root)), question.filter.as_of.isoformat(), tuple(sorted(sources)))


def training_rows(session: Session, query: TrainingQuery) -> Iterator[Row]:
    """One row per entry, in the order in which the crystals came in, through a cursor on the server.

    id: of the relaxed crystal; formula: reduced, in the order of the alphabet; lattice (9), angstrom; numbers (n);
    frac_coords (3n); target: formation energy, eV/atom; prototype: of the relaxed crystal where it has one, or None;
    created_at: when the material came in, ISO.
    Raises FilterError, NotFound.
    """
    long_transaction(session)  # whoever reads our output may take a break
    question = _question(session, query)
    found = _entries(*SHOWN, question=question).where(_free(query), HullState.id.is_not(None)).order_by(Structure.id)
    with session.execute(found, question.bound, execution_options={"yield_per": BATCH}) as rows:
        yield from map(_row, rows.mappings())


def left_out(session: Session, query: TrainingQuery) -> Left:
    """Raises FilterError, NotFound."""
    question = _question(session, query)
    unplaced = _entries(func.count(), question=question).where(HullState.id.is_(None))
    by = held_back_by(frozenset(query.sources), energies=True).label("source_name")
    held = _entries(by, func.count(), question=question).where(HullState.id.is_not(None), by.is_not(None))
    counts = session.execute(held.group_by(by).order_by(by), question.bound).tuples().all()
    return Left(session.execute(unplaced, question.bound).scalar_one(), {str(name): n for name, n in counts})


def _question(session: Session, query: TrainingQuery) -> Question:
    return ask(session, replace(parse(query.filter), as_of=datetime.fromisoformat(query.as_of)), query.level)


def _entries(*columns: ColumnElement[Any], question: Question) -> Select[Any]:
    """Of every entry that the filter finds; a place on the hull that is of another calculation is none of its own."""
    tables = {"composition", "source", "calculation", "hull_state", "prototype"}
    found = sql.matching(question.filter, tables, *columns)
    found = found.outerjoin(EnergySource, EnergySource.id == Calculation.source_id)
    own = (HullState.id.is_(None)) | (HullState.calculation_id == Calculation.id)
    return found.where(Calculation.id.is_not(None), Calculation.off_hull.is_(None), own)


def _free(query: TrainingQuery) -> ColumnElement[bool]:
    return held_back_by(frozenset(query.sources), energies=True).is_(None)


def _row(row: RowMapping) -> Row:
    told = {name: row[name] for name in ("id", "lattice", "target", "prototype")}
    formula = Composition.of(Counter(row["species"])).alphabetical_formula
    coords = np.frombuffer(row["coords"], dtype="<f8")
    moment = row["created_at"].astimezone(UTC).isoformat()
    return {**told, "formula": formula, "numbers": row["species"], "frac_coords": coords.tolist(), "created_at": moment}
