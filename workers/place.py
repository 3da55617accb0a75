"""The placing daemon: a batch of new labels, one transaction, hull states up to date."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import groupby

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from registry.errors import LabelFailure, MissingReference
from registry.hull.store import missing_references, place
from registry.queue import Claim
from registry.states import ErrorClass, Kind
from workers.loop import Done, Failed, Outcome


class PlaceDaemon:
    """Places whole levels: the first claim of each level brings all of it up to date, the others find it done."""

    kind = Kind.PLACE
    batch = 500
    lease_seconds = 60.0

    def work(self, engine: Engine, claims: Sequence[Claim], _beat: Callable[[], None]) -> Iterator[Outcome]:
        for level_id, of_level in groupby(sorted(claims, key=lambda one: one.target_id), lambda one: one.target_id):
            yield from self._work_level(engine, level_id, list(of_level))

    def _work_level(self, engine: Engine, level_id: int, claims: Sequence[Claim]) -> Iterator[Outcome]:
        with Session(engine) as session:
            missing = missing_references(session, level_id, [claim.subject_id for claim in claims])
        for claim in claims:
            if claim.subject_id in missing:
                error = str(MissingReference(missing[claim.subject_id]))
                yield Failed(claim, LabelFailure(ErrorClass.MISSING_REFERENCE, error), _leave)
        placeable = [claim for claim in claims if claim.subject_id not in missing]
        for first, claim in enumerate(placeable):
            yield Done(claim, _leave if first else partial(_place, level_id))


def _place(level_id: int, session: Session) -> None:
    place(session, level_id)


def _leave(_session: Session) -> None:
    """Nothing to store: the level was placed with its first claim, or can't be."""
