"""One turn of the loop over a family of elements: references, candidates, scores, selection, labels, hull.

The campaign only says what is wanted; daemons in processes of their own find it in the views and do it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Engine
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from registry import queue
from registry.errors import LodeError
from registry.models import Campaign, Round, Structure
from registry.states import Kind, Origin
from workers.candidates.generation import Settings as CandidateSettings
from workers.generate import Generated, generate_candidates
from workers.ranking import Rules
from workers.select import promoted_model, select_labels, select_references, select_refine

Report = Callable[[str, int, int], None]
"""What is being done, how much of it is done, of how much."""


@dataclass(frozen=True)
class CampaignSettings:
    """family: element symbols. labels: in all, picked in `batches` turns so that later picks know earlier labels."""

    name: str
    family: tuple[str, ...]
    labels: int = 450
    batches: int = 6
    refine: int = 1000
    reference_sites: int = 14
    candidates: CandidateSettings = field(default_factory=CandidateSettings)
    rules: Rules = field(default_factory=lambda: Rules(budget=0))


@dataclass(frozen=True)
class Outcome:
    """The round and what it did."""

    round_id: int
    references: int
    generated: int
    refined: int
    selected: int


def run_round(
    engine: Engine,
    level_id: int,
    settings: CampaignSettings,
    report: Report,
    alive: Callable[[], None] = lambda: None,
) -> Outcome:
    """Run one round to its end. `alive` raises when the daemons are gone, so that waiting for them ends.

    Raises NotFound when no model is promoted for the level, LevelMismatch when it's of another one.
    """
    with Session(engine) as session:
        promoted_model(session, level_id)
    round_id = _open_round(engine, level_id, settings)
    references = _select(
        engine,
        lambda session: select_references(session, round_id, level_id, settings.family, settings.reference_sites),
    )
    _wait(engine, (Kind.LABEL, Kind.PLACE), "labelling known competing phases", report, alive)
    generated = _generate(engine, round_id, settings, report)
    _wait(engine, (Kind.SCORE,), "scoring with one member", report, alive)
    refined = _select(engine, lambda session: select_refine(session, round_id, level_id, settings.refine))
    _wait(engine, (Kind.REFINE,), "scoring with the ensemble", report, alive)
    selected = _label_in_batches(engine, round_id, level_id, settings, report, alive)
    _close_round(engine, round_id)
    return Outcome(round_id, references, generated.new, refined, selected)


def propose(engine: Engine, level_id: int, settings: CampaignSettings, report: Report) -> Generated:
    """A round that only generates candidates."""
    round_id = _open_round(engine, level_id, settings)
    generated = _generate(engine, round_id, settings, report)
    _close_round(engine, round_id)
    return generated


def _label_in_batches(
    engine: Engine,
    round_id: int,
    level_id: int,
    settings: CampaignSettings,
    report: Report,
    alive: Callable[[], None],
) -> int:
    selected = 0
    for batch in range(settings.batches):
        budget = (settings.labels - selected) // (settings.batches - batch)
        rules = Rules(**{**asdict(settings.rules), "budget": budget})
        picked = _select(engine, partial(select_labels, round_id=round_id, level_id=level_id, rules=rules))
        selected += picked
        title = f"labelling the selected, batch {batch + 1} of {settings.batches}"
        _wait(engine, (Kind.LABEL, Kind.PLACE), title, report, alive)
    return selected


def _generate(engine: Engine, round_id: int, settings: CampaignSettings, report: Report) -> Generated:
    done = 0

    def progress(count: int) -> None:
        nonlocal done
        done += count
        report("generating candidates", done, 0)

    with Session(engine) as session, session.begin():
        parents = session.scalars(sa.select(Structure.id).where(Structure.origin == Origin.IMPORTED)).all()
        return generate_candidates(session, parents, settings.family, settings.candidates, round_id, progress)


def _wait(engine: Engine, kinds: Sequence[Kind], title: str, report: Report, alive: Callable[[], None]) -> None:
    """Until nothing of these kinds is missing or in hand."""
    total = left = sum(queue.open_work(engine, kind) for kind in kinds)
    while left:
        report(title, total - left, total)
        alive()
        time.sleep(0.5)
        left = sum(queue.open_work(engine, kind) for kind in kinds)
        total = max(total, left)
    report(title, total, total)


def _select(engine: Engine, pick: Callable[[Session], int]) -> int:
    with Session(engine) as session, session.begin():
        return pick(session)


def _open_round(engine: Engine, level_id: int, settings: CampaignSettings) -> int:
    values: dict[str, Any] = {"name": settings.name, "level_id": level_id, "settings": asdict(settings)}
    with Session(engine) as session, session.begin():
        session.execute(insert(Campaign).values(**values).on_conflict_do_nothing())
        campaign = session.scalars(sa.select(Campaign).where(Campaign.name == settings.name)).one()
        if campaign.level_id != level_id:
            raise LodeError(f"campaign '{settings.name}' belongs to another level: choose another name")
        last = session.scalar(sa.select(sa.func.max(Round.number)).where(Round.campaign_id == campaign.id)) or 0
        row = Round(campaign_id=campaign.id, number=last + 1)
        session.add(row)
        session.flush()
        return row.id


def _close_round(engine: Engine, round_id: int) -> None:
    with Session(engine) as session, session.begin():
        session.get_one(Round, round_id).finished_at = session.scalars(sa.select(sa.func.now())).one()
