"""The placing daemon: a batch of labels that came, went or moved, one transaction, hull states up to date."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import groupby

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from registry.errors import LabelFailure
from registry.hull.geometry import warm
from registry.hull.store import KeptHulls, error_class
from registry.queue import Claim
from registry.states import Kind
from workers.loop import Together


class PlaceDaemon:
    """Places batches; the hulls of the levels stay in memory in between."""

    kind = Kind.PLACE
    batch = 1_000
    lease_seconds = 60.0

    def __init__(self) -> None:
        self._hulls = KeptHulls()

    def work(self, _engine: Engine, claims: Sequence[Claim], _beat: Callable[[], None]) -> Iterator[Together]:
        warm()  # before a transaction is open: the compiler may take longer than one may idle
        for level_id, of_level in groupby(sorted(claims, key=lambda one: one.target_id), lambda one: one.target_id):
            yield Together(list(of_level), partial(self._place, level_id))

    def _place(self, level_id: int, session: Session, claims: Sequence[Claim]) -> Mapping[int, LabelFailure]:
        placed = self._hulls.place(session, level_id, [claim.subject_id for claim in claims])
        failures = {key: LabelFailure(error_class(error), str(error)) for key, error in placed.refused.items()}
        return {claim.id: failures[claim.subject_id] for claim in claims if claim.subject_id in failures}
