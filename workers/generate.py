"""From the parents in the registry to candidates in it: nothing is stored twice, every way is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice
from typing import Any

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from registry import queue
from registry.crystal import Crystal
from registry.identity.duplicates import Identity
from registry.identity.public_id import public_id
from registry.ingest import NewStructure, Stored, crystal_of, derived_source_ids, store, structure_ids
from registry.models import Funnel, Lineage, Prediction, Structure
from registry.states import Origin
from workers.candidates import ranked
from workers.candidates.block import Candidate, Row
from workers.candidates.funnel import Funnel as Counts
from workers.candidates.generation import Parent, Settings, blocks
from workers.candidates.guard import Ended, Guarded
from workers.candidates.parents import Described, describe
from workers.fused import Judge
from workers.known import KnownCrystals, imported_families
from workers.known_compositions import Known

BATCH = 512
PARENT_SECONDS = 30.0
"""Of CPU for one parent's symmetry, oxidation states and neighbours; most take some milliseconds."""

APPROXIMANT = "ordered_approximant"
"""The flag of an ordering of the atoms of a disordered crystal that an imported crystal orders too."""


Proposal = Row | Candidate
"""A crystal that isn't stored; of a block's row the rest is made only if it is to be."""


@dataclass(frozen=True)
class Generated:
    """What became of the candidates of one run."""

    new: int
    known: int
    counts: Counts
    round_id: int


@dataclass(frozen=True)
class Scored:
    """A candidate on its way in, and what was predicted of it: a row of table prediction but for the structure's id."""

    candidate: Candidate
    identity: Identity
    prediction: dict[str, Any] | None


def generate_candidates(
    session: Session,
    parents: Sequence[int],
    family: Sequence[str],
    settings: Settings,
    round_id: int,
    progress: Callable[[int], None] = lambda _parents: None,
    judge: Judge | None = None,
    limit: int | None = None,
) -> Generated:
    """Write the candidates of `parents` (structure ids) over the elements of `family`.

    progress: called after each batch with the number of parents done. judge: writes only what it finds promising, with
    its prediction. limit: at most so many new ones are written.
    Commits batch by batch, what was counted since the last one with it: no transaction waits while candidates are made
    or scored, daemons score while others are proposed, and a run that is killed has counted what it has written.
    """
    run = _Run(session, round_id, judge, limit)
    stream = _stream(session, parents, family, settings, run.counts)
    while not run.is_full and (batch := list(islice(stream, BATCH))):
        run.write(batch)
        progress(sum(run.counts.parents.values()))
    run.leave()
    run.close()
    return Generated(run.new, run.known, run.counts, round_id)


def _stream(
    session: Session, parents: Sequence[int], family: Sequence[str], settings: Settings, counts: Counts
) -> Iterator[Proposal]:
    """What passed the rules that need no registry: the best of each parent, or the likeliest over all of them."""
    known = Known().add_registry(session, imported=True).compositions() if settings.novel_compositions else None
    session.commit()
    found = _parents(session, parents)
    if settings.likeliest is not None:
        yield from ranked.candidates(list(found), family, settings, counts, known)
        return
    for block in blocks(found, family, settings, counts, known, guarded_describe):
        yield from (Row(block, row) for row in range(len(block)))


def guarded_describe(crystal: Crystal, settings: Settings) -> Described | str:
    """As `describe`, in a process that may hang or crash."""
    try:
        return _guard()(crystal, settings)
    except Ended as why:
        return f"failed: {why}"


@cache
def _guard() -> Guarded[Described | str]:
    return Guarded(describe, PARENT_SECONDS)


class _Run:
    """One run of `generate_candidates`."""

    def __init__(self, session: Session, round_id: int, judge: Judge | None, limit: int | None) -> None:
        self.counts = Counts()
        self.new = self.known = self._taken = 0
        self._session, self._round_id, self._judge, self._limit = session, round_id, judge, limit
        self._crystals = KnownCrystals()
        self._counted = Counts()

    @property
    def is_full(self) -> bool:
        return self._limit is not None and self.new >= self._limit

    def write(self, batch: Sequence[Proposal]) -> None:
        """Score, look up and store a batch, and commit it."""
        self._taken += len(batch)
        scored = self._scored(batch)
        self._crystals.read(self._session, (one.identity.formula for one in scored))
        self._session.commit()
        ways = [way for one in scored if (way := self._way(one)) is not None]
        self._store(ways)
        queue.ring(self._session)
        self.close()

    def leave(self) -> None:
        """Count what has passed the rules and is looked at no more."""
        self.counts.reject("limit", self.counts.kept.total() - self._taken)

    def close(self) -> None:
        """Commit, with what was counted since the last time."""
        _write_funnel(self._session, self._round_id, self.counts - self._counted)
        self._session.commit()
        self._counted = self.counts.copy()

    def _scored(self, batch: Sequence[Proposal]) -> list[Scored]:
        if self._judge is None:
            return [_scored(proposal, None) for proposal in batch]
        predictions = self._judge.promising([proposal.crystal for proposal in batch], self.counts)
        return [_scored(batch[index], prediction) for index, prediction in predictions.items()]

    def _way(self, one: Scored) -> tuple[Scored, str, str | None] | None:
        """With the public id of the crystal that stands for it and the rule that says so, none where it is new."""
        twin = self._crystals.find(one.identity)
        if twin is not None:
            self._found_known()
            return one, *twin
        if self.is_full:
            self.counts.reject("limit")
            return None
        one.identity.prepare()
        name = public_id(one.candidate.crystal)
        self._crystals.add(name, one.identity)
        self.new += 1
        return one, name, None

    def _found_known(self) -> None:
        self.known += 1
        self.counts.reject("already known")

    def _store(self, ways: Sequence[tuple[Scored, str, str | None]]) -> None:
        """What is new; and for every candidate its lineage, to the crystal that stands for it."""
        session = self._session
        sources = derived_source_ids(session, (one.candidate.parent for one, _, _ in ways))
        fresh = {name: one for one, name, rule in ways if rule is None}
        flags = _flags(session, fresh)
        stored = store(
            session,
            [
                NewStructure(
                    one.identity, Origin.GENERATED, sources[one.candidate.parent], attributes={"flags": flags[name]}
                )
                for name, one in fresh.items()
            ],
        )
        self._count_stored(stored, flags)
        ids = structure_ids(session, {name for _, name, _ in ways})
        _store_predictions(session, {ids[name]: one.prediction for name, one in fresh.items() if one.prediction})
        _store_lineage(session, [(one.candidate, ids[name], rule) for one, name, rule in ways], self._round_id)

    def _count_stored(self, stored: Iterable[Stored], flags: Mapping[str, list[str]]) -> None:
        """Another run may have stored some of the same since they were looked up: they are known then."""
        for place in stored:
            if place.new:
                self.counts.flag(flags[place.public_id])
            else:
                self._found_known()
                self.new -= 1


def _scored(proposal: Proposal, prediction: dict[str, Any] | None) -> Scored:
    candidate = proposal.candidate() if isinstance(proposal, Row) else proposal
    return Scored(candidate, Identity(candidate.crystal), prediction)


def _flags(session: Session, fresh: dict[str, Scored]) -> dict[str, list[str]]:
    """Public id -> flags, whether it orders a known disordered crystal among them."""
    families = {
        name: [(one.identity.formula, each.label) for each in one.identity.families] for name, one in fresh.items()
    }
    known = imported_families(session, {kind for kinds in families.values() for kind in kinds})
    return {
        name: [*one.candidate.flags, *([APPROXIMANT] if known.intersection(families[name]) else [])]
        for name, one in fresh.items()
    }


def _write_funnel(session: Session, round_id: int, counts: Counts) -> None:
    """Add what was counted to the round's numbers."""
    rows = [
        {"round_id": round_id, "stage": f"generate: {stage}", "rule": rule, "candidates": count}
        for stage, rules in counts.as_dict().items()
        for rule, count in sorted(rules.items())
    ]
    if rows:
        added = insert(Funnel)
        total = Funnel.candidates + added.excluded.candidates
        session.execute(
            added.on_conflict_do_update(index_elements=["round_id", "stage", "rule"], set_={"candidates": total}), rows
        )


def _parents(session: Session, ids: Sequence[int]) -> Iterator[Parent]:
    for first in range(0, len(ids), BATCH):
        query = select(Structure).where(Structure.id.in_(ids[first : first + BATCH])).order_by(Structure.id)
        chunk = [Parent(row.id, crystal_of(row)) for row in session.scalars(query)]
        session.commit()
        yield from chunk


def _store_predictions(session: Session, rows: dict[int, dict[str, Any]]) -> None:
    values = [{"structure_id": structure_id, **row} for structure_id, row in rows.items()]
    if values:
        session.execute(insert(Prediction).on_conflict_do_nothing(), values)


def _store_lineage(session: Session, ways: Iterable[tuple[Candidate, int, str | None]], round_id: int) -> None:
    """One row for each way to a child (its id); `rule` is set where it led to a crystal that was there."""
    rows = [
        {
            "child_id": child,
            "parent_id": candidate.parent,
            "operation": candidate.operation,
            "arguments": candidate.arguments,
            "probability": candidate.probability,
            "rule": rule,
            "round_id": round_id,
        }
        for candidate, child, rule in ways
        if child != candidate.parent
    ]
    if rows:
        session.execute(insert(Lineage).on_conflict_do_nothing(), rows)
