"""The placing daemon: a batch of new labels, one transaction, hull states up to date."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import groupby

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from registry.errors import HullError, LabelFailure, MissingReference
from registry.hull.store import place, unplaceable
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
            refused = unplaceable(session, level_id, [claim.subject_id for claim in claims])
        for claim in claims:
            if claim.subject_id in refused:
                yield Failed(claim, _failure(refused[claim.subject_id]), _leave)
        placeable = [claim for claim in claims if claim.subject_id not in refused]
        for first, claim in enumerate(placeable):
            yield Done(claim, _leave if first else partial(_place, level_id))


def _failure(error: HullError) -> LabelFailure:
    missing = isinstance(error, MissingReference)
    return LabelFailure(ErrorClass.MISSING_REFERENCE if missing else ErrorClass.UNPHYSICAL_ENERGY, str(error))


def _place(level_id: int, session: Session) -> None:
    place(session, level_id)


def _leave(_session: Session) -> None:
    """Nothing to store: the level was placed with its first claim, or can't be."""
