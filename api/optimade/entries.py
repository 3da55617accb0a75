"""A page of structures: found by the registry's one search, then described in the standard's terms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from api.optimade import terms
from api.optimade.asking import LEVEL, Asked
from api.optimade.properties import ARRAYS, PROPERTIES, TYPE, Entry
from api.optimade.refusals import STATEMENT_SECONDS
from api.optimade.translate import every
from registry.crystal import Crystal
from registry.database import answer_within
from registry.errors import FilterError, TooSlow
from registry.exporters.materials import OF_A_LEVEL
from registry.models import Structure
from registry.query import sql
from registry.query.columns import RECORD
from registry.query.conditions import fields_of
from registry.query.fields import FIELDS, named
from registry.query.filter import Filter
from registry.query.materials import DEFAULT_SORT, Question, Row, ask, count, describe, find

BY_AGE = "discovered_at"
MOST_SITES = 50_000
"""Of a page with arrays: it ends early then."""

MOST_COUNTED = 10_000
COUNT_SECONDS = 2
MANY_LEVELS = f"several levels have a hull: name one with {LEVEL}=... to see energies and places on the hull"


@dataclass(frozen=True)
class Listing:
    """returned, available: how many entries the filter finds, and how many there are; None where counting stopped."""

    entries: list[dict[str, Any]]
    cursor: str | None = None
    returned: int | None = None
    available: int | None = None
    warnings: tuple[str, ...] = ()


def listing(session: Session, asked: Asked, allowed: frozenset[str]) -> Listing:
    """One page. Raises FilterError, NotFound, TooSlow."""
    answer_within(session, STATEMENT_SECONDS)
    away = terms.withheld(session, allowed)
    if asked.meant.filter is None:
        return Listing([], returned=0, warnings=asked.warnings)
    question, warnings = _question(session, asked, away)
    found = find(session, question, asked.offset + asked.limit, asked.cursor)
    ids, cursors = found.ids[asked.offset :], found.cursors[asked.offset :]
    rows = _described(session, ids, question, asked, away)
    fitting = _fitting([row["nsites"] for row in rows.values()]) if ARRAYS in _needs(asked) else len(rows)
    entries = _entries(session, {one: rows[one] for one in ids[:fitting]}, asked)
    more = found.more or fitting < len(ids)
    counts = _counts(session, question, replace(question, filter=Filter(terms.free(away))), asked)
    return Listing(entries, cursors[fitting - 1] if more and fitting else None, *counts, (*asked.warnings, *warnings))


def _question(session: Session, asked: Asked, away: Sequence[str]) -> tuple[Question, tuple[str, ...]]:
    """At the level that is named, or the only one there is; where there are several, at none, unless one is needed."""
    assert asked.meant.filter is not None
    root = asked.meant.filter.root
    wanted = replace(asked.meant.filter, root=every(root, terms.free(away)))
    sort = asked.sort or (DEFAULT_SORT if sql.asks_for_the_hull(root) else BY_AGE)
    field = named(sort.removeprefix("-"))
    about_a_level = RECORD.tables([*fields_of(root), field]) & OF_A_LEVEL
    try:
        return ask(session, wanted, asked.level, sort), ()
    except FilterError:
        if asked.level or about_a_level or wanted.as_of:
            raise
    shown = {PROPERTIES[name].field.table for name in asked.names if name in PROPERTIES}
    told = (MANY_LEVELS,) if shown & OF_A_LEVEL else ()
    return Question(wanted, None, None, field, sort.startswith("-")), told


def _needs(asked: Asked) -> set[str]:
    return {need for name in asked.names if name in PROPERTIES for need in PROPERTIES[name].needs}


def _described(
    session: Session, ids: Sequence[int], question: Question, asked: Asked, away: Sequence[str]
) -> dict[int, Row]:
    needed = (_needs(asked) | {"id", "nsites", "source", "licence"}) & FIELDS.keys()
    names = [name for name in FIELDS if name in needed]
    rows = dict(zip(ids, describe(session, ids, question, names), strict=True))
    if away and needed & {"band_gap", "dimensionality"}:
        terms.hide_properties(session, rows, away)
    return rows


def _fitting(sites: Sequence[int]) -> int:
    """How many entries a page has room for; one always."""
    return max(1, sum(total <= MOST_SITES for total in accumulate(sites))) if sites else 0


def _entries(session: Session, rows: Mapping[int, Row], asked: Asked) -> list[dict[str, Any]]:
    needs = _needs(asked)
    crystals = _crystals(session, list(rows)) if ARRAYS in needs else {}
    said = terms.terms_of(session, {row["source"] for row in rows.values()})
    return [_entry(Entry(row, crystals.get(one), *said[row["source"]]), asked) for one, row in rows.items()]


def _crystals(session: Session, ids: list[int]) -> dict[int, Crystal]:
    columns = (Structure.id, Structure.lattice, Structure.species, Structure.coords)
    rows = session.execute(select(*columns).where(Structure.id.in_(ids))).tuples()
    return {
        one: Crystal(np.array(lattice), np.array(species), np.frombuffer(coords, dtype="<f8").reshape(-1, 3))
        for one, lattice, species, coords in rows
    }


def _entry(entry: Entry, asked: Asked) -> dict[str, Any]:
    """The resource object; what forbids commercial use says so whatever fields are asked for."""
    attributes = {name: PROPERTIES[name].value(entry) if name in PROPERTIES else None for name in asked.names}
    told = {"_lode_licence": entry.row["licence"], "_lode_non_commercial": True}
    meta = {"meta": told} if entry.non_commercial else {}
    return {"id": entry.row["id"], "type": TYPE, "attributes": attributes, **meta}


def _counts(session: Session, question: Question, everything: Question, asked: Asked) -> tuple[int | None, int | None]:
    if asked.cursor:  # the first page has told it
        return None, None
    available = _counted(session, everything)
    unfiltered = asked.meant.filter == Filter()
    return available if unfiltered else _counted(session, question), available


def _counted(session: Session, question: Question) -> int | None:
    """How many there are, if they can be counted in a moment."""
    try:
        with session.begin_nested():
            answer_within(session, COUNT_SECONDS)
            found = count(session, question, MOST_COUNTED)
            answer_within(session, STATEMENT_SECONDS)
    except TooSlow:
        return None
    return found.value if found.kind == "exact" else None
