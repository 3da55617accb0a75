"""The searching daemon: random structures of a composition, stored and picked for labels in one commit.

Which structures these are follows from the search's seed and settings, so doing it twice stores nothing twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from sqlalchemy import Engine, func, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from registry import queue
from registry.errors import Interrupted, LabelFailure, LodeError
from registry.identity.composition import ATOMIC_NUMBERS
from registry.identity.duplicates import Identity
from registry.ingest import NewStructure, source_id, store
from registry.models import Composition, Lineage, Search, Selection
from registry.queue import Claim
from registry.states import ErrorClass, Kind, Operation, Origin, Purpose
from registry.terms import OWN
from workers.candidates.random_search import RandomSearch, RandomStructure, Settings, Tally
from workers.loop import Done, Failed, Outcome


@dataclass(frozen=True)
class Job:
    """What a claim needs, read in one short session."""

    claim: Claim
    amounts: dict[int, int]
    settings: dict[str, object]
    structures: int
    seed: int
    round_id: int | None


class SearchDaemon:
    """Makes random structures; minutes of one core at most."""

    kind = Kind.SEARCH
    batch = 1
    lease_seconds = 120.0

    def work(self, engine: Engine, claims: Sequence[Claim], beat: Callable[[], None]) -> Iterator[Outcome]:
        for claim in claims:
            with Session(engine) as session:
                job = _read(session, claim)
            try:
                yield _made(job, beat)
            except Interrupted:
                raise
            except LodeError as error:
                yield Failed(claim, LabelFailure(ErrorClass.NO_STRUCTURE, str(error)), _nothing)


def _made(job: Job, beat: Callable[[], None]) -> Done:
    """Raises Unsearchable, or LodeError for settings that say nothing."""
    search, tally = RandomSearch(job.amounts, Settings(**job.settings)), Tally()  # type: ignore[arg-type]
    made = []
    for found in search.structures(job.structures, job.seed, tally):
        beat()
        identity = Identity(found.crystal)
        identity.prepare()
        made.append((found, identity))
    if not made:
        raise LodeError(f"{search.formula}: no structure came of {tally.tried} cells")
    return Done(job.claim, partial(_write, job, made, dict(tally.outcomes)))


def _write(
    job: Job, made: Sequence[tuple[RandomStructure, Identity]], counts: dict[str, int], session: Session
) -> None:
    """Store the structures with their lineage, pick them for labels, and close the search unless it has grown."""
    source = source_id(session, OWN)
    stored = store(session, [NewStructure(identity, Origin.GENERATED, source) for _, identity in made])
    lineage, picks = [], []
    for (found, _), place in zip(made, stored, strict=True):
        arguments = {"seed": job.seed, **found.arguments()}
        lineage.append({"child_id": place.id, "operation": Operation.RANDOM_SEARCH.value, "arguments": arguments})
        picks.append({"structure_id": place.id, "rank": found.index + 1})
    common = {"search_id": job.claim.subject_id, "level_id": job.claim.target_id, "purpose": Purpose.LABEL.value}
    session.execute(insert(Lineage).on_conflict_do_nothing(), [{**row, "round_id": job.round_id} for row in lineage])
    session.execute(insert(Selection).on_conflict_do_nothing(), [{**row, **common} for row in picks])
    same = (Search.id == job.claim.subject_id, Search.structures == job.structures)
    session.execute(update(Search).where(*same).values(finished_at=func.now(), counts=counts))
    queue.ring(session)


def _read(session: Session, claim: Claim) -> Job:
    row = session.get_one(Search, claim.subject_id)
    composition = session.get_one(Composition, row.composition_id)
    amounts = {ATOMIC_NUMBERS[one]: count for one, count in zip(composition.elements, composition.amounts, strict=True)}
    return Job(claim, amounts, row.settings, row.structures, row.seed, row.round_id)


def _nothing(_session: Session) -> None:
    """Why a search is impossible stays in the row of work."""
