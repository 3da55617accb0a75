"""From the parents in the registry to candidates in it: nothing is stored twice, every way is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from registry import queue
from registry.identity.duplicates import DuplicateIndex, Identity
from registry.identity.public_id import public_id
from registry.ingest import NewStructure, crystal_of, derived_source_ids, store, structure_ids
from registry.models import Duplicate, Funnel, Lineage, Structure
from registry.states import Origin
from workers.candidates.funnel import Funnel as Counts
from workers.candidates.generation import Candidate, Parent, Settings, generate

BATCH = 500
MATCHER_WITHIN = 0.05  # fingerprint distance: the exact matcher is asked about near neighbours only


@dataclass(frozen=True)
class Generated:
    """What became of the candidates of one run."""

    new: int
    known: int
    counts: Counts


def generate_candidates(
    session: Session,
    parents: Sequence[int],
    family: Sequence[str],
    settings: Settings,
    round_id: int,
    progress: Callable[[int], None] = lambda _count: None,
) -> Generated:
    """Write the candidates of `parents` (structure ids) over the elements of `family`.

    Commits batch by batch: no transaction waits while candidates are made, and daemons score while others are proposed.
    """
    counts, index = Counts(), known_crystals(session)
    new = known = 0
    for batch in _batches(generate(_parents(session, parents), family, settings, counts), BATCH):
        fresh = _store_batch(session, batch, index, round_id)
        queue.ring(session)
        session.commit()
        new, known = new + fresh, known + len(batch) - fresh
        progress(len(batch))
    counts.reject("already known", known)
    write_funnel(session, round_id, counts)
    session.commit()
    return Generated(new, known, counts)


def known_crystals(session: Session) -> DuplicateIndex[str]:
    """Every crystal that was imported or proposed, first of its kind."""
    index: DuplicateIndex[str] = DuplicateIndex(matcher_within=MATCHER_WITHIN)
    doubled = select(Duplicate.structure_id)
    query = select(Structure).where(Structure.origin != Origin.RELAXED, Structure.id.not_in(doubled))
    for row in session.scalars(query.order_by(Structure.id).execution_options(yield_per=1000)):
        index.add(row.public_id, crystal_of(row))
    return index


def write_funnel(session: Session, round_id: int, counts: Counts) -> None:
    """Keep the counts of every rule with the round."""
    rows = [
        {"round_id": round_id, "stage": f"generate: {stage}", "rule": rule, "candidates": count}
        for stage, rules in counts.as_dict().items()
        for rule, count in rules.items()
    ]
    if rows:
        session.execute(insert(Funnel).on_conflict_do_nothing(), rows)


def _parents(session: Session, ids: Sequence[int]) -> Iterator[Parent]:
    for first in range(0, len(ids), BATCH):
        query = select(Structure).where(Structure.id.in_(ids[first : first + BATCH])).order_by(Structure.id)
        chunk = [Parent(row.id, crystal_of(row)) for row in session.scalars(query)]
        session.commit()
        yield from chunk


def _store_batch(session: Session, batch: Sequence[Candidate], index: DuplicateIndex[str], round_id: int) -> int:
    """Store what is new; how many that is. Every candidate gets its lineage, to the crystal that stands for it."""
    sources = derived_source_ids(session, (candidate.parent for candidate in batch))
    new: list[NewStructure] = []
    ways: list[tuple[str, str | None]] = []
    for candidate in batch:
        identity = Identity(candidate.crystal)
        twin: tuple[str, str | None] | None = index.find_identity(identity)
        if twin is None:
            name = public_id(candidate.crystal)
            index.add_identity(name, identity)
            flags = {"flags": list(candidate.flags)}
            new.append(NewStructure(identity, Origin.GENERATED, sources[candidate.parent], attributes=flags))
            twin = name, None
        ways.append(twin)
    fresh = sum(stored.new for stored in store(session, new))
    _store_lineage(session, batch, ways, round_id)
    return fresh


def _store_lineage(
    session: Session, batch: Sequence[Candidate], ways: Sequence[tuple[str, str | None]], round_id: int
) -> None:
    """One row for each way; `rule` is set where it led to a crystal that was there."""
    ids = structure_ids(session, {name for name, _ in ways})
    rows = [
        {
            "child_id": ids[name],
            "parent_id": candidate.parent,
            "operation": candidate.operation,
            "arguments": candidate.arguments,
            "probability": candidate.probability,
            "rule": rule,
            "round_id": round_id,
        }
        for candidate, (name, rule) in zip(batch, ways, strict=True)
        if ids[name] != candidate.parent
    ]
    if rows:
        session.execute(insert(Lineage).on_conflict_do_nothing(), rows)


def _batches(candidates: Iterator[Candidate], size: int) -> Iterator[list[Candidate]]:
    while batch := list(islice(candidates, size)):
        yield batch
