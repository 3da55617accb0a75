"""One turn of the loop over a family of elements: references, candidates, scores, selection, labels, hull.

The campaign only says what is wanted; daemons in processes of their own find it in the views and do it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial

import sqlalchemy as sa
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from predictors.potentials.named import POTENTIALS, load_potential
from registry import queue
from registry.errors import NotFound, SettingsError
from registry.models import Level, Model, Structure
from registry.query.materials import ask
from registry.query.sql import matching
from registry.states import Kind
from workers.candidates.generation import Settings as CandidateSettings
from workers.fused import Fused, Judge
from workers.generate import Generated, generate_candidates
from workers.potentials import register_potential
from workers.ranking import Rules
from workers.rounds import close_round, open_round
from workers.select import (
    check_level,
    named_model,
    promoted_model,
    select_labels,
    select_recheck,
    select_references,
    select_refine,
)

LONGEST_NAME = 200
Report = Callable[[str, int, int], None]
"""What is being done, how much of it is done, of how much."""


PARENTS = """
SELECT id, id AS material FROM structure WHERE origin = 'imported'
UNION
SELECT calculation.final_structure_id, structure.id FROM hull_state
JOIN calculation ON calculation.id = hull_state.calculation_id
JOIN structure ON structure.id = calculation.initial_structure_id
WHERE hull_state.level_id = :level AND hull_state.valid_to IS NULL AND hull_state.is_stable
  AND structure.origin = 'generated'
ORDER BY 1
"""
"""Known crystals, and what earlier rounds found on the hull, as relaxed; with the material that they are."""


@dataclass(frozen=True)
class CampaignSettings:
    """family: element symbols. labels: in all, picked in `batches` turns so that later picks know earlier labels.

    refine: how many candidates the whole ensemble looks at. second: a model (a potential's name registers it) that
    looks again at the best `rechecks` of these, and picks the labels. reference_sites: known crystals of larger cells
    are not labelled as competing phases. parents: a filter that crystals must pass to become parents (registry/query).
    fused: candidates are scored while they are made, and only the promising ones are written; limit: at most so many
    new ones.
    part: (i, n), the i-th of n parts of the parents, for n machines that share the work.
    """

    name: str
    family: tuple[str, ...]
    labels: int = 450
    batches: int = 6
    refine: int = 1000
    second: str | None = None
    rechecks: int = 500
    reference_sites: int = 40
    candidates: CandidateSettings = field(default_factory=CandidateSettings)
    rules: Rules = field(default_factory=lambda: Rules(budget=0))
    parents: str = ""
    fused: Fused | None = None
    limit: int | None = None
    part: tuple[int, int] = (1, 1)


@dataclass(frozen=True)
class Outcome:
    """The round and what it did."""

    round_id: int
    references: int
    generated: int
    refined: int
    selected: int
    rechecked: int = 0


def run_round(
    engine: Engine,
    level_id: int,
    settings: CampaignSettings,
    report: Report,
    alive: Callable[[], None] = lambda: None,
) -> Outcome:
    """Run one round to its end. `alive` raises when the daemons are gone, so that waiting for them ends.

    Raises NotFound when no model is promoted for the level, LevelMismatch when the second is of another one,
    SettingsError when the second is the promoted one.
    """
    if settings.second in POTENTIALS:
        load_potential(settings.second)  # takes seconds, which no transaction should wait for
    with Session(engine) as session, session.begin():
        first = promoted_model(session, level_id)
        if settings.second is not None:
            _ensure_second(session, first, settings.second)
    _check(engine, level_id, settings)
    turn = Turn(engine, level_id, settings, _open_round(engine, level_id, settings), report, alive)
    references = turn.references()
    generated = _generate(engine, turn.round_id, level_id, settings, report)
    turn.wait((Kind.SCORE,), "scoring with one member")
    refined = turn.refine()
    rechecked = turn.recheck()
    selected = turn.label_in_batches()
    _close_round(engine, turn.round_id)
    return Outcome(turn.round_id, references, generated.new, refined, selected, rechecked)


@dataclass(frozen=True)
class Turn:
    """A round under way. Each step says what is wanted, waits until daemons have done it, and tells how many it was."""

    engine: Engine
    level_id: int
    settings: CampaignSettings
    round_id: int
    report: Report
    alive: Callable[[], None]

    def references(self) -> int:
        """Known competing phases, labelled."""
        sites = self.settings.reference_sites
        picked = self._select(lambda session: select_references(session, *self._where, sites))
        self.wait((Kind.LABEL, Kind.PLACE), "labelling known competing phases")
        return picked

    def refine(self) -> int:
        """Candidates that the whole ensemble looks at."""
        picked = self._select(lambda session: select_refine(session, *self._where, self.settings.refine))
        self.wait((Kind.REFINE,), "scoring with the ensemble")
        return picked

    def recheck(self) -> int:
        """Candidates that the second model looks at, where there is one."""
        name = self.settings.second
        if name is None:
            return 0
        count = self.settings.rechecks
        picked = self._select(lambda session: select_recheck(session, *self._where, count, named_model(session, name)))
        self.wait((Kind.REFINE,), f"looking again with {name}")
        return picked

    def label_in_batches(self) -> int:
        """Candidates that are labelled."""
        selected, batches = 0, self.settings.batches
        for batch in range(batches):
            budget = (self.settings.labels - selected) // (batches - batch)
            selected += self._select(partial(self._pick_labels, replace(self.settings.rules, budget=budget)))
            self.wait((Kind.LABEL, Kind.PLACE), f"labelling the selected, batch {batch + 1} of {batches}")
        return selected

    def wait(self, kinds: Sequence[Kind], title: str) -> None:
        """Until nothing of these kinds is missing or in hand; nobody waits for the labels of searches."""
        total = left = sum(_open(self.engine, kind) for kind in kinds)
        while left:
            self.report(title, total - left, total)
            self.alive()
            time.sleep(0.5)
            left = sum(_open(self.engine, kind) for kind in kinds)
            total = max(total, left)
        self.report(title, total, total)

    @property
    def _where(self) -> tuple[int, int, tuple[str, ...]]:
        return self.round_id, self.level_id, self.settings.family

    def _select(self, pick: Callable[[Session], int]) -> int:
        with Session(self.engine) as session, session.begin():
            return pick(session)

    def _pick_labels(self, rules: Rules, session: Session) -> int:
        second = named_model(session, self.settings.second) if self.settings.second is not None else None
        return select_labels(session, *self._where, rules, second)


def _ensure_second(session: Session, first: Model, name: str) -> None:
    """Raises NotFound, LevelMismatch, PotentialMissing, and SettingsError for the first by whatever name, before
    anything is made."""
    if name in POTENTIALS:
        register_potential(session, name)
    second = named_model(session, name)
    check_level(session, second, first.level_id)
    if second.checkpoint_sha256 == first.checkpoint_sha256:
        raise SettingsError(
            f"second model '{name}' is the promoted one, '{first.name}', that has looked at the candidates already: "
            "name another one, or leave out --second"
        )


def propose(engine: Engine, level_id: int, settings: CampaignSettings, report: Report) -> Generated:
    """A round that only generates candidates. Raises FilterError, and NotFound for fused ones without a model."""
    _check(engine, level_id, settings)
    round_id = _open_round(engine, level_id, settings)
    generated = _generate(engine, round_id, level_id, settings, report)
    _close_round(engine, round_id)
    return generated


def _check(engine: Engine, level_id: int, settings: CampaignSettings) -> None:
    """Whether it can work at all, before a round is opened. Raises FilterError, NotFound, SettingsError."""
    if not (settings.name.strip() and settings.name.isprintable() and len(settings.name) <= LONGEST_NAME):
        raise SettingsError(f"a campaign's name is 1 to {LONGEST_NAME} printable characters")
    with Session(engine) as session:
        if settings.fused:
            promoted_model(session, level_id)
        if not _parents(session, level_id, settings.parents):
            what = (
                "no crystal passes the filter of parents" if settings.parents else "there is no crystal to start from"
            )
            raise NotFound(f"{what}: import some (`lode import --prototypes`)")


def _generate(engine: Engine, round_id: int, level_id: int, settings: CampaignSettings, report: Report) -> Generated:
    with Session(engine) as session:
        number, parts = settings.part
        parents = _parents(session, level_id, settings.parents)[number - 1 :: parts]
        judge = Judge.of(session, level_id, settings.fused) if settings.fused else None
        session.commit()

        def progress(done: int) -> None:
            report("generating candidates", done, len(parents))

        return generate_candidates(
            session, parents, settings.family, settings.candidates, round_id, progress, judge, settings.limit
        )


def _parents(session: Session, level_id: int, filter_: str) -> Sequence[int]:
    """Ids of PARENTS that pass the filter, those of earlier rounds by the candidate that they relaxed from.

    Raises FilterError.
    """
    rows = session.execute(sa.text(PARENTS), {"level": level_id}).tuples().all()
    if not filter_:
        return list(dict.fromkeys(parent for parent, _ in rows))
    question = ask(session, filter_, session.get_one(Level, level_id).name)
    found = set(session.scalars(matching(question.filter, set(), Structure.id.expression), question.bound))
    return list(dict.fromkeys(parent for parent, material in rows if material in found))


def _open(engine: Engine, kind: Kind) -> int:
    return queue.open_picks(engine) if kind is Kind.LABEL else queue.open_work(engine, kind)


def _open_round(engine: Engine, level_id: int, settings: CampaignSettings) -> int:
    with Session(engine) as session, session.begin():
        return open_round(session, level_id, settings.name, asdict(settings))


def _close_round(engine: Engine, round_id: int) -> None:
    with Session(engine) as session, session.begin():
        close_round(session, round_id)
